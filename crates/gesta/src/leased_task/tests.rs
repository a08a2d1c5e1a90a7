//! Nodes that share leases, on one virtual clock.
//!
//! All tasks run on one thread, so a few turns of it are enough for everything to settle.

use std::{
    future::{pending, ready},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta_store::{
    AcquireLease, FencingToken, Lease, LeaseError, LeaseFuture, LeaseInForce, LeaseName, Leases,
    MemoryLeases, NodeName,
};
use tokio::{sync::oneshot, task::JoinHandle};

use super::LeasedTask;
use crate::{Clock as _, testing::VirtualClock};

const TERM: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// The runs of the task, with node and token, in their order.
type Diary = Arc<Mutex<Vec<String>>>;

/// A group of nodes.
struct Nodes {
    clock: VirtualClock,
    leases: Arc<MemoryLeases>,
    diary: Diary,
}

/// A running node.
struct Node {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Option<()>>,
    connection: Arc<Connection>,
}

impl Nodes {
    fn new() -> Self {
        let clock = VirtualClock::new();
        let time = clock.clone();
        let since_1970 = move |time: SystemTime| time.duration_since(UNIX_EPOCH);
        let leases = MemoryLeases::with_clock(move || {
            since_1970(time.now()).expect("a virtual clock is after 1970")
        });
        Self { clock, leases: Arc::new(leases), diary: Arc::default() }
    }

    fn start(&self, name: &str) -> Node {
        let (stop, stopped) = oneshot::channel();
        let connection = Arc::<Connection>::default();
        let leases = Distant { leases: Arc::clone(&self.leases), connection: connection.clone() };
        let task = LeasedTask::new(Arc::new(leases), request(name)).clock(self.clock.clone());
        let (diary, name) = (Arc::clone(&self.diary), name.to_owned());
        let run = async move {
            let stopped = async { drop(stopped.await) };
            let task = task.run_until(stopped, |token| {
                let entry = Running::note(&diary, &name, token);
                async move {
                    let _entry = entry;
                    pending().await
                }
            });
            task.await
        };
        Node { stop, running: tokio::spawn(run), connection }
    }

    /// Lets time pass in steps of a second.
    async fn pass(&self, duration: Duration) {
        let end = self.clock.now() + duration;
        settle().await;
        while self.clock.now() < end {
            self.clock.advance(SECOND);
            settle().await;
        }
    }

    fn diary(&self) -> Vec<String> {
        self.diary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Node {
    async fn stop(self) {
        self.stop.send(()).expect("the node runs");
        assert_eq!(self.running.await.expect("the node does not panic"), None);
    }
}

/// Gives every task on this thread enough turns.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

fn request(node: &str) -> AcquireLease {
    let name = LeaseName::new("relay").expect("a name");
    AcquireLease::new(name, NodeName::new(node).expect("a name"), TERM)
}

/// A run of the task, from its first to its last moment.
struct Running(Diary, String);

impl Running {
    fn note(diary: &Diary, node: &str, token: FencingToken) -> Self {
        let entry = Self(Arc::clone(diary), format!("{node} {token}"));
        entry.write("runs");
        entry
    }

    fn write(&self, what: &str) {
        let Self(diary, run) = self;
        diary.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{run} {what}"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.write("ends");
    }
}

/// A node's connection to the leases.
#[derive(Default)]
struct Connection {
    /// Calls do not arrive.
    is_cut: AtomicBool,
    /// Calls take effect, and their answers do not arrive.
    loses_answers: AtomicBool,
}

/// Leases behind a connection.
struct Distant {
    leases: Arc<MemoryLeases>,
    connection: Arc<Connection>,
}

impl Distant {
    fn call<'a, T: Send + 'a>(
        &self,
        call: impl FnOnce() -> LeaseFuture<'a, T>,
    ) -> LeaseFuture<'a, T> {
        if self.connection.is_cut.load(Ordering::Relaxed) {
            return Box::pin(pending());
        }
        let answer = call();
        match self.connection.loses_answers.load(Ordering::Relaxed) {
            true => Box::pin(pending()),
            false => answer,
        }
    }
}

impl Leases for Distant {
    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        self.call(|| self.leases.acquire(acquire))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        self.call(|| self.leases.renew(lease))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        self.call(|| self.leases.release(lease))
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        self.call(|| self.leases.list())
    }
}

#[tokio::test]
async fn one_node_runs_the_task_for_many_terms() {
    let nodes = Nodes::new();
    let _one = nodes.start("one");
    settle().await;
    let _two = nodes.start("two");
    nodes.pass(TERM * 10).await;
    assert_eq!(nodes.diary(), ["one 1 runs"]);
}

#[tokio::test]
async fn another_node_takes_over_a_second_after_a_graceful_stop() {
    let nodes = Nodes::new();
    let one = nodes.start("one");
    settle().await;
    let _two = nodes.start("two");
    nodes.pass(SECOND * 3).await;
    one.stop().await;
    nodes.pass(SECOND).await;
    assert_eq!(nodes.diary(), ["one 1 runs", "one 1 ends", "two 2 runs"]);
}

/// Without the distance, a node hears of a release.
#[tokio::test]
async fn another_node_takes_over_at_once_if_releases_are_announced() {
    let nodes = Nodes::new();
    let first = nodes.leases.acquire(request("one")).await.expect("the lease is free");
    let task = LeasedTask::new(nodes.leases.clone(), request("two")).clock(nodes.clock.clone());
    let two = tokio::spawn(async move { task.run_until(pending(), |_| ready(())).await });
    settle().await;
    assert!(!two.is_finished(), "the other node has the lease");
    nodes.leases.release(&first).await.expect("leases in memory do not fail");
    settle().await;
    assert!(two.is_finished(), "no time has passed");
}

#[tokio::test]
async fn another_node_takes_over_within_a_term_after_a_kill() {
    let nodes = Nodes::new();
    let one = nodes.start("one");
    settle().await;
    let _two = nodes.start("two");
    nodes.pass(SECOND * 3).await;
    one.running.abort();
    nodes.pass(TERM + SECOND).await;
    assert_eq!(nodes.diary(), ["one 1 runs", "one 1 ends", "two 2 runs"]);
}

/// The network is cut between a node and its leases: the node has to stop by itself.
#[tokio::test]
async fn a_node_that_gets_no_answers_stops_before_another_one_starts() {
    for cut_after in 0..8 {
        let nodes = Nodes::new();
        let one = nodes.start("one");
        settle().await;
        let two = nodes.start("two");
        nodes.pass(SECOND * cut_after).await;
        one.connection.is_cut.store(true, Ordering::Relaxed);
        nodes.pass(TERM + SECOND).await;
        let mut expected = vec!["one 1 runs", "one 1 ends", "two 2 runs"];
        assert_eq!(nodes.diary(), expected, "cut after {cut_after} s");
        // The first node can take over again.
        one.connection.is_cut.store(false, Ordering::Relaxed);
        two.stop().await;
        nodes.pass(TERM * 2).await;
        expected.extend(["two 2 ends", "one 3 runs"]);
        assert_eq!(nodes.diary(), expected, "cut after {cut_after} s");
    }
}

/// Each call of the node is granted, and it does not know.
#[tokio::test]
async fn a_node_whose_answers_are_lost_does_not_keep_the_lease_for_ever() {
    let nodes = Nodes::new();
    let one = nodes.start("one");
    settle().await;
    let _two = nodes.start("two");
    nodes.pass(SECOND).await;
    one.connection.loses_answers.store(true, Ordering::Relaxed);
    nodes.pass(TERM * 3).await;
    assert_eq!(nodes.diary(), ["one 1 runs", "one 1 ends", "two 3 runs"]);
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_within_the_term() {
    let nodes = Nodes::new();
    let failing = Arc::new(Failing { leases: Arc::clone(&nodes.leases), calls: 0.into() });
    let task = LeasedTask::new(failing, request("one")).clock(nodes.clock.clone());
    let diary = Arc::clone(&nodes.diary);
    tokio::spawn(async move {
        let run = |token| {
            let entry = Running::note(&diary, "one", token);
            async move {
                let _entry = entry;
                pending::<()>().await
            }
        };
        task.run_until(pending(), run).await
    });
    nodes.pass(TERM * 10).await;
    assert_eq!(nodes.diary(), ["one 1 runs"]);
}

/// Leases of which two of three renewals fail.
struct Failing {
    leases: Arc<MemoryLeases>,
    calls: AtomicUsize,
}

impl Leases for Failing {
    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        self.leases.acquire(acquire)
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        match self.calls.fetch_add(1, Ordering::Relaxed) % 3 {
            2 => self.leases.renew(lease),
            _ => Box::pin(ready(Err(LeaseError::unavailable("the server restarts")))),
        }
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        self.leases.release(lease)
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        self.leases.list()
    }
}

#[tokio::test]
async fn a_task_that_ends_leaves_its_lease_to_others() {
    let nodes = Nodes::new();
    let task = LeasedTask::new(nodes.leases.clone(), request("one")).clock(nodes.clock.clone());
    assert_eq!(task.run_until(pending(), |token| ready(token.number())).await, Some(1));
    assert_eq!(nodes.leases.list().await.expect("a list"), []);
    // Another node stops while it waits.
    let _two = nodes.start("two");
    settle().await;
    assert_eq!(task.run_until(ready(()), |_| pending::<()>()).await, None);
    assert_eq!(nodes.diary(), ["two 2 runs"]);
}

#[tokio::test]
async fn a_lease_that_was_lost_is_asked_for_again() {
    let nodes = Nodes::new();
    let _one = nodes.start("one");
    settle().await;
    // The same node from elsewhere, as after a lost answer.
    let leases = &nodes.leases;
    leases.acquire(request("one")).await.expect("a node may ask again");
    nodes.pass(TERM).await;
    assert_eq!(nodes.diary(), ["one 1 runs", "one 1 ends", "one 3 runs"]);
}
