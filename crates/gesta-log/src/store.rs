//! The store: the contract of `gesta-store` over the engine, with a thread that turns it.
//!
//! Owns: [`LogStore`], what callers hold. Always holds: the directory stays locked until the last
//! handle is dropped, which seals the log. Not here: what an append goes through
//! ([`writer`](crate::writer)), how reads find events ([`read`](crate::read)).

#[cfg(test)]
mod tests;

use std::{
    io,
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

use crate::{
    ahead::Helper,
    answers::{Answered, Deliveries, Reply},
    clock::{SystemClock, SystemRng},
    disk::{Access, FileDisk},
    drive::Drive,
    engine::{Engine, Opened, recover},
    filing::{Ended, SharedFiling},
    format::BorrowedEvent,
    mailbox::{Mailbox, Offered},
    options::{OpenError, OpenReport, Options},
    planted,
    read::{AllPages, Follower, LogSubscription, Reader, StreamPages},
    recovery::{Progress, segment_file},
    scavenge::{ScavengeError, ScavengeOptions, ScavengeReport, Scavenger},
    sync::{
        Mutex,
        thread::{self, JoinHandle},
    },
    writer::{Looked, Offer, Request, appended, before_it_is_written},
};

/// Appends over which a repeat without exact expectations is surely recognized.
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
/// assert_eq!(block_on(store.append(append))?, first, "a repeat is recognized for ever");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    reader: Reader,
    mailbox: Arc<Mailbox>,
    deliveries: Arc<Deliveries>,
    options: Options,
    report: OpenReport,
    /// Of a store with threads of its own; none under a simulation.
    drive: OnceLock<Arc<Drive>>,
    threads: Mutex<Option<Threads>>,
    /// Of a store that is written to.
    scavenger: Option<Scavenger>,
}

/// Where a record is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// The segment's file.
    pub file: String,
    /// Where the record begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

impl LogStore {
    /// Opens the store in a directory, which is made if need be. Recovers first: see
    /// [`report`](Self::report) for what was found. Where anything is damaged the store opens for
    /// reading, and appends answer [`Corrupt`](StoreError::Corrupt).
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let disk = Arc::new(FileDisk::open(directory.as_ref(), options.access)?);
        let clock = Arc::new(SystemClock::new());
        if options.access == Access::ReadOnly {
            let Opened { mut reader, end, report, .. } =
                recover(disk, clock, &mut SystemRng, &options)?;
            let follower = Follower::new(end, options.index_cache_bytes_max);
            reader.follower = Some(Arc::new(Mutex::new(follower)));
            return Ok(Self::new(reader, Queues::default(), options, report, None));
        }
        let (engine, store) = Engine::open(disk, clock, Box::new(SystemRng), options)?;
        let failed = |source| OpenError::Io { doing: "start a thread".to_owned(), source };
        store.start(engine).map_err(failed)
    }

    /// Gives a store the threads that turn its engine and file its index.
    pub(crate) fn start(self, mut engine: Engine) -> io::Result<Self> {
        let (filing, ended) = engine.take_filing();
        let files = file_on_a_thread(filing, Arc::clone(&ended))?;
        let helper = Arc::clone(engine.helper());
        let helps = helper.start()?;
        let (drive, writes) = Drive::start(engine)?;
        self.shared.drive.set(drive).expect("it was just made");
        let threads = Threads { writes, helper, helps, ended, files };
        *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
        Ok(self)
    }

    pub(crate) fn new(
        reader: Reader,
        queues: Queues,
        options: Options,
        report: OpenReport,
        filing: Option<SharedFiling>,
    ) -> Self {
        let (mailbox, deliveries) = queues;
        let shared = Shared {
            reader,
            mailbox,
            deliveries,
            options,
            report,
            drive: OnceLock::new(),
            threads: Mutex::new(None),
            scavenger: filing.map(Scavenger::new),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Learns of what another process has appended since, in a store that was opened read-only;
    /// elsewhere there is nothing to learn. Subscriptions go on with it.
    ///
    /// # Errors
    /// [`OpenError::Io`]; what was learned before it stays.
    pub fn refresh(&self) -> Result<(), OpenError> {
        let Some(follower) = &self.shared.reader.follower else { return Ok(()) };
        let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
        follower.refresh(&self.shared.reader)
    }

    /// What was found when the store was opened.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.shared.report
    }

    /// Hands each event after a position to `visit`, in order, without copying any, until it breaks
    /// or the present head is reached. Returns how many it got. Checksums are verified. The fastest
    /// way through a store; the calling thread reads and waits.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: damage; what came before it was visited.
    /// [`StoreError::Unavailable`]: the system cannot read.
    pub fn scan(
        &self,
        after: Position,
        visit: impl FnMut(BorrowedEvent<'_>) -> ControlFlow<()>,
    ) -> Result<u64, StoreError> {
        self.shared.reader.scan(after, visit)
    }

    /// Wins back the space of events that no stream read shows any more: those before a stream's
    /// `truncate_before`, beyond its max count, older than its max age, and all of deleted and
    /// tombstoned streams. The calling thread does it, one segment after the other, while appends and
    /// reads go on; tells of progress before each segment. What a crash interrupts, the next call
    /// goes on with.
    ///
    /// Positions and revisions of events that stay do not change, and no stream's revisions begin
    /// anew. Queries and conditions do not meet the events before and after it; a raw `read_all` does
    /// not any more. The append that they
    /// came in is still recognized as a repeat and found by
    /// [`find_append`](EventStore::find_append), for ever.
    ///
    /// Segments that have not ended stay as they are, and so do those of which too little would be
    /// won. Space that a segment was given and does not use is won too, where a process ended early.
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
    /// drop(store); // which ends the segment
    ///
    /// let store = LogStore::open(directory.path(), Options::default())?;
    /// let report = store.scavenge(ScavengeOptions::default(), &mut |_| {})?;
    /// assert_eq!(report.events, 1);
    /// assert_eq!(block_on(store.describe_stream(&name))?.head.map(|head| head.number()), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ScavengeError`]; what was won until then stays won.
    pub fn scavenge(
        &self,
        options: ScavengeOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ScavengeReport, ScavengeError> {
        let scavenger = self.shared.scavenger.as_ref().ok_or(ScavengeError::ReadOnly)?;
        scavenger.run(&self.shared.reader, options, progress)
    }

    /// Where the record of an event is, as far as the store has it.
    #[must_use]
    pub fn locate(&self, position: Position) -> Option<EventPlace> {
        let reader = &self.shared.reader;
        let located = reader.steady(|| reader.published.index().locate(position));
        let location = located.ok()??;
        let length = self.shared.reader.record_bytes(position).ok()?;
        Some(EventPlace { file: segment_file(location.segment), offset: location.offset, length })
    }

    /// Appends, and returns once the append is durable. The calling thread waits; where nobody else
    /// is appending it writes to the device itself, which spares two wake-ups: the fastest way
    /// to append for a thread that may wait. Not for a thread that runs futures.
    ///
    /// # Errors
    /// As [`append`](EventStore::append).
    pub fn append_blocking(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, waiting) = Reply::to_thread();
        let drive = self.shared.drive.get();
        let offer = self.prepare(append)?;
        match self.offer(&offer, reply, drive.is_some())? {
            Offered::Drive => drive.expect("it would drive").drive_until(&waiting),
            Offered::Wait(bell) => waiting.wait(&bell),
        }
    }

    fn queue(&self, append: Append) -> Result<(Arc<Offer>, Outcome), StoreError> {
        let (reply, outcome) = oneshot::channel();
        let offer = self.prepare(append)?;
        self.offer(&offer, Reply::Future(reply), false)?;
        Ok((offer, outcome))
    }

    fn offer(
        &self,
        offer: &Arc<Offer>,
        reply: Reply,
        would_drive: bool,
    ) -> Result<Offered, StoreError> {
        let request = Request { offer: Arc::clone(offer), reply };
        let Shared { options, mailbox, .. } = &*self.shared;
        mailbox.offer(request, options.queue_bytes_max, would_drive)
    }

    /// What the caller's thread can find out about an append before it is queued.
    fn prepare(&self, append: Append) -> Result<Arc<Offer>, StoreError> {
        let Shared { options, report, .. } = &*self.shared;
        if options.access == Access::ReadOnly {
            return Err(StoreError::Stopped { reason: "it was opened read-only".to_owned() });
        }
        if let Some(damage) = report.damage.first() {
            return Err(StoreError::Corrupt(damage.clone()));
        }
        append.check(&Limits::DEFAULT)?;
        if append.events().next().is_none() {
            // Nothing is written for it, which would find out.
            let owner = self.shared.reader.disk.check_owner();
            owner.map_err(|error| StoreError::Stopped { reason: error.to_string() })?;
        }
        let looked = self.look(&append).map_err(before_it_is_written)?;
        Ok(Arc::new(Offer::new(append, looked)))
    }

    /// Looks at the index's files for the streams and the first event, and at all of the index for
    /// the condition, so that the writer has only the rest to look at.
    fn look(&self, append: &Append) -> Result<Looked, StoreError> {
        self.shared.reader.steady(|| self.look_now(append))
    }

    fn look_now(&self, append: &Append) -> Result<Looked, StoreError> {
        let index = self.shared.reader.published.index();
        let mut looked = index.precheck_runs(append)?;
        if let Some(condition) = &append.condition {
            let (position, head) = (condition.after, index.head());
            if position > head {
                return Err(Invalid::BeyondHead { position, head }.into());
            }
            self.shared.reader.look_for_match(&index, condition, &mut looked)?;
        }
        Ok(looked)
    }

    fn describe(&self, stream: &StreamName) -> Result<StreamDescription, StoreError> {
        self.shared.reader.steady(|| self.describe_now(stream))
    }

    fn describe_now(&self, stream: &StreamName) -> Result<StreamDescription, StoreError> {
        let index = self.shared.reader.published.index();
        let head_of = |name: &StreamName| index.stream_head(name, Position::START);
        let reader = &self.shared.reader;
        let metadata_revision = match stream.metadata_stream() {
            Ok(metadata_stream) => {
                // Damage may have taken what says that the stream was deleted.
                reader.stream_is_known(&metadata_stream)?;
                head_of(&metadata_stream)?
            }
            Err(_) => None,
        };
        let (head, life) = (head_of(stream)?, index.stream_meta(stream));
        reader.stream_is_known(stream)?;
        Ok(StreamDescription {
            state: life.state(head),
            head,
            metadata: life.metadata(),
            metadata_revision,
        })
    }

    fn list(&self, list: &ListStreams) -> Result<Vec<StreamName>, StoreError> {
        self.shared.reader.steady(|| self.list_now(list))
    }

    fn list_now(&self, list: &ListStreams) -> Result<Vec<StreamName>, StoreError> {
        // Names that are missing would be missing in silence.
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

/// The threads of a store that is written to.
#[derive(Debug)]
struct Threads {
    writes: JoinHandle<()>,
    helper: Arc<Helper>,
    helps: JoinHandle<()>,
    ended: Arc<Ended>,
    files: JoinHandle<()>,
}

/// What goes to the writer, and what comes back from it.
type Queues = (Arc<Mailbox>, Arc<Deliveries>);

/// What an append in the queue will be answered.
type Outcome = oneshot::Receiver<Answered>;

fn file_on_a_thread(filing: SharedFiling, ended: Arc<Ended>) -> io::Result<JoinHandle<()>> {
    let plant_there = planted::carry();
    thread::Builder::new().name("gesta-index".to_owned()).spawn(move || {
        plant_there();
        give_way();
        let lock = || filing.lock().unwrap_or_else(PoisonError::into_inner);
        lock().begin();
        loop {
            ended.wait();
            let filed = lock().file_one();
            if ended.is_closing() {
                // The last segments still, so that the next opening finds them; then no more than
                // takes no time.
                if !filed {
                    while lock().merge_small() {}
                    break;
                }
            } else if filed {
                while !ended.is_closing() && lock().merge_some() {}
            } else {
                ended.pause();
            }
        }
    })
}

/// Others come before this thread where processors are short: who appends waits, files do not. It
/// gets a third of what they get.
fn give_way() {
    // The priority of one thread exists only on Linux, and the threads of a schedule are all one.
    #[cfg(all(target_os = "linux", not(all(test, gesta_shuttle))))]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        const LOWER: i32 = 5;
        const LOWEST: i32 = 19;
        let lower = getpriority_process(None).map(|nice| (nice + LOWER).min(LOWEST));
        // Where the system refuses, everything is as it was, and a little slower.
        lower.and_then(|nice| setpriority_process(None, nice)).ok();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.mailbox.stop();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Threads { writes, helper, helps, ended, files }) = threads {
            // A panic was reported when it happened; waiters of the writer know already.
            drop(writes.join());
            helper.close();
            drop(helps.join());
            ended.close();
            drop(files.join());
        }
        // Reads and subscriptions may outlive the store; they do not keep the directory.
        self.reader.disk.release();
        self.reader.published.close();
    }
}

impl EventStore for LogStore {
    /// Queued when called, not when first awaited.
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        let queued = self.queue(append);
        Box::pin(async move {
            let lost = |_| Err(StoreError::unavailable("the writer ended before it answered"));
            let (_offer, outcome) = queued?;
            let answer = outcome.await.unwrap_or_else(lost);
            self.shared.deliveries.help();
            answer
        })
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        let reader = &self.shared.reader;
        let find = || reader.published.index().find_append(first_event, Position::START);
        let found = reader.steady(find).and_then(|span| match span {
            Some(span) => reader.span(span).map(|events| Some(appended(events))),
            // Damage may have taken it.
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
        let categories = reader.steady(|| {
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
