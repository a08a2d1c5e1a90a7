//! Leases pass every clause, and are shared by all who open the store.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use gesta_store::{
    AcquireLease, EventStore as _, LeaseName, Leases, NodeName,
    conformance::{
        block_on, block_on_within,
        leases::{CLAUSES, LeaseClause, LeaseFixture},
    },
};

use crate::server::{TO_VERSION_4, TestStore, with_client};

/// Each node opens the store by itself. The server's clock cannot be moved, so leases are.
fn fixture(server: &str) -> LeaseFixture {
    let store = Arc::new(TestStore::create(server));
    let (connected, moved, server) = (Arc::clone(&store), Arc::clone(&store), server.to_owned());
    let pass = move |duration: Duration| {
        let moving = format!(
            "UPDATE {}.leases SET expires_at = expires_at - {} * interval '1 second'",
            moved.schema,
            duration.as_secs_f64()
        );
        with_client(&server, async |client| client.batch_execute(&moving).await)
            .expect("leases are moved");
    };
    let connect = move || -> Box<dyn Leases> { Box::new(connected.open()) };
    LeaseFixture::new(connect, pass).keep_alive(store)
}

/// Runs every clause on a service, whose programs may be missing.
fn check_every_clause(service: &str) {
    let Some(server) = gesta_services::url_or_skip(service) else { return };
    let fails = |clause: &LeaseClause| {
        catch_unwind(AssertUnwindSafe(|| clause.check(&fixture(&server)))).is_err()
    };
    let failed: Vec<_> = CLAUSES.iter().filter(|clause| fails(clause)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn leases_pass_every_clause() {
    check_every_clause("postgres");
}

#[test]
fn leases_pass_every_clause_on_the_oldest_version() {
    check_every_clause("postgres-15");
}

#[test]
fn leases_pass_every_clause_through_a_pooler() {
    check_every_clause("pgbouncer");
}

/// A store that was made before there were leases gets their table when it is opened.
#[test]
fn an_earlier_store_gets_leases() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let store = TestStore::create(&server);
    block_on(store.open().close()).expect("the store closes");
    store.execute(TO_VERSION_4);
    store.execute("DROP TABLE {schema}.leases; UPDATE {schema}.store SET version = 1");
    let opened = store.open();
    let name = LeaseName::new("task").expect("a name");
    let node = NodeName::new("one").expect("a name");
    let acquire = AcquireLease::new(name, node, Duration::from_secs(10));
    block_on(opened.acquire(acquire)).expect("the lease is free");
}

#[test]
fn granted_leases_survive_a_crash_of_the_server() {
    let Some(mut server) = gesta_services::OwnServer::start_or_skip("postgres") else { return };
    let store = TestStore::create(&server.url());
    let (one, two) = (store.open(), store.open());
    let acquire = |node: &str| {
        let name = LeaseName::new("task").expect("a name");
        AcquireLease::new(name, NodeName::new(node).expect("a name"), Duration::from_secs(600))
    };
    let first = block_on(one.acquire(acquire("one"))).expect("the lease is free");
    server.crash().expect("the server ends");
    let lost = block_on(one.renew(&first)).expect_err("there is no server");
    assert!(lost.is_transient(), "{lost}");
    server.start().expect("the server starts");
    block_on(one.renew(&first)).expect("the lease is in force");
    assert!(block_on(two.acquire(acquire("two"))).is_err());
    block_on(one.release(&first)).expect("a lease is released");
    let second = block_on(two.acquire(acquire("two"))).expect("the lease is free");
    assert!(second.token > first.token);
}

#[test]
fn a_release_is_announced_to_the_other_nodes() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let store = TestStore::create(&server);
    let (one, two) = (store.open(), store.open());
    let acquire = |node: &str| {
        let name = LeaseName::new("task").expect("a name");
        AcquireLease::new(name, NodeName::new(node).expect("a name"), Duration::from_secs(600))
    };
    block_on_within(Duration::from_secs(60), async {
        // The listener may not be connected yet: then a release goes unnoticed, and the next one
        // does not.
        let released = two.released();
        let release_until_heard = async {
            loop {
                let lease = one.acquire(acquire("one")).await.expect("the lease is free");
                one.release(&lease).await.expect("a lease is released");
            }
        };
        futures_util::future::select(released, pin!(release_until_heard)).await;
        let lease = one.acquire(acquire("one")).await.expect("the lease is free");
        let held = two.acquire(acquire("two")).await.expect_err("the other node has it");
        assert!(held.is_transient());
        let released = two.released();
        one.release(&lease).await.expect("a lease is released");
        released.await;
        two.acquire(acquire("two")).await.expect("the lease is free");
    });
}
