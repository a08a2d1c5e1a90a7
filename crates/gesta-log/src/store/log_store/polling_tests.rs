//! Nothing that a handle does waits for the disk on the thread that polls.
//!
//! A gate holds every call to the disk while another task of a current-thread runtime runs to its
//! end; only then the gate opens. A call on the polling thread panics at the closed gate.

use std::{
    fmt,
    future::Future,
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use bytes::Bytes;
use futures_channel::oneshot;
use gesta_store::{
    Append, Category, Delivery, EventId, EventStore, EventType, ExpectedRevision, ListCategories,
    ListStreams, NewEvent, Pages, ReadAll, ReadStream, StoreError, StreamName, Subscribe,
    conformance::block_on,
};

use super::{LogStore, on_own_thread};
use crate::{Access, Cache, Disk, Done, FileDisk, Lane, Operation, Options, sync::thread::Builder};

/// Ends a test that hangs; no outcome depends on it.
const HANG_MAX: Duration = Duration::from_secs(60);
const EVENTS: u64 = 600;

/// Holds calls to a disk while it is closed.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    /// The polling thread, while the gate is closed.
    closed_by: Option<ThreadId>,
    /// Told when the first call is held.
    held: Option<oneshot::Sender<()>>,
    /// Told when the directory was released.
    released: Option<oneshot::Sender<()>>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap()
    }

    /// Closes the gate. The receiver ends when a call is held.
    fn close(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.closed_by = Some(thread::current().id());
        state.held = Some(sender);
        receiver
    }

    fn open(&self) {
        self.state().closed_by = None;
        self.opened.notify_all();
    }

    fn is_closed_here(&self) -> bool {
        self.state().closed_by == Some(thread::current().id())
    }

    fn pass(&self) {
        let mut state = self.state();
        let polls = state.closed_by == Some(thread::current().id());
        if polls {
            drop(state);
            panic!("the thread that polls waits for the disk");
        }
        while state.closed_by.is_some() {
            if let Some(held) = state.held.take() {
                held.send(()).ok();
            }
            state = self.opened.wait(state).unwrap();
        }
    }
}

/// Real files behind a gate, and nothing of them in memory.
struct GatedDisk {
    inner: FileDisk,
    gate: Arc<Gate>,
    /// Nothing is held but the reads of other threads than the one that closed the gate.
    holds_others: bool,
}

impl GatedDisk {
    fn pass_to_read(&self) {
        if !self.holds_others || !self.gate.is_closed_here() {
            self.gate.pass();
        }
    }
}

impl fmt::Debug for GatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatedDisk")
    }
}

impl Disk for GatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.pass_to_read();
        self.inner.list()
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        self.pass_to_read();
        self.inner.length(file)
    }

    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes> {
        self.pass_to_read();
        self.inner.read(file, offset, length, cache)
    }

    fn submit(&self, operation: Operation, lane: Lane, done: Done) {
        if !self.holds_others {
            self.gate.pass();
        }
        self.inner.submit(operation, lane, done);
    }

    fn check_owner(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.check_owner()
    }

    fn begin_release(&self) {
        self.inner.begin_release();
    }

    fn release(&self) {
        self.gate.pass();
        self.inner.release();
        let released = self.gate.state().released.take();
        released.and_then(|released| released.send(()).ok());
    }
}

/// A store behind a gate. Nothing is cached, and segments are small, so that there are runs.
fn options() -> Options {
    Options {
        segment_bytes_first: 16 << 10,
        segment_bytes_max: 16 << 10,
        tail_bytes_max: 0,
        index_cache_bytes_max: 0,
        ..Options::default()
    }
}

fn gated(gate: &Arc<Gate>, directory: &Path) -> GatedDisk {
    let inner = FileDisk::open(directory, Access::ReadWrite).unwrap();
    GatedDisk { inner, gate: Arc::clone(gate), holds_others: false }
}

fn open(gate: &Arc<Gate>, directory: &Path) -> LogStore {
    LogStore::open_on(Arc::new(gated(gate, directory)), options()).unwrap()
}

/// The n-th event, whose id is known.
fn event(n: u64) -> NewEvent {
    let id = EventId::derived_from("event", n);
    NewEvent::json(id, EventType::new("happened").unwrap(), "{}".to_owned() + &" ".repeat(200))
}

fn order(n: u64) -> StreamName {
    StreamName::new(format!("order-{n}")).unwrap()
}

fn append(n: u64) -> Append {
    Append::to(order(n % 3), ExpectedRevision::Any, [event(n)])
}

/// A directory with a store of several segments, all of them in the index files.
async fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open_async(directory.path(), options()).await.unwrap();
    for n in 0..EVENTS {
        store.append(append(n)).await.unwrap();
    }
    store.close().await.unwrap();
    directory
}

/// Runs a scenario on a current-thread runtime.
fn on_one_thread(scenario: impl Future<Output = ()> + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let polling = Builder::new().spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(scenario);
        done.send(()).unwrap();
    });
    match ended.recv_timeout(HANG_MAX) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the thread that polls waits for ever"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {}
    }
    if let Err(panic) = polling.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// Polls an operation next to a task that opens the gate at its end, after a call is held there.
async fn beside<T>(gate: &Arc<Gate>, operation: impl Future<Output = T>) -> T {
    beside_begun(gate, gate.close(), operation).await
}

async fn beside_begun<T>(
    gate: &Arc<Gate>,
    held: oneshot::Receiver<()>,
    operation: impl Future<Output = T>,
) -> T {
    let gate = Arc::clone(gate);
    let other = tokio::spawn(async move {
        held.await.expect("the operation reaches the disk");
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        gate.open();
    });
    let output = operation.await;
    other.await.unwrap();
    output
}

/// Runs an operation on a store whose bytes are all on disk.
fn on_a_cold_store<T, F>(operation: impl FnOnce(LogStore) -> F + Send + 'static)
where
    F: Future<Output = T> + Send,
    T: Send,
{
    on_one_thread(async move {
        let directory = filled().await;
        let gate = Arc::new(Gate::default());
        let store = open(&gate, directory.path());
        // The call as well, not only its future.
        let held = gate.close();
        let operation = operation(store.clone());
        beside_begun(&gate, held, operation).await;
        store.close().await.unwrap();
    });
}

async fn count(pages: Pages) -> u64 {
    pages.collect_events().await.unwrap().len() as u64
}

#[test]
fn an_append_waits_for_index_files_and_for_the_device_elsewhere() {
    on_a_cold_store(|store| {
        let appends = [0, 1, 2].map(|n| {
            let store = store.clone();
            let appended = store.append(append(EVENTS + n));
            // The call takes the append's place, whenever the future is polled.
            drop(appended);
            store
        });
        let last = store.clone();
        let stream = order(1);
        let expected = ExpectedRevision::Exact(gesta_store::Revision::new(EVENTS / 3));
        async move {
            let next = Append::to(stream, expected, [event(EVENTS + 9)]);
            last.append(next).await.expect("appends are in the order of the calls");
            drop(appends);
        }
    });
}

#[test]
fn a_blocking_append_follows_those_that_were_called_before() {
    let directory = block_on(filled());
    let gate = Arc::new(Gate::default());
    let disk = GatedDisk { holds_others: true, ..gated(&gate, directory.path()) };
    let store = LogStore::open_on(Arc::new(disk), options()).unwrap();
    let held = gate.close();
    let first = store.append(append(EVENTS));
    block_on(held).expect("an I/O thread looks the first append up in index files");
    // This thread may read: nothing but its place in the order keeps the second append back.
    let fresh = StreamName::new("fresh-1").unwrap();
    let second = Append::to(fresh, ExpectedRevision::Any, [event(EVENTS + 1)]);
    let is_done = AtomicBool::new(false);
    let second = thread::scope(|scope| {
        scope.spawn(|| {
            while store.shared.lane.len() < 2 && !is_done.load(Ordering::Acquire) {
                thread::yield_now();
            }
            gate.open();
        });
        let second = store.append_blocking(second);
        is_done.store(true, Ordering::Release);
        second
    });
    let positions = [block_on(first), second].map(|appended| appended.unwrap().position.number());
    assert_eq!(positions, [EVENTS + 1, EVENTS + 2]);
    block_on(EventStore::close(&store)).unwrap();
}

#[test]
fn a_repeat_is_looked_up_elsewhere() {
    on_a_cold_store(|store| async move {
        let repeat = store.append(append(0)).await.unwrap();
        assert_eq!(repeat.position.number(), 1);
        let check = Append::default().expecting(order(0), ExpectedRevision::StreamExists);
        store.append(check).await.unwrap();
    });
}

#[test]
fn a_cold_read_of_the_whole_store_waits_elsewhere() {
    on_a_cold_store(|store| {
        let pages = store.read_all(ReadAll::forwards());
        async move { assert_eq!(count(pages).await, EVENTS) }
    });
}

#[test]
fn a_cold_read_of_a_stream_waits_elsewhere() {
    on_a_cold_store(|store| {
        let pages = store.read_stream(ReadStream::forwards(order(1)));
        async move { assert_eq!(count(pages).await, EVENTS / 3) }
    });
    on_a_cold_store(|store| {
        let pages = store.read_stream(ReadStream::backwards(order(1)));
        async move { assert_eq!(count(pages).await, EVENTS / 3) }
    });
}

#[test]
fn a_subscription_catches_up_and_follows_without_waiting() {
    for subscribe in [Subscribe::to_all().into(), Subscribe::to_stream(order(1)).into()] {
        on_a_cold_store(|store| {
            let mut subscription = store.subscribe(subscribe);
            async move {
                let (mut seen, mut appended) = (0, false);
                loop {
                    match subscription.next().await.unwrap().unwrap() {
                        Delivery::Events(page) => {
                            seen += page.len() as u64;
                            if page.iter().any(|event| event.position.number() > EVENTS) {
                                break;
                            }
                        }
                        Delivery::CaughtUp(_) if !appended => {
                            appended = true;
                            store.append(append(EVENTS + 1)).await.unwrap();
                        }
                        _ => {}
                    }
                }
                assert!(seen == EVENTS + 1 || seen == EVENTS / 3 + 1, "{seen}");
            }
        });
    }
}

#[test]
fn lookups_wait_elsewhere() {
    on_a_cold_store(|store| async move {
        let described = store.describe_stream(&order(2)).await.unwrap();
        assert_eq!(described.head.unwrap().number(), EVENTS / 3 - 1);
    });
    on_a_cold_store(|store| async move {
        let found = store.find_append(EventId::derived_from("event", 7)).await.unwrap();
        assert_eq!(found.unwrap().position.number(), 8);
    });
    on_a_cold_store(|store| async move {
        let list = ListStreams::all().limit(9);
        assert_eq!(store.list_streams(list).await.unwrap().len(), 3);
    });
    on_a_cold_store(|store| async move {
        let list = ListCategories::all().limit(9);
        assert_eq!(store.list_categories(list).await.unwrap(), [Category::new("order").unwrap()]);
    });
}

#[test]
fn opening_and_closing_wait_elsewhere() {
    on_one_thread(async {
        let directory = filled().await;
        let gate = Arc::new(Gate::default());
        let disk = Arc::new(gated(&gate, directory.path()));
        let opened = on_own_thread("gesta-open", move || LogStore::open_on(disk, options()));
        let store = beside(&gate, opened).await.unwrap();
        assert_eq!(store.report().events, EVENTS);
        store.append(append(EVENTS)).await.unwrap();
        let mut begun = store.read_all(ReadAll::forwards());
        begun.next().await.unwrap().unwrap();
        beside(&gate, store.close()).await.unwrap();
        let ended = begun.next().await.unwrap().unwrap_err();
        assert!(matches!(ended, StoreError::Stopped { .. }), "{ended}");
        assert!(begun.next().await.is_none());
        store.close().await.expect("a closed store is closed");
        let refused = store.append(append(EVENTS + 1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Stopped { .. }), "{refused}");
        let refused = store.read_all(ReadAll::forwards()).collect_events().await.unwrap_err();
        assert!(matches!(refused, StoreError::Stopped { .. }), "{refused}");
        let again = LogStore::open_async(directory.path(), options()).await.unwrap();
        assert_eq!(again.report().unmarked, None, "it was sealed");
        assert_eq!(again.report().events, EVENTS + 1);
        again.close().await.unwrap();
    });
}

#[test]
fn dropping_the_last_handle_waits_for_nothing() {
    on_one_thread(async {
        let directory = filled().await;
        let gate = Arc::new(Gate::default());
        let store = open(&gate, directory.path());
        let (released, release) = oneshot::channel();
        gate.state().released = Some(released);
        let held = gate.close();
        // Held at the device, and accepted.
        let appended = store.append(append(EVENTS));
        drop(appended);
        drop(store);
        beside_begun(&gate, held, release).await.unwrap();
        let again = LogStore::open_async(directory.path(), options()).await.unwrap();
        assert_eq!(again.report().events, EVENTS + 1);
        assert_eq!(again.report().unmarked, None, "it was sealed in the background");
        again.close().await.unwrap();
    });
}

#[test]
fn opening_right_after_a_drop_waits_for_the_end_of_the_store_before() {
    on_one_thread(async {
        let directory = filled().await;
        for n in 0..5 {
            let store = LogStore::open(directory.path(), options()).unwrap();
            store.append(append(EVENTS + n)).await.unwrap();
            drop(store);
        }
        let store = LogStore::open(directory.path(), options()).unwrap();
        assert_eq!(store.report().events, EVENTS + 5);
        let in_use = LogStore::open(directory.path(), options()).unwrap_err().to_string();
        assert!(in_use.contains("is in use by process"), "{in_use}");
        store.close().await.unwrap();
    });
}
