//! The clauses of leases.
//!
//! Terms are long, so that a clock that also moves by itself changes no outcome.

use std::{future::poll_fn, sync::Barrier, task::Poll, thread, time::Duration};

use super::LeaseFixture;
use crate::{
    AcquireLease, CreateReadModel, DatabaseError, FencingToken, Lease, LeaseError, LeaseInForce,
    LeaseName, Leases, MemoryReadModels, NodeName, ReadModelId, ReadModelStore, ReadModelTx, Rows,
    Stage, conformance::block_on_within,
};

const TERM: Duration = Duration::from_secs(600);
/// Time by which a clock may have moved by itself.
const SLACK: Duration = Duration::from_secs(60);
const NODES: usize = 8;

fn request(name: &str, node: &str) -> AcquireLease {
    let name = LeaseName::new(name).expect("a clause names leases well");
    let node = NodeName::new(node).expect("a clause names nodes well");
    AcquireLease::new(name, node, TERM)
}

/// Acquires the lease `task`, which has to be free, for a node.
async fn acquired(leases: &dyn Leases, node: &str) -> Lease {
    leases.acquire(request("task", node)).await.expect("the lease is free")
}

/// Asks for the lease `task`, and expects that this node has it.
async fn refused(leases: &dyn Leases, asking: &str, has_it: &str) -> Duration {
    match leases.acquire(request("task", asking)).await {
        Err(LeaseError::Held { name, node, remaining }) => {
            assert_eq!((name.as_str(), node.as_str()), ("task", has_it), "the error says who");
            remaining
        }
        other => panic!("expected that {has_it} has the lease, got {other:?}"),
    }
}

async fn lost(leases: &dyn Leases, lease: &Lease) {
    match leases.renew(lease).await {
        Err(LeaseError::Lost { name, token }) => {
            assert_eq!((name, token), (lease.name.clone(), lease.token), "the error says which");
        }
        other => panic!("expected that the lease is over, got {other:?}"),
    }
}

async fn listed(leases: &dyn Leases) -> Vec<LeaseInForce> {
    leases.list().await.expect("leases are listed")
}

pub(super) async fn a_free_lease_is_granted_as_asked(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let lease = acquired(&*leases, "one").await;
    assert_eq!((lease.name.as_str(), lease.node.as_str()), ("task", "one"));
    assert_eq!(lease.term, TERM);
    assert!(lease.token >= FencingToken::new(1), "tokens begin with 1");
}

pub(super) async fn a_lease_in_force_is_refused_to_other_nodes(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    acquired(&*one, "one").await;
    let remaining = refused(&*two, "two", "one").await;
    assert!(remaining <= TERM && remaining > TERM - SLACK, "{remaining:?} of {TERM:?}");
    (fixture.pass)(TERM / 2);
    let remaining = refused(&*two, "two", "one").await;
    assert!(remaining <= TERM / 2 && remaining > TERM / 2 - SLACK, "{remaining:?} of {TERM:?}");
}

pub(super) async fn a_lease_is_in_force_until_its_term_is_over(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let lease = acquired(&*one, "one").await;
    (fixture.pass)(TERM - SLACK);
    refused(&*two, "two", "one").await;
    one.renew(&lease).await.expect("the lease is in force");
}

pub(super) async fn a_lease_expires_after_its_term(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    acquired(&*one, "one").await;
    (fixture.pass)(TERM);
    acquired(&*two, "two").await;
    refused(&*one, "one", "two").await;
}

pub(super) async fn a_renewal_begins_the_term_anew(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let lease = acquired(&*one, "one").await;
    for _ in 0..3 {
        (fixture.pass)(TERM / 2);
        one.renew(&lease).await.expect("the lease is in force");
    }
    (fixture.pass)(TERM / 2);
    refused(&*two, "two", "one").await;
}

pub(super) async fn renewals_do_not_add_up(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let lease = acquired(&*one, "one").await;
    for _ in 0..3 {
        one.renew(&lease).await.expect("the lease is in force");
    }
    (fixture.pass)(TERM);
    acquired(&*two, "two").await;
}

pub(super) async fn a_renewal_keeps_the_token(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let lease = acquired(&*leases, "one").await;
    leases.renew(&lease).await.expect("the lease is in force");
    let tokens: Vec<_> = listed(&*leases).await.iter().map(|held| held.token).collect();
    assert_eq!(tokens, [lease.token]);
    leases.renew(&lease).await.expect("the lease is in force");
}

pub(super) async fn an_expired_lease_cannot_be_renewed(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let lease = acquired(&*leases, "one").await;
    (fixture.pass)(TERM);
    lost(&*leases, &lease).await;
    assert_eq!(listed(&*leases).await, [], "it stays over");
}

pub(super) async fn a_lease_that_moved_cannot_be_renewed(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let first = acquired(&*one, "one").await;
    (fixture.pass)(TERM);
    let second = acquired(&*two, "two").await;
    lost(&*one, &first).await;
    two.renew(&second).await.expect("the lease is in force");
}

pub(super) async fn a_released_lease_is_free_at_once(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let lease = acquired(&*one, "one").await;
    one.release(&lease).await.expect("a lease is released");
    acquired(&*two, "two").await;
}

pub(super) async fn a_released_lease_cannot_be_renewed(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let lease = acquired(&*leases, "one").await;
    leases.release(&lease).await.expect("a lease is released");
    lost(&*leases, &lease).await;
}

pub(super) async fn releasing_again_has_no_effect(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let lease = acquired(&*leases, "one").await;
    for _ in 0..2 {
        leases.release(&lease).await.expect("a lease that is over may be released");
    }
}

pub(super) async fn a_late_release_leaves_the_next_lease_alone(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let first = acquired(&*one, "one").await;
    (fixture.pass)(TERM);
    let second = acquired(&*two, "two").await;
    one.release(&first).await.expect("a lease that is over may be released");
    two.renew(&second).await.expect("the lease is in force");
    refused(&*one, "one", "two").await;
}

pub(super) async fn a_node_that_asks_again_gets_a_later_lease(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let first = acquired(&*leases, "one").await;
    let second = acquired(&*leases, "one").await;
    assert!(second.token > first.token, "{} after {}", second.token, first.token);
    lost(&*leases, &first).await;
    leases.release(&first).await.expect("a lease that is over may be released");
    leases.renew(&second).await.expect("the lease is in force");
}

pub(super) async fn tokens_grow_with_each_lease(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let mut tokens = Vec::new();
    for round in 0..3 {
        let released = acquired(&*one, "one").await;
        one.release(&released).await.expect("a lease is released");
        tokens.push(released.token);
        // The same node acquires it again, then another one.
        tokens.push(acquired(&*one, "one").await.token);
        (fixture.pass)(TERM);
        tokens.push(acquired(&*two, "two").await.token);
        (fixture.pass)(TERM);
        assert!(tokens.is_sorted_by(|earlier, later| earlier < later), "{round}: {tokens:?}");
    }
}

pub(super) async fn tokens_grow_after_a_long_pause(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let before = acquired(&*one, "one").await;
    (fixture.pass)(Duration::from_secs(400 * 24 * 60 * 60));
    assert_eq!(listed(&*one).await, []);
    let after = acquired(&*two, "two").await;
    assert!(after.token > before.token, "{} after {}", after.token, before.token);
}

pub(super) async fn leases_of_other_names_are_independent(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let first = acquired(&*one, "one").await;
    let other = two.acquire(request("other task", "two")).await.expect("the other lease is free");
    one.release(&first).await.expect("a lease is released");
    two.renew(&other).await.expect("the other lease is in force");
    let names: Vec<_> = listed(&*one).await.into_iter().map(|held| held.name).collect();
    assert_eq!(names, [other.name]);
}

pub(super) async fn one_of_many_nodes_gets_the_lease(fixture: &LeaseFixture) {
    let connections: Vec<_> = (0..NODES).map(|_| (fixture.connect)()).collect();
    let (start, timeout) = (&Barrier::new(NODES), fixture.timeout);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let ask = |(node, leases): (usize, Box<dyn Leases>)| {
            scope.spawn(move || {
                start.wait();
                let node = format!("node {node}");
                block_on_within(timeout, leases.acquire(request("task", &node)))
            })
        };
        let asking: Vec<_> = connections.into_iter().enumerate().map(ask).collect();
        asking.into_iter().map(|node| node.join().expect("a node gets an answer")).collect()
    });
    let granted = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
    let granted: Vec<_> = granted.collect();
    assert_eq!(granted.len(), 1, "{outcomes:?}");
    let holder = granted.first().map(|lease| lease.node.clone());
    for outcome in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        match outcome {
            LeaseError::Held { node, .. } => assert_eq!(Some(node), holder.as_ref()),
            other => panic!("expected that another node has the lease, got {other}"),
        }
    }
}

pub(super) async fn the_list_has_the_leases_in_force_by_name(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let mut expected = Vec::new();
    for (leases, task, node) in [(&one, "b", "one"), (&two, "c", "two"), (&one, "a", "one")] {
        let lease = leases.acquire(request(task, node)).await.expect("the lease is free");
        expected.push((lease.name, lease.node, lease.token));
    }
    expected.sort();
    let held = listed(&*two).await;
    assert!(held.iter().all(|held| held.remaining <= TERM && held.remaining > TERM - SLACK));
    let held: Vec<_> = held.into_iter().map(|held| (held.name, held.node, held.token)).collect();
    assert_eq!(held, expected);
}

pub(super) async fn the_list_leaves_out_leases_that_are_over(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    leases.acquire(request("expired", "one")).await.expect("the lease is free");
    (fixture.pass)(TERM);
    let released = leases.acquire(request("released", "one")).await.expect("the lease is free");
    leases.release(&released).await.expect("a lease is released");
    let held = leases.acquire(request("held", "one")).await.expect("the lease is free");
    let names: Vec<_> = listed(&*leases).await.into_iter().map(|held| held.name).collect();
    assert_eq!(names, [held.name]);
}

pub(super) async fn names_come_back_as_they_were_given(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let longest = "l".repeat(LeaseName::BYTES_MAX);
    let mut given = vec![
        ("Projection: Größen/2 é@x".to_owned(), "Knoten ' \" \\ %".to_owned()),
        ("projection: größen/2 é@x".to_owned(), "日本語 🦀".to_owned()),
        (longest.clone(), longest),
    ];
    for (name, node) in &given {
        let acquired = leases.acquire(request(name, node)).await.expect("the lease is free");
        assert_eq!((acquired.name.as_str(), acquired.node.as_str()), (&**name, &**node));
    }
    // By bytes, as names compare.
    given.sort();
    let held = listed(&*leases).await.into_iter();
    let held: Vec<_> = held.map(|held| (held.name.to_string(), held.node.to_string())).collect();
    assert_eq!(held, given);
}

pub(super) async fn a_term_out_of_range_is_refused(fixture: &LeaseFixture) {
    let leases = (fixture.connect)();
    let too_long = AcquireLease::TERM_MAX + Duration::from_millis(1);
    for term in [Duration::ZERO, AcquireLease::TERM_MIN / 2, too_long] {
        let outcome = leases.acquire(AcquireLease { term, ..request("task", "one") }).await;
        let is_refused = matches!(outcome, Err(LeaseError::Term { term: named }) if named == term);
        assert!(is_refused, "{term:?}: {outcome:?}");
    }
    assert_eq!(listed(&*leases).await, []);
}

pub(super) async fn a_dropped_call_harms_nothing(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let mut call = one.acquire(request("task", "one"));
    poll_fn(|context| {
        // Ready or not: the outcome is open.
        let _ = call.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
    drop(call);
    // The first node may have the lease without knowing it.
    let lease = acquired(&*one, "one").await;
    one.renew(&lease).await.expect("the lease is in force");
    (fixture.pass)(TERM);
    acquired(&*two, "two").await;
}

/// The scenario for which tokens exist: a node is stopped with a transaction in mind, and wakes up
/// after another node has taken over.
pub(super) async fn a_paused_node_cannot_write_with_its_old_lease(fixture: &LeaseFixture) {
    let (one, two) = ((fixture.connect)(), (fixture.connect)());
    let store = MemoryReadModels::new();
    let create = CreateReadModel { projection: "orders", version: 1, stage: Stage::Live };
    let orders = store.create_read_model(create).await.expect("a memory store creates");

    let first = acquired(&*one, "one").await;
    write(&store, &orders, &first).await.expect("the lease is in force");
    (fixture.pass)(TERM);
    let second = acquired(&*two, "two").await;
    write(&store, &orders, &second).await.expect("the lease is in force");
    match write(&store, &orders, &first).await {
        Err(DatabaseError::Fenced { token, admitted }) => {
            assert_eq!((token, admitted), (first.token, second.token));
        }
        other => panic!("expected that the paused node is refused, got {other:?}"),
    }
    write(&store, &orders, &second).await.expect("the lease is in force");
}

/// Writes a row in a transaction under a lease.
async fn write(
    store: &MemoryReadModels,
    read_model: &ReadModelId,
    lease: &Lease,
) -> Result<(), DatabaseError> {
    let mut tx = store.begin(read_model).await?;
    lease.token.fence(&mut tx).await?;
    tx.put_json("orders", "1", &lease.node.as_str().into()).await?;
    tx.commit().await
}
