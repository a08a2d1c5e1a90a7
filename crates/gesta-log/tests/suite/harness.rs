//! Shared parts of the tests: directories, events, and a store with a manual clock.

use std::{
    fs, io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use gesta_log::{
    Access, Cache, Clock, Disk, Done, Engine, EnginePoll, FileDisk, Lane, LogStore, OpenReport,
    Operation, Options, SystemRng,
};
use gesta_store::{
    Append, Appended, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll,
    RecordedAt, RecordedEvent, StoreError, StoreFuture, StreamName, conformance::block_on,
};
use tempfile::TempDir;

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

pub(crate) fn event(data: &str) -> NewEvent {
    NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), data.to_owned())
}

pub(crate) fn append_to(stream: &str, data: &str) -> Append {
    Append::to(name(stream), ExpectedRevision::Any, [event(data)])
}

pub(crate) fn append(store: &LogStore, stream: &str, data: &str) -> Appended {
    block_on(store.append(append_to(stream, data))).unwrap()
}

/// A store that is closed when it is dropped: the directory is then complete and free. Waiting in
/// a destructor is for tests alone.
#[derive(Debug)]
pub(crate) struct OpenStore(pub(crate) LogStore);

impl Deref for OpenStore {
    type Target = LogStore;

    fn deref(&self) -> &LogStore {
        &self.0
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        block_on(self.0.close()).unwrap();
    }
}

pub(crate) fn open(directory: &Path) -> OpenStore {
    open_with(directory, Options::default())
}

pub(crate) fn open_with(directory: &Path, options: Options) -> OpenStore {
    OpenStore(LogStore::open(directory, options).unwrap())
}

pub(crate) fn read_all(store: &LogStore) -> Result<Vec<RecordedEvent>, StoreError> {
    block_on(store.read_all(ReadAll::forwards()).collect_events())
}

/// Data of all events, in order.
pub(crate) fn event_texts(store: &LogStore) -> Vec<String> {
    let events = read_all(store).unwrap();
    events.iter().map(|event| String::from_utf8(event.data.to_vec()).unwrap()).collect()
}

/// Copies the files as a kill would leave them, except for a segment under construction.
pub(crate) fn as_killed(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in segment_files(directory) {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    copy
}

/// Segments of a store, by number.
pub(crate) fn segment_files(directory: &Path) -> Vec<PathBuf> {
    files_that_end_with(directory, "seg")
}

/// Runs of a store's index, by number.
pub(crate) fn run_files(directory: &Path) -> Vec<PathBuf> {
    files_that_end_with(directory, "run")
}

fn files_that_end_with(directory: &Path, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|suffix| suffix == end)).collect();
    files.sort();
    files
}

/// Flips a byte of a file.
pub(crate) fn flip(file: &Path, offset: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

/// A clock that moves only when it is set.
#[derive(Debug, Default)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> RecordedAt {
        RecordedAt::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Real files that are read on the polling thread, so that a call does all of its work.
#[derive(Debug)]
struct InlineDisk(FileDisk);

impl Disk for InlineDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn length(&self, file: &str) -> io::Result<u64> {
        self.0.length(file)
    }
    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes> {
        self.0.read(file, offset, length, cache)
    }
    fn never_waits(&self) -> bool {
        true
    }
    fn submit(&self, operation: Operation, lane: Lane, done: Done) {
        self.0.submit(operation, lane, done);
    }
    fn check_owner(&self) -> io::Result<()> {
        self.0.check_owner()
    }
    fn begin_release(&self) {
        self.0.begin_release();
    }
    fn release(&self) {
        self.0.release();
    }
}

/// A store on real files that makes progress only when it is turned.
pub(crate) struct TurnedStore {
    pub(crate) engine: Engine,
    pub(crate) store: LogStore,
    pub(crate) clock: Arc<ManualClock>,
}

impl TurnedStore {
    pub(crate) fn open(directory: &Path, options: Options) -> Self {
        let disk = Arc::new(InlineDisk(FileDisk::open(directory, Access::ReadWrite).unwrap()));
        let clock = Arc::new(ManualClock::default());
        let rng = Box::new(SystemRng);
        let (engine, store) = Engine::open(disk, clock.clone(), rng, options).unwrap();
        Self { engine, store, clock }
    }

    /// Queues all appends, so that one group contains them, and turns the engine until all are
    /// answered.
    pub(crate) fn append_together(&mut self, appends: Vec<Append>) -> Vec<Appended> {
        let store = self.store.clone();
        let answers: Vec<_> = appends.into_iter().map(|append| store.append(append)).collect();
        answers.into_iter().map(|answer| self.turn_until(answer).unwrap()).collect()
    }

    pub(crate) fn clock_micros(&self) -> u64 {
        self.clock.now().micros()
    }

    /// Turns the engine until there is an answer; a segment may be prepared on another thread.
    pub(crate) fn turn_until<T>(
        &mut self,
        mut answer: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let turn = self.engine.poll();
            match (answer.as_mut().poll(&mut context), turn) {
                (Poll::Ready(answer), _) => return answer,
                (Poll::Pending, EnginePoll::WakeAt(time)) => {
                    self.clock.pass(time - self.clock.elapsed())
                }
                (Poll::Pending, _) => std::thread::yield_now(),
            }
        }
    }

    /// Advances the clock by a second without requests.
    pub(crate) fn idle(&mut self) -> EnginePoll {
        self.clock.pass(Duration::from_secs(1));
        self.engine.poll()
    }
}

/// Opens a store and returns its report.
pub(crate) fn report(directory: &Path) -> OpenReport {
    open(directory).report().clone()
}
