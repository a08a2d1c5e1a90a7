//! The writer of one read model: applies a subscription's events in transactions.
//!
//! Invariant: a checkpoint moves only in the transaction that applies the events before it or
//! stores them as dead letters. If a stream has a dead letter, all its later events are dead
//! letters behind it.
//!
//! Not here: retrying and discarding dead letters (`dead_letters`).

use std::{collections::HashMap, future, ops::Range, sync::Arc};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, DeadLetterReason, Delivery, EventStore,
    FencingToken, Filter, Head, Incarnation, Position, ReadModelId, ReadModelStore, ReadModelTx,
    RecordedEvent, StoreError, StreamName, Subscribe, Visibility,
};
use tokio::sync::mpsc;

use super::{
    Apply, ApplyError, FailurePolicy, Projection,
    catch_panic::catch_panic,
    deliveries::{Deliveries, Fetched, FetchedEvents},
    provenance::{self, HistoryMarker, Outdated, Provenance},
    store_work::in_callers_context,
    stream_end,
};
use crate::{Clock, EventSet, Recorded, Sleep, error_line::in_one_line};

/// Attempts at an event before it becomes a dead letter. There are no pauses: only this projection
/// changes the rows, so waiting would not change the result.
const ATTEMPTS_MAX: u32 = 5;

/// Maximum number of dead letters of a read model. Beyond it the projection halts, whatever its
/// policy.
const DEAD_LETTERS_MAX: usize = 1_000;

/// Number of deliveries without events after which the checkpoint is stored.
const UNSAVED_MAX: u32 = 64;

/// Shared dependencies of a projection and its read models.
pub(super) struct ProjectionDeps<P, S> {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// Dropped last.
    pub(super) work: Arc<ReadModelWork<P, S>>,
}

/// The part of the dependencies that work on the read models' threads has.
///
/// Without the event store: abandoned work may end after the application was dropped, and must not
/// keep the event store open.
pub(super) struct ReadModelWork<P, S> {
    pub(super) projection: Arc<P>,
    pub(super) read_models: S,
    /// Token of the lease. `None` without nodes.
    pub(super) token: Option<FencingToken>,
    /// Dropped last, which tells the handle that nothing of the projection is in use.
    pub(super) in_use: mpsc::Sender<()>,
}

impl<P, S> ReadModelWork<P, S>
where
    P: Projection,
    S: ReadModelStore,
{
    /// Returns the work under another lease.
    fn under(&self, token: Option<FencingToken>) -> Self {
        Self {
            projection: Arc::clone(&self.projection),
            read_models: self.read_models.clone(),
            token,
            in_use: self.in_use.clone(),
        }
    }

    /// Begins a transaction that writes. Every one of them carries the token of the lease.
    pub(super) async fn begin(&self, id: &ReadModelId) -> Result<S::Tx, DatabaseError> {
        let mut tx = self.read_models.begin(id).await?;
        if let Some(token) = self.token {
            token.fence(&mut tx).await?;
        }
        Ok(tx)
    }

    /// Refuses the tokens of earlier leases from now on.
    pub(super) async fn take_over(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        if self.token.is_none() {
            return Ok(());
        }
        self.begin(id).await?.commit().await
    }

    /// Checks that no later lease has written. Precedes changes that have no transaction, such as a
    /// switch-over.
    pub(super) async fn check_token(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        if self.token.is_none() {
            return Ok(());
        }
        self.begin(id).await?.rollback().await
    }
}

impl<P, S> ProjectionDeps<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Returns the dependencies under another lease. Abandoned work keeps the token that it has.
    pub(super) fn under(&self, token: Option<FencingToken>) -> Self {
        Self {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            work: Arc::new(self.work.under(token)),
        }
    }

    /// Runs work on a read model where the store's statements may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        id: &ReadModelId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.work.read_models.run_write(id, in_callers_context(work)).await
    }

    /// Applies events in a transaction. Returns it with the projection's result.
    pub(super) async fn apply(
        &self,
        id: &ReadModelId,
        mut tx: S::Tx,
        events: Vec<Recorded<P::Event>>,
    ) -> Result<(S::Tx, Result<(), ApplyError>), DatabaseError> {
        let own = Arc::clone(&self.work);
        let apply = async move {
            let applied = catch_panic(own.projection.apply(&mut tx, &events)).await;
            (tx, applied)
        };
        self.run(id, apply).await
    }

    /// Deletes the rows of a stream in a transaction. Returns it with the projection's result.
    pub(super) async fn forget(
        &self,
        id: &ReadModelId,
        mut tx: S::Tx,
        stream: StreamName,
    ) -> Result<(S::Tx, Result<(), ApplyError>), DatabaseError> {
        let own = Arc::clone(&self.work);
        let forget = async move {
            let forgotten = catch_panic(own.projection.forget(&mut tx, &stream)).await;
            (tx, forgotten)
        };
        self.run(id, forget).await
    }
}

/// An error that ends a session of the runner, or of a rebuild.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The database or the store failed, and no event is at fault.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The same, while an event was applied.
    #[error("the event at position {position} of stream {stream} cannot be applied now")]
    Held {
        position: Position,
        stream: StreamName,
        #[source]
        error: Box<ApplyError>,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows do not fit this store or event set. A rebuild replaces them.
    #[error("{read_model} must be rebuilt: {why}")]
    Outdated { read_model: ReadModelId, why: Outdated },
    /// An earlier error whose pause is over.
    #[error("{0}")]
    Again(String),
}

impl RunError {
    /// Returns the damage of a read model in one line, or `None` for any other error.
    pub(super) fn damage(&self) -> Option<String> {
        match self.database() {
            Some(error @ DatabaseError::Corrupt { .. }) => Some(in_one_line(error)),
            _ => None,
        }
    }

    /// Returns whether a later lease has written: another node has taken over.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(self.database(), Some(DatabaseError::Fenced { .. }))
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.database(), Some(DatabaseError::Missing { .. }))
    }

    /// Returns the error of the database, if it is one.
    fn database(&self) -> Option<&DatabaseError> {
        let error = match self {
            Self::Apply(error) => error,
            Self::Held { error, .. } => &**error,
            Self::Store(_) | Self::Outdated { .. } | Self::Again(_) => return None,
        };
        match error {
            ApplyError::Database(error) => Some(error),
            _ => None,
        }
    }

    /// Adds the first event of the page that could not be applied.
    fn held(error: ApplyError, event: &RecordedEvent) -> Self {
        Self::Held {
            position: event.position,
            stream: event.stream.clone(),
            error: Box::new(error),
        }
    }
}

impl From<DatabaseError> for RunError {
    fn from(error: DatabaseError) -> Self {
        Self::Apply(error.into())
    }
}

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
    incarnation: Incarnation,
    state: WriterState<P::Event>,
    /// Streams with dead letters, and the position of the first one of each.
    pub(super) blocked_streams: Arc<BlockedStreams>,
    unsaved: u32,
}

/// The streams with dead letters, and the position of the first one of each.
pub(super) type BlockedStreams = HashMap<StreamName, Position>;

enum WriterState<E> {
    Subscribed(Deliveries<E>),
    /// Filled by another version. Read-only.
    Retired,
    Halted(Halt),
    /// The file is damaged. No more writes.
    Damaged(String),
    /// Could not be opened. Retried after the pause.
    Failing(String, Sleep),
}

/// Neighbouring events of a page.
#[derive(Clone)]
struct EventRun {
    page: Arc<Vec<RecordedEvent>>,
    range: Range<usize>,
}

impl EventRun {
    /// Splits a page. System events change a single stream and get a run of their own; ordinary
    /// events share one.
    fn split(page: Vec<RecordedEvent>) -> Vec<Self> {
        let is_systems = |event: &RecordedEvent| event.stream.is_system();
        let runs = page.chunk_by(|one, next| !is_systems(one) && !is_systems(next));
        let lengths: Vec<usize> = runs.map(<[_]>::len).collect();
        let (page, mut end) = (Arc::new(page), 0);
        let run_of = |length| {
            let start = end;
            end += length;
            Self { page: Arc::clone(&page), range: start..end }
        };
        lengths.into_iter().map(run_of).collect()
    }

    fn events(&self) -> &[RecordedEvent] {
        self.page.get(self.range.clone()).unwrap_or_default()
    }

    /// Returns a run for each event.
    fn one_by_one(&self) -> impl Iterator<Item = Self> {
        self.range.clone().map(|one| Self { page: Arc::clone(&self.page), range: one..one + 1 })
    }
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
        if let Some(why) = provenance.outdated(deps.store.as_ref(), names, checkpoint).await? {
            return Err(RunError::Outdated { read_model: id, why });
        }
        if provenance.has_other_types(names) {
            // The check above found no missed event of an added type. A read model of an earlier
            // version stores no types and is assumed to be complete.
            let mut tx = deps.work.begin(&id).await?;
            provenance::keep_event_types(&mut tx, names).await?;
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
        self.state = WriterState::Subscribed(Deliveries::of(subscription));
        Ok(())
    }

    /// Returns the next delivery. Pending forever if the writer is stopped.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Fetched<P::Event>, RunError> {
        let deliveries = match &mut self.state {
            WriterState::Subscribed(deliveries) => deliveries,
            WriterState::Failing(trouble, pause) => {
                pause.as_mut().await;
                return Err(RunError::Again(trouble.clone()));
            }
            WriterState::Retired | WriterState::Halted(_) | WriterState::Damaged(_) => {
                // Pending, not an error: the other read model of the projection runs on.
                return future::pending().await;
            }
        };
        deliveries.next().await.map_err(|error| match Outdated::of_refusal(&error) {
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
            // Neither events nor progress.
            Fetched::Other(_) => Ok(()),
        }
    }

    /// Records that no event up to this position is left to apply.
    ///
    /// Losing the position only costs scanning again, so it is stored every [`UNSAVED_MAX`]
    /// deliveries.
    async fn skip_to(&mut self, position: Position, weight: u32) -> Result<(), RunError> {
        self.position = self.position.max(position);
        self.unsaved = self.unsaved.saturating_add(weight);
        if self.unsaved < UNSAVED_MAX || self.position <= self.checkpoint.position {
            return Ok(());
        }
        // The marker identifies the history up to the checkpoint: after a restore, another event
        // stands there.
        let last = HistoryMarker::up_to(self.deps.store.as_ref(), self.position).await?;
        let tx = self.deps.work.begin(&self.id).await?;
        self.commit(tx, self.position, last).await?;
        Ok(())
    }

    async fn apply_page(&mut self, events: FetchedEvents<P::Event>) -> Result<(), RunError> {
        let FetchedEvents { stored, mut decoded } = events;
        for run in EventRun::split(stored) {
            let Some(first) = run.events().first() else { continue };
            // A page that was decoded has no system events, so it is one run.
            match self.apply(&run, decoded.take()).await {
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
        let applying = self.deps.run(&self.id, apply_batch(Arc::clone(&self.deps.work), batch));
        let behind = match &mut self.state {
            WriterState::Subscribed(deliveries) => deliveries.beside(applying).await??,
            WriterState::Retired
            | WriterState::Halted(_)
            | WriterState::Damaged(_)
            | WriterState::Failing(..) => applying.await??,
        };
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
        self.commit(tx, event.position, Some(HistoryMarker::of(event))).await?;
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
        self.deps.run(&self.id, commit_advance(tx, advance, last)).await??;
        self.moved_to(advance.to);
        Ok(())
    }

    fn advance_to(&self, position: Position) -> Advance {
        let to = Checkpoint { position, incarnation: self.incarnation };
        Advance { from: Some(self.checkpoint), to }
    }

    /// Records a committed checkpoint.
    fn moved_to(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = checkpoint;
        self.position = self.position.max(checkpoint.position);
        self.unsaved = 0;
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
            | WriterState::Retired
            | WriterState::Damaged(_)
            | WriterState::Failing(..) => None,
        }
    }

    /// Returns the error that prevents reads or writes, if there is one.
    pub(super) fn trouble(&self) -> Option<&str> {
        match &self.state {
            WriterState::Damaged(trouble) | WriterState::Failing(trouble, _) => Some(trouble),
            WriterState::Subscribed(_) | WriterState::Retired | WriterState::Halted(_) => None,
        }
    }

    pub(super) const fn is_damaged(&self) -> bool {
        matches!(self.state, WriterState::Damaged(_))
    }

    /// Returns whether the position cannot move without an operator.
    pub(super) const fn is_stopped(&self) -> bool {
        match &self.state {
            WriterState::Halted(_) | WriterState::Retired | WriterState::Damaged(_) => true,
            WriterState::Subscribed(_) | WriterState::Failing(..) => false,
        }
    }

    /// Returns whether this version writes it. No other version may.
    pub(super) const fn is_filled(&self) -> bool {
        match &self.state {
            WriterState::Retired | WriterState::Damaged(_) | WriterState::Failing(..) => false,
            WriterState::Halted(_) | WriterState::Subscribed(_) => true,
        }
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
    commit_advance(tx, advance, Some(HistoryMarker::of(last))).await?;
    Ok(behind.len())
}

/// Commits with the new checkpoint, and the event that identifies the history up to it.
async fn commit_advance<Tx: ReadModelTx>(
    mut tx: Tx,
    advance: Advance,
    last: Option<HistoryMarker>,
) -> Result<(), DatabaseError> {
    if let Some(last) = last {
        last.keep(&mut tx).await?;
    }
    // Compare and swap: if another process moved the checkpoint, its rows have these events
    // already.
    tx.advance(advance).await?;
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
    if let Some(checkpoint) = tx.checkpoint().await? {
        let provenance = Provenance::read(&mut tx).await?;
        tx.rollback().await?;
        return Ok((checkpoint, provenance));
    }
    // No checkpoint means a new read model. Preparation and first checkpoint commit together, so a
    // crash repeats both.
    catch_panic(own.projection.prepare(&mut tx)).await?;
    provenance::keep_event_types(&mut tx, P::Event::NAMES).await?;
    provenance::keep_fills_to(&mut tx, head.position).await?;
    let to = Checkpoint { position: Position::START, incarnation: head.incarnation };
    tx.advance(Advance { from: None, to }).await?;
    let provenance = Provenance::read(&mut tx).await?;
    tx.commit().await?;
    Ok((to, provenance))
}
