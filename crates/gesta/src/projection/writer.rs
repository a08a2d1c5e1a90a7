//! The writer of one read model: applies a subscription's events in transactions.
//!
//! Invariant: a checkpoint moves only in the transaction that applies the events before it or
//! stores them as dead letters. If a stream has a dead letter, all its later events are dead
//! letters behind it.
//!
//! Not here: retrying and discarding dead letters (`dead_letters`), transactions and their tokens
//! (`deps`).

use std::{collections::HashMap, future, sync::Arc, time::Duration};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, DeadLetterReason, Delivery, Filter, Head,
    Incarnation, Partition, Position, ReadModelId, ReadModelStore, ReadModelTx, RecordedEvent,
    StoreError, StreamName, Subscribe, Visibility,
};
use tokio::sync::watch;
use tracing::Instrument as _;

use super::{
    Apply, ApplyError, FailurePolicy, Projection,
    catch_panic::catch_panic,
    deliveries::{Deliveries, Fetched, FetchedEvents},
    deps::{ProjectionDeps, ReadModelWork},
    event_run::EventRun,
    provenance::{self, HistoryMarker, Outdated, Provenance},
    run_error::RunError,
    status::InlineReadModel,
    stream_end,
};
use crate::{
    Clock, EventSet, Recorded, Sleep,
    error_line::in_one_line,
    spans::{BatchSpans, correlation_of, trace_of},
};

/// Attempts at an event before it becomes a dead letter. There are no pauses: only this projection
/// changes the rows, so waiting would not change the result.
const ATTEMPTS_MAX: u32 = 5;

/// Maximum number of dead letters of a read model. Beyond it the projection halts, whatever its
/// policy.
const DEAD_LETTERS_MAX: usize = 1_000;

/// Number of deliveries without events after which the checkpoint is stored.
const UNSAVED_MAX: u32 = 64;

/// Time after which a partition stores that it has passed events of other partitions.
const SAVE_AFTER: Duration = Duration::from_millis(50);

/// Pause between two looks how far the partitions are.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The same while a caller waits for a position.
const LOOK_SOON: Duration = Duration::from_millis(20);

pub(super) struct ReadModelWriter<P: Projection, S> {
    pub(super) id: ReadModelId,
    /// Stored checkpoint.
    pub(super) checkpoint: Checkpoint,
    /// Handled position. Beyond the checkpoint if the filter skipped events since.
    pub(super) position: Position,
    /// The subscription has reached the head since it was opened.
    pub(super) caught_up: bool,
    pub(super) dead_letters: usize,
    /// Head of the store when the read model was created.
    fills_to: Position,
    /// The rows come from this history of the store.
    pub(super) has_valid_rows: bool,
    pub(super) deps: Arc<ProjectionDeps<P, S>>,
    /// Number of operator changes to dead letters that `blocked_streams` reflects.
    pub(super) dead_letter_changes: u64,
    /// Current incarnation of the store, for the next checkpoint.
    pub(super) incarnation: Incarnation,
    state: WriterState<P::Event>,
    /// Streams with dead letters, and the position of the first one of each.
    pub(super) blocked_streams: Arc<BlockedStreams>,
    unsaved: u32,
    /// Time at which a partition stores a position that it has reached without events.
    save_at: Option<Sleep>,
}

/// The streams with dead letters, and the position of the first one of each.
pub(super) type BlockedStreams = HashMap<StreamName, Position>;

enum WriterState<E> {
    Subscribed(Deliveries<E>),
    /// Filled by the tasks of its partitions. This one looks how far they are, often while callers
    /// wait for a position.
    Supervised(watch::Receiver<usize>),
    /// Filled by another version. Read-only.
    Retired,
    Halted(Halt),
    /// The file is damaged. No more writes.
    Damaged(String),
    /// Could not be opened. Retried after the pause.
    Failing(String, Sleep),
}

/// A transaction that applies a run of ordinary events.
struct Batch<E> {
    id: ReadModelId,
    run: EventRun,
    /// The events of the run, if they were decoded ahead.
    decoded: Option<Vec<Recorded<E>>>,
    blocked_streams: Arc<BlockedStreams>,
    dead_letter_changes: u64,
    advance: Advance,
}

/// The last error of an event that becomes a dead letter, and the number of attempts.
struct FailedEvent {
    error: String,
    attempts: u32,
}

/// The event before which the projection stopped, and its error.
#[derive(Clone, Debug)]
pub(super) struct Halt {
    pub(super) position: Position,
    pub(super) error: String,
}

impl<P, S> ReadModelWriter<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Loads a read model that this version writes, with its checkpoint. It does not subscribe yet.
    pub(super) async fn load(
        deps: &Arc<ProjectionDeps<P, S>>,
        id: ReadModelId,
    ) -> Result<Self, RunError> {
        let head = deps.store.head().await?;
        let incarnation = head.incarnation;
        let prepare = prepare_or_load(Arc::clone(&deps.work), id.clone(), head);
        let (checkpoint, provenance) = deps.run(&id, prepare).await??;
        let names = P::Event::NAMES;
        let is_divided_otherwise = match deps.work.partition {
            // A node with an earlier program may apply the same events until the projection's own
            // task has divided the rows.
            Some(partition) => provenance.partitions != partition.count(),
            None => provenance.has_other_partitions(P::PARTITIONS),
        };
        if is_divided_otherwise {
            let why = Outdated::OtherPartitions;
            return Err(RunError::Outdated { read_model: id, why });
        }
        if let Some(why) = provenance.outdated(deps.store.as_ref(), names, checkpoint).await? {
            return Err(RunError::Outdated { read_model: id, why });
        }
        if let Some(why) = outdated_partition(deps, &id).await? {
            return Err(RunError::Outdated { read_model: id, why });
        }
        if deps.work.partition.is_none() && provenance.partitions != P::PARTITIONS {
            let mut tx = deps.work.begin(&id).await?;
            provenance::keep_partitions(&mut tx, P::PARTITIONS).await?;
            tx.commit().await?;
        }
        if provenance.has_other_types(names) {
            // The check above found no missed event of an added type. A read model of an earlier
            // version stores no types and is assumed to be complete.
            let mut tx = deps.work.begin(&id).await?;
            provenance::keep_event_types(&mut tx, deps.work.partition, names).await?;
            tx.commit().await?;
        }
        let mut writer = Self::retired(deps, id, checkpoint);
        if checkpoint.incarnation != incarnation {
            // Do not publish a position of another incarnation before the store has accepted it:
            // queries would treat it as one of this history.
            writer.position = Position::START;
        }
        writer.incarnation = incarnation;
        writer.fills_to = provenance.fills_to;
        // The marks of changes before a crash may be missing.
        writer.reset_cache().await;
        Ok(writer)
    }

    /// Opens a read model of another version, without writing to it.
    pub(super) fn retired(
        deps: &Arc<ProjectionDeps<P, S>>,
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
            has_valid_rows: true,
            deps: Arc::clone(deps),
            dead_letter_changes: 0,
            incarnation: checkpoint.incarnation,
            state: WriterState::Retired,
            blocked_streams: Arc::default(),
            unsaved: 0,
            save_at: None,
        }
    }

    /// Stops writing, because the file is damaged.
    pub(super) fn mark_damaged(&mut self, damage: String) {
        if !self.is_damaged() {
            tracing::error!(read_model = %self.id, %damage, "the read model is damaged: rebuild it");
            self.state = WriterState::Damaged(damage);
        }
    }

    /// Stops writing until the pause is over.
    pub(super) fn fail(&mut self, trouble: String, pause: Sleep) {
        self.state = WriterState::Failing(trouble, pause);
    }

    pub(super) fn subscribe(&mut self) -> Result<(), RunError> {
        let mut types = P::Event::event_types().map_err(StoreError::from)?;
        types.extend(stream_end::event_types().map_err(StoreError::from)?);
        let subscribe = Subscribe::to_all()
            .filter(Filter::EventTypes(types))
            .visibility(Visibility::Visible)
            .resume(self.checkpoint);
        let subscription = self.deps.store.subscribe(subscribe.into());
        let partition = self.deps.work.partition;
        self.state = WriterState::Subscribed(Deliveries::of(subscription, partition));
        Ok(())
    }

    /// Leaves the events to the tasks of the partitions.
    pub(super) fn supervise(&mut self, waiters: watch::Receiver<usize>) {
        self.state = WriterState::Supervised(waiters);
    }

    /// Returns the next delivery. Pending forever if the writer is stopped.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Fetched<P::Event>, RunError> {
        let deliveries = match &mut self.state {
            WriterState::Subscribed(deliveries) => deliveries,
            WriterState::Supervised(waiters) => {
                until_look(self.deps.clock.as_ref(), waiters).await;
                return Ok(Fetched::Look);
            }
            WriterState::Failing(trouble, pause) => {
                pause.as_mut().await;
                return Err(RunError::Again(trouble.clone()));
            }
            WriterState::Retired | WriterState::Halted(_) | WriterState::Damaged(_) => {
                // Pending, not an error: the other read model of the projection runs on.
                return future::pending().await;
            }
        };
        let fetched = match &mut self.save_at {
            None => deliveries.next().await,
            Some(save_at) => tokio::select! {
                biased;
                () = save_at.as_mut() => return Ok(Fetched::Save),
                fetched = deliveries.next() => fetched,
            },
        };
        fetched.map_err(|error| match Outdated::of_refusal(&error) {
            Some(why) => RunError::Outdated { read_model: self.id.clone(), why },
            None => error.into(),
        })
    }

    pub(super) async fn take(&mut self, fetched: Fetched<P::Event>) -> Result<(), RunError> {
        match fetched {
            Fetched::Events(events) => self.apply_page(events).await,
            Fetched::Other(Delivery::CaughtUp(position)) => {
                self.caught_up = true;
                self.skip_to(position, UNSAVED_MAX).await
            }
            Fetched::Other(Delivery::Checkpoint(position)) => self.skip_to(position, 1).await,
            Fetched::Save => self.skip_to(self.position, UNSAVED_MAX).await,
            Fetched::Look => self.look().await,
            // Neither events nor progress.
            Fetched::Other(_) => Ok(()),
        }
    }

    /// Takes over what the tasks of the partitions have stored.
    async fn look(&mut self) -> Result<(), RunError> {
        let head = self.deps.store.head().await?;
        let listed = self.deps.work.read_models.list_read_models(P::NAME).await?;
        let Some(own) = listed.into_iter().find(|listed| listed.id == self.id) else {
            return Err(DatabaseError::Missing { read_model: self.id.clone() }.into());
        };
        let Some(checkpoint) = own.checkpoint else { return Ok(()) };
        self.checkpoint = checkpoint;
        if checkpoint.incarnation == head.incarnation {
            self.position = self.position.max(checkpoint.position);
            self.caught_up |= checkpoint.position >= head.position;
        }
        Ok(self.load_dead_letters().await?)
    }

    /// Returns whether the tasks of partitions fill the read model.
    pub(super) const fn is_supervised(&self) -> bool {
        matches!(self.state, WriterState::Supervised(_))
    }

    /// Records that no event up to this position is left to apply.
    ///
    /// Losing the position only costs scanning again, so it is stored every [`UNSAVED_MAX`]
    /// deliveries. Appends take an inline projection along that has stored its position.
    async fn skip_to(&mut self, position: Position, weight: u32) -> Result<(), RunError> {
        self.position = self.position.max(position);
        let weight = if self.deps.work.is_inline { UNSAVED_MAX } else { weight };
        self.unsaved = self.unsaved.saturating_add(weight);
        if self.position > self.checkpoint.position {
            self.take_over_appends().await?;
        }
        let is_behind = self.position > self.checkpoint.position;
        if self.unsaved < UNSAVED_MAX || !is_behind {
            // The checkpoint of a read model is the lowest one of its partitions. So each partition
            // stores soon that it has passed the events of others.
            let saves_soon = self.deps.work.partition.is_some() && is_behind;
            if saves_soon && self.save_at.is_none() {
                self.save_at = Some(self.deps.clock.pause(SAVE_AFTER));
            }
            return Ok(());
        }
        // The marker identifies the history up to the checkpoint: after a restore, another event
        // stands there.
        let last = HistoryMarker::up_to(self.deps.store.as_ref(), self.position).await?;
        let tx = self.deps.work.begin(&self.id).await?;
        match self.commit(tx, self.position, last).await {
            Err(error) if self.was_overtaken(&error) => self.take_over_appends().await,
            stored => Ok(stored?),
        }
    }

    /// Takes over the checkpoint of an inline projection, which appends move, too.
    async fn take_over_appends(&mut self) -> Result<(), RunError> {
        if !self.deps.work.is_inline {
            return Ok(());
        }
        let listed = self.deps.work.read_models.list_read_models(P::NAME).await?;
        let own = listed.into_iter().find(|listed| listed.id == self.id);
        let Some(stored) = own.and_then(|own| own.checkpoint) else { return Ok(()) };
        let is_further = stored.position > self.checkpoint.position;
        if is_further && stored.incarnation == self.incarnation {
            self.moved_to(stored);
            // Appends move it to the head, which the subscription may never see under steady load.
            self.caught_up = true;
        }
        Ok(())
    }

    /// Returns whether an append has moved the checkpoint in between.
    fn was_overtaken(&self, error: &DatabaseError) -> bool {
        let is_conflict = matches!(error, DatabaseError::CheckpointConflict { .. });
        self.deps.work.is_inline && is_conflict
    }

    /// Returns the read model as one that takes part in appends, unless it is read-only or stopped.
    pub(super) fn inline(&self, is_live: bool) -> Option<InlineReadModel> {
        let is_subscribed = matches!(self.state, WriterState::Subscribed(_));
        let id = self.id.clone();
        (self.deps.work.is_inline && is_subscribed).then_some(InlineReadModel { id, is_live })
    }

    async fn apply_page(&mut self, events: FetchedEvents<P::Event>) -> Result<(), RunError> {
        let FetchedEvents { stored, mut decoded } = events;
        self.take_over_appends().await?;
        for mut run in EventRun::split(stored) {
            // A page that was decoded has no system events, so it is one run.
            let mut decoded = decoded.take();
            // An append may apply events of the run at any time before this task has the lock.
            let applied = loop {
                if self.deps.work.is_inline && run.begin_after(self.checkpoint.position) {
                    decoded = None;
                }
                if run.events().is_empty() {
                    break Ok(());
                }
                match self.apply(&run, decoded.take()).await {
                    Err(ApplyError::Database(error)) if self.was_overtaken(&error) => {
                        self.take_over_appends().await?;
                    }
                    applied => break applied,
                }
            };
            let Some(first) = run.events().first() else { continue };
            match applied {
                Err(error) if error.is_infrastructure() => {
                    return Err(RunError::held(error, first));
                }
                // The transaction was rolled back. Which event failed is unknown, so each gets its
                // own.
                Err(_) => self.apply_one_by_one(&run).await?,
                Ok(()) => {}
            }
            if matches!(self.state, WriterState::Halted(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Applies events in one transaction. Events behind a dead letter become dead letters in it. A
    /// system event must come alone.
    async fn apply(
        &mut self,
        run: &EventRun,
        decoded: Option<Vec<Recorded<P::Event>>>,
    ) -> Result<(), ApplyError> {
        let Some(last) = run.events().last() else { return Ok(()) };
        if last.stream.is_system() {
            return self.apply_stream_end(last).await;
        }
        let advance = self.advance_to(last.position);
        let batch = Batch {
            id: self.id.clone(),
            run: run.clone(),
            // Events behind a dead letter are not applied.
            decoded: decoded.filter(|_| self.blocked_streams.is_empty()),
            blocked_streams: Arc::clone(&self.blocked_streams),
            dead_letter_changes: self.dead_letter_changes,
            advance,
        };
        let spans = BatchSpans::of(P::NAME, run.events(), self.caught_up);
        let work = apply_batch(Arc::clone(&self.deps.work), batch).instrument(spans.main());
        let applying = self.deps.run(&self.id, work);
        let applied = match &mut self.state {
            WriterState::Subscribed(deliveries) => deliveries.beside(applying).await,
            WriterState::Supervised(_)
            | WriterState::Retired
            | WriterState::Halted(_)
            | WriterState::Damaged(_)
            | WriterState::Failing(..) => applying.await,
        };
        let applied = applied.map_err(ApplyError::from).flatten();
        let behind = applied.inspect_err(|error| spans.record_failure(error.kind()))?;
        drop(spans);
        self.moved_to(advance.to);
        self.dead_letters += behind;
        if self.dead_letters > DEAD_LETTERS_MAX {
            let error = format!("more than {DEAD_LETTERS_MAX} dead letters");
            self.state = WriterState::Halted(Halt { position: last.position, error });
        }
        Ok(())
    }

    /// Handles an event of a metadata stream. If it ended a stream, deletes its rows and dead
    /// letters.
    async fn apply_stream_end(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        let ended = self.ended_by(event).await?;
        let letters = match &ended {
            Some(stream) if self.blocked_streams.contains_key(stream) => {
                let mut letters = self.deps.work.read_models.dead_letters(&self.id).await?;
                letters.retain(|letter| letter.stream == *stream);
                letters
            }
            Some(_) | None => Vec::new(),
        };
        let mut tx = self.deps.work.begin(&self.id).await?;
        for letter in &letters {
            tx.delete_dead_letter(letter.position).await?;
        }
        if let Some(stream) = &ended {
            let (forgotten_in, forgotten) = self.deps.forget(&self.id, tx, stream.clone()).await?;
            forgotten?;
            tx = forgotten_in;
        }
        self.commit_end(tx, event, ended.is_some()).await?;
        // Changed only after the commit: a rolled-back transaction must leave the count as it is.
        self.dead_letters = self.dead_letters.saturating_sub(letters.len());
        if let Some(stream) = &ended {
            Arc::make_mut(&mut self.blocked_streams).remove(stream);
        }
        Ok(())
    }

    /// Returns the stream that this event has ended. An unavailable store is retried as a database
    /// is.
    pub(super) async fn ended_by(
        &mut self,
        event: &RecordedEvent,
    ) -> Result<Option<StreamName>, DatabaseError> {
        let ended = stream_end::ended_by(event, self.deps.store.as_ref()).await;
        ended.map_err(|error| DatabaseError::unavailable(in_one_line(&error)))
    }

    pub(super) async fn commit(
        &mut self,
        tx: S::Tx,
        position: Position,
        last: Option<HistoryMarker>,
    ) -> Result<(), DatabaseError> {
        let advance = self.advance_to(position);
        let partition = self.deps.work.partition;
        self.deps.run(&self.id, commit_advance(tx, (partition, advance), last)).await??;
        self.moved_to(advance.to);
        Ok(())
    }

    pub(super) fn advance_to(&self, position: Position) -> Advance {
        let to = Checkpoint { position, incarnation: self.incarnation };
        Advance { from: Some(self.checkpoint), to }
    }

    /// Records a committed checkpoint.
    fn moved_to(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = checkpoint;
        self.position = self.position.max(checkpoint.position);
        self.unsaved = 0;
        self.save_at = None;
    }

    /// Isolates the failing event, with [`ATTEMPTS_MAX`] attempts for each.
    async fn apply_one_by_one(&mut self, run: &EventRun) -> Result<(), RunError> {
        for one in run.one_by_one() {
            let Some(event) = one.events().first() else { continue };
            if let Err(failure) = self.apply_with_retries(&one, event).await? {
                self.write_dead_letter(event, failure).await?;
            }
            if matches!(self.state, WriterState::Halted(_)) {
                return Ok(());
            }
            // Stores in memory never return pending; see the runner.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Returns the event's failure as the inner error, an infrastructure failure as the outer one.
    async fn apply_with_retries(
        &mut self,
        run: &EventRun,
        event: &RecordedEvent,
    ) -> Result<Result<(), FailedEvent>, RunError> {
        let mut attempts = 1;
        loop {
            let error = match self.apply(run, None).await {
                Ok(()) => return Ok(Ok(())),
                Err(error) if error.is_infrastructure() => {
                    return Err(RunError::held(error, event));
                }
                Err(error) => error,
            };
            // A permanent error, such as one of decoding, would be the same each time.
            if attempts == ATTEMPTS_MAX || error.is_permanent() {
                return Ok(Err(FailedEvent { error: in_one_line(&error), attempts }));
            }
            attempts += 1;
        }
    }

    async fn write_dead_letter(
        &mut self,
        event: &RecordedEvent,
        failure: FailedEvent,
    ) -> Result<(), RunError> {
        let FailedEvent { error, attempts } = failure;
        let (position, stream) = (event.position, &event.stream);
        tracing::warn!(
            projection = P::NAME, read_model = %self.id, %position, %stream, %error, attempts,
            correlation_id = correlation_of(event), trace_id = trace_of(event),
            "an event is a dead letter now: correct the projection and retry it, or discard it"
        );
        let reason = DeadLetterReason::Failed { error: error.clone(), attempts };
        let mut tx = self.deps.work.begin(&self.id).await?;
        tx.put_dead_letter(DeadLetter::of(event, reason)).await?;
        self.dead_letters += 1;
        // Halting commits the letter without moving the checkpoint: after a restart the event is
        // delivered again.
        if P::FAILURE_POLICY == FailurePolicy::Halt || self.dead_letters > DEAD_LETTERS_MAX {
            tx.commit().await?;
            self.state = WriterState::Halted(Halt { position: event.position, error });
            return Ok(());
        }
        self.commit(tx, event.position, Some(HistoryMarker::of(event))).await?;
        // Later events of the stream become dead letters behind this one.
        let blocked_streams = Arc::make_mut(&mut self.blocked_streams);
        blocked_streams.insert(event.stream.clone(), event.position);
        Ok(())
    }

    /// Position at which the rows are complete for the first time. `None` once it is reached.
    pub(super) fn fills_to(&self) -> Option<Position> {
        Some(self.fills_to).filter(|head| self.position < *head)
    }

    /// Returns where and why it halted, if it did.
    pub(super) fn halt(&self) -> Option<&Halt> {
        match &self.state {
            WriterState::Halted(halt) => Some(halt),
            WriterState::Subscribed(_)
            | WriterState::Supervised(_)
            | WriterState::Retired
            | WriterState::Damaged(_)
            | WriterState::Failing(..) => None,
        }
    }

    /// Returns the error that prevents reads or writes, if there is one.
    pub(super) fn trouble(&self) -> Option<&str> {
        match &self.state {
            WriterState::Damaged(trouble) | WriterState::Failing(trouble, _) => Some(trouble),
            WriterState::Subscribed(_)
            | WriterState::Supervised(_)
            | WriterState::Retired
            | WriterState::Halted(_) => None,
        }
    }

    pub(super) const fn is_damaged(&self) -> bool {
        matches!(self.state, WriterState::Damaged(_))
    }

    /// Returns whether the position cannot move without an operator.
    pub(super) const fn is_stopped(&self) -> bool {
        match &self.state {
            WriterState::Halted(_) | WriterState::Retired | WriterState::Damaged(_) => true,
            WriterState::Subscribed(_) | WriterState::Supervised(_) | WriterState::Failing(..) => {
                false
            }
        }
    }

    /// Returns whether this version writes it. No other version may.
    pub(super) const fn is_filled(&self) -> bool {
        match &self.state {
            WriterState::Retired | WriterState::Damaged(_) | WriterState::Failing(..) => false,
            WriterState::Halted(_) | WriterState::Subscribed(_) | WriterState::Supervised(_) => {
                true
            }
        }
    }
}

/// Waits until it is time to look how far the partitions are.
async fn until_look(clock: &dyn Clock, waiters: &mut watch::Receiver<usize>) {
    if *waiters.borrow_and_update() > 0 {
        return clock.pause(LOOK_SOON).await;
    }
    tokio::select! {
        () = clock.sleep(LOOK_AGAIN) => {}
        Ok(()) = waiters.changed() => {}
    }
}

/// Applies a batch in one transaction. Returns the number of events that became dead letters.
async fn apply_batch<P, S>(
    own: Arc<ReadModelWork<P, S>>,
    batch: Batch<P::Event>,
) -> Result<usize, ApplyError>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    let Batch { id, run, decoded, blocked_streams, dead_letter_changes, advance } = batch;
    let Some(last) = run.events().last() else { return Ok(0) };
    let mut tx = own.begin(&id).await?;
    // An event behind a dead letter of its stream must wait: applied now, it would overtake the
    // one that failed.
    let (behind, free): (Vec<_>, Vec<_>) =
        run.events().iter().partition(|event| blocked_streams.contains_key(&event.stream));
    let events = decoded.map_or_else(|| Recorded::read_all(free), Ok)?;
    if !events.is_empty() {
        catch_panic(own.projection.apply(&mut tx, &events)).await?;
    }
    let changed = own.changes(&events).await?;
    // An operator in another process may have discarded the letters. Checked in this transaction,
    // so that no event is stored behind a letter that is gone.
    if !behind.is_empty() && provenance::dead_letter_changes(&mut tx).await? != dead_letter_changes
    {
        // The dead letters of these streams may be gone. Restart, which loads them again.
        let reason = "another program has changed the dead letters";
        return Err(DatabaseError::unavailable(reason).into());
    }
    for event in &behind {
        let first = blocked_streams.get(&event.stream).copied().unwrap_or(event.position);
        tx.put_dead_letter(DeadLetter::of(event, DeadLetterReason::Behind { first })).await?;
    }
    let commit = commit_advance(tx, (own.partition, advance), Some(HistoryMarker::of(last)));
    own.cache.announce((&id, advance.to), &changed, commit).await?;
    Ok(behind.len())
}

/// Commits with the new checkpoint, and the event that identifies the history up to it.
async fn commit_advance<Tx: ReadModelTx>(
    mut tx: Tx,
    (partition, advance): (Option<Partition>, Advance),
    last: Option<HistoryMarker>,
) -> Result<(), DatabaseError> {
    if let Some(last) = last {
        last.keep(&mut tx, partition).await?;
    }
    // Compare and swap: if another process moved the checkpoint, its rows have these events
    // already.
    match partition {
        Some(partition) => tx.advance_partition(partition, advance).await?,
        None => tx.advance(advance).await?,
    }
    tx.commit().await
}

/// Returns the checkpoint and provenance of a read model. Prepares a new one first.
async fn prepare_or_load<P, S>(
    own: Arc<ReadModelWork<P, S>>,
    id: ReadModelId,
    head: Head,
) -> Result<(Checkpoint, Provenance), RunError>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    let mut tx = own.begin(&id).await?;
    let stored = match own.partition {
        Some(partition) => tx.partition_checkpoint(partition).await?,
        None => tx.checkpoint().await?,
    };
    if let Some(checkpoint) = stored {
        let provenance = match own.partition {
            Some(partition) => Provenance::read_partition(&mut tx, partition).await?,
            None => Provenance::read(&mut tx).await?,
        };
        tx.rollback().await?;
        return Ok((checkpoint, provenance));
    }
    if own.partition.is_some() {
        // The projection's own task prepares read models, and replaces those that are divided into
        // another number of partitions.
        tx.rollback().await?;
        return Err(RunError::Outdated { read_model: id, why: Outdated::OtherPartitions });
    }
    // No checkpoint means a new read model. Preparation and first checkpoint commit together, so a
    // crash repeats both.
    catch_panic(own.projection.prepare(&mut tx)).await?;
    provenance::keep_event_types(&mut tx, None, P::Event::NAMES).await?;
    provenance::keep_partitions(&mut tx, P::PARTITIONS).await?;
    provenance::keep_fills_to(&mut tx, head.position).await?;
    let to = Checkpoint { position: Position::START, incarnation: head.incarnation };
    tx.advance(Advance { from: None, to }).await?;
    let provenance = Provenance::read(&mut tx).await?;
    tx.commit().await?;
    Ok((to, provenance))
}

/// Returns the reason why a partition cannot continue. The projection's own task replaces the read
/// model then. Partitions have passed different events, and other programs may have run them.
async fn outdated_partition<P, S>(
    deps: &ProjectionDeps<P, S>,
    id: &ReadModelId,
) -> Result<Option<Outdated>, RunError>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    if deps.work.partition.is_some() || P::PARTITIONS <= 1 {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut tx = deps.work.begin(id).await?;
    for partition in Partition::all(P::PARTITIONS) {
        let Some(checkpoint) = tx.partition_checkpoint(partition).await? else { continue };
        all.push((checkpoint, Provenance::read_partition(&mut tx, partition).await?));
    }
    tx.rollback().await?;
    for (checkpoint, provenance) in all {
        let store = deps.store.as_ref();
        let outdated = provenance.outdated(store, P::Event::NAMES, checkpoint).await?;
        if outdated.is_some() {
            return Ok(outdated);
        }
    }
    Ok(None)
}
