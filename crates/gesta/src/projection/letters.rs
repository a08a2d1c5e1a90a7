//! Dead letters of one read model: retried, discarded, released.
//!
//! Invariants: a letter goes in the same transaction in which its event takes effect, so of two
//! programs that retry one letter only one applies it; the events of a stream take effect in
//! order, and what stands behind a letter never stays behind one that is gone.

use std::collections::HashSet;

use gesta_store::{
    DatabaseError, DeadLetter, DeadLetterReason, EventStore, Position, ReadAll, ReadModelStore,
    ReadModelTx, RecordedEvent, StreamName, StreamState, Visibility,
};

use super::{
    Apply, ApplyError, OperationError,
    caught::caught,
    filling::{Filling, Trouble},
    in_one_line, provenance,
};
use crate::Recorded;

/// A dead letter and its event; none where it was deleted.
type Waiting = (DeadLetter, Option<RecordedEvent>);

/// The first of several letters whose event fails, by its place among them.
struct Failure {
    place: usize,
    error: String,
}

impl<P, S> Filling<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Counts the letters and finds the first one of each stream.
    pub(super) async fn know_dead_letters(&mut self) -> Result<(), DatabaseError> {
        // First the count: letters that change in between are seen, and looked at once more.
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        self.letters_changed = provenance::letters_changed(&mut tx).await?;
        tx.rollback().await?;
        let letters = self.parts.read_models.dead_letters(&self.id).await?;
        self.dead_letters = letters.len();
        self.set_aside.clear();
        for letter in letters {
            self.set_aside.entry(letter.stream).or_insert(letter.position);
        }
        Ok(())
    }

    /// Forgets a dead letter that halted an earlier run: its event comes again.
    pub(super) async fn try_halting_again(&mut self) -> Result<(), Trouble> {
        let letters = self.parts.read_models.dead_letters(&self.id).await?;
        let halting = letters.iter().filter(|letter| letter.position > self.checkpoint.position);
        for letter in halting {
            let mut tx = self.parts.read_models.begin(&self.id).await?;
            tx.delete_dead_letter(letter.position).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Applies what waits behind letters that are gone: earlier versions left it waiting when a
    /// letter was discarded.
    pub(super) async fn release_orphans(&mut self) -> Result<(), Trouble> {
        let letters = self.parts.read_models.dead_letters(&self.id).await?;
        let mut seen = HashSet::new();
        let firsts = letters.iter().filter(|letter| seen.insert(letter.stream.clone()));
        let orphaned: Vec<StreamName> = firsts
            .filter(|letter| matches!(letter.reason, DeadLetterReason::Behind { .. }))
            .map(|letter| letter.stream.clone())
            .collect();
        for stream in orphaned {
            let waiting = letters.iter().filter(|letter| letter.stream == stream).cloned();
            self.release(None, waiting.collect()).await.map_err(|error| match error {
                OperationError::Database(error) => Trouble::from(error),
                OperationError::Store(error) => Trouble::from(error),
                other => Trouble::Apply(ApplyError::because(other)),
            })?;
        }
        Ok(())
    }

    /// Applies the events that were set aside of this dead letter's stream, in order, each in a
    /// transaction that also forgets its letter.
    pub(super) async fn retry(&mut self, position: Position) -> Result<(), OperationError> {
        let letters = self.letters_of_stream(position).await?;
        for (place, letter) in letters.iter().enumerate() {
            let outcome = self.retry_one(letter, letters.iter().skip(place + 1)).await;
            if let Err(error) = outcome {
                self.know_dead_letters().await?;
                return Err(error);
            }
        }
        self.after_operation().await
    }

    async fn retry_one(
        &mut self,
        letter: &DeadLetter,
        behind: impl Iterator<Item = &DeadLetter> + Send,
    ) -> Result<(), OperationError> {
        let position = letter.position;
        let event = event_at(self.parts.store.as_ref(), letter).await?;
        let event = event.ok_or(OperationError::EventGone { position })?;
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        if !tx.delete_dead_letter(position).await? {
            // Another program has applied or discarded it meanwhile.
            return Ok(tx.rollback().await?);
        }
        let Err(error) = self.apply_in(&mut tx, &event).await? else {
            return self.finish(tx, position).await;
        };
        tx.rollback().await?;
        let mut tx = self.parts.read_models.begin(&self.id).await?;
        put_back(&mut tx, letter, behind, &error).await?;
        tx.commit().await?;
        Err(OperationError::StillFails { position, error })
    }

    /// Goes past a dead letter for ever. If it is the first one of its stream, what waits behind it
    /// is applied by the same transaction, up to the first event that fails.
    pub(super) async fn discard(&mut self, position: Position) -> Result<(), OperationError> {
        let letters = self.letters_of_stream(position).await?;
        let mut letters = letters.into_iter().peekable();
        let is_first = letters.peek().is_some_and(|first| first.position == position);
        let behind = if is_first { letters.skip(1).collect() } else { Vec::new() };
        self.release(Some(position), behind).await?;
        self.after_operation().await
    }

    /// Applies letters of one stream, in order, and forgets them together with the discarded one.
    async fn release(
        &mut self,
        discarded: Option<Position>,
        letters: Vec<DeadLetter>,
    ) -> Result<(), OperationError> {
        let mut waiting = Vec::new();
        for letter in letters {
            let event = event_at(self.parts.store.as_ref(), &letter).await?;
            waiting.push((letter, event));
        }
        let mut failure: Option<Failure> = None;
        // Each round ends before the event that failed in the round before.
        loop {
            let mut tx = self.parts.read_models.begin(&self.id).await?;
            if let Some(position) = discarded
                && !tx.delete_dead_letter(position).await?
            {
                tx.rollback().await?;
                return Err(OperationError::NoSuchDeadLetter { position });
            }
            let end = failure.as_ref().map_or(waiting.len(), |failure| failure.place);
            if let Some(earlier) = self.apply_waiting(&mut tx, waiting.iter().take(end)).await? {
                tx.rollback().await?;
                failure = Some(earlier);
                continue;
            }
            if let Some(Failure { place, error }) = &failure {
                let mut rest = waiting.iter().skip(*place).map(|(letter, _)| letter);
                if let Some(failing) = rest.next() {
                    put_back(&mut tx, failing, rest, error).await?;
                }
            }
            return self.finish(tx, discarded.unwrap_or(Position::START)).await;
        }
    }

    async fn apply_waiting(
        &mut self,
        tx: &mut S::Tx,
        waiting: impl Iterator<Item = &Waiting> + Send,
    ) -> Result<Option<Failure>, OperationError> {
        for (place, (letter, event)) in waiting.enumerate() {
            let is_there = tx.delete_dead_letter(letter.position).await?;
            // What was deleted from the store has no effect any more.
            let Some(event) = event.as_ref().filter(|_| is_there) else { continue };
            if let Err(error) = self.apply_in(tx, event).await? {
                return Ok(Some(Failure { place, error }));
            }
        }
        Ok(None)
    }

    /// The inner error is the event's.
    async fn apply_in(
        &mut self,
        tx: &mut S::Tx,
        event: &RecordedEvent,
    ) -> Result<Result<(), String>, DatabaseError> {
        if event.stream.is_system() {
            return self.forget_in(tx, event).await;
        }
        let applied = match Recorded::read_all([event]) {
            Ok(events) if events.is_empty() => Ok(()),
            Ok(events) => caught(self.parts.projection.apply(tx, &events)).await,
            Err(unreadable) => Err(unreadable.into()),
        };
        match applied {
            Ok(()) => Ok(Ok(())),
            Err(ApplyError::Database(error)) if is_the_databases(&error) => Err(error),
            Err(error) => Ok(Err(in_one_line(&error))),
        }
    }

    /// The same of an end of a stream that could not be forgotten: later events of the stream were
    /// applied meanwhile, so it can be only as long as there are none.
    async fn forget_in(
        &mut self,
        tx: &mut S::Tx,
        event: &RecordedEvent,
    ) -> Result<Result<(), String>, DatabaseError> {
        let Some(stream) = self.ended_by(event).await? else { return Ok(Ok(())) };
        let described = self.parts.store.describe_stream(&stream).await;
        let described =
            described.map_err(|error| DatabaseError::unavailable(in_one_line(&error)))?;
        if described.state == StreamState::Live {
            return Ok(Err(format!("{stream} has begun anew since: rebuild the projection")));
        }
        match caught(self.parts.projection.forget(tx, &stream)).await {
            Ok(()) => Ok(Ok(())),
            Err(ApplyError::Database(error)) if is_the_databases(&error) => Err(error),
            Err(error) => Ok(Err(in_one_line(&error))),
        }
    }

    /// Commits an operation. A letter before which the projection halted also moves the checkpoint.
    async fn finish(&mut self, mut tx: S::Tx, position: Position) -> Result<(), OperationError> {
        provenance::count_letters_change(&mut tx).await?;
        if position > self.checkpoint.position {
            self.commit(tx, position, None).await?;
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

    /// All letters of the stream of the one at this position, in order.
    async fn letters_of_stream(
        &mut self,
        position: Position,
    ) -> Result<Vec<DeadLetter>, OperationError> {
        let mut letters = self.parts.read_models.dead_letters(&self.id).await?;
        let letter = letters.iter().find(|letter| letter.position == position);
        let stream = letter.ok_or(OperationError::NoSuchDeadLetter { position })?.stream.clone();
        letters.retain(|letter| letter.stream == stream);
        Ok(letters)
    }
}

fn is_the_databases(error: &DatabaseError) -> bool {
    !matches!(error, DatabaseError::Rejected { .. })
}

/// Keeps the letter that failed, with the error, and the others behind it.
async fn put_back(
    tx: &mut impl ReadModelTx,
    failing: &DeadLetter,
    behind: impl Iterator<Item = &DeadLetter>,
    error: &str,
) -> Result<(), DatabaseError> {
    let attempts = match failing.reason {
        DeadLetterReason::Failed { attempts, .. } => attempts.saturating_add(1),
        DeadLetterReason::Behind { .. } => 1,
    };
    let reason = DeadLetterReason::Failed { error: error.to_owned(), attempts };
    tx.put_dead_letter(DeadLetter { reason, ..failing.clone() }).await?;
    for letter in behind {
        let reason = DeadLetterReason::Behind { first: failing.position };
        tx.put_dead_letter(DeadLetter { reason, ..letter.clone() }).await?;
    }
    Ok(())
}

/// The event of a letter, unless it was deleted: what is hidden has no effect any more.
async fn event_at(
    store: &dyn EventStore,
    letter: &DeadLetter,
) -> Result<Option<RecordedEvent>, OperationError> {
    let read = ReadAll::forwards().from(letter.position).visibility(Visibility::Visible).limit(1);
    let mut events = store.read_all(read).collect_events().await?;
    Ok(events.pop().filter(|event| event.position == letter.position))
}
