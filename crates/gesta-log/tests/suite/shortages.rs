//! Shortages of resources: the append is refused for certain, and succeeds later without a restart.

use std::{
    fs::File,
    io,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use gesta_log::{
    Access, Cache, Disk, Done, Engine, FileDisk, Lane, LogStore, Operation, Options, SystemRng,
};
use gesta_store::{Append, Appended, EventStore, Overload, StoreError, conformance::block_on};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, setrlimit},
};

use crate::harness::{ManualClock, append_to, as_killed, event_texts, open, open_with};

/// A step of creating a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Zeros,
    Sync,
    Name,
    SyncDirectory,
}

impl Step {
    const ALL: [Self; 5] = [Self::Create, Self::Zeros, Self::Sync, Self::Name, Self::SyncDirectory];

    fn is(self, operation: &Operation) -> bool {
        match operation {
            Operation::Create { file } => self == Self::Create && file.ends_with(".new"),
            Operation::Write { file, .. } => self == Self::Zeros && file.ends_with(".new"),
            Operation::Sync { file } => self == Self::Sync && file.ends_with(".new"),
            Operation::RenameNoReplace { .. } => self == Self::Name,
            Operation::SyncDirectory => self == Self::SyncDirectory,
            _ => false,
        }
    }
}

/// Real files on which one step fails on demand. Operations run inline.
#[derive(Debug)]
struct ShortageDisk {
    inner: FileDisk,
    failing: Mutex<Option<(Step, Errno)>>,
    /// Makes reads fail, of files whose names have this suffix.
    failing_reads: Mutex<Option<(Errno, &'static str)>>,
}

impl Disk for ShortageDisk {
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
        let failing_reads = *self.failing_reads.lock().unwrap();
        if let Some((errno, _)) = failing_reads.filter(|(_, end)| file.ends_with(end)) {
            return Err(errno.into());
        }
        self.inner.read(file, offset, length, cache)
    }
    fn never_waits(&self) -> bool {
        true
    }
    fn submit(&self, operation: Operation, _: Lane, done: Done) {
        let failing = *self.failing.lock().unwrap();
        match failing.filter(|(step, _)| step.is(&operation)) {
            Some((_, errno)) => done(Err(errno.into())),
            None => done(self.inner.run(operation)),
        }
    }
}

struct Scene {
    engine: Engine,
    store: LogStore,
    disk: Arc<ShortageDisk>,
    clock: Arc<ManualClock>,
}

impl Scene {
    fn open(directory: &Path) -> Self {
        let disk = Arc::new(ShortageDisk {
            inner: FileDisk::open(directory, Access::ReadWrite).unwrap(),
            failing: Mutex::default(),
            failing_reads: Mutex::default(),
        });
        let clock = Arc::new(ManualClock::default());
        let small = Options::default()
            .segment_bytes_first(12 << 10)
            .segment_bytes_max(12 << 10)
            .tail_bytes_max(0)
            .index_cache_bytes_max(0);
        let (engine, store) =
            Engine::open(disk.clone(), clock.clone(), Box::new(SystemRng), small).unwrap();
        Self { engine, store, disk, clock }
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

    fn lack(&self, step: Step, errno: Errno) {
        *self.disk.failing.lock().unwrap() = Some((step, errno));
    }

    fn lack_nothing(&self) {
        *self.disk.failing.lock().unwrap() = None;
        *self.disk.failing_reads.lock().unwrap() = None;
    }
}

/// An append of which a segment holds only one.
fn large(mark: &str) -> Append {
    append_to("order-1", &format!("{mark}{}", "x".repeat(5_000)))
}

#[test]
fn whatever_fails_while_a_segment_is_made_is_refused_for_certain_and_passes() {
    let errors = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::INTR,
        Errno::AGAIN,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
    ];
    for (step, errno) in Step::ALL.iter().flat_map(|step| errors.map(|errno| (*step, errno))) {
        let directory = tempfile::tempdir().unwrap();
        let mut harness = Scene::open(directory.path());
        let place = directory.path().display().to_string();
        harness.append(append_to("order-1", "0")).unwrap();
        harness.lack(step, errno);
        harness.append(large("1")).unwrap(); // the current segment has room
        let mut refused = 0;
        for _ in 0..4 {
            match harness.append(large("refused")) {
                Err(StoreError::Overloaded(Overload::DiskFull { reason })) => {
                    assert!(matches!(errno, Errno::NOSPC | Errno::DQUOT), "{step:?} {errno}");
                    assert_eq!(reason, place, "it names the directory");
                }
                Err(StoreError::Overloaded(Overload::System { reason })) => {
                    assert!(reason.contains(&errno.to_string()), "{step:?} {errno}: {reason}");
                    assert!(reason.contains(&place), "it names the directory: {reason}");
                }
                other => panic!("{step:?} {errno}: {other:?}"),
            }
            refused += 1;
        }
        assert_eq!(refused, 4);
        harness.lack_nothing();
        harness.clock.pass(Duration::from_secs(1));
        harness.append(large("2")).unwrap();
        harness.append(large("3")).unwrap();
        let killed = as_killed(directory.path());
        let marks: Vec<_> =
            event_texts(&open(killed.path())).iter().map(|told| told[..1].to_owned()).collect();
        assert_eq!(marks, ["0", "1", "2", "3"], "{step:?} {errno}");
    }
}

#[test]
fn a_store_that_lacks_something_does_not_try_again_at_each_append() {
    let directory = tempfile::tempdir().unwrap();
    let mut harness = Scene::open(directory.path());
    harness.append(append_to("order-1", "0")).unwrap();
    harness.lack(Step::Create, Errno::MFILE);
    harness.append(large("1")).unwrap();
    for _ in 0..3 {
        harness.append(large("refused")).unwrap_err();
    }
    harness.lack_nothing();
    let early = harness.append(large("early")).unwrap_err();
    assert!(matches!(early, StoreError::Overloaded(Overload::System { .. })), "{early}");
    harness.clock.pass(Duration::from_millis(100));
    harness.append(large("2")).unwrap();
}

#[test]
fn an_append_whose_streams_cannot_be_looked_up_is_refused_for_certain() {
    let directory = tempfile::tempdir().unwrap();
    let mut harness = Scene::open(directory.path());
    for number in 0..4 {
        harness.append(large(&number.to_string())).unwrap();
    }
    while harness.engine.compact_some() {}
    *harness.disk.failing_reads.lock().unwrap() = Some((Errno::MFILE, ""));
    let refused = harness.append(append_to("order-1", "refused")).unwrap_err();
    assert!(matches!(refused, StoreError::Overloaded(Overload::System { .. })), "{refused}");
    harness.lack_nothing();
    harness.append(append_to("order-1", "taken")).unwrap();
}

#[test]
fn a_store_that_lacks_something_while_it_is_opened_does_not_take_its_index_for_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let mut harness = Scene::open(directory.path());
    for number in 0..4 {
        harness.append(large(&number.to_string())).unwrap();
    }
    while harness.engine.compact_some() {}
    drop(harness);
    let index = std::fs::read(directory.path().join("INDEX")).unwrap();
    let disk = Arc::new(ShortageDisk {
        inner: FileDisk::open(directory.path(), Access::ReadWrite).unwrap(),
        failing: Mutex::default(),
        failing_reads: Mutex::new(Some((Errno::MFILE, ".run"))),
    });
    let clock = Arc::new(ManualClock::default());
    let refused = Engine::open(disk, clock, Box::new(SystemRng), Options::default()).map(drop);
    assert!(refused.is_err(), "to build it again takes more of what is short");
    assert_eq!(std::fs::read(directory.path().join("INDEX")).unwrap(), index);
    assert_eq!(event_texts(&open(directory.path())).len(), 4);
}

/// In a separate process, because the limit is that of the whole process.
#[test]
fn a_store_goes_on_though_something_else_takes_every_descriptor() {
    const CHILD: &str = "GESTA_TEST_WITHOUT_DESCRIPTORS";
    if let Some(directory) = std::env::var_os(CHILD) {
        return append_without_descriptors(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let name = "shortages::a_store_goes_on_though_something_else_takes_every_descriptor";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let store = open(directory.path());
    assert_eq!(store.report().damage, []);
    assert_eq!(event_texts(&store).len(), 41);
}

fn append_without_descriptors(directory: &Path) {
    let limit = Some(64);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let small = Options::default().segment_bytes_first(12 << 10).segment_bytes_max(12 << 10);
    let store = open_with(directory, small);
    block_on(store.append(large("before"))).unwrap();
    let mut taken = Vec::new();
    while let Ok(one) = File::open("/dev/null") {
        taken.push(one);
    }
    assert!(taken.len() > 20, "most of what the process may have is taken by something else");
    for number in 0..40 {
        block_on(store.append(large(&number.to_string()))).unwrap();
    }
}
