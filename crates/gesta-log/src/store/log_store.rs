//! The handle of a store, which callers clone.
//!
//! Invariants:
//! - The directory stays locked until the store is closed, which seals the log. Dropping the last
//!   handle closes it in the background.
//! - No method that returns a future, a stream or nothing waits for a disk or a thread; those that
//!   block say so.
//!
//! Elsewhere: the life of an append ([`commit`](crate::commit)), reads ([`read`](crate::read)).

#[cfg(test)]
#[cfg(not(gesta_shuttle))]
mod polling_tests;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use futures_channel::oneshot;
use gesta_store::{
    Append, Appended, Capabilities, Capability, CapabilitySet, Category, Durability, EventId,
    EventStore, Head, Invalid, Limits, ListCategories, ListStreams, NewEvent, OrdinalPages,
    Overload, Pages, Position, ReadAll, ReadOrdinals, ReadStream, RecordedAt, StoreError,
    StoreFuture, StreamDescription, StreamName, Subscribe, Subscription,
};

use super::{
    append_lane::{AppendLane, CheckedAppend, LaneTicket},
    engine::{Engine, RecoveredStore, StoreParts, recover},
    threads::{self, Closing},
};
use crate::{
    clock::{Clock, Rng, SystemClock, SystemRng},
    commit::{
        AppendResult, CommitLeader, Completions, Enqueued, QueuedAppend, Responder, SubmitQueue,
        appended, definite_error,
    },
    disk::{Access, Disk, FileDisk, waiting},
    format::BorrowedEvent,
    index::Precheck,
    maintenance::scavenge::{ScavengeError, ScavengeOptions, ScavengeReport, Scavenger},
    options::{IndexedIds, OpenError, OpenReport, Options},
    published::PendingAppend,
    read::{AllPages, Follower, LogSubscription, OrdinalReads, Reader, StreamPages},
    recovery::Progress,
    segment::segment_file,
    sync::{Mutex, thread},
};

/// Number of appends within which a repeat without exact expectations is always recognized.
const REPEAT_WINDOW_APPENDS: u64 = 1_000_000;

/// The optional features of a store whose index has ids of a kind.
const BY_ID: [(IndexedIds, Capability); 5] = [
    (IndexedIds::EVENT, Capability::EventIdFilter),
    (IndexedIds::CORRELATION, Capability::CorrelationFilter),
    (IndexedIds::CORRELATION, Capability::CorrelationOrdinals),
    (IndexedIds::CAUSATION, Capability::CausationFilter),
    (IndexedIds::STREAMS, Capability::StreamOrdinals),
];

/// An event store in one directory.
///
/// Cheap to clone; all clones are the same store. [`close`](EventStore::close) finishes what is
/// queued, seals the log and frees the directory. Dropping the last handle does the same in the
/// background; opening the directory again in this process waits for it. A process that ends
/// earlier loses nothing that was acknowledged, but leaves the log unsealed.
///
/// Futures, pages and subscriptions never wait for the disk on the thread that polls them: bytes in
/// memory are read at once, others on a few threads of the store.
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
/// block_on(store.close())?;
///
/// let store = LogStore::open(directory.path(), Options::default())?;
/// assert_eq!(block_on(store.head())?.position, first.position, "it was durable");
/// let repeat = block_on(store.append(append))?;
/// assert_eq!(repeat.position, first.position, "a repeat is always recognized");
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
    /// Set with `leader`.
    closing: OnceLock<Arc<Closing>>,
    lane: Arc<AppendLane<LaneAppend>>,
    /// `None` for read-only stores.
    scavenger: Option<Scavenger>,
}

/// The place of an event's record on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventPlace {
    /// File name of the segment.
    pub file: String,
    /// Offset of the record in the file, in bytes.
    pub offset: u64,
    /// Length of the record, in bytes.
    pub length: u64,
}

impl LogStore {
    /// The optional features of every store.
    pub const CAPABILITIES: CapabilitySet = CapabilitySet::of(&[
        Capability::MultiStreamAppend,
        Capability::StreamParts,
        Capability::AppendCondition,
        Capability::Tags,
        Capability::ContentTypes,
        Capability::GlobalOrder,
        Capability::DensePositions,
        Capability::StreamFilter,
        Capability::StreamPrefixFilter,
        Capability::CategoryFilter,
        Capability::EventTypeFilter,
        Capability::EventTypePrefixFilter,
        Capability::RegexFilter,
        Capability::CategoryOrdinals,
        Capability::EventTypeOrdinals,
        Capability::TimeStarts,
        Capability::QueryFilter,
        Capability::FindAppend,
        Capability::UnconditionalRepeats,
        Capability::StreamScopedIds,
        Capability::StreamListing,
        Capability::CategoryListing,
        Capability::StreamMetadata,
        Capability::Deletion,
        Capability::Tombstones,
        Capability::SystemStreams,
        Capability::Incarnations,
        Capability::Close,
    ]);
    /// The optional features of a store whose index has ids of every kind.
    pub const CAPABILITIES_AT_MOST: CapabilitySet = {
        let mut all = Self::CAPABILITIES;
        let mut rest: &[(IndexedIds, Capability)] = &BY_ID;
        // Iterators are not available in constants.
        while let [(_, capability), others @ ..] = rest {
            all = all.with(*capability);
            rest = others;
        }
        all
    };

    /// Opens a store as [`open`](Self::open) does, on a thread of its own: the future does not
    /// block. Dropping the future closes the store again.
    ///
    /// ```
    /// use gesta_log::{LogStore, Options};
    /// # use gesta_store::conformance::block_on;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # block_on(async {
    /// let store = LogStore::open_async(directory.path(), Options::default()).await?;
    /// assert_eq!(store.report().events, 0);
    /// # Ok::<(), gesta_log::OpenError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open_async(
        directory: impl AsRef<Path>,
        options: Options,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send + 'static {
        let directory = directory.as_ref().to_owned();
        on_own_thread("gesta-open", move || Self::open(directory, options))
    }

    /// Opens the store in a directory, and creates the directory if it does not exist. Blocks for
    /// the recovery; [`report`](Self::report) has its findings. A damaged store opens for reading,
    /// and its appends return [`Corrupt`](StoreError::Corrupt).
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let disk = Arc::new(FileDisk::open(directory.as_ref(), options.access)?);
        Self::open_on(disk, options)
    }

    fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
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

    /// Returns a receiver that ends when the store is closed.
    #[cfg(all(test, gesta_shuttle))]
    pub(crate) fn closed(&self) -> oneshot::Receiver<()> {
        self.shared.closing.get().expect("a store with threads").done()
    }

    /// Starts the threads that run the engine.
    pub(crate) fn start(self, engine: Engine) -> std::io::Result<Self> {
        let (leader, closing) = threads::start(engine, self.shared.reader.clone())?;
        self.shared.leader.set(leader).expect("a store is started once");
        self.shared.closing.set(closing).expect("a store is started once");
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
            closing: OnceLock::new(),
            lane: Arc::default(),
            scavenger: compactor.map(Scavenger::new),
        };
        Self { shared: Arc::new(shared) }
    }

    /// In a read-only store, makes visible the events that another process has appended since the
    /// last refresh, and delivers them to subscriptions. Does nothing in a writable store. Blocks
    /// for the reads.
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
    /// # let delete = DeleteStream::new(name.clone(), ExpectedRevision::Any);
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
        self.scavenge_while(options, &mut |done| {
            progress(done);
            ControlFlow::Continue(())
        })
    }

    /// Same as [`scavenge`](Self::scavenge), until `progress` returns a break. It is called before
    /// each segment and at the end.
    ///
    /// # Errors
    /// [`ScavengeError`]; space reclaimed before the error stays reclaimed.
    pub fn scavenge_while(
        &self,
        options: ScavengeOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
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
    /// Takes its place in the order behind every [`append`](EventStore::append) that was called
    /// before, also behind those whose future is not polled yet.
    ///
    /// # Errors
    /// As [`append`](EventStore::append).
    pub fn append_blocking(&self, append: Append) -> Result<Appended, StoreError> {
        // Earlier appends may still wait for index files.
        let is_first = self.shared.lane.is_empty();
        let place = if is_first { None } else { Some(self.enter_lane(&append)?) };
        let precheck = self.check(&append)?;
        let pending = Arc::new(PendingAppend::new(append, precheck));
        let (responder, waiter) = Responder::to_thread();
        let leader = self.shared.leader.get();
        if let Some(place) = &place {
            place.wait_for_turn();
        }
        let enqueued = self.enqueue(&pending, responder, leader.is_some());
        // Lets later appends out, before this thread waits or leads.
        drop(place);
        match enqueued? {
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

    /// Waits for the answer to an append that is enqueued.
    async fn appended(
        &self,
        _pending: Arc<PendingAppend>, // Freeing it on the allocating thread is cheaper.
        receiver: oneshot::Receiver<AppendResult>,
    ) -> Result<Appended, StoreError> {
        let lost = |_| Err(StoreError::unavailable("the writer ended before it answered"));
        let result = receiver.await.unwrap_or_else(lost);
        self.shared.completions.drain_some();
        result
    }

    /// Lets an I/O thread check an append. It is enqueued after those that were handed over before.
    fn enqueue_later(
        &self,
        append: Append,
        responder: Responder,
    ) -> Result<oneshot::Receiver<Result<Arc<PendingAppend>, StoreError>>, StoreError> {
        let reader = &self.shared.reader;
        let ticket = self.enter_lane(&append)?;
        let (told, answer) = oneshot::channel();
        let store = self.clone();
        // Without a thread for it, the work is dropped, and its ticket with it.
        drop(reader.io_threads.run(move || {
            let checked = store.check(&append);
            let pending = checked.map(|precheck| Arc::new(PendingAppend::new(append, precheck)));
            ticket.leave(LaneAppend { store, pending, responder: Some(responder), told });
        }));
        Ok(answer)
    }

    /// Takes the last place in the lane.
    fn enter_lane(&self, append: &Append) -> Result<LaneTicket<LaneAppend>, StoreError> {
        let Shared { options, lane, .. } = &*self.shared;
        let bytes = append.events().map(NewEvent::content_bytes).sum();
        lane.enter(bytes, options.queue_bytes_max)
    }

    /// Checks an append and looks it up in the index.
    fn check(&self, append: &Append) -> Result<Precheck, StoreError> {
        self.check_open()?;
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
            let owner = waiting::check_owner(&*reader.disk);
            owner.map_err(|error| StoreError::Stopped { reason: error.to_string() })?;
        }
        let precheck = reader.retry_if_files_replaced(|| self.precheck(append));
        precheck.map_err(definite_error)
    }

    /// Returns an error after [`close`](EventStore::close).
    fn check_open(&self) -> Result<(), StoreError> {
        self.shared.reader.published.check_open()
    }

    /// Answers from memory at once, and otherwise on an I/O thread.
    fn answer<T: Send + 'static>(
        &self,
        ask: impl Fn(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'static, T> {
        match self.check_open() {
            Ok(()) => self.shared.reader.answer(ask),
            Err(closed) => Box::pin(std::future::ready(Err(closed))),
        }
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

/// Runs work on a thread of its own. Dropping the future does not end the work.
fn on_own_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> impl Future<Output = Result<T, OpenError>> + Send + 'static {
    let (sender, receiver) = oneshot::channel();
    let run = move || drop(sender.send(work()));
    let started = thread::Builder::new().name(name.to_owned()).spawn(run).map(drop);
    async move {
        let failed = |source| OpenError::Io { doing: "start a thread".to_owned(), source };
        started.map_err(failed)?;
        let panicked = |_| failed(std::io::Error::other("the thread panicked"));
        receiver.await.map_err(panicked)?
    }
}

/// An append in the lane, after its check.
#[derive(Debug)]
struct LaneAppend {
    store: LogStore,
    pending: Result<Arc<PendingAppend>, StoreError>,
    responder: Option<Responder>,
    told: oneshot::Sender<Result<Arc<PendingAppend>, StoreError>>,
}

impl CheckedAppend for LaneAppend {
    fn enqueue(&mut self) {
        if let (Ok(pending), Some(responder)) = (&self.pending, self.responder.take())
            && let Err(refused) = self.store.enqueue(pending, responder, false)
        {
            self.pending = Err(refused);
        }
    }

    fn answer(self) {
        // A caller that dropped its future gets no answer; the append happens all the same.
        drop(self.told.send(self.pending));
    }
}

impl Shared {
    /// Begins to close the store. Returns a receiver that ends when it is closed, or `None` if
    /// there is nothing to wait for.
    fn begin_close(&self) -> Option<oneshot::Receiver<()>> {
        let Self { reader, queue, closing, .. } = self;
        // First of all, so that opening the directory again waits instead of being refused.
        reader.disk.begin_release();
        queue.request_stop();
        if let Some(closing) = closing.get() {
            closing.request();
            return Some(closing.done());
        }
        // A store without threads: read-only, or driven by the owner of its engine.
        reader.io_threads.close();
        reader.published.close();
        None
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer thread does the rest.
        if self.begin_close().is_none() {
            self.reader.disk.release();
        }
    }
}

impl EventStore for LogStore {
    /// The call itself takes the append's place in the order, not the first poll of the future.
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        let (sender, receiver) = oneshot::channel::<AppendResult>();
        let responder = Responder::Future(sender);
        let in_memory = self.shared.lane.is_empty().then(|| {
            // `None` if index files have to be read.
            waiting::without_waiting(|| self.check(&append))
        });
        let later = match in_memory.flatten() {
            Some(Ok(precheck)) => {
                let pending = Arc::new(PendingAppend::new(append, precheck));
                match self.enqueue(&pending, responder, false) {
                    Ok(_) => return Box::pin(self.appended(pending, receiver)),
                    Err(refused) => Err(refused),
                }
            }
            Some(Err(refused)) => Err(refused),
            None => self.enqueue_later(append, responder),
        };
        Box::pin(async move {
            let reason = "the store could not look up the append; see the log".to_owned();
            let lost = |_| StoreError::Overloaded(Overload::System { reason });
            let pending = later?.await.map_err(lost)??;
            self.appended(pending, receiver).await
        })
    }

    fn place(&self) -> String {
        self.shared.reader.disk.place()
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        self.answer(move |reader| {
            let find = || reader.published.index().appends(first_event, Position::START);
            match reader.retry_if_files_replaced(find)?.first().copied() {
                Some(span) => reader.span(span).map(|events| Some(appended(events))),
                // Damage may have destroyed it.
                None => reader.end_at_damage(Position::START).map(|()| None),
            }
        })
    }

    /// The lengths of all files, with preallocated space.
    fn stored_bytes(&self) -> StoreFuture<'_, Option<u64>> {
        match self.check_open() {
            Ok(()) => self.shared.reader.stored_bytes(),
            Err(closed) => Box::pin(std::future::ready(Err(closed))),
        }
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        let able = self.capabilities().check(read.capabilities());
        match able.and_then(|()| self.check_open()) {
            Ok(()) => Pages::new(StreamPages::stream(self.shared.reader.clone(), read)),
            Err(refused) => Pages::failed(refused),
        }
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        let able = self.capabilities().check(read.capabilities());
        match able.and_then(|()| self.check_open()) {
            Ok(()) => Pages::new(AllPages::stream(self.shared.reader.clone(), read)),
            Err(refused) => Pages::failed(refused),
        }
    }

    fn read_ordinals(&self, read: ReadOrdinals) -> OrdinalPages {
        let able = self.capabilities().check(read.capabilities());
        let reader = self.shared.reader.clone();
        match able
            .and_then(|()| self.check_open())
            .and_then(|()| OrdinalReads::stream(reader, read))
        {
            Ok(pages) => OrdinalPages::new(pages),
            Err(refused) => OrdinalPages::failed(refused),
        }
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        let able = self.capabilities().check(subscribe.capabilities());
        if let Err(refused) = able.and_then(|()| self.check_open()) {
            return Subscription::failed(refused);
        }
        Subscription::new(LogSubscription::new(self.shared.reader.clone(), subscribe))
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let stream = stream.clone();
        self.answer(move |reader| reader.describe(&stream))
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        self.answer(move |reader| reader.list(&list))
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        self.answer(move |reader| reader.categories(&list))
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        let published = &self.shared.reader.published;
        let position = published.head();
        let head = Head { position, incarnation: published.incarnation() };
        let head = self.check_open().map(|()| head);
        Box::pin(async move { head })
    }

    fn recorded_ahead(&self, now: RecordedAt) -> StoreFuture<'_, Duration> {
        let last = self.shared.reader.published.index().last_recorded_at();
        Box::pin(async move { Ok(last.map_or(Duration::ZERO, |last| last.since(now))) })
    }

    /// Finishes accepted appends, seals the log and frees the directory. The store begins to close
    /// when this is called; the future only waits for the end.
    fn close(&self) -> StoreFuture<'_, ()> {
        self.shared.reader.published.end_reads();
        let closed = self.shared.begin_close();
        Box::pin(async move {
            if let Some(closed) = closed {
                // The sender is dropped at the end.
                closed.await.ok();
            }
            Ok(())
        })
    }

    fn capabilities(&self) -> Capabilities {
        let ids = self.shared.reader.published.index().ids();
        let supported = BY_ID.iter().filter(|(kind, _)| ids.contains(*kind));
        let supported =
            supported.fold(Self::CAPABILITIES, |set, (_, capability)| set.with(*capability));
        let mut capabilities = Capabilities::new(supported, Durability::Synced);
        capabilities.repeat_window_appends = REPEAT_WINDOW_APPENDS;
        capabilities
    }
}
