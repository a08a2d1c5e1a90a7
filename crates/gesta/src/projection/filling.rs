//! One read model being filled: a subscription on one side, transactions on the other.
//!
//! Always holds: the checkpoint is moved only by the transaction that applies or sets aside what
//! it passes; a stream with a dead letter has all its later events behind that letter.

use std::{collections::HashMap, future, slice, sync::Arc};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, Delivery, EventStore, Filter, Incarnation,
    Invalid, Position, ReadAll, ReadModelId, ReadModelStore, ReadModelTx, RecordedEvent, SetAside,
    StoreError, StreamName, Subscribe, Subscription,
};

use super::{
    AfterRetries, Apply, ApplyError, backoff::Backoff, caught::caught, in_one_line,
    runner::OperationError,
};
use crate::{Clock, EventSet, Recorded};

/// How often an event is tried before it is set aside.
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
    /// The store's word.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read model has seen events that the store no longer has.
    #[error("{read_model} is ahead of what the store kept")]
    Ahead { read_model: ReadModelId },
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
    parts: Arc<Parts<P, S>>,
    /// The store's present life, to which the next checkpoint belongs.
    incarnation: Incarnation,
    source: Source,
    /// Streams with dead letters, and where the first one of each is.
    set_aside: HashMap<StreamName, Position>,
    unsaved: u32,
}

enum Source {
    Subscribed(Subscription),
    /// It was filled by another version, and only answers.
    Retired,
    Halted(Halt),
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
        let incarnation = parts.store.head().await?.incarnation;
        let checkpoint = prepared(parts, &id, incarnation).await?;
        let mut filling = Self::retired(parts, id, checkpoint);
        if checkpoint.incarnation != incarnation {
            // Not to be told to anybody before the store has agreed to go on from there.
            filling.position = Position::START;
        }
        filling.incarnation = incarnation;
        filling.try_halting_again().await?;
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
            parts: Arc::clone(parts),
            incarnation: checkpoint.incarnation,
            source: Source::Retired,
            set_aside: HashMap::new(),
            unsaved: 0,
        }
    }

    fn subscribe(&mut self) -> Result<(), Trouble> {
        let types = P::Event::event_types().map_err(StoreError::from)?;
        let subscribe = Subscribe::to_all().only(Filter::EventTypes(types)).resume(self.checkpoint);
        self.source = Source::Subscribed(self.parts.store.subscribe(subscribe));
        Ok(())
    }

    /// What to do next; never comes where there is nothing to do any more.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Delivery, Trouble> {
        let Source::Subscribed(subscription) = &mut self.source else {
            return future::pending().await;
        };
        let Some(delivery) = subscription.next().await else {
            return Err(StoreError::unavailable("the subscription ended").into());
        };
        delivery.map_err(|error| match error {
            StoreError::Rejected(Invalid::OtherIncarnation { .. } | Invalid::BeyondHead { .. }) => {
                Trouble::Ahead { read_model: self.id.clone() }
            }
            other => other.into(),
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
        let tx = self.parts.read_models.begin(&self.id).await?;
        self.commit(tx, self.position).await?;
        Ok(())
    }

    async fn take_events(&mut self, page: &[RecordedEvent]) -> Result<(), Trouble> {
        match self.apply(page).await {
            Err(error) if error.is_the_databases() => Err(error.into()),
            Err(_) => self.apply_one_by_one(page).await,
            Ok(()) => Ok(()),
        }
    }

    /// Applies events in one transaction; those behind a dead letter are set aside by it.
    async fn apply(&mut self, page: &[RecordedEvent]) -> Result<(), ApplyError> {
        let Some(last) = page.last() else { return Ok(()) };
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        let (behind, free): (Vec<_>, Vec<_>) =
            page.iter().partition(|event| self.set_aside.contains_key(&event.stream));
        let events = Recorded::read_all(free)?;
        if !events.is_empty() {
            caught(self.parts.projection.apply(&mut tx, &events)).await?;
        }
        for event in &behind {
            let first = self.set_aside.get(&event.stream).copied().unwrap_or(event.position);
            tx.put_dead_letter(DeadLetter::of(event, SetAside::Behind { first })).await?;
        }
        self.commit(tx, last.position).await?;
        self.dead_letters += behind.len();
        if self.dead_letters > DEAD_LETTERS_MAX {
            let error = format!("more than {DEAD_LETTERS_MAX} dead letters");
            self.source = Source::Halted(Halt { position: last.position, error });
        }
        Ok(())
    }

    async fn commit(&mut self, mut tx: S::Tx, position: Position) -> Result<(), DatabaseError> {
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
            if let Err(error) = self.apply_with_retries(event).await? {
                self.put_aside(event, in_one_line(&error)).await?;
            }
            if matches!(self.source, Source::Halted(_)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The outer error is not the event's.
    async fn apply_with_retries(
        &mut self,
        event: &RecordedEvent,
    ) -> Result<Result<(), ApplyError>, Trouble> {
        let mut backoff = Backoff::new();
        let mut attempts = 1;
        loop {
            match self.apply(slice::from_ref(event)).await {
                Ok(()) => return Ok(Ok(())),
                Err(error) if error.is_the_databases() => return Err(error.into()),
                Err(error) if attempts == ATTEMPTS_MAX => return Ok(Err(error)),
                Err(_) => backoff.pause(self.parts.clock.as_ref()).await,
            }
            attempts += 1;
        }
    }

    async fn put_aside(&mut self, event: &RecordedEvent, error: String) -> Result<(), Trouble> {
        let reason = SetAside::Failed { error: error.clone(), attempts: ATTEMPTS_MAX };
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        tx.put_dead_letter(DeadLetter::of(event, reason)).await?;
        self.dead_letters += 1;
        if P::AFTER_RETRIES == AfterRetries::Halt || self.dead_letters > DEAD_LETTERS_MAX {
            tx.commit().await?;
            self.source = Source::Halted(Halt { position: event.position, error });
            return Ok(());
        }
        self.commit(tx, event.position).await?;
        self.set_aside.insert(event.stream.clone(), event.position);
        Ok(())
    }

    /// Before which event it stopped, if it did.
    pub(super) fn halt(&self) -> Option<&Halt> {
        match &self.source {
            Source::Halted(halt) => Some(halt),
            Source::Subscribed(_) | Source::Retired => None,
        }
    }

    /// Whether it stays where it is.
    pub(super) const fn is_stopped(&self) -> bool {
        match &self.source {
            Source::Halted(_) | Source::Retired => true,
            Source::Subscribed(_) => false,
        }
    }

    /// Whether this version fills it: no other version may write into it.
    pub(super) const fn is_filled(&self) -> bool {
        match &self.source {
            Source::Retired => false,
            Source::Halted(_) | Source::Subscribed(_) => true,
        }
    }

    /// Forgets a dead letter that halted an earlier run: its event comes again.
    async fn try_halting_again(&mut self) -> Result<(), Trouble> {
        let letters = self.parts.read_models.dead_letters(&self.id).await?;
        let halting = letters.iter().filter(|letter| letter.position > self.checkpoint.position);
        for letter in halting {
            let mut tx = self.parts.read_models.begin(&self.id).await?;
            tx.delete_dead_letter(letter.position).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn know_dead_letters(&mut self) -> Result<(), DatabaseError> {
        let letters = self.parts.read_models.dead_letters(&self.id).await?;
        self.dead_letters = letters.len();
        self.set_aside.clear();
        for letter in letters {
            self.set_aside.entry(letter.stream).or_insert(letter.position);
        }
        Ok(())
    }

    /// Applies the events that were set aside of this dead letter's stream, in order, each in a
    /// transaction that also forgets its letter.
    pub(super) async fn retry(&mut self, position: Position) -> Result<(), OperationError> {
        let letters = self.parts.read_models.dead_letters(&self.id).await?;
        let stream = stream_of_letter(&letters, position)?;
        for letter in letters.iter().filter(|letter| letter.stream == stream) {
            let outcome = self.retry_one(letter).await;
            if let Err(error) = outcome {
                self.know_dead_letters().await?;
                return Err(error);
            }
        }
        self.after_operation().await
    }

    async fn retry_one(&mut self, letter: &DeadLetter) -> Result<(), OperationError> {
        let event = event_at(self.parts.store.as_ref(), letter).await?;
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        let applied = match Recorded::read_all([&event]) {
            Ok(events) => caught(self.parts.projection.apply(&mut tx, &events)).await,
            Err(unreadable) => Err(unreadable.into()),
        };
        if let Err(error) = applied {
            tx.rollback().await?;
            let position = letter.position;
            return Err(OperationError::StillFails { position, error: in_one_line(&error) });
        }
        self.forget(tx, letter.position).await
    }

    /// Goes past a dead letter for ever. Events that wait behind it stay until they are retried.
    pub(super) async fn discard(&mut self, position: Position) -> Result<(), OperationError> {
        let letters = self.parts.read_models.dead_letters(&self.id).await?;
        stream_of_letter(&letters, position)?;
        let tx = self.parts.read_models.begin(&self.id).await?;
        self.forget(tx, position).await?;
        self.after_operation().await
    }

    /// A letter before which the projection halted also moves the checkpoint.
    async fn forget(&mut self, mut tx: S::Tx, position: Position) -> Result<(), OperationError> {
        tx.delete_dead_letter(position).await?;
        if position > self.checkpoint.position {
            self.commit(tx, position).await?;
        } else {
            tx.commit().await?;
        }
        Ok(())
    }

    async fn after_operation(&mut self) -> Result<(), OperationError> {
        self.know_dead_letters().await?;
        let passed = self.halt().is_some_and(|halt| halt.position <= self.checkpoint.position);
        if passed {
            self.subscribe()
                .map_err(|trouble| OperationError::Unavailable { reason: in_one_line(&trouble) })?;
        }
        Ok(())
    }
}

async fn event_at(
    store: &dyn EventStore,
    letter: &DeadLetter,
) -> Result<RecordedEvent, OperationError> {
    let read = ReadAll::forwards().from(letter.position).limit(1);
    let mut events = store.read_all(read).collect_events().await?;
    let found = events.pop().filter(|event| event.position == letter.position);
    found.ok_or(OperationError::EventGone { position: letter.position })
}

fn stream_of_letter(
    letters: &[DeadLetter],
    position: Position,
) -> Result<StreamName, OperationError> {
    let letter = letters.iter().find(|letter| letter.position == position);
    let letter = letter.ok_or(OperationError::NoSuchDeadLetter { position })?;
    Ok(letter.stream.clone())
}

/// The checkpoint of a read model that is ready for events; a fresh one is prepared first.
async fn prepared<P, S>(
    parts: &Parts<P, S>,
    id: &ReadModelId,
    incarnation: Incarnation,
) -> Result<Checkpoint, Trouble>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    let mut tx = parts.read_models.begin(id).await?;
    if let Some(checkpoint) = tx.checkpoint().await? {
        tx.rollback().await?;
        return Ok(checkpoint);
    }
    caught(parts.projection.prepare(&mut tx)).await?;
    let to = Checkpoint { position: Position::START, incarnation };
    tx.advance(Advance { from: None, to }).await?;
    tx.commit().await?;
    Ok(to)
}
