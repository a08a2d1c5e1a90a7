//! The operation of projections through [`Gesta`]: status, rebuilds and dead letters.
//!
//! Invariant: operations address projections by name, so that edges need no types. On a node that
//! does not run a projection, its operations are refused and leave no record. Not here: the
//! execution of projections ([`Projection`]), queries ([`Query`](crate::Query)).

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock, PoisonError},
};

use bytes::Bytes;
use gesta_store::{DatabaseError, DeadLetter, Position, StoreError};

use super::{Gesta, lag::lag};
use crate::{
    AsOf, Comparison, OldRows, OnRead, OnReadRow, OperationError, Projection, ProjectionState,
    ProjectionStatus, ReadOnDemandError, Rehearsal,
    audit::{self, Operator},
    projection::{
        BothBuilds, BothBuildsSlot, Operation, ProjectionHandle, ProjectionProgress, SwitchOver,
    },
};

/// The id of a dead letter among all projections: `openings@42`.
///
/// ```
/// use gesta::{DeadLetterId, Position};
///
/// let id: DeadLetterId = "openings@42".parse()?;
/// assert_eq!((id.projection.as_str(), id.position), ("openings", Position::new(42)));
/// assert_eq!(id.to_string(), "openings@42");
/// # Ok::<(), gesta::ParseDeadLetterIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterId {
    /// Name of the projection.
    pub projection: String,
    /// Position of its event.
    pub position: Position,
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.projection, self.position)
    }
}

/// An invalid dead letter id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a dead letter id; expected PROJECTION@POSITION, such as `users@12`")]
#[non_exhaustive]
pub struct ParseDeadLetterIdError {
    /// The rejected text.
    pub text: String,
}

impl FromStr for DeadLetterId {
    type Err = ParseDeadLetterIdError;

    fn from_str(text: &str) -> Result<Self, ParseDeadLetterIdError> {
        let none = || ParseDeadLetterIdError { text: text.to_owned() };
        let (projection, position) = text.rsplit_once('@').ok_or_else(none)?;
        let position = Position::new(position.parse().map_err(|_| none())?);
        Ok(Self { projection: projection.to_owned(), position })
    }
}

impl Gesta {
    /// Returns the status of every projection, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store could not be read for the lag.
    pub async fn projections(&self) -> Result<Vec<ProjectionStatus>, StoreError> {
        let mut all = Vec::new();
        for handle in self.read_side().handles() {
            all.push(self.status(handle).await?);
        }
        Ok(all)
    }

    /// Returns the position of a projection's active read model, or `None` if the projection does
    /// not run. Later queries see at least this position.
    #[must_use]
    pub fn reached<P: Projection>(&self) -> Option<Position> {
        Some(self.read_side().of::<P>()?.progress.borrow().position)
    }

    async fn status(&self, handle: &ProjectionHandle) -> Result<ProjectionStatus, StoreError> {
        let progress = handle.progress.borrow().clone();
        let ProjectionProgress {
            state,
            resumes_as,
            position,
            checkpoint,
            dead_letters,
            old_rows,
            trouble,
            runs_on,
            ..
        } = progress;
        // A query may meet damage that the projection has not touched.
        let damage = handle.damage_found().filter(|_| {
            use ProjectionState::{Paused, Running, Waiting};
            matches!(state, Running | Waiting | Paused)
        });
        let state = match damage {
            Some(error) => ProjectionState::Corrupt { error },
            None => state,
        };
        let lag = lag(self.store().as_ref(), position, &handle.event_types).await?;
        let (name, version) = (handle.name, handle.version);
        let partitions = handle.partitions();
        let trouble = trouble.or_else(|| partitions.iter().find_map(|it| it.trouble.clone()));
        Ok(ProjectionStatus {
            name,
            version,
            state,
            resumes_as,
            position,
            checkpoint,
            inline: handle.is_inline,
            lag,
            dead_letters,
            old_rows,
            trouble,
            lease: handle.lease.clone(),
            runs_on,
            partitions,
        })
    }

    /// Rebuilds a projection into a fresh read model, which becomes active once it reaches the
    /// head. Restarts a rebuild in progress.
    ///
    /// A rebuild with dead letters waits for [confirmation](Self::confirm_switch). The previous
    /// rows are kept until they are [dropped](Self::drop_old_rows) or replaced by the next switch.
    ///
    /// # Errors
    /// [`OperationError`] if the projection is not registered or cannot be rebuilt now.
    pub async fn rebuild(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let audited = ("rebuild-projection", projection);
        self.begin_rebuild(audited, SwitchOver::WhenComplete, operator).await
    }

    /// Rebuilds a projection as [`rebuild`](Self::rebuild), and holds the switch-over: the fresh
    /// read model becomes active only once it is [confirmed](Self::confirm_switch), also if it has
    /// no dead letters, and also after a restart. Damaged rows are replaced at once.
    ///
    /// # Errors
    /// The same as [`rebuild`](Self::rebuild).
    pub async fn rebuild_and_hold(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let audited = ("rebuild-projection-and-hold", projection);
        self.begin_rebuild(audited, SwitchOver::WhenConfirmed, operator).await
    }

    async fn begin_rebuild(
        &self,
        (operation, projection): (&str, &str),
        switch: SwitchOver,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        // Without leases a rebuild is accepted before the read models are loaded: it may replace
        // one that cannot be opened.
        let handle = match self.read_side().named(projection)? {
            handle if handle.lease.is_none() => handle,
            _ => self.operated(projection).await?,
        };
        self.act(handle, operator, (operation, projection), Operation::Rebuild(switch)).await
    }

    /// Pauses a projection after the event that it is applying: it applies none until it is
    /// resumed, and a rebuild of it stands still. Queries go on to be answered by the rows as they
    /// are; a wait for a later position fails with [`WaitError::Halted`](crate::WaitError::Halted).
    /// A rebuild that awaits confirmation can be [confirmed](Self::confirm_switch) during a pause.
    ///
    /// The pause is not stored: it ends when the application is opened again, or when another node
    /// takes the projection over.
    ///
    /// # Errors
    /// [`OperationError::CannotPause`] for a projection that is inline or divided into partitions.
    pub async fn pause_projection(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.operated(projection).await?;
        if let Some(reason) = handle.changed_by_others() {
            return Err(OperationError::CannotPause { projection: handle.name, reason });
        }
        self.act(handle, operator, ("pause-projection", projection), Operation::Pause).await
    }

    /// Resumes a projection that was paused. One that was not goes on as it does.
    ///
    /// # Errors
    /// [`OperationError`] if the projection is not registered or does not run on this node.
    pub async fn resume_projection(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.operated(projection).await?;
        self.act(handle, operator, ("resume-projection", projection), Operation::Resume).await
    }

    /// Activates a rebuild that reached the head with dead letters, or that was held.
    ///
    /// If the active read model has applied events that the rebuild has not, the rebuild is
    /// activated once it has applied them, too: after a pause, when the projection is resumed.
    ///
    /// # Errors
    /// [`OperationError::NothingToConfirm`] unless the projection's state, or the one that it
    /// resumes with after a pause, is [`ProjectionState::AwaitingConfirmation`].
    pub async fn confirm_switch(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.operated(projection).await?;
        let is_pending = matches!(
            handle.progress.borrow().state_of_work(),
            ProjectionState::AwaitingConfirmation(_)
        );
        if !is_pending {
            return Err(OperationError::NothingToConfirm { projection: handle.name });
        }
        self.act(handle, operator, ("confirm-switch", projection), Operation::ConfirmSwitch).await
    }

    /// Compares the rows of a rebuild that awaits confirmation with the active ones, once both
    /// reflect the same events. Changes nothing, and nothing is recorded in the audit stream.
    ///
    /// Reads all rows of both, some at a time, in one snapshot of each; the projection continues
    /// meanwhile. Rows are compared by their contents, in any order.
    ///
    /// # Errors
    /// [`OperationError::NothingToCompare`] if no rebuild awaits confirmation.
    /// [`OperationError::CannotCompare`] if the projection is inline, divided into partitions or
    /// paused, if its read models cannot be walked over, or if one build does not reach the other
    /// one within five seconds.
    pub async fn compare_rebuild(&self, projection: &str) -> Result<Comparison, OperationError> {
        let handle = self.operated(projection).await?;
        let refused =
            |reason: String| Err(OperationError::CannotCompare { projection: handle.name, reason });
        if let Some(reason) = handle.changed_by_others() {
            return refused(reason.to_owned());
        }
        let slot = BothBuildsSlot::default();
        handle.execute(Operation::OpenBoth(Arc::clone(&slot))).await?;
        let both = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let BothBuilds { live: (live, live_rows), rebuilt: (rebuilt, rebuilt_rows), position } =
            both.expect("a projection that has opened both builds leaves them");
        match handle.read_models.compare(live_rows, rebuilt_rows).await {
            Ok(tables) => Ok(Comparison { live, rebuilt, position, tables }),
            Err(DatabaseError::Rejected { reason, .. }) => refused(reason.to_string()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the rows from before the last switch active again. They first catch up with the head,
    /// while the current rows stay active. The replaced rows are kept in turn.
    ///
    /// # Errors
    /// [`OperationError::NoOldRows`] if none are kept. [`OperationError::OtherVersion`] if another
    /// version of the projection filled them: start the program with that version.
    pub async fn roll_back(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.operated(projection).await?;
        let old = self.old_rows(handle)?;
        if old.version != handle.version {
            let (projection, old, program) = (handle.name, old.version, handle.version);
            return Err(OperationError::OtherVersion { projection, old, program });
        }
        self.act(handle, operator, ("roll-back-projection", projection), Operation::RollBack).await
    }

    /// Drops the rows from before the last switch, which rules out a roll-back.
    ///
    /// # Errors
    /// [`OperationError::NoOldRows`] if none are kept.
    pub async fn drop_old_rows(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.operated(projection).await?;
        self.old_rows(handle)?;
        self.act(handle, operator, ("drop-old-rows", projection), Operation::DropOld).await
    }

    /// Returns a projection that runs on this node, once it has loaded its read models.
    async fn operated(&self, projection: &str) -> Result<&ProjectionHandle, OperationError> {
        let handle = self.read_side().named(projection)?;
        handle.started(self.clock().as_ref()).await;
        match handle.runs_elsewhere() {
            Some(elsewhere) => Err(elsewhere.into()),
            None => Ok(handle),
        }
    }

    fn old_rows(&self, handle: &ProjectionHandle) -> Result<OldRows, OperationError> {
        let old = handle.progress.borrow().old_rows.clone();
        old.ok_or(OperationError::NoOldRows { projection: handle.name })
    }

    /// Records an operation in the audit stream, carries it out, and records its failure. The first
    /// record comes before the operation, so that no change lacks it.
    async fn act(
        &self,
        handle: &ProjectionHandle,
        operator: &Operator,
        (operation, target): (&str, &str),
        change: Operation,
    ) -> Result<(), OperationError> {
        // An operation that cannot run must not be in the audit stream.
        if handle.is_stopped() {
            let reason = "the projection has stopped".to_owned();
            return Err(OperationError::Unavailable { reason });
        }
        let store = self.store().as_ref();
        let order = audit::record(store, operator, operation, target).await?;
        let outcome = handle.execute(change).await;
        if let Err(error) = &outcome
            && let Err(unrecorded) = audit::record_failure(store, &order, error.kind()).await
        {
            // The caller learns of the failure; the stream keeps the order without it.
            tracing::warn!(operation, target, error = %unrecorded, "a failure is not recorded");
        }
        outcome
    }

    /// Returns all dead letters, by projection and position.
    ///
    /// # Errors
    /// [`DatabaseError`] if a read model could not be read.
    pub async fn dead_letters(&self) -> Result<Vec<(DeadLetterId, DeadLetter)>, DatabaseError> {
        let mut all = Vec::new();
        for handle in self.read_side().handles() {
            let letters = handle.dead_letters().await?.into_iter();
            all.extend(letters.map(|letter| {
                let position = letter.position;
                (DeadLetterId { projection: handle.name.to_owned(), position }, letter)
            }));
        }
        Ok(all)
    }

    /// Applies the events set aside of a dead letter's stream again, in order from the first.
    ///
    /// Events of other streams have been applied in the meantime. If rows depend on the order
    /// across streams, rebuild the projection, or choose a policy that halts it.
    ///
    /// # Errors
    /// [`OperationError::StillFails`] at the first event that fails again. It and the events behind
    /// it stay dead letters.
    pub async fn retry_dead_letter(
        &self,
        id: &DeadLetterId,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.dead_letter(id).await?;
        let audited = ("retry-dead-letter", &*id.to_string());
        self.act(handle, operator, audited, Operation::Retry(id.position)).await
    }

    /// Applies a dead letter with other data in place of its event's, and the events that wait
    /// behind it, and rolls all of it back: neither the rows nor the event change. The data are
    /// decoded as those of the event are, in its version. Nothing is recorded in the audit stream.
    ///
    /// # Errors
    /// [`OperationError::NoSuchDeadLetter`] if it does not exist, and
    /// [`OperationError::EventGone`] if its event was deleted.
    pub async fn rehearse_dead_letter(
        &self,
        id: &DeadLetterId,
        data: impl Into<Bytes> + Send,
    ) -> Result<Rehearsal, OperationError> {
        let handle = self.dead_letter(id).await?;
        let slot = Arc::new(OnceLock::new());
        let rehearse = Operation::Rehearse(id.position, data.into(), Arc::clone(&slot));
        handle.execute(rehearse).await?;
        Ok(slot.get().expect("a rehearsal that has succeeded has a result").clone())
    }

    /// Discards a dead letter: its event never takes effect in this read model.
    ///
    /// If it is the first of its stream, the events behind it are applied in the same transaction,
    /// in order, up to the first one that fails, which becomes the stream's first dead letter.
    ///
    /// # Errors
    /// [`OperationError::NoSuchDeadLetter`] if it does not exist.
    pub async fn discard_dead_letter(
        &self,
        id: &DeadLetterId,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.dead_letter(id).await?;
        let audited = ("discard-dead-letter", &*id.to_string());
        self.act(handle, operator, audited, Operation::Discard(id.position)).await
    }

    /// Returns the projection of an existing dead letter.
    async fn dead_letter(&self, id: &DeadLetterId) -> Result<&ProjectionHandle, OperationError> {
        let handle = self.operated(&id.projection).await?;
        let letters = handle.dead_letters().await?;
        // Looked up before the audit record, so that a mistyped id leaves none.
        if letters.iter().all(|letter| letter.position != id.position) {
            return Err(OperationError::NoSuchDeadLetter { position: id.position });
        }
        Ok(handle)
    }

    /// Returns a row of an on-read projection, brought up to date or as of a moment; `None` if the
    /// stream had no events then.
    ///
    /// # Errors
    /// [`ReadOnDemandError`] if the projection is not registered, or its events cannot be read. A
    /// failure to read or write the stored row is not an error; it costs time only.
    pub async fn read_on_demand<P: OnRead>(
        &self,
        id: &P::Id,
        as_of: impl Into<AsOf>,
    ) -> Result<Option<OnReadRow<P::Row>>, ReadOnDemandError> {
        let rows = self.read_side().on_read::<P>();
        let rows = rows.ok_or(ReadOnDemandError::NotRegistered { projection: P::NAME })?;
        rows.read(self.store(), id, as_of.into()).await
    }
}
