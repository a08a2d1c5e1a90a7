//! A projection in partitions, which several nodes share.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, UNIX_EPOCH},
};

use gesta::{
    Apply, ApplyError, Clock as _, Gesta, Nodes, OpenError, PartitionStatus, Projection,
    ProjectionState, ProjectionStatus, ReadTypedRows as _, Recorded, TypedRows as _,
    store::{
        EventStore, MemoryLeases, MemoryReadModels, MemoryReader, MemoryTx, Rows,
        memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};

use crate::bank::{
    AccountEvent, AllBalances, Audit, BalanceEvent, Controls, Deposited, Fault, UNLUCKY, deposit,
    operator, replayed,
};

const SECOND: Duration = Duration::from_secs(1);
const PARTITIONS: u32 = 6;

/// The balances of accounts, in partitions.
pub(crate) struct Shared<const COUNT: u32 = PARTITIONS>(pub(crate) Arc<Controls>);

impl<const COUNT: u32> Projection for Shared<COUNT> {
    const NAME: &'static str = "balances";
    const PARTITIONS: u32 = COUNT;
    type Event = BalanceEvent;
}

impl<Tx: Rows, const COUNT: u32> Apply<Tx> for Shared<COUNT> {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<BalanceEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let BalanceEvent::Deposited(Deposited { amount }) = event.event;
            let account = event.stream.as_str();
            let before: u64 = tx.get("balances", account).await?.unwrap_or_default();
            tx.put("balances", account, &(before + amount)).await?;
            if amount == UNLUCKY && !self.0.fixed.load(Ordering::SeqCst) {
                return Err(ApplyError::because("thirteen is unlucky"));
            }
        }
        self.0.applied.fetch_add(events.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}

struct Group {
    store: Arc<dyn EventStore>,
    models: MemoryReadModels,
    clock: VirtualClock,
    leases: Arc<MemoryLeases>,
    controls: Arc<Controls>,
}

impl Group {
    fn new() -> Self {
        let clock = VirtualClock::new();
        let time = clock.clone();
        let since_1970 = move || time.now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        Self {
            store: Arc::new(MemoryStore::new()),
            models: MemoryReadModels::new(),
            clock,
            leases: Arc::new(MemoryLeases::with_clock(since_1970)),
            controls: Controls::failing(Fault::Error),
        }
    }

    async fn start(&self, label: &str) -> Gesta {
        self.start_with(label, Shared::<PARTITIONS>(Arc::clone(&self.controls))).await
    }

    async fn start_with(&self, label: &str, projection: impl Apply<MemoryTx>) -> Gesta {
        let nodes = Nodes::new(self.leases.clone(), label).unwrap();
        let builder = Gesta::on(Arc::clone(&self.store)).clock(self.clock.clone()).nodes(nodes);
        let gesta = builder.project(projection, &self.models).open().await.unwrap();
        settle().await;
        gesta
    }

    async fn pass(&self, duration: Duration) {
        let end = self.clock.now() + duration;
        settle().await;
        while self.clock.now() < end {
            self.clock.advance(SECOND);
            settle().await;
        }
    }

    /// Lets time pass until a rebuild is over, at most two minutes.
    async fn pass_rebuild(&self, gesta: &Gesta) -> ProjectionStatus {
        for _ in 0..120 {
            if status(gesta).await.state == ProjectionState::Running {
                break;
            }
            self.pass(SECOND).await;
        }
        status(gesta).await
    }
}

/// Gives every task on this thread enough turns.
async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

async fn status(gesta: &Gesta) -> ProjectionStatus {
    gesta.projections().await.unwrap().remove(0)
}

/// The number of partitions that each node runs, by label.
async fn shares(gesta: &Gesta) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for PartitionStatus { runs_on, .. } in status(gesta).await.partitions {
        let node = runs_on.map_or_else(|| "nobody".to_owned(), |node| node.to_string());
        *shares.entry(node.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    shares
}

async fn balances(gesta: &Gesta) -> Vec<(String, u64)> {
    gesta.ask::<_, MemoryReader>(AllBalances::<Shared>::of()).await.unwrap()
}

async fn deposit_to_all(gesta: &Gesta, rounds: u64) {
    for number in 0..rounds * 20 {
        deposit(gesta, &format!("a{}", number % 20), 100 + number).await;
    }
}

/// The projection itself and its partitions are seven parts: three for each of three nodes at most.
#[tokio::test]
async fn a_node_that_joins_gets_its_share_and_every_event_is_applied_once() {
    let group = Group::new();
    let one = group.start("one").await;
    deposit_to_all(&one, 3).await;
    assert_eq!(shares(&one).await, BTreeMap::from([("one".to_owned(), 6)]));
    let two = group.start("two").await;
    let three = group.start("three").await;
    deposit_to_all(&two, 3).await;
    group.pass(SECOND * 5).await;
    for node in [&one, &two, &three] {
        let spread = shares(node).await;
        assert_eq!(spread.values().sum::<usize>(), 6, "{spread:?}");
        assert!(spread.values().all(|parts| (1..=3).contains(parts)), "{spread:?}");
        assert_eq!(spread.len(), 3, "each node has some: {spread:?}");
    }
    deposit_to_all(&three, 3).await;
    group.pass(SECOND * 2).await;
    assert_eq!(balances(&three).await, replayed(&group.store, 1).await);
    assert_eq!(group.controls.applied.load(Ordering::SeqCst), 180, "each event was applied once");
}

#[tokio::test]
async fn three_nodes_apply_every_event_once_and_work_moves_when_one_closes() {
    let group = Group::new();
    // A node that is closed leaves its own to the others.
    let one = group.start("one").await;
    deposit_to_all(&one, 3).await;
    let two = group.start("two").await;
    let three = group.start("three").await;
    group.pass(SECOND * 3).await;
    one.close().await;
    deposit_to_all(&two, 3).await;
    group.pass(SECOND * 3).await;
    let spread = shares(&three).await;
    assert_eq!(spread.values().sum::<usize>(), 6, "{spread:?}");
    assert!(!spread.contains_key("one") && !spread.contains_key("nobody"), "{spread:?}");

    for (node, label) in [(two, "two"), (three, "three")] {
        let receipt = deposit(&node, "a7", 7).await;
        node.wait_for::<Shared>(&receipt).await.unwrap();
        assert_eq!(balances(&node).await, replayed(&group.store, 1).await, "as {label} sees it");
        if label == "two" {
            node.close().await;
            group.pass(SECOND * 3).await;
        }
    }
    assert_eq!(group.controls.applied.load(Ordering::SeqCst), 122, "each event was applied once");
}

#[tokio::test]
async fn a_query_waits_for_all_partitions_also_for_an_event_of_no_partition() {
    let group = Group::new();
    let one = group.start("one").await;
    let two = group.start("two").await;
    for node in [&one, &two] {
        for number in 1..=10 {
            let receipt = deposit(node, &format!("a{number}"), number).await;
            node.wait_for::<Shared>(&receipt).await.unwrap();
            assert_eq!(balances(node).await, replayed(&group.store, 1).await);
        }
        let receipt = node.execute(Audit { account: "a1".to_owned() }).await.unwrap();
        node.wait_for::<Shared>(&receipt).await.unwrap();
    }
}

#[tokio::test]
async fn a_projection_in_partitions_is_rebuilt_beside_the_rows_that_answer() {
    let group = Group::new();
    let one = group.start("one").await;
    deposit_to_all(&one, 2).await;
    drain(&one).await;
    let before = group.controls.applied.load(Ordering::SeqCst);
    let paused = one.pause_projection("balances", &operator()).await.unwrap_err().to_string();
    assert!(paused.contains("it is divided into partitions"), "{paused}");
    one.rebuild("balances", &operator()).await.unwrap();
    assert_ne!(status(&one).await.state, ProjectionState::Running);
    deposit_to_all(&one, 1).await;
    let rebuilt = group.pass_rebuild(&one).await;
    assert_eq!(rebuilt.state, ProjectionState::Running);
    assert_eq!(rebuilt.old_rows.map(|old| old.build), Some(1));
    assert!(group.controls.applied.load(Ordering::SeqCst) >= before + 60, "all were applied anew");
    assert_eq!(balances(&one).await, replayed(&group.store, 1).await);
    // The new rows are those that are filled.
    deposit_to_all(&one, 1).await;
    drain(&one).await;
    assert_eq!(balances(&one).await, replayed(&group.store, 1).await);
}

#[tokio::test]
async fn a_dead_letter_of_a_partition_is_retried_with_the_events_behind_it() {
    let group = Group::new();
    let one = group.start("one").await;
    for amount in [1, UNLUCKY, 2] {
        deposit(&one, "ann", amount).await;
    }
    deposit_to_all(&one, 1).await;
    drain(&one).await;
    group.pass(SECOND * 2).await;
    let letters = one.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 2, "one, and the event behind it");
    group.controls.fixed.store(true, Ordering::SeqCst);
    one.retry_dead_letter(&letters[0].0, &operator()).await.unwrap();
    // The partition learns of it at its next event, and restarts after a pause.
    deposit(&one, "ann", 4).await;
    group.pass(SECOND * 2).await;
    assert_eq!(balances(&one).await, replayed(&group.store, 1).await);
    assert!(one.dead_letters().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_projection_is_divided_without_a_rebuild_and_joined_by_one() {
    let group = Group::new();
    let plain = async || {
        let builder = Gesta::on(Arc::clone(&group.store)).clock(group.clock.clone());
        let projection = crate::bank::Balances(Controls::free());
        builder.project(projection, &group.models).open().await.unwrap()
    };
    let before = plain().await;
    deposit_to_all(&before, 1).await;
    drain(&before).await;
    before.close().await;
    let one = group.start("one").await;
    deposit_to_all(&one, 1).await;
    drain(&one).await;
    assert_eq!(group.controls.applied.load(Ordering::SeqCst), 20, "only the new events");
    assert_eq!(balances(&one).await, replayed(&group.store, 1).await);
    one.close().await;
    let after = plain().await;
    group.pass(SECOND * 2).await;
    drain(&after).await;
    let joined = status(&after).await;
    assert_eq!(joined.old_rows.map(|old| old.build), Some(1), "a rebuild has replaced them");
    let query = AllBalances::<crate::bank::Balances>::of();
    let answer = after.ask::<_, MemoryReader>(query).await.unwrap();
    assert_eq!(answer, replayed(&group.store, 1).await);
}

#[tokio::test]
async fn a_projection_is_divided_only_once_the_node_with_the_earlier_program_has_closed() {
    let group = Group::new();
    let before = group.start_with("before", crate::bank::Balances(Controls::free())).await;
    let one = group.start("one").await;
    deposit_to_all(&before, 1).await;
    group.pass(SECOND * 2).await;
    assert_eq!(group.controls.applied.load(Ordering::SeqCst), 0, "the partitions wait");
    assert_eq!(balances(&one).await, replayed(&group.store, 1).await);
    before.close().await;
    deposit_to_all(&one, 1).await;
    group.pass(SECOND * 3).await;
    assert_eq!(group.controls.applied.load(Ordering::SeqCst), 20, "only the new events");
    assert_eq!(balances(&one).await, replayed(&group.store, 1).await);
}

#[tokio::test]
async fn another_number_of_partitions_is_a_rebuild_beside_the_rows_that_answer() {
    let group = Group::new();
    let six = group.start("six").await;
    deposit_to_all(&six, 1).await;
    drain(&six).await;
    six.close().await;
    let three = Shared::<3>(Arc::clone(&group.controls));
    let before = replayed(&group.store, 1).await;
    let three = group.start_with("three", three).await;
    let query = AllBalances::<Shared<3>>::of();
    let answer = three.ask::<_, MemoryReader>(AllBalances::<Shared<3>>::of()).await.unwrap();
    assert_eq!(answer, before, "the rows answer that were there");
    deposit_to_all(&three, 1).await;
    group.pass(SECOND * 5).await;
    drain(&three).await;
    let rebuilt = status(&three).await;
    assert_eq!((rebuilt.state, rebuilt.partitions.len()), (ProjectionState::Running, 3));
    assert_eq!(rebuilt.old_rows.map(|old| old.build), Some(1), "a rebuild has replaced them");
    let answer = three.ask::<_, MemoryReader>(query).await.unwrap();
    assert_eq!(answer, replayed(&group.store, 1).await);
}

/// Counts the audits of each account next to the deposits: a program with one more event type.
struct Audits<const COUNT: u32>;

impl<const COUNT: u32> Projection for Audits<COUNT> {
    const NAME: &'static str = "balances";
    const PARTITIONS: u32 = COUNT;
    type Event = AccountEvent;
}

impl<Tx: Rows, const COUNT: u32> Apply<Tx> for Audits<COUNT> {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let account = event.stream.as_str();
            let before: u64 = tx.get("balances", account).await?.unwrap_or_default();
            let added = match event.event {
                AccountEvent::Deposited(Deposited { amount }) => amount,
                AccountEvent::Audited(_) => 1_000_000,
            };
            tx.put("balances", account, &(before + added)).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn partitions_that_passed_events_of_an_added_type_are_rebuilt() {
    let group = Group::new();
    let before = group.start("before").await;
    deposit(&before, "a1", 1).await;
    before.execute(Audit { account: "a1".to_owned() }).await.unwrap();
    deposit(&before, "a1", 2).await;
    drain(&before).await;
    before.close().await;
    let after = group.start_with("after", Audits::<PARTITIONS>).await;
    group.pass(SECOND * 5).await;
    drain(&after).await;
    let query = AllBalances::<Audits<PARTITIONS>>::of();
    let [(_, balance)] = after.ask::<_, MemoryReader>(query).await.unwrap()[..] else {
        panic!("one account has a balance")
    };
    assert_eq!(balance, 1_000_003, "the audit counts");
}

/// Stops at an event that fails, which partitions cannot.
struct Strict;

impl Projection for Strict {
    const NAME: &'static str = "strict";
    const FAILURE_POLICY: gesta::FailurePolicy = gesta::FailurePolicy::Halt;
    const PARTITIONS: u32 = 2;
    type Event = BalanceEvent;
}

impl<Tx: Rows> Apply<Tx> for Strict {
    async fn apply(&self, _: &mut Tx, _: &[Recorded<BalanceEvent>]) -> Result<(), ApplyError> {
        Ok(())
    }
}

#[tokio::test]
async fn partitions_that_would_have_to_halt_are_refused() {
    let opened = Gesta::at("memory:").project(Strict, &MemoryReadModels::new()).open().await;
    let error = opened.err().unwrap();
    assert!(matches!(error, OpenError::Partitions { projection: "strict", .. }), "{error}");
}
