//! The read side of an application: its projections, their status and their operation.
//!
//! Owns: the registration of projections ([`Builder::project`], [`Builder::project_on_read`]), and
//! their operation through [`Gesta`]. Invariant: operations address projections by name, so that
//! edges need no types. Not here: the execution of projections ([`projection`]), queries
//! ([`query`]).
//!
//! [`projection`]: crate::Projection
//! [`query`]: crate::Query

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use gesta_store::{
    DatabaseError, DeadLetter, Filter, InvalidName, Position, ReadAll, ReadModelStore, ReadRows,
    RecordedAt, RecordedEvent, Rows, StoreError, Visibility,
};

use crate::{
    Apply, AsOf, Builder, Gesta, Lag, OldRows, OnRead, OnReadRow, OpenError, OperationError,
    Projection, ProjectionState, ProjectionStatus, ReadOnDemandError,
    audit::{self, Operator},
    check_projection_name,
    event_names::Scope,
    projection::{
        AnyReader, OnReadRows, OnReadStorage, Operation, ProjectionContext, ProjectionHandle,
        ProjectionProgress, ProjectionRegistration, StartProjection,
    },
};

/// The registered projections before their start.
#[derive(Default)]
pub(crate) struct ReadSideRegistrations {
    running: Vec<(TypeId, Box<dyn StartProjection>)>,
    on_read: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    on_read_names: Vec<&'static str>,
}

impl ReadSideRegistrations {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let running = self.running.iter().map(|(_, planned)| planned.name());
        running.chain(self.on_read_names.iter().copied())
    }

    /// Starts every projection.
    pub(crate) fn start(self, context: &ProjectionContext) -> Result<ReadSide, OpenError> {
        for projection in self.names() {
            check_projection_name(projection)
                .map_err(|error| OpenError::ProjectionName { projection, error })?;
        }
        let mut taken = HashSet::new();
        if let Some(twice) = self.on_read_names.iter().find(|name| !taken.insert(**name)) {
            return Err(OpenError::DuplicateProjection { projection: twice });
        }
        let mut side = ReadSide { on_read: self.on_read, ..ReadSide::default() };
        if self.running.is_empty() {
            return Ok(side);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(OpenError::NoRuntime);
        }
        for (projection, planned) in self.running {
            let handle = planned.start(context)?;
            let name = handle.name;
            if !taken.insert(name) || side.by_name.insert(name, handle).is_some() {
                return Err(OpenError::DuplicateProjection { projection: name });
            }
            side.names.insert(projection, name);
        }
        Ok(side)
    }
}

impl fmt::Debug for ReadSideRegistrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} projections", self.running.len() + self.on_read.len())
    }
}

/// The running projections.
#[derive(Debug, Default)]
pub(crate) struct ReadSide {
    by_name: BTreeMap<&'static str, ProjectionHandle>,
    names: HashMap<TypeId, &'static str>,
    on_read: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl ReadSide {
    /// Returns a registered projection.
    pub(crate) fn of<P: Projection>(&self) -> Option<&ProjectionHandle> {
        self.by_name.get(self.names.get(&TypeId::of::<P>())?)
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = &ProjectionHandle> {
        self.by_name.values()
    }

    fn named(&self, projection: &str) -> Result<&ProjectionHandle, OperationError> {
        let unknown = || OperationError::NotRegistered { projection: projection.to_owned() };
        self.by_name.get(projection).ok_or_else(unknown)
    }

    fn on_read<P: OnRead>(&self) -> Option<&OnReadRows<P>> {
        self.on_read.get(&TypeId::of::<P>())?.downcast_ref()
    }
}

impl ProjectionHandle {
    /// Returns a connection to the active read model. Retries if a switch dropped the read model
    /// concurrently; its successor is at least as recent.
    pub(crate) async fn any_reader(&self) -> Result<AnyReader, DatabaseError> {
        let mut progress = self.progress.clone();
        loop {
            let answering = progress.borrow_and_update().answering.clone();
            let Some(answering) = answering else {
                return Err(DatabaseError::unavailable("the projection is starting"));
            };
            match self.read_models.reader(answering).await {
                Err(DatabaseError::Missing { .. }) if progress.changed().await.is_ok() => {}
                outcome => return outcome,
            }
        }
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, DatabaseError> {
        let filled = self.progress.borrow().filled.clone();
        let mut letters = BTreeMap::new();
        for read_model in filled {
            match self.read_models.dead_letters(read_model).await {
                // Dropped concurrently, with its dead letters.
                Err(DatabaseError::Missing { .. }) => {}
                found => letters.extend(found?.into_iter().map(|one| (one.position, one))),
            }
        }
        Ok(letters.into_values().collect())
    }
}

impl Builder {
    /// Runs a projection into read models of a store while the application is open. Requires a
    /// tokio runtime.
    pub fn project<P, S>(mut self, projection: P, read_models: &S) -> Self
    where
        P: Apply<S::Tx>,
        S: ReadModelStore,
    {
        let planned = ProjectionRegistration { projection, read_models: read_models.clone() };
        self.read_side.running.push((TypeId::of::<P>(), Box::new(planned)));
        self.reads_events::<P::Event>(Scope::of::<P::Event>())
    }

    /// Keeps the rows of an on-read projection in a store.
    pub fn project_on_read<P, S>(mut self, _projection: P, read_models: &S) -> Self
    where
        P: OnRead,
        S: ReadModelStore<Tx: Rows, Reader: ReadRows>,
    {
        let rows = OnReadRows::<P>::new(OnReadStorage::new(read_models.clone()));
        self.read_side.on_read.insert(TypeId::of::<P>(), Arc::new(rows));
        self.read_side.on_read_names.push(P::NAME);
        // Restricted to its category, since it reads streams of that category only.
        self.reads_events::<P::Event>(Scope::Named)
    }
}

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
#[error("{text} is not a projection's name, `@` and a position")]
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
    /// Stops projections and process managers, and waits until they have released their resources.
    /// Once every clone is dropped as well, the stores can be opened again. Uncommitted events are
    /// applied and decided commands are sent on the next start. A process manager with no work in
    /// flight writes a checkpoint, which shortens its next start.
    ///
    /// Has no time limit of its own and may wait for the store. To limit it, wrap it in a timeout:
    /// dropping the returned future stops the rest without waiting.
    ///
    /// Commands executed through a clone afterwards fail with
    /// [`ExecuteError::Closed`](crate::ExecuteError::Closed). Dropping the handle stops everything
    /// as well, but does not wait.
    pub async fn close(self) {
        self.set_closed();
        self.processes().stop().await;
        for handle in self.read_side().handles() {
            handle.stop().await;
        }
    }

    /// Returns the status of every projection, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store could not be read for the lag.
    pub async fn projections(&self) -> Result<Vec<ProjectionStatus>, StoreError> {
        let mut all = Vec::new();
        for handle in self.read_side().by_name.values() {
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
            state, position, checkpoint, dead_letters, old_rows, trouble, ..
        } = progress;
        let damage = handle.damage_found().filter(|_| state == ProjectionState::Running);
        let state = match damage {
            Some(error) => ProjectionState::Corrupt { error },
            None => state,
        };
        let lag = self.lag(handle, position).await?;
        let (name, version) = (handle.name, handle.version);
        Ok(ProjectionStatus {
            name,
            version,
            state,
            position,
            checkpoint,
            lag,
            dead_letters,
            old_rows,
            trouble,
        })
    }

    async fn lag(&self, handle: &ProjectionHandle, position: Position) -> Result<Lag, StoreError> {
        let store = self.store();
        let head = store.head().await?.position;
        let counts = store.capabilities().dense_positions;
        let events = counts.then(|| head.number().saturating_sub(position.number()));
        let left = ReadAll::forwards()
            .from(position.next())
            .filter(Filter::EventTypes(handle.event_types.clone()))
            .visibility(Visibility::Visible)
            .limit(1);
        let first = recorded_at(&store.read_all(left).collect_events().await?);
        let last =
            recorded_at(&store.read_all(ReadAll::backwards().limit(1)).collect_events().await?);
        let time = match (first, last) {
            (Some(first), Some(last)) => last.since(first),
            (None, _) | (_, None) => Duration::ZERO,
        };
        Ok(Lag { events, time })
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
        let handle = self.read_side().named(projection)?;
        self.record(handle, operator, ("rebuild-projection", projection)).await?;
        handle.execute(Operation::Rebuild).await
    }

    /// Activates a rebuild that reached the head with dead letters.
    ///
    /// # Errors
    /// [`OperationError::NothingToConfirm`] unless the projection's state is
    /// [`ProjectionState::AwaitingConfirmation`].
    pub async fn confirm_switch(
        &self,
        projection: &str,
        operator: &Operator,
    ) -> Result<(), OperationError> {
        let handle = self.operated(projection).await?;
        let state = handle.progress.borrow().state.clone();
        if !matches!(state, ProjectionState::AwaitingConfirmation(_)) {
            return Err(OperationError::NothingToConfirm { projection: handle.name });
        }
        self.record(handle, operator, ("confirm-switch", projection)).await?;
        handle.execute(Operation::ConfirmSwitch).await
    }

    /// Makes the rows from before the last switch active again. They first catch up with the head,
    /// while the present rows stay active. The replaced rows are kept in turn.
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
        self.record(handle, operator, ("roll-back-projection", projection)).await?;
        handle.execute(Operation::RollBack).await
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
        self.record(handle, operator, ("drop-old-rows", projection)).await?;
        handle.execute(Operation::DropOld).await
    }

    /// Returns a projection by name, once it has loaded its read models.
    async fn operated(&self, projection: &str) -> Result<&ProjectionHandle, OperationError> {
        let handle = self.read_side().named(projection)?;
        handle.started(self.clock().as_ref()).await;
        Ok(handle)
    }

    fn old_rows(&self, handle: &ProjectionHandle) -> Result<OldRows, OperationError> {
        let old = handle.progress.borrow().old_rows.clone();
        old.ok_or(OperationError::NoOldRows { projection: handle.name })
    }

    /// Records an operation in the audit stream. Runs before the operation, so that no change lacks
    /// its record.
    async fn record(
        &self,
        handle: &ProjectionHandle,
        operator: &Operator,
        (operation, target): (&str, &str),
    ) -> Result<(), OperationError> {
        if handle.is_stopped() {
            return Err(OperationError::Unavailable { reason: "it has stopped".to_owned() });
        }
        Ok(audit::record(self.store().as_ref(), operator, operation, target).await?)
    }

    /// Returns all dead letters, by projection and position.
    ///
    /// # Errors
    /// [`DatabaseError`] if a read model could not be read.
    pub async fn dead_letters(&self) -> Result<Vec<(DeadLetterId, DeadLetter)>, DatabaseError> {
        let mut all = Vec::new();
        for (name, handle) in &self.read_side().by_name {
            let letters = handle.dead_letters().await?.into_iter();
            all.extend(letters.map(|letter| {
                let position = letter.position;
                (DeadLetterId { projection: (*name).to_owned(), position }, letter)
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
        self.record(handle, operator, ("retry-dead-letter", &id.to_string())).await?;
        handle.execute(Operation::Retry(id.position)).await
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
        self.record(handle, operator, ("discard-dead-letter", &id.to_string())).await?;
        handle.execute(Operation::Discard(id.position)).await
    }

    /// Returns the projection of an existing dead letter.
    async fn dead_letter(&self, id: &DeadLetterId) -> Result<&ProjectionHandle, OperationError> {
        let handle = self.operated(&id.projection).await?;
        let letters = handle.dead_letters().await?;
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

fn recorded_at(events: &[RecordedEvent]) -> Option<RecordedAt> {
    events.first().map(|event| event.recorded_at)
}

impl From<InvalidName> for OpenError {
    fn from(error: InvalidName) -> Self {
        Self::Name(error)
    }
}
