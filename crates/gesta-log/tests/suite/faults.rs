//! Faults of devices and other processes: full disks, slow disks, failing syncs, readers next to
//! writers.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use gesta_log::{
    Access, Cache, Disk, Done, Engine, EnginePoll, FileDisk, Lane, LogStore, Operation, Options,
    SystemRng, verify,
};
use gesta_store::{
    Append, Appended, Delivery, EventStore, ExpectedRevision, NewEvent, Overload, ReadStream,
    SetStreamMetadata, StoreError, StreamMetadata, Subscribe, conformance::block_on,
};

use crate::harness::{
    ManualClock, TurnedStore, append, append_to, as_killed, event, event_texts, flip, name, open,
    open_with, read_all, segment_files,
};

/// Real files with faults on demand.
#[derive(Debug)]
struct FaultyDisk {
    inner: FileDisk,
    /// Limit of the total size of all files, in bytes.
    free_bytes: AtomicU64,
    /// Makes background operations wait in `held`.
    hold: AtomicBool,
    held: Mutex<Vec<Held>>,
    fail_syncs: AtomicBool,
}

struct Held {
    operation: Operation,
    _done: Done,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.operation.fmt(f)
    }
}

impl FaultyDisk {
    fn new(directory: &std::path::Path) -> Arc<Self> {
        Arc::new(Self {
            inner: FileDisk::open(directory, Access::ReadWrite).unwrap(),
            free_bytes: AtomicU64::new(u64::MAX),
            hold: AtomicBool::new(false),
            held: Mutex::default(),
            fail_syncs: AtomicBool::new(false),
        })
    }

    fn used(&self) -> u64 {
        let names = self.inner.list().unwrap();
        names.iter().filter(|n| *n != "LOCK").map(|n| self.inner.length(n).unwrap_or(0)).sum()
    }
}

impl Disk for FaultyDisk {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn length(&self, file: &str) -> io::Result<u64> {
        self.inner.length(file)
    }
    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes> {
        self.inner.read(file, offset, length, cache)
    }
    fn never_waits(&self) -> bool {
        true
    }
    fn submit(&self, operation: Operation, lane: Lane, done: Done) {
        if lane == Lane::Background && self.hold.load(Ordering::Relaxed) {
            self.held.lock().unwrap().push(Held { operation, _done: done });
            return;
        }
        if let Operation::Write { file, offset, bytes }
        | Operation::WriteThrough { file, offset, bytes } = &operation
        {
            let length = self.inner.length(file).unwrap_or(0);
            let grows = (offset + bytes.len() as u64).saturating_sub(length);
            if grows > 0 && self.used() + grows > self.free_bytes.load(Ordering::Relaxed) {
                return done(Err(io::ErrorKind::StorageFull.into()));
            }
        }
        let syncs = matches!(operation, Operation::Sync { .. } | Operation::WriteThrough { .. });
        if syncs && self.fail_syncs.load(Ordering::Relaxed) {
            if let Operation::WriteThrough { file, offset, bytes } = operation {
                self.inner.run(Operation::Write { file, offset, bytes }).unwrap();
            }
            return done(Err(io::Error::other("medium error")));
        }
        // Operations run inline: the tests turn the engine themselves.
        done(self.inner.run(operation));
    }
}

struct EngineFixture {
    engine: Engine,
    store: LogStore,
    clock: Arc<ManualClock>,
    disk: Arc<FaultyDisk>,
}

impl EngineFixture {
    fn open(directory: &std::path::Path, options: Options) -> Self {
        let disk = FaultyDisk::new(directory);
        let clock = Arc::new(ManualClock::default());
        let (engine, store) =
            Engine::open(disk.clone(), clock.clone(), Box::new(SystemRng), options).unwrap();
        Self { engine, store, clock, disk }
    }

    fn append(&mut self, append: Append) -> Result<Appended, StoreError> {
        let store = self.store.clone();
        let mut answer = store.append(append);
        self.engine.poll();
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("no answer"),
        }
    }

    fn idle(&mut self) -> EnginePoll {
        self.clock.pass(Duration::from_secs(1));
        self.engine.poll()
    }
}

fn big(stream: &str, bytes: usize) -> Append {
    append_to(stream, &"x".repeat(bytes))
}

#[test]
fn a_stream_subscription_is_caught_up_only_after_the_events_that_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    let many: Vec<_> = (0..600).map(|n| event(&n.to_string())).collect();
    turned.append_together(vec![Append::to(name("order-1"), ExpectedRevision::Any, many)]);
    let metadata = StreamMetadata::default().max_age(Duration::from_secs(5));
    let described = name("order-1").metadata_stream().unwrap();
    let change = NewEvent::json(
        gesta_store::EventId::random(),
        gesta_store::EventType::new(StreamMetadata::EVENT_TYPE).unwrap(),
        metadata.to_json(),
    );
    turned.append_together(vec![Append::to(described, ExpectedRevision::Any, [change])]);
    turned.clock.pass(Duration::from_secs(10));
    turned.append_together(vec![append_to("order-1", "young")]);
    let mut subscription = turned.store.subscribe(Subscribe::to_stream(name("order-1")).into());
    let first = block_on(subscription.next()).unwrap().unwrap();
    assert!(matches!(&first, Delivery::Events(page) if page.len() == 1), "{first:?}");
    let second = block_on(subscription.next()).unwrap().unwrap();
    assert!(matches!(second, Delivery::CaughtUp(_)), "{second:?}");
}

/// Reads in two halves with a concurrent writer in between, which can happen to any large read.
#[derive(Debug)]
struct SlowReadDisk {
    inner: FileDisk,
    writer: Mutex<Option<(EngineFixture, u64)>>,
}

impl std::fmt::Debug for EngineFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineFixture")
    }
}

impl Disk for SlowReadDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn length(&self, file: &str) -> io::Result<u64> {
        self.inner.length(file)
    }
    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes> {
        if length < 100_000 {
            return self.inner.read(file, offset, length, cache);
        }
        let Some((mut fixture, at)) = self.writer.lock().unwrap().take() else {
            return self.inner.read(file, offset, length, cache);
        };
        let first = self.inner.read(file, 0, at as usize, cache)?;
        for _ in 0..3 {
            fixture.append(big("order-1", 5_000)).unwrap();
        }
        let second = self.inner.read(file, at, length - at as usize, cache)?;
        Ok([first, second].concat().into())
    }
    fn never_waits(&self) -> bool {
        true
    }
    fn submit(&self, operation: Operation, lane: Lane, done: Done) {
        self.inner.submit(operation, lane, done);
    }
}

#[test]
fn a_reader_beside_a_busy_writer_sees_no_damage_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = EngineFixture::open(directory.path(), Options::default());
    fixture.append(append_to("order-1", "1")).unwrap();
    let last = fixture.store.locate(gesta_store::Position::new(1)).unwrap();
    let disk = SlowReadDisk {
        inner: FileDisk::open(directory.path(), Access::ReadOnly).unwrap(),
        writer: Mutex::new(Some((fixture, (last.offset + last.length).next_multiple_of(4_096)))),
    };
    let (_, reader) = Engine::open(
        Arc::new(disk),
        Arc::new(ManualClock::default()),
        Box::new(SystemRng),
        Options::read_only(),
    )
    .unwrap();
    assert_eq!(reader.report().damage, []);
}

#[test]
fn verifying_a_busy_store_finds_no_damage_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default().segment_bytes_first(32 << 20);
    let store = open_with(directory.path(), options);
    append(&store, "order-1", "1");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                append(&store, "order-1", &"x".repeat(3_000));
            }
        });
        let reports: Vec<_> =
            (0..8).map(|_| verify(directory.path(), &mut |_| {}).unwrap().damage).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(reports.iter().all(Vec::is_empty), "{reports:#?}");
    });
}

#[test]
fn a_follower_does_not_pass_over_damage_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default().segment_bytes_first(16 << 10);
    let mut turned = TurnedStore::open(directory.path(), options);
    turned.append_together(vec![append_to("order-1", "first")]);
    turned.idle();
    let reader = LogStore::open(directory.path(), Options::read_only()).unwrap();
    assert_eq!(event_texts(&reader), ["first"]);
    turned.append_together(vec![append_to("order-1", "second")]);
    let second = turned.store.locate(gesta_store::Position::new(2)).unwrap();
    while segment_files(directory.path()).len() < 3 {
        turned.append_together(vec![big("order-2", 3_000)]);
    }
    turned.idle();
    flip(&directory.path().join(&second.file), second.offset + second.length - 1);
    let refreshed = reader.refresh();
    let read = read_all(&reader);
    let told: Vec<_> = read.iter().flatten().map(|event| event.position.number()).collect();
    assert!(
        refreshed.is_err() || read.is_err() || told == [1],
        "positions {told:?} were read and nothing was said"
    );
}

#[test]
fn a_read_of_a_stream_meets_damage_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2")]);
    turned.append_together(vec![append_to("order-2", "other")]);
    turned.idle();
    let lost = turned.store.locate(gesta_store::Position::new(2)).unwrap();
    let killed = as_killed(directory.path());
    flip(&killed.path().join(&lost.file), lost.offset + 20);
    let store = open(killed.path());
    assert_eq!(store.report().damage.len(), 1);
    let read = block_on(store.read_stream(ReadStream::forwards(name("order-1"))).collect_events());
    assert!(read.is_err(), "one of two events was read as if it were all: {}", read.unwrap().len());
}

#[test]
fn a_writer_that_waits_for_a_segment_does_not_spin() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default().segment_bytes_first(16 << 10);
    let mut fixture = EngineFixture::open(directory.path(), options);
    fixture.disk.hold.store(true, Ordering::Relaxed);
    fixture.append(big("order-1", 7_000)).unwrap();
    let store = fixture.store.clone();
    let _waiting = store.append(big("order-1", 7_000));
    fixture.clock.pass(Duration::from_secs(1));
    assert_eq!(
        fixture.engine.poll(),
        EnginePoll::Idle,
        "nothing can be done before the disk answers"
    );
}

#[test]
fn a_large_append_never_grows_a_segment_that_was_made_for_less() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default().segment_bytes_first(16 << 10).segment_bytes_max(16 << 10);
    let mut fixture = EngineFixture::open(directory.path(), options);
    // More than half full: the next segment of ordinary size is prepared.
    fixture.append(big("order-1", 7_000)).unwrap();
    fixture.disk.free_bytes.store(fixture.disk.used(), Ordering::Relaxed);
    let refused = fixture.append(big("order-1", 100_000)).unwrap_err();
    assert!(matches!(refused, StoreError::Overloaded(Overload::DiskFull { .. })), "{refused}");
    fixture.disk.free_bytes.store(u64::MAX, Ordering::Relaxed);
    fixture.append(append_to("order-1", "room again")).unwrap();
}

#[test]
fn a_close_frame_leaves_room_for_the_seal() {
    for bytes in (6_700..7_500).step_by(64) {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::default().segment_bytes_first(12 << 10);
        let mut fixture = EngineFixture::open(directory.path(), options);
        fixture.append(big("order-1", 4_000)).unwrap();
        fixture.append(big("order-1", bytes)).unwrap();
        fixture.idle();
        fixture.append(big("order-1", 3_000)).unwrap();
        let first = &segment_files(directory.path())[0];
        let bytes_on_disk = std::fs::read(first).unwrap();
        let made = u64::from_le_bytes(bytes_on_disk[88..96].try_into().unwrap());
        assert_eq!(bytes_on_disk.len() as u64, made, "{bytes}: a mark made the file grow");
    }
}

#[test]
fn a_large_append_that_found_no_room_does_not_make_small_ones_need_as_much() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default().segment_bytes_first(64 << 10);
    let mut fixture = EngineFixture::open(directory.path(), options);
    fixture.disk.free_bytes.store(1 << 20, Ordering::Relaxed);
    let refused = fixture.append(big("order-1", 4 << 20)).unwrap_err();
    assert!(matches!(refused, StoreError::Overloaded(Overload::DiskFull { .. })), "{refused}");
    fixture.append(append_to("order-1", "small")).unwrap();
}

struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_dropped_subscription_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    append(&store, "order-1", "1");
    let counted = Arc::new(Counted);
    let waker: Waker = counted.clone().into();
    let before = Arc::strong_count(&counted);
    {
        let subscription = store.subscribe(Subscribe::to_all().into());
        let mut subscription = Box::pin(subscription);
        let mut context = Context::from_waker(&waker);
        use std::future::Future;
        loop {
            let next = subscription.next();
            let mut next = Box::pin(next);
            if next.as_mut().poll(&mut context).is_pending() {
                break;
            }
        }
    }
    assert_eq!(Arc::strong_count(&counted), before, "its waker is kept");
}

#[test]
fn a_file_with_the_last_number_is_no_reason_to_panic() {
    let directory = tempfile::tempdir().unwrap();
    append(&open(directory.path()), "order-1", "1");
    std::fs::write(directory.path().join("18446744073709551615.seg"), b"junk").unwrap();
    drop(LogStore::open(directory.path(), Options::default()));
}

#[test]
fn a_retry_of_an_unknown_outcome_is_not_told_that_nothing_was_appended() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = EngineFixture::open(directory.path(), Options::default());
    fixture.append(append_to("order-1", "before")).unwrap();
    fixture.disk.fail_syncs.store(true, Ordering::Relaxed);
    let doubtful = append_to("order-1", "doubtful");
    let first = fixture.append(doubtful.clone()).unwrap_err();
    assert!(!first.is_definite(), "{first}");
    let again = fixture.append(doubtful).unwrap_err();
    let there = event_texts(&open(as_killed(directory.path()).path()));
    assert_eq!(there, ["before", "doubtful"], "it is there after a restart");
    assert!(!again.is_definite(), "though the retry said: {again}");
}

#[test]
fn a_follower_of_an_empty_store_learns_its_incarnation() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    let reader = LogStore::open(directory.path(), Options::read_only()).unwrap();
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.idle();
    reader.refresh().unwrap();
    assert_eq!(block_on(reader.head()).unwrap(), block_on(turned.store.head()).unwrap());
}

#[test]
fn small_events_count_with_what_they_take() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    let tiny = || {
        let event_type = gesta_store::EventType::new("t").unwrap();
        NewEvent::json(gesta_store::EventId::random(), event_type, "")
    };
    let many = |count| {
        let events: Vec<_> = std::iter::repeat_with(tiny).take(count).collect();
        Append::to(name("s"), ExpectedRevision::Any, events)
    };
    let mut limits = gesta_store::Limits::DEFAULT;
    limits.append_bytes_max = 2 << 20;
    many(200_000).check(&limits).unwrap_err();
    let most = (2 << 20) / (limits.event_overhead_bytes + 2);
    many(most).check(&limits).unwrap();
    turned.append_together(vec![many(most)]);
    let bytes: u64 =
        segment_files(directory.path()).iter().map(|f| std::fs::metadata(f).unwrap().len()).sum();
    assert!(bytes < 6 << 20, "{bytes} bytes in segments for an append within 2 MiB");
}

#[test]
fn a_thousand_threads_append() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    std::thread::scope(|scope| {
        for thread in 0..1_000 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..3 {
                    append(&store, &format!("order-{}", thread % 10), &n.to_string());
                }
            });
        }
    });
    assert_eq!(read_all(&store).unwrap().len(), 3_000);
    drop(store);
    assert_eq!(open(directory.path()).report().events, 3_000);
    let _ =
        SetStreamMetadata::new(name("order-1"), ExpectedRevision::Any, StreamMetadata::default());
}
