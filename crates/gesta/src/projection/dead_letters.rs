//! Dead letters of one read model: retry, discard and release.
//!
//! Invariants: a dead letter is deleted in the transaction that applies its event, so of two
//! processes that retry it only one applies it. The events of a stream take effect in order. No
//! letter waits behind one that is gone.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use gesta_store::{
    DatabaseError, DeadLetter, DeadLetterReason, EventStore, Partition, Position, ReadAll,
    ReadModelStore, ReadModelTx, RecordedEvent, StreamName, StreamState, Visibility,
};

use super::{
    Apply, ApplyError, OperationError, Rehearsal, provenance,
    run_error::RunError,
    writer::{BlockedStreams, ReadModelWriter},
};
use crate::{Recorded, error_line::in_one_line};

/// A dead letter and its event. `None` if the event was deleted.
type PendingLetter = (DeadLetter, Option<RecordedEvent>);

/// The first failing letter, by its index among those of its stream.
struct FirstFailure {
    place: usize,
    error: String,
}

impl<P, S> ReadModelWriter<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Loads the number of dead letters and the first one of each stream.
    pub(super) async fn load_dead_letters(&mut self) -> Result<(), DatabaseError> {
        // Read the change counter before the letters: a change in between makes the counter stale,
        // and the writer loads both again.
        let mut tx = self.deps.work.begin(&self.id).await?;
        self.dead_letter_changes = provenance::dead_letter_changes(&mut tx).await?;
        tx.rollback().await?;
        let letters = self.own_letters().await?;
        self.dead_letters = letters.len();
        let mut blocked_streams = BlockedStreams::new();
        for letter in letters {
            blocked_streams.entry(letter.stream).or_insert(letter.position);
        }
        self.blocked_streams = Arc::new(blocked_streams);
        Ok(())
    }

    /// Returns the dead letters of the partition, or all.
    async fn own_letters(&mut self) -> Result<Vec<DeadLetter>, DatabaseError> {
        let mut letters = self.deps.work.read_models.dead_letters(&self.id).await?;
        if let Some(partition) = self.deps.work.partition {
            letters.retain(|letter| partition.has(&letter.stream));
        }
        Ok(letters)
    }

    /// Deletes dead letters that halted an earlier run. Their events lie after the checkpoint and
    /// are delivered again.
    pub(super) async fn clear_halting_letters(&mut self) -> Result<(), RunError> {
        let letters = self.own_letters().await?;
        let halting = letters.iter().filter(|letter| letter.position > self.checkpoint.position);
        for letter in halting {
            let mut tx = self.deps.work.begin(&self.id).await?;
            tx.delete_dead_letter(letter.position).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Applies letters whose first one is gone. Earlier versions left them behind when a letter was
    /// discarded.
    pub(super) async fn apply_orphaned_letters(&mut self) -> Result<(), RunError> {
        let letters = self.own_letters().await?;
        let mut seen = HashSet::new();
        let firsts = letters.iter().filter(|letter| seen.insert(letter.stream.clone()));
        let orphaned: Vec<StreamName> = firsts
            .filter(|letter| matches!(letter.reason, DeadLetterReason::Behind { .. }))
            .map(|letter| letter.stream.clone())
            .collect();
        for stream in orphaned {
            let waiting = letters.iter().filter(|letter| letter.stream == stream).cloned();
            self.release(None, waiting.collect()).await.map_err(|error| match error {
                OperationError::Database(error) => RunError::from(error),
                OperationError::Store(error) => RunError::from(error),
                other => RunError::Apply(ApplyError::because(other)),
            })?;
        }
        Ok(())
    }

    /// Applies the dead letters of this letter's stream, in order, each in a transaction that
    /// deletes its letter.
    pub(super) async fn retry(&mut self, position: Position) -> Result<(), OperationError> {
        let letters = self.letters_of_stream(position).await?;
        for (place, letter) in letters.iter().enumerate() {
            let outcome = self.retry_one(letter, letters.iter().skip(place + 1)).await;
            if let Err(error) = outcome {
                self.load_dead_letters().await?;
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
        // Read before the transaction, which locks an embedded database for writing.
        let event = event_at(self.deps.store.as_ref(), letter).await?;
        let event = event.ok_or(OperationError::EventGone { position })?;
        let mut tx = self.deps.work.begin(&self.id).await?;
        if !tx.delete_dead_letter(position).await? {
            // Another process has retried or discarded it.
            return Ok(tx.rollback().await?);
        }
        let (tx, applied) = self.apply_in(tx, &event).await?;
        let Err(error) = applied else {
            return self.finish(tx, position).await;
        };
        tx.rollback().await?;
        let mut tx = self.deps.work.begin(&self.id).await?;
        // A second transaction: the rollback above undid the deletion of the letter, and the new
        // error must survive.
        put_back(&mut tx, letter, behind, &error).await?;
        tx.commit().await?;
        Err(OperationError::StillFails { position, error })
    }

    /// Discards a dead letter. If it is the first of its stream, the same transaction applies the
    /// letters behind it, up to the first that fails.
    pub(super) async fn discard(&mut self, position: Position) -> Result<(), OperationError> {
        let letters = self.letters_of_stream(position).await?;
        let mut letters = letters.into_iter().peekable();
        let is_first = letters.peek().is_some_and(|first| first.position == position);
        // A letter in the middle holds nothing back: the first one of its stream still does.
        let behind = if is_first { letters.skip(1).collect() } else { Vec::new() };
        self.release(Some(position), behind).await?;
        self.after_operation().await
    }

    /// Applies a dead letter with other data, then the letters behind it up to the first that
    /// fails, and rolls all of it back.
    pub(super) async fn rehearse(
        &mut self,
        position: Position,
        data: &Bytes,
    ) -> Result<Rehearsal, OperationError> {
        let letters = self.letters_of_stream(position).await?;
        let mut waiting = Vec::new();
        for letter in letters.into_iter().skip_while(|letter| letter.position != position) {
            let mut event = event_at(self.deps.store.as_ref(), &letter).await?;
            if letter.position == position {
                let found = event.as_mut().ok_or(OperationError::EventGone { position })?;
                found.data = data.clone();
            }
            waiting.push((letter, event));
        }
        let tx = self.deps.work.begin(&self.id).await?;
        let (tx, failed) = self.apply_waiting(tx, waiting.iter()).await?;
        tx.rollback().await?;
        let behind = waiting.len().saturating_sub(1);
        Ok(match failed {
            None => Rehearsal { error: None, behind, behind_error: None },
            Some(FirstFailure { place: 0, error }) => {
                Rehearsal { error: Some(error), behind: 0, behind_error: None }
            }
            Some(FirstFailure { place, error }) => {
                let failing = waiting.get(place).map(|(letter, _)| (letter.position, error));
                Rehearsal { error: None, behind: place - 1, behind_error: failing }
            }
        })
    }

    /// Applies letters of one stream in order and deletes them, together with the discarded one.
    async fn release(
        &mut self,
        discarded: Option<Position>,
        letters: Vec<DeadLetter>,
    ) -> Result<(), OperationError> {
        let mut waiting = Vec::new();
        for letter in letters {
            let event = event_at(self.deps.store.as_ref(), &letter).await?;
            waiting.push((letter, event));
        }
        let mut failure: Option<FirstFailure> = None;
        // A failure rolls the transaction back, so the next round stops before the letter that
        // failed. Each round is shorter than the one before.
        loop {
            let mut tx = self.deps.work.begin(&self.id).await?;
            if let Some(position) = discarded
                && !tx.delete_dead_letter(position).await?
            {
                tx.rollback().await?;
                return Err(OperationError::NoSuchDeadLetter { position });
            }
            let end = failure.as_ref().map_or(waiting.len(), |failure| failure.place);
            let (mut tx, failed) = self.apply_waiting(tx, waiting.iter().take(end)).await?;
            if let Some(earlier) = failed {
                tx.rollback().await?;
                failure = Some(earlier);
                continue;
            }
            if let Some(FirstFailure { place, error }) = &failure {
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
        mut tx: S::Tx,
        waiting: impl Iterator<Item = &PendingLetter> + Send,
    ) -> Result<(S::Tx, Option<FirstFailure>), OperationError> {
        for (place, (letter, event)) in waiting.enumerate() {
            let is_there = tx.delete_dead_letter(letter.position).await?;
            // An event deleted from the store is not applied; its dead letter is deleted all the
            // same.
            let Some(event) = event.as_ref().filter(|_| is_there) else { continue };
            let (applied_in, applied) = self.apply_in(tx, event).await?;
            tx = applied_in;
            if let Err(error) = applied {
                return Ok((tx, Some(FirstFailure { place, error })));
            }
        }
        Ok((tx, None))
    }

    /// Applies an event. Returns the transaction and the event's failure.
    async fn apply_in(
        &mut self,
        tx: S::Tx,
        event: &RecordedEvent,
    ) -> Result<(S::Tx, Result<(), String>), DatabaseError> {
        // The letter of a stream's end applies by deleting rows.
        if event.stream.is_system() {
            return self.forget_in(tx, event).await;
        }
        match Recorded::read_all([event]) {
            Ok(events) if events.is_empty() => Ok((tx, Ok(()))),
            Ok(events) => {
                let (tx, applied) = self.deps.apply(&self.id, tx, events).await?;
                Ok((tx, failure_in(applied)?))
            }
            Err(unreadable) => Ok((tx, Err(in_one_line(&ApplyError::from(unreadable))))),
        }
    }

    /// Deletes the rows of a stream whose end is a dead letter.
    ///
    /// Later events of the stream were applied already, so this works only while the stream has
    /// none.
    async fn forget_in(
        &mut self,
        tx: S::Tx,
        event: &RecordedEvent,
    ) -> Result<(S::Tx, Result<(), String>), DatabaseError> {
        let Some(stream) = self.ended_by(event).await? else { return Ok((tx, Ok(()))) };
        let described = self.deps.store.describe_stream(&stream).await;
        let described =
            described.map_err(|error| DatabaseError::unavailable(in_one_line(&error)))?;
        // Its rows contain the newer events by now, and would be lost with the old ones.
        if described.state == StreamState::Live {
            let newer =
                format!("{stream} has new events since it was deleted; rebuild the projection");
            return Ok((tx, Err(newer)));
        }
        let (tx, forgotten) = self.deps.forget(&self.id, tx, stream).await?;
        Ok((tx, failure_in(forgotten)?))
    }

    /// Commits an operation. If the projection halted before the letter, the checkpoint moves past
    /// it.
    async fn finish(&mut self, mut tx: S::Tx, position: Position) -> Result<(), OperationError> {
        // In the same transaction, so that no process sees one without the other.
        provenance::count_dead_letter_change(&mut tx).await?;
        // Only a letter that halted the projection lies after the checkpoint. The checkpoints of
        // partitions are moved by their own tasks.
        if position > self.checkpoint.position && !self.is_supervised() {
            self.commit(tx, position, None).await?;
        } else {
            tx.commit().await?;
        }
        // The rows have changed without a new position.
        self.reset_cache().await;
        Ok(())
    }

    async fn after_operation(&mut self) -> Result<(), OperationError> {
        self.load_dead_letters().await?;
        // The letter that halted the projection is gone: subscribe again from the checkpoint.
        let passed = self.halt().is_some_and(|halt| halt.position <= self.checkpoint.position);
        if passed {
            self.subscribe()
                .map_err(|trouble| OperationError::Unavailable { reason: in_one_line(&trouble) })?;
        }
        Ok(())
    }

    /// Returns all letters of the stream of the one at this position, in order.
    async fn letters_of_stream(
        &mut self,
        position: Position,
    ) -> Result<Vec<DeadLetter>, OperationError> {
        let mut letters = self.deps.work.read_models.dead_letters(&self.id).await?;
        let letter = letters.iter().find(|letter| letter.position == position);
        let stream = letter.ok_or(OperationError::NoSuchDeadLetter { position })?.stream.clone();
        letters.retain(|letter| letter.stream == stream);
        if self.is_supervised() {
            self.check_passed(&stream, position).await?;
        }
        Ok(letters)
    }

    /// Checks that the partition of a stream has passed a position. An event at which it has halted
    /// is delivered to it again, so it must not be applied here.
    async fn check_passed(
        &mut self,
        stream: &StreamName,
        position: Position,
    ) -> Result<(), OperationError> {
        let mut tx = self.deps.work.begin(&self.id).await?;
        let partition = Partition::all(P::PARTITIONS).find(|partition| partition.has(stream));
        let passed = match partition {
            Some(partition) => tx.partition_checkpoint(partition).await?,
            None => None,
        };
        tx.rollback().await?;
        if passed.is_some_and(|passed| passed.position >= position) {
            return Ok(());
        }
        let reason = "its partition has halted before this event, because there are too many dead \
                      letters; retry or discard earlier ones"
            .to_owned();
        Err(OperationError::Unavailable { reason })
    }
}

fn is_infrastructure(error: &DatabaseError) -> bool {
    !matches!(error, DatabaseError::Rejected { .. })
}

/// Returns the failure of an event, or the database's error that is no event's fault.
fn failure_in(applied: Result<(), ApplyError>) -> Result<Result<(), String>, DatabaseError> {
    match applied {
        Ok(()) => Ok(Ok(())),
        Err(ApplyError::Database(error)) if is_infrastructure(&error) => Err(error),
        Err(error) => Ok(Err(in_one_line(&error))),
    }
}

/// Stores the failing letter with its error, and the others behind it.
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

/// Returns the event of a letter, or `None` if it was deleted or is hidden.
async fn event_at(
    store: &dyn EventStore,
    letter: &DeadLetter,
) -> Result<Option<RecordedEvent>, OperationError> {
    let read = ReadAll::forwards().from(letter.position).visibility(Visibility::Visible).limit(1);
    let mut events = store.read_all(read).collect_events().await?;
    Ok(events.pop().filter(|event| event.position == letter.position))
}
