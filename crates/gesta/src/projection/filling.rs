//! One read model being filled: a subscription on one side, transactions on the other.
//!
//! Always holds: the checkpoint is moved only by the transaction that applies or sets aside what
//! it passes; a stream with a dead letter has all its later events behind that letter. Not here:
//! what operators do with dead letters (`letters`).

use std::{collections::HashMap, future, slice, sync::Arc};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, DeadLetterReason, Delivery, EventStore, Filter,
    Head, Incarnation, Position, ReadModelId, ReadModelStore, ReadModelTx, RecordedEvent,
    StoreError, StreamName, Subscribe, Subscription, Visibility,
};

use super::{
    Apply, ApplyError, FailurePolicy,
    caught::caught,
    ending, in_one_line,
    provenance::{self, Outdated, Provenance, Witness},
};
use crate::{Clock, EventSet, Recorded, Sleep};

/// The attempts at an event before it is set aside, without pauses: rows change only by this
/// projection and in order, so waiting would change nothing.
const ATTEMPTS_MAX: u32 = 5;

/// Dead letters of one read model; with more, the projection halts whatever its policy.
const DEAD_LETTERS_MAX: usize = 1_000;

/// Deliveries without events after which the checkpoint is moved all the same.
const UNSAVED_MAX: u32 = 64;

/// What a projection runs with.
pub(super) struct Parts<P, S> {
    pub(super) projection: P,
    pub(super) read_models: S,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why a read model's filling is begun anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The database or the store did not do it, and no event is at fault.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The same when an event was to be applied.
    #[error("held up at the event at position {position} of stream {stream}")]
    Held {
        position: Position,
        stream: StreamName,
        #[source]
        error: ApplyError,
    },
    /// The store's word.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read model cannot go on with this store, or with this event set.
    #[error("{read_model} is filled anew: {why}")]
    Outdated { read_model: ReadModelId, why: Outdated },
    /// What failed before is tried again.
    #[error("{0}")]
    Again(String),
}

impl Trouble {
    /// The damage of a read model, in one line, if that is what it is.
    pub(super) fn damage(&self) -> Option<String> {
        match self {
            Self::Apply(ApplyError::Database(error @ DatabaseError::Corrupt { .. }))
            | Self::Held {
                error: ApplyError::Database(error @ DatabaseError::Corrupt { .. }),
                ..
            } => Some(in_one_line(error)),
            Self::Apply(_)
            | Self::Held { .. }
            | Self::Store(_)
            | Self::Outdated { .. }
            | Self::Again(_) => None,
        }
    }

    /// Whether the read model is no longer there.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Apply(ApplyError::Database(DatabaseError::Missing { .. }))
                | Self::Held { error: ApplyError::Database(DatabaseError::Missing { .. }), .. }
        )
    }

    /// Adds the event that could not be applied, the first one of a page.
    fn held(error: ApplyError, event: &RecordedEvent) -> Self {
        Self::Held { position: event.position, stream: event.stream.clone(), error }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        Self::Apply(error.into())
    }
}

pub(super) struct Filling<P, S> {
    pub(super) id: ReadModelId,
    /// What is stored.
    pub(super) checkpoint: Checkpoint,
    /// What is handled: past the checkpoint where a filter let nothing through.
    pub(super) position: Position,
    /// Whether it has reached the head since it was opened.
    pub(super) caught_up: bool,
    pub(super) dead_letters: usize,
    /// The head of the store when it was made.
    fills_to: Position,
    /// Its rows are of this store's history.
    pub(super) has_right_rows: bool,
    pub(super) parts: Arc<Parts<P, S>>,
    /// The count of operators' changes of dead letters that this run knows.
    pub(super) letters_changed: u64,
    /// The store's present life, to which the next checkpoint belongs.
    incarnation: Incarnation,
    source: Source,
    /// Streams with dead letters, and where the first one of each is.
    pub(super) set_aside: HashMap<StreamName, Position>,
    unsaved: u32,
}

enum Source {
    Subscribed(Subscription),
    /// It was filled by another version, and only answers.
    Retired,
    Halted(Halt),
    /// Its file is damaged: it is not written to any more.
    Damaged(String),
    /// It could not be opened, and is tried again after the pause.
    Failing(String, Sleep),
}

/// The error of an event that is set aside, after its attempts.
struct FailedEvent {
    error: String,
    attempts: u32,
}

/// Before which event it stopped, and why.
#[derive(Clone, Debug)]
pub(super) struct Halt {
    pub(super) position: Position,
    pub(super) error: String,
}

impl<P, S> Filling<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Opens a read model that this version fills.
    pub(super) async fn open(parts: &Arc<Parts<P, S>>, id: ReadModelId) -> Result<Self, Trouble> {
        let head = parts.store.head().await?;
        let incarnation = head.incarnation;
        let (checkpoint, provenance) = prepared(parts, &id, head).await?;
        let names = P::Event::NAMES;
        if let Some(why) = provenance.outdated(parts.store.as_ref(), names, checkpoint).await? {
            return Err(Trouble::Outdated { read_model: id, why });
        }
        if provenance.has_other_types(names) {
            // None of the added types was missed; a read model of an earlier version kept none.
            let mut tx = parts.read_models.begin(&id).await?;
            provenance::keep_event_types(&mut tx, names).await?;
            tx.commit().await?;
        }
        let mut filling = Self::retired(parts, id, checkpoint);
        if checkpoint.incarnation != incarnation {
            // Not to be told to anybody before the store has agreed to go on from there.
            filling.position = Position::START;
        }
        filling.incarnation = incarnation;
        filling.fills_to = provenance.fills_to;
        filling.try_halting_again().await?;
        filling.release_orphans().await?;
        filling.know_dead_letters().await?;
        filling.subscribe()?;
        Ok(filling)
    }

    /// A read model that was filled by another version: it stays as it is.
    pub(super) fn retired(
        parts: &Arc<Parts<P, S>>,
        id: ReadModelId,
        checkpoint: Checkpoint,
    ) -> Self {
        Self {
            id,
            checkpoint,
            position: checkpoint.position,
            caught_up: false,
            dead_letters: 0,
            fills_to: Position::START,
            has_right_rows: true,
            parts: Arc::clone(parts),
            letters_changed: 0,
            incarnation: checkpoint.incarnation,
            source: Source::Retired,
            set_aside: HashMap::new(),
            unsaved: 0,
        }
    }

    /// Stops filling it, because its file is damaged.
    pub(super) fn take_damage(&mut self, damage: String) {
        if !self.is_damaged() {
            tracing::error!(read_model = %self.id, %damage, "the read model is damaged: rebuild it");
            self.source = Source::Damaged(damage);
        }
    }

    /// Leaves it alone until the pause is over.
    pub(super) fn fail(&mut self, trouble: String, pause: Sleep) {
        self.source = Source::Failing(trouble, pause);
    }

    pub(super) fn subscribe(&mut self) -> Result<(), Trouble> {
        let mut types = P::Event::event_types().map_err(StoreError::from)?;
        types.extend(ending::event_types().map_err(StoreError::from)?);
        let subscribe = Subscribe::to_all()
            .filter(Filter::EventTypes(types))
            .visibility(Visibility::Visible)
            .resume(self.checkpoint);
        self.source = Source::Subscribed(self.parts.store.subscribe(subscribe));
        Ok(())
    }

    /// What to do next; never comes where there is nothing to do any more.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Delivery, Trouble> {
        let subscription = match &mut self.source {
            Source::Subscribed(subscription) => subscription,
            Source::Failing(trouble, pause) => {
                pause.as_mut().await;
                return Err(Trouble::Again(trouble.clone()));
            }
            Source::Retired | Source::Halted(_) | Source::Damaged(_) => {
                return future::pending().await;
            }
        };
        let Some(delivery) = subscription.next().await else {
            return Err(StoreError::unavailable("the subscription ended").into());
        };
        delivery.map_err(|error| match Outdated::of_refusal(&error) {
            Some(why) => Trouble::Outdated { read_model: self.id.clone(), why },
            None => error.into(),
        })
    }

    pub(super) async fn take(&mut self, delivery: Delivery) -> Result<(), Trouble> {
        match delivery {
            Delivery::Events(page) => self.take_events(&page).await,
            Delivery::CaughtUp(position) => {
                self.caught_up = true;
                self.pass(position, UNSAVED_MAX).await
            }
            Delivery::Checkpoint(position) => self.pass(position, 1).await,
        }
    }

    /// Nothing up to here is left to apply. Losing this place costs only looking again, so it is
    /// stored once in a while.
    async fn pass(&mut self, position: Position, weight: u32) -> Result<(), Trouble> {
        self.position = self.position.max(position);
        self.unsaved = self.unsaved.saturating_add(weight);
        if self.unsaved < UNSAVED_MAX || self.position <= self.checkpoint.position {
            return Ok(());
        }
        let last = Witness::up_to(self.parts.store.as_ref(), self.position).await?;
        let tx = self.parts.read_models.begin(&self.id).await?;
        self.commit(tx, self.position, last).await?;
        Ok(())
    }

    async fn take_events(&mut self, page: &[RecordedEvent]) -> Result<(), Trouble> {
        let is_systems = |event: &RecordedEvent| event.stream.is_system();
        for run in page.chunk_by(|one, next| !is_systems(one) && !is_systems(next)) {
            let Some(first) = run.first() else { continue };
            match self.apply(run).await {
                Err(error) if error.is_the_databases() => return Err(Trouble::held(error, first)),
                Err(_) => self.apply_one_by_one(run).await?,
                Ok(()) => {}
            }
            if matches!(self.source, Source::Halted(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Applies events in one transaction; those behind a dead letter are set aside by it. An event
    /// of the system comes alone.
    async fn apply(&mut self, page: &[RecordedEvent]) -> Result<(), ApplyError> {
        let Some(last) = page.last() else { return Ok(()) };
        if last.stream.is_system() {
            return self.pass_system(last).await;
        }
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        let (behind, free): (Vec<_>, Vec<_>) =
            page.iter().partition(|event| self.set_aside.contains_key(&event.stream));
        let events = Recorded::read_all(free)?;
        if !events.is_empty() {
            caught(self.parts.projection.apply(&mut tx, &events)).await?;
        }
        if !behind.is_empty() && provenance::letters_changed(&mut tx).await? != self.letters_changed
        {
            // Maybe nothing is set aside of these streams any more: look again.
            let reason = "another program has changed the dead letters";
            return Err(DatabaseError::unavailable(reason).into());
        }
        for event in &behind {
            let first = self.set_aside.get(&event.stream).copied().unwrap_or(event.position);
            tx.put_dead_letter(DeadLetter::of(event, DeadLetterReason::Behind { first })).await?;
        }
        self.commit(tx, last.position, Some(Witness::of(last))).await?;
        self.dead_letters += behind.len();
        if self.dead_letters > DEAD_LETTERS_MAX {
            let error = format!("more than {DEAD_LETTERS_MAX} dead letters");
            self.source = Source::Halted(Halt { position: last.position, error });
        }
        Ok(())
    }

    /// Forgets a stream that this event has ended: its rows, and what was set aside of it.
    async fn pass_system(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        let ended = self.ended_by(event).await?;
        let letters = match &ended {
            Some(stream) if self.set_aside.contains_key(stream) => {
                let mut letters = self.parts.read_models.dead_letters(&self.id).await?;
                letters.retain(|letter| letter.stream == *stream);
                letters
            }
            Some(_) | None => Vec::new(),
        };
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        for letter in &letters {
            tx.delete_dead_letter(letter.position).await?;
        }
        if let Some(stream) = &ended {
            caught(self.parts.projection.forget(&mut tx, stream)).await?;
        }
        self.commit(tx, event.position, Some(Witness::of(event))).await?;
        self.dead_letters = self.dead_letters.saturating_sub(letters.len());
        if let Some(stream) = &ended {
            self.set_aside.remove(stream);
        }
        Ok(())
    }

    /// A store that cannot be asked now is asked again, as a database is.
    pub(super) async fn ended_by(
        &mut self,
        event: &RecordedEvent,
    ) -> Result<Option<StreamName>, DatabaseError> {
        let ended = ending::ended_by(event, self.parts.store.as_ref()).await;
        ended.map_err(|error| DatabaseError::unavailable(in_one_line(&error)))
    }

    pub(super) async fn commit(
        &mut self,
        mut tx: S::Tx,
        position: Position,
        last: Option<Witness>,
    ) -> Result<(), DatabaseError> {
        if let Some(last) = last {
            last.keep(&mut tx).await?;
        }
        let to = Checkpoint { position, incarnation: self.incarnation };
        tx.advance(Advance { from: Some(self.checkpoint), to }).await?;
        tx.commit().await?;
        self.checkpoint = to;
        self.position = self.position.max(position);
        self.unsaved = 0;
        Ok(())
    }

    /// Finds the event that fails, and gives each a fair number of attempts.
    async fn apply_one_by_one(&mut self, page: &[RecordedEvent]) -> Result<(), Trouble> {
        for event in page {
            if let Err(failure) = self.apply_with_retries(event).await? {
                self.put_aside(event, failure).await?;
            }
            if matches!(self.source, Source::Halted(_)) {
                return Ok(());
            }
            // Neither a store nor a database need ever wait, so others get their turn here.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The outer error is not the event's.
    async fn apply_with_retries(
        &mut self,
        event: &RecordedEvent,
    ) -> Result<Result<(), FailedEvent>, Trouble> {
        let mut attempts = 1;
        loop {
            let error = match self.apply(slice::from_ref(event)).await {
                Ok(()) => return Ok(Ok(())),
                Err(error) if error.is_the_databases() => return Err(Trouble::held(error, event)),
                Err(error) => error,
            };
            if attempts == ATTEMPTS_MAX || error.is_certain() {
                return Ok(Err(FailedEvent { error: in_one_line(&error), attempts }));
            }
            attempts += 1;
        }
    }

    async fn put_aside(
        &mut self,
        event: &RecordedEvent,
        failure: FailedEvent,
    ) -> Result<(), Trouble> {
        let FailedEvent { error, attempts } = failure;
        let (position, stream) = (event.position, &event.stream);
        tracing::warn!(
            projection = P::NAME, read_model = %self.id, %position, %stream, %error, attempts,
            "an event is set aside as a dead letter: correct the projection and retry it, or discard it"
        );
        let reason = DeadLetterReason::Failed { error: error.clone(), attempts };
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        tx.put_dead_letter(DeadLetter::of(event, reason)).await?;
        self.dead_letters += 1;
        if P::FAILURE_POLICY == FailurePolicy::Halt || self.dead_letters > DEAD_LETTERS_MAX {
            tx.commit().await?;
            self.source = Source::Halted(Halt { position: event.position, error });
            return Ok(());
        }
        self.commit(tx, event.position, Some(Witness::of(event))).await?;
        self.set_aside.insert(event.stream.clone(), event.position);
        Ok(())
    }

    /// The position up to which it is filled for the first time, as long as it is not there.
    pub(super) fn fills_to(&self) -> Option<Position> {
        Some(self.fills_to).filter(|head| self.position < *head)
    }

    /// Before which event it stopped, if it did.
    pub(super) fn halt(&self) -> Option<&Halt> {
        match &self.source {
            Source::Halted(halt) => Some(halt),
            Source::Subscribed(_) | Source::Retired | Source::Damaged(_) | Source::Failing(..) => {
                None
            }
        }
    }

    /// Returns what keeps it from being read or written, if anything does.
    pub(super) fn trouble(&self) -> Option<&str> {
        match &self.source {
            Source::Damaged(trouble) | Source::Failing(trouble, _) => Some(trouble),
            Source::Subscribed(_) | Source::Retired | Source::Halted(_) => None,
        }
    }

    pub(super) const fn is_damaged(&self) -> bool {
        matches!(self.source, Source::Damaged(_))
    }

    /// Whether it stays where it is.
    pub(super) const fn is_stopped(&self) -> bool {
        match &self.source {
            Source::Halted(_) | Source::Retired | Source::Damaged(_) => true,
            Source::Subscribed(_) | Source::Failing(..) => false,
        }
    }

    /// Whether this version fills it: no other version may write into it.
    pub(super) const fn is_filled(&self) -> bool {
        match &self.source {
            Source::Retired | Source::Damaged(_) | Source::Failing(..) => false,
            Source::Halted(_) | Source::Subscribed(_) => true,
        }
    }
}

/// The checkpoint of a read model that is ready for events, and where its rows come from; a fresh
/// one is prepared first.
async fn prepared<P, S>(
    parts: &Parts<P, S>,
    id: &ReadModelId,
    head: Head,
) -> Result<(Checkpoint, Provenance), Trouble>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    let mut tx = parts.read_models.begin(id).await?;
    if let Some(checkpoint) = tx.checkpoint().await? {
        let provenance = Provenance::read(&mut tx).await?;
        tx.rollback().await?;
        return Ok((checkpoint, provenance));
    }
    caught(parts.projection.prepare(&mut tx)).await?;
    provenance::keep_event_types(&mut tx, P::Event::NAMES).await?;
    provenance::keep_fills_to(&mut tx, head.position).await?;
    let to = Checkpoint { position: Position::START, incarnation: head.incarnation };
    tx.advance(Advance { from: None, to }).await?;
    let provenance = Provenance::read(&mut tx).await?;
    tx.commit().await?;
    Ok((to, provenance))
}
