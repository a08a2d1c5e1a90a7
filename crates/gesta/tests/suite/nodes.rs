//! Nodes that share the projections, process managers and reactors of one application.
//!
//! Several applications on one store play the nodes, on one thread and one virtual clock, so a few
//! turns of the thread are enough for everything to settle.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use gesta::{
    Apply, ApplyError, AskError, Begin, Clock as _, Component, ExecuteError, Gesta, Nodes,
    OperationError, ProcessError, ProcessState, Projection, ProjectionState, ProjectionStatus,
    ReactorError, ReactorState, Recorded, Role, RunsElsewhere, Severity, WaitError,
    store::{
        AcquireLease, EventId, EventStore, Lease, LeaseFuture, LeaseHint, LeaseInForce, Leases,
        MemoryLeases, MemoryReadModels, MemoryReader, ReadAll, Rows, memory::MemoryStore,
    },
    testing::VirtualClock,
};

use crate::{
    bank::{AllBalances, Audit, BalanceEvent, Balances, Controls, Deposit, deposit, operator},
    library::{LendBook, Library, Reminder},
    post_office::{Failing, Notices, PostOffice},
};

const TERM: Duration = Nodes::TERM;
const SECOND: Duration = Duration::from_secs(1);
/// The place of the leases, as a server names it.
const PLACE: &str = "PostgreSQL at db:5432";
/// The period of a loan.
const LOAN: Duration = Duration::from_secs(30);

/// The nodes of one application.
struct Group {
    store: Arc<dyn EventStore>,
    models: MemoryReadModels,
    office: PostOffice,
    clock: VirtualClock,
    leases: Arc<MemoryLeases>,
}

/// A node.
struct Node {
    gesta: Gesta,
    connection: Arc<Connection>,
}

/// A node's connection to the leases.
struct Connection {
    leases: Arc<MemoryLeases>,
    /// Calls do not arrive.
    is_cut: AtomicBool,
    /// Releases are not announced.
    is_deaf: AtomicBool,
}

impl Connection {
    fn call<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a MemoryLeases) -> LeaseFuture<'a, T>,
    ) -> LeaseFuture<'a, T> {
        match self.is_cut.load(Ordering::Relaxed) {
            true => Box::pin(pending()),
            false => call(&self.leases),
        }
    }
}

impl Leases for Connection {
    fn place(&self) -> String {
        PLACE.to_owned()
    }

    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        self.call(|leases| leases.acquire(acquire))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        self.call(|leases| leases.renew(lease))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        self.call(|leases| leases.release(lease))
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        self.call(|leases| leases.list())
    }

    fn released(&self) -> LeaseHint<'_> {
        match self.is_deaf.load(Ordering::Relaxed) {
            true => Box::pin(pending()),
            false => self.leases.released(),
        }
    }
}

impl Group {
    fn new() -> Self {
        let clock = VirtualClock::new();
        Self {
            store: Arc::new(MemoryStore::new()),
            models: MemoryReadModels::new(),
            office: PostOffice::default(),
            leases: leases_at(&clock),
            clock,
        }
    }

    /// Starts a node and lets it settle.
    async fn start(&self, label: &str) -> Node {
        self.start_at(label, self.clock.clone(), Arc::clone(&self.leases)).await
    }

    async fn start_at(&self, label: &str, clock: VirtualClock, leases: Arc<MemoryLeases>) -> Node {
        self.start_as(label, Role::All, clock, leases).await
    }

    async fn start_as(
        &self,
        label: &str,
        role: Role,
        clock: VirtualClock,
        leases: Arc<MemoryLeases>,
    ) -> Node {
        let (is_cut, is_deaf) = (AtomicBool::new(false), AtomicBool::new(false));
        let connection = Arc::new(Connection { leases, is_cut, is_deaf });
        let gesta = Gesta::on(Arc::clone(&self.store))
            .clock(clock)
            .role(role)
            .nodes(Nodes::new(connection.clone(), label).unwrap())
            .project(Balances(Controls::free()), &self.models)
            .process_with(Reminder::after(LOAN))
            .react(Notices(self.office.clone()), Begin::AtTheStart)
            .open()
            .await
            .unwrap();
        settle().await;
        Node { gesta, connection }
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

    /// The number of the process manager's own events of a kind.
    async fn process_events(&self, event_type: &str) -> usize {
        let events = self.store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
        let of_type = events.iter().filter(|event| event.event_type.as_str() == event_type);
        of_type.count()
    }
}

impl Node {
    fn name(&self) -> String {
        self.gesta.node().unwrap().to_string()
    }

    async fn projection(&self) -> ProjectionStatus {
        self.gesta.projections().await.unwrap().remove(0)
    }

    /// The states of projection, process manager and reactor, and the node of each.
    async fn states(&self) -> [(String, Option<String>); 3] {
        let projection = self.projection().await;
        let process = self.gesta.process_managers().remove(0);
        let reactor = self.gesta.reactors().await.unwrap().remove(0);
        let node = |node: Option<gesta::store::NodeName>| node.map(|node| node.to_string());
        [
            (format!("{:?}", projection.state), node(projection.runs_on)),
            (format!("{:?}", process.state), node(process.runs_on)),
            (format!("{:?}", reactor.state), node(reactor.runs_on)),
        ]
    }

    async fn balances(&self) -> Vec<(String, u64)> {
        self.gesta.ask::<_, MemoryReader>(AllBalances::<Balances>::of()).await.unwrap()
    }

    /// Ends the node as a kill does: nothing is released.
    fn kill(self) {
        self.connection.is_cut.store(true, Ordering::Relaxed);
    }
}

fn leases_at(clock: &VirtualClock) -> Arc<MemoryLeases> {
    let time = clock.clone();
    let since_1970 = move || time.now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    Arc::new(MemoryLeases::with_clock(since_1970))
}

/// Gives every task on this thread enough turns.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

fn everywhere(state: &str, node: &str) -> [(String, Option<String>); 3] {
    [0; 3].map(|_| (state.to_owned(), Some(node.to_owned())))
}

#[tokio::test]
async fn each_part_runs_on_one_node_and_the_others_say_where() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    assert_eq!(one.states().await, everywhere("Running", &one.name()));
    assert_eq!(two.states().await, everywhere("Waiting", &one.name()));
    let leases = two.gesta.leases().await.unwrap();
    let leases: Vec<_> = leases.iter().map(|lease| lease.name.as_str()).collect();
    let parts = ["process:reminder", "projection:balances", "reactor:notices"];
    assert_eq!(leases, [&["node:1", "node:2"][..], &parts].concat());

    let causes = two.gesta.health().await.causes;
    let waiting: Vec<_> = causes.iter().filter(|cause| cause.state == "waiting").collect();
    let components: Vec<_> = waiting.iter().map(|cause| cause.component).collect();
    assert_eq!(components, [Component::Projection, Component::ProcessManager, Component::Reactor]);
    let detail = format!("runs on {}", one.name());
    assert!(waiting.iter().all(|it| it.severity == Severity::Notice && it.detail == detail));
}

#[tokio::test]
async fn a_query_on_a_waiting_node_sees_the_callers_own_write() {
    let group = Group::new();
    let _one = group.start("one").await;
    let two = group.start("two").await;
    for amount in 1..=20 {
        let receipt = deposit(&two.gesta, "ann", amount).await;
        let ask = two.gesta.ask::<_, MemoryReader>(AllBalances::<Balances>::of());
        let sum = amount * (amount + 1) / 2;
        assert_eq!(ask.at_least(&receipt).await.unwrap(), [("account-ann".to_owned(), sum)]);
    }
    // No event for the projection, so its checkpoint does not move.
    let receipt = two.gesta.execute(Audit { account: "ann".to_owned() }).await.unwrap();
    two.gesta.wait_for::<Balances>(&receipt).await.unwrap();
    assert_eq!(two.projection().await.state, ProjectionState::Waiting);
}

#[tokio::test]
async fn another_node_takes_over_before_any_time_passes_after_a_close() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    let before = group.clock.now();
    one.gesta.close().await;
    settle().await;
    assert_eq!(two.states().await, everywhere("Running", &two.name()));
    assert_eq!(group.clock.now(), before);
}

#[tokio::test]
async fn a_node_that_joins_gets_a_part_and_hands_over_nothing_else() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    group.pass(SECOND * 30).await;
    let parts = async |node: &str| {
        let mut leases = group.leases.list().await.unwrap();
        leases.retain(|it| it.node.as_str() == node && !it.name.as_str().starts_with("node:"));
        leases.into_iter().map(|it| (it.name.to_string(), it.token.number())).collect::<Vec<_>>()
    };
    let (stayed, moved) = (parts(&one.name()).await, parts(&two.name()).await);
    assert_eq!((stayed.len(), moved.len()), (2, 1), "{stayed:?} and {moved:?}");
    assert!(stayed.iter().all(|(_, token)| *token == 1), "{stayed:?}");
    assert!(moved.iter().all(|(_, token)| *token == 2), "{moved:?}");
}

/// The one part of a node that has no other.
struct Other;

impl Projection for Other {
    const NAME: &'static str = "other";
    type Event = BalanceEvent;
}

impl<Tx: Rows> Apply<Tx> for Other {
    async fn apply(&self, _: &mut Tx, _: &[Recorded<BalanceEvent>]) -> Result<(), ApplyError> {
        Ok(())
    }
}

/// During an upgrade, a node with the earlier program does not know a part.
#[tokio::test]
async fn a_part_that_no_other_node_takes_comes_back_and_stays() {
    let group = Group::new();
    let one = group.start("one").await;
    let earlier = Gesta::on(Arc::clone(&group.store))
        .clock(group.clock.clone())
        .nodes(Nodes::new(group.leases.clone(), "earlier").unwrap())
        .project(Other, &group.models);
    let _earlier = earlier.open().await.unwrap();
    group.pass(SECOND * 30).await;
    let own = everywhere("Running", &one.name());
    assert_eq!(one.states().await, own);
    let leases = group.leases.list().await.unwrap();
    let tokens: u64 =
        leases.iter().filter(|it| it.node.as_str() == one.name()).map(|it| it.token.number()).sum();
    assert_eq!(tokens, 5, "one of three was released and taken again, once: {leases:?}");
}

#[tokio::test]
async fn another_node_takes_over_a_second_after_a_close() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    deposit(&one.gesta, "ann", 1).await;
    one.gesta.execute(LendBook::new("emma", "ann")).await.unwrap();
    two.connection.is_deaf.store(true, Ordering::Relaxed);
    group.pass(SECOND * 3).await;
    one.gesta.close().await;
    group.pass(SECOND).await;
    assert_eq!(two.states().await, everywhere("Running", &two.name()));
    deposit(&two.gesta, "ann", 2).await;
    settle().await;
    assert_eq!(two.balances().await, [("account-ann".to_owned(), 3)]);
    // The timer that the first node has set.
    group.pass(LOAN).await;
    let happened = Library::happened(group.store.as_ref()).await;
    assert_eq!(happened, ["emma lent to ann", "ann reminded of emma"]);
    assert_eq!(group.office.of("book-emma"), [0], "the notice was sent by the first node");
}

#[tokio::test]
async fn another_node_takes_over_within_the_term_after_a_kill() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    group.pass(SECOND * 3).await;
    let before = two.states().await;
    one.kill();
    deposit(&two.gesta, "ann", 1).await;
    group.pass(TERM - SECOND * 4).await;
    assert_eq!(two.states().await, before, "the term is not over");
    group.pass(SECOND * 5).await;
    assert_eq!(two.states().await, everywhere("Running", &two.name()));
    assert_eq!(two.balances().await, [("account-ann".to_owned(), 1)]);
}

#[tokio::test]
async fn a_dropped_application_leaves_its_work_to_others_at_once() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    drop(one);
    group.pass(SECOND).await;
    assert_eq!(two.states().await, everywhere("Running", &two.name()));
}

/// The clock of the paused node stands still, so the node believes that it has its lease.
#[tokio::test]
async fn a_paused_node_that_wakes_up_cannot_write() {
    let group = Group::new();
    let own_clock = VirtualClock::new();
    let paused = group.start_at("paused", own_clock, Arc::clone(&group.leases)).await;
    let successor = group.start("successor").await;
    group.pass(TERM + SECOND).await;
    assert_eq!(successor.projection().await.state, ProjectionState::Running);
    assert_eq!(paused.projection().await.state, ProjectionState::Running, "as far as it knows");

    deposit(&successor.gesta, "ann", 1).await;
    settle().await;
    assert_eq!(successor.balances().await, [("account-ann".to_owned(), 1)]);
    // Its own clock has not moved: it has learned from the refusal of its write.
    let learned = paused.projection().await;
    assert_eq!(learned.state, ProjectionState::Waiting);
    assert_eq!(learned.runs_on, successor.gesta.node().cloned());
    let leases = group.leases.list().await.unwrap();
    let lease = leases.iter().find(|lease| lease.name.as_str() == "projection:balances").unwrap();
    assert_eq!(lease.token.number(), 2, "the successor still has it");
}

/// Each has leases of its own, so both run everything for good.
#[tokio::test]
async fn two_nodes_that_both_believe_to_run_a_process_record_each_input_once() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start_at("two", group.clock.clone(), leases_at(&group.clock)).await;
    for book in ["emma", "persuasion", "evelina"] {
        one.gesta.execute(LendBook::new(book, "ann")).await.unwrap();
    }
    group.pass(LOAN * 2 + SECOND).await;
    assert_eq!(one.gesta.process_managers()[0].state, ProcessState::Running);
    assert_eq!(two.gesta.process_managers()[0].state, ProcessState::Running);
    let mut happened = Library::happened(group.store.as_ref()).await;
    happened.retain(|what| what.contains("evelina"));
    assert_eq!(happened, ["evelina lent to ann", "ann reminded of evelina", "evelina lost"]);
    assert_eq!(group.process_events("process-reacted").await, 9, "three inputs of each book");
    // Effects without a token happen on both, with one key.
    let sent = group.office.sent();
    let keys: std::collections::BTreeSet<_> = sent.iter().map(|it| it.key.to_string()).collect();
    assert!(keys.len() < sent.len(), "both have sent");
    for node in [&one, &two] {
        let reactor = node.gesta.reactors().await.unwrap().remove(0);
        assert_eq!((reactor.dead_letters, reactor.trouble), (0, None), "both records hold");
    }
}

#[tokio::test]
async fn operations_on_a_waiting_node_are_refused_with_the_name_of_the_node_that_runs_it() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    let by = operator();
    let before = group.store.head().await.unwrap().position;
    let is_ours = |elsewhere: &RunsElsewhere| {
        assert!(elsewhere.to_string().contains(&one.name()), "{elsewhere}");
        elsewhere.node.as_ref() == one.gesta.node()
    };
    let rebuilt = two.gesta.rebuild("balances", &by).await;
    assert!(matches!(rebuilt, Err(OperationError::RunsElsewhere(it)) if is_ours(&it)));
    let dropped = two.gesta.drop_old_rows("balances", &by).await;
    assert!(matches!(dropped, Err(OperationError::RunsElsewhere(it)) if is_ours(&it)));
    let paused = two.gesta.pause_process("reminder", &by).await;
    assert!(matches!(paused, Err(ProcessError::RunsElsewhere(it)) if is_ours(&it)));
    let cancelled = two.gesta.cancel_process("reminder", "emma", &by).await;
    assert!(matches!(cancelled, Err(ProcessError::RunsElsewhere(it)) if is_ours(&it)));
    let retried = two.gesta.retry_effect("notices", EventId::random(), &by).await;
    assert!(matches!(retried, Err(ReactorError::RunsElsewhere(it)) if is_ours(&it)));
    let after = group.store.head().await.unwrap().position;
    assert_eq!(before, after, "a refused operation leaves no record");

    one.gesta.rebuild("balances", &by).await.unwrap();
}

#[tokio::test]
async fn a_waiting_node_shows_what_is_set_aside() {
    let group = Group::new();
    let one = group.start("one").await;
    let leases = Arc::clone(&group.leases);
    let two = group.start_as("two", Role::Queries, group.clock.clone(), leases).await;
    group.office.fail("book-emma", Failing::Permanently);
    one.gesta.execute(LendBook::new("emma", "ann")).await.unwrap();
    one.gesta.execute(LendBook::new("cursed", "ann")).await.unwrap();
    group.pass(SECOND * 2).await;
    let set_aside = two.gesta.process_set_aside("reminder").await.unwrap();
    assert_eq!(set_aside.len(), 1, "{set_aside:?}");
    let letters = two.gesta.reactor_dead_letters("notices").await.unwrap();
    assert_eq!(letters[0].stream.as_str(), "book-emma");
    assert_eq!(two.gesta.reactors().await.unwrap()[0].state, ReactorState::Waiting);
}

#[tokio::test]
async fn a_node_that_cannot_reach_the_leases_stops_and_says_so() {
    let group = Group::new();
    let one = group.start("one").await;
    one.connection.is_cut.store(true, Ordering::Relaxed);
    group.pass(TERM + SECOND).await;
    assert_ne!(one.projection().await.state, ProjectionState::Running);
    let two = group.start("two").await;
    assert_eq!(two.states().await, everywhere("Running", &two.name()));
    group.pass(TERM).await;
    let trouble = one.projection().await.trouble.unwrap();
    assert!(trouble.starts_with("the lease cannot be asked for: outcome unknown"), "{trouble}");
    let told = format!("{PLACE}: no answer within the term of a lease");
    assert!(trouble.ends_with(&told), "{trouble}");
    one.connection.is_cut.store(false, Ordering::Relaxed);
    group.pass(TERM * 3).await;
    let states = one.states().await;
    let is_waiting = ("Waiting".to_owned(), Some(two.name()));
    let waiting = states.iter().filter(|state| **state == is_waiting).count();
    assert_eq!(waiting, 2, "it has its share again: {states:?}");
}

#[tokio::test]
async fn a_term_out_of_range_is_refused_before_anything_opens() {
    let nodes = Nodes::new(Arc::new(MemoryLeases::new()), "one").unwrap().term(Duration::ZERO);
    let refused = Gesta::at("memory:").nodes(nodes).open().await;
    let error = refused.err().unwrap().to_string();
    assert_eq!(error, "the term of a lease must be between 100 ms and 86400000 ms; got 0 ms");
}

#[tokio::test]
async fn a_node_serves_its_role_and_refuses_the_rest() {
    let (store, models): (Arc<dyn EventStore>, _) =
        (Arc::new(MemoryStore::new()), MemoryReadModels::new());
    let start = async |role: Role| {
        let builder = Gesta::on(Arc::clone(&store)).role(role);
        builder.project(Balances(Controls::free()), &models).open().await.unwrap()
    };
    let (commands, queries) = (start(Role::Commands).await, start(Role::Queries).await);
    let projections = start(Role::Projections).await;

    let receipt = deposit(&commands, "ann", 7).await;
    let ask = || AllBalances::<Balances>::of();
    let answer = queries.ask::<_, MemoryReader>(ask()).at_least(&receipt).await.unwrap();
    assert_eq!(answer, [("account-ann".to_owned(), 7)]);
    assert_eq!(queries.projections().await.unwrap()[0].state, ProjectionState::Waiting);
    assert_eq!(projections.projections().await.unwrap()[0].state, ProjectionState::Running);

    let refused = commands.ask::<_, MemoryReader>(ask()).await;
    assert!(matches!(refused, Err(AskError::Wait(WaitError::OtherRole(_)))), "{refused:?}");
    for node in [&queries, &projections] {
        let deposit = Deposit { account: "ann".to_owned(), amount: 1 };
        let refused = node.execute(deposit).await;
        assert!(matches!(refused, Err(ExecuteError::OtherRole(_))), "{refused:?}");
    }
    assert_eq!(store.head().await.unwrap().position, receipt.position, "none was executed");
}
