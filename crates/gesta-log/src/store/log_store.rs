//! The handle of a store, which callers clone.
//!
//! Invariant: the directory stays locked until the last handle is dropped, which seals the log.
//!
//! Elsewhere: the life of an append ([`commit`](crate::commit)), reads ([`read`](crate::read)).

#[cfg(test)]
mod tests;

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use futures_channel::oneshot;
use gesta_store::{
    Append, AppendLookup, Appended, Capabilities, Category, Durability, EventId, EventStore, Head,
    Invalid, Limits, ListCategories, ListStreams, Pages, Position, ReadAll, ReadStream, RecordedAt,
    StoreError, StoreFuture, StreamDescription, StreamName, StreamState, Subscribe, Subscription,
};

use super::{
    engine::{Engine, RecoveredStore, StoreParts, recover},
    threads::Threads,
};
use crate::{
    clock::{Clock, Rng, SystemClock, SystemRng},
    commit::{
        AppendResult, CommitLeader, Completions, Enqueued, QueuedAppend, Responder, SubmitQueue,
        appended, definite_error,
    },
    disk::{Access, Disk, FileDisk},
    format::BorrowedEvent,
    index::Precheck,
    maintenance::scavenge::{ScavengeError, ScavengeOptions, ScavengeReport, Scavenger},
    options::{OpenError, OpenReport, Options},
    published::PendingAppend,
    read::{AllPages, Follower, LogSubscription, Reader, StreamPages},
    recovery::Progress,
    segment::segment_file,
    sync::Mutex,
};

/// Number of appends within which a repeat without exact expectations is always recognized.
const REPEAT_WINDOW_APPENDS: u64 = 1_000_000;

/// An event store in one directory.
///
/// Cheap to clone; all clones are the same store. Dropping the last one finishes what is queued,
/// seals the log and frees the directory.
///
/// ```
/// use gesta_log::{LogStore, Options};
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
///     conformance::block_on,
/// };
///
/// # let directory = tempfile::tempdir()?;
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
///
/// let store = LogStore::open(directory.path(), Options::default())?;
/// let first = block_on(store.append(append.clone()))?;
/// drop(store);
///
/// let store = LogStore::open(directory.path(), Options::default())?;
/// assert_eq!(block_on(store.head())?.position, first.position, "it was durable");
/// assert_eq!(block_on(store.append(append))?, first, "a repeat is always recognized");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    reader: Reader,
    queue: Arc<SubmitQueue>,
    completions: Arc<Completions>,
    options: Options,
    report: OpenReport,
    /// Set if the store has threads; a simulation polls the engine instead.
    leader: OnceLock<Arc<CommitLeader>>,
    threads: Mutex<Option<Threads>>,
    /// `None` for read-only stores.
    scavenger: Option<Scavenger>,
}

/// The place of an event's record on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// File name of the segment.
    pub file: String,
    /// Offset of the record in the file, in bytes.
    pub offset: u64,
    /// Length of the record, in bytes.
    pub length: u64,
}

impl LogStore {
    /// Opens the store in a directory, and creates the directory if it does not exist. Blocks for
    /// the recovery; [`report`](Self::report) has its findings. A damaged store opens for reading,
    /// and its appends return [`Corrupt`](StoreError::Corrupt).
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let disk = Arc::new(FileDisk::open(directory.as_ref(), options.access)?);
        let clock = Arc::new(SystemClock::new());
        if options.access == Access::ReadOnly {
            let RecoveredStore { mut reader, end, report, .. } =
                recover(disk, clock, &mut SystemRng, &options)?;
            let (disk, published) = (Arc::clone(&reader.disk), Arc::clone(&reader.published));
            let follower = Follower::new(disk, published, end, options.index_cache_bytes_max);
            reader.follower = Some(Arc::new(Mutex::new(follower)));
            let (queue, completions, compactor) = Default::default();
            let parts = StoreParts { reader, options, report, queue, completions, compactor };
            return Ok(Self::new(parts));
        }
        let (engine, store) = Engine::open(disk, clock, Box::new(SystemRng), options)?;
        let failed = |source| OpenError::Io { doing: "start a thread".to_owned(), source };
        store.start(engine).map_err(failed)
    }

    /// Starts the threads that run the engine.
    pub(crate) fn start(self, engine: Engine) -> std::io::Result<Self> {
        let (leader, threads) = Threads::start(engine)?;
        self.shared.leader.set(leader).expect("a store is started once");
        *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
        Ok(self)
    }

    fn new(parts: StoreParts) -> Self {
        let StoreParts { reader, options, report, queue, completions, compactor } = parts;
        let shared = Shared {
            reader,
            queue,
            completions,
            options,
            report,
            leader: OnceLock::new(),
            threads: Mutex::new(None),
            scavenger: compactor.map(Scavenger::new),
        };
        Self { shared: Arc::new(shared) }
    }

    /// In a read-only store, makes visible the events that another process has appended since the
    /// last refresh, and delivers them to subscriptions. Does nothing in a writable store.
    ///
    /// # Errors
    /// [`OpenError::Io`]; events read before the error stay visible.
    pub fn refresh(&self) -> Result<(), OpenError> {
        let Some(follower) = &self.shared.reader.follower else { return Ok(()) };
        let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
        follower.refresh()
    }

    /// The findings of recovery when the store was opened.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.shared.report
    }

    /// Calls `visit` with each event after a position, in order and without copying, until it
    /// breaks or the current head is reached. Returns the number of calls. Verifies checksums. The
    /// fastest way through a store. Blocks for the reads.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] at damage; events before it were visited.
    /// [`StoreError::Unavailable`] if the system cannot read; try again.
    pub fn scan(
        &self,
        after: Position,
        visit: impl FnMut(BorrowedEvent<'_>) -> ControlFlow<()>,
    ) -> Result<u64, StoreError> {
        self.shared.reader.scan(after, visit)
    }

    /// Reclaims the disk space of events that no stream read returns any longer: those before a
    /// stream's `truncate_before`, beyond its max count, older than its max age, and all of deleted
    /// and tombstoned streams. Also reclaims the unused space of segments that a process left
    /// early.
    ///
    /// Blocks, one segment after the other; appends and reads continue concurrently. Calls
    /// `progress` before each segment. After a crash, the next call continues.
    ///
    /// Positions and revisions of the remaining events do not change, and revisions of a stream
    /// never restart. Queries and conditions give the same answers before and after; a raw
    /// `read_all` no longer returns the events. Their append is still recognized as a repeat and
    /// found by [`find_append`](EventStore::find_append).
    ///
    /// Skips the active segment, and segments of which less than
    /// [`threshold_percent`](ScavengeOptions::threshold_percent) would be reclaimed.
    ///
    /// ```
    /// use gesta_log::{LogStore, Options, ScavengeOptions};
    /// use gesta_store::{
    ///     Append, DeleteStream, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    ///     StreamName, conformance::block_on,
    /// };
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let store = LogStore::open(directory.path(), Options::default())?;
    /// let name = StreamName::new("session-1")?;
    /// # let event = NewEvent::json(EventId::random(), EventType::new("opened")?, "{}");
    /// # block_on(store.append(Append::to(name.clone(), ExpectedRevision::NoStream, [event])))?;
    /// # let delete = DeleteStream { stream: name.clone(), expected: ExpectedRevision::Any };
    /// block_on(store.delete_stream(delete))?;
    /// drop(store); // seals the segment
    ///
    /// let store = LogStore::open(directory.path(), Options::default())?;
    /// let report = store.scavenge(ScavengeOptions::default(), &mut |_| {})?;
    /// assert_eq!(report.events, 1);
    /// assert_eq!(block_on(store.describe_stream(&name))?.head.map(|head| head.number()), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ScavengeError`]; space reclaimed before the error stays reclaimed.
    pub fn scavenge(
        &self,
        options: ScavengeOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ScavengeReport, ScavengeError> {
        let scavenger = self.shared.scavenger.as_ref().ok_or(ScavengeError::ReadOnly)?;
        scavenger.run(&self.shared.reader, options, progress)
    }

    /// Returns the place of an event's record, or `None` if there is no such event.
    #[must_use]
    pub fn locate(&self, position: Position) -> Option<EventPlace> {
        let reader = &self.shared.reader;
        let located = reader.retry_if_files_replaced(|| reader.published.index().locate(position));
        let location = located.ok()??;
        let length = self.shared.reader.record_bytes(position).ok()??;
        Some(EventPlace { file: segment_file(location.segment), offset: location.offset, length })
    }

    /// Appends, and blocks until the append is durable. If no other thread is committing, the
    /// calling thread writes to the device itself, which saves two context switches: the fastest
    /// way to append for a thread that may block. Not for async code.
    ///
    /// # Errors
    /// As [`append`](EventStore::append).
    pub fn append_blocking(&self, append: Append) -> Result<Appended, StoreError> {
        let pending = self.prepare(append)?;
        let (responder, waiter) = Responder::to_thread();
        let leader = self.shared.leader.get();
        match self.enqueue(&pending, responder, leader.is_some())? {
            Enqueued::Lead => {
                leader.expect("only a store with threads elects callers").lead_until(&waiter)
            }
            Enqueued::Follow(wait_queue) => waiter.wait(&wait_queue),
        }
    }

    fn enqueue(
        &self,
        pending: &Arc<PendingAppend>,
        responder: Responder,
        may_lead: bool,
    ) -> Result<Enqueued, StoreError> {
        let append = QueuedAppend { pending: Arc::clone(pending), responder };
        let Shared { options, queue, .. } = &*self.shared;
        queue.enqueue(append, options.queue_bytes_max, may_lead)
    }

    /// Checks an append and looks it up in the index, on the caller's thread.
    fn prepare(&self, append: Append) -> Result<Arc<PendingAppend>, StoreError> {
        let Shared { options, report, reader, .. } = &*self.shared;
        if options.access == Access::ReadOnly {
            return Err(StoreError::Stopped {
                reason: "the store was opened read-only".to_owned(),
            });
        }
        // Appending after damage could hide it, or reuse lost positions.
        if let Some(damage) = report.damage.first() {
            return Err(StoreError::Corrupt(damage.clone()));
        }
        append.check(&Limits::DEFAULT)?;
        if append.events().next().is_none() {
            // A pure check writes nothing, and only a write would notice that the directory is
            // lost.
            let owner = reader.disk.check_owner();
            owner.map_err(|error| StoreError::Stopped { reason: error.to_string() })?;
        }
        let precheck = reader.retry_if_files_replaced(|| self.precheck(&append));
        Ok(Arc::new(PendingAppend::new(append, precheck.map_err(definite_error)?)))
    }

    /// Looks up streams and first event in the index files, and the condition in the whole index,
    /// so that the leader has only later positions to look at.
    fn precheck(&self, append: &Append) -> Result<Precheck, StoreError> {
        let index = self.shared.reader.published.index();
        let mut precheck = index.precheck_runs(append)?;
        if let Some(condition) = &append.condition {
            let (position, head) = (condition.after, index.head());
            if position > head {
                return Err(Invalid::BeyondHead { position, head }.into());
            }
            self.shared.reader.precheck_condition(&index, condition, &mut precheck)?;
        }
        Ok(precheck)
    }

    fn describe(&self, stream: &StreamName) -> Result<StreamDescription, StoreError> {
        self.shared.reader.retry_if_files_replaced(|| self.describe_now(stream))
    }

    fn describe_now(&self, stream: &StreamName) -> Result<StreamDescription, StoreError> {
        let index = self.shared.reader.published.index();
        let head_of = |name: &StreamName| index.stream_head(name, Position::START);
        let reader = &self.shared.reader;
        let metadata_revision = match stream.metadata_stream() {
            Ok(metadata_stream) => {
                // Damage may have destroyed the metadata that marks the stream as deleted.
                reader.stream_is_known(&metadata_stream)?;
                head_of(&metadata_stream)?
            }
            Err(_) => None,
        };
        let (head, meta) = (head_of(stream)?, index.stream_meta(stream));
        reader.stream_is_known(stream)?;
        Ok(StreamDescription {
            state: meta.state(head),
            head,
            metadata: meta.metadata(),
            metadata_revision,
        })
    }

    fn list(&self, list: &ListStreams) -> Result<Vec<StreamName>, StoreError> {
        self.shared.reader.retry_if_files_replaced(|| self.list_now(list))
    }

    fn list_now(&self, list: &ListStreams) -> Result<Vec<StreamName>, StoreError> {
        // A list cannot report a missing name, so it fails as a whole after damage.
        self.shared.reader.nothing_lost(Position::START)?;
        let index = self.shared.reader.published.index();
        let system = list.prefix.starts_with('$');
        let mut live = Vec::new();
        let mut after = list.after.clone();
        while live.len() < list.limit {
            let wanted = list.limit - live.len();
            let names = index.stream_names(&list.prefix, after.as_ref(), wanted)?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for name in names {
                let head = index.stream_head(&name, Position::START)?;
                let shown = index.stream_meta(&name).state(head) == StreamState::Live;
                if shown && (system || !name.is_system()) {
                    live.push(name);
                }
            }
        }
        Ok(live)
    }
}

impl Engine {
    /// Recovers the contents of the disk; returns the engine and the store that it drives.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Box<dyn Rng>,
        options: Options,
    ) -> Result<(Self, LogStore), OpenError> {
        let (engine, parts) = Self::assemble(disk, clock, rng, options)?;
        Ok((engine, LogStore::new(parts)))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match threads {
            Some(threads) => threads.stop(&self.queue),
            None => self.queue.request_stop(),
        }
        // Reads and subscriptions may outlive the store; they do not keep the directory locked.
        self.reader.disk.release();
        self.reader.published.close();
    }
}

impl EventStore for LogStore {
    /// The append is enqueued by this call, not when the future is first polled.
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        let (sender, receiver) = oneshot::channel::<AppendResult>();
        let enqueued = self.prepare(append).and_then(|pending| {
            self.enqueue(&pending, Responder::Future(sender), false).map(|_| pending)
        });
        Box::pin(async move {
            let lost = |_| Err(StoreError::unavailable("the writer ended before it answered"));
            // Keep the append until the answer: freeing it on the allocating thread is cheaper.
            let _pending = enqueued?;
            let result = receiver.await.unwrap_or_else(lost);
            self.shared.completions.drain_some();
            result
        })
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        let reader = &self.shared.reader;
        let find = || reader.published.index().find_append(first_event, Position::START);
        let found = reader.retry_if_files_replaced(find).and_then(|span| match span {
            Some(span) => reader.span(span).map(|events| Some(appended(events))),
            // Damage may have destroyed it.
            None => reader.end_at_damage(Position::START).map(|()| None),
        });
        Box::pin(async move { found })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        Pages::of(StreamPages::new(self.shared.reader.clone(), read))
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        Pages::of(AllPages::new(self.shared.reader.clone(), read))
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        Subscription::new(LogSubscription::new(self.shared.reader.clone(), subscribe))
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let description = self.describe(stream);
        Box::pin(async move { description })
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        let names = self.list(&list);
        Box::pin(async move { names })
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        let reader = &self.shared.reader;
        let categories = reader.retry_if_files_replaced(|| {
            reader.nothing_lost(Position::START)?;
            reader.published.index().categories(list.after.as_ref(), list.limit)
        });
        Box::pin(async move { categories })
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        let published = &self.shared.reader.published;
        let position = published.head();
        let head = Head { position, incarnation: published.incarnation() };
        Box::pin(async move { Ok(head) })
    }

    fn recorded_ahead(&self, now: RecordedAt) -> StoreFuture<'_, Duration> {
        let last = self.shared.reader.published.index().last_recorded_at();
        Box::pin(async move { Ok(last.map_or(Duration::ZERO, |last| last.since(now))) })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Synced,
            multi_stream_append: true,
            append_condition: true,
            find_append: AppendLookup::Unlimited,
            repeat_window_appends: REPEAT_WINDOW_APPENDS,
            filtered_reads: true,
            dense_positions: true,
            limits: Limits::DEFAULT,
        }
    }
}
