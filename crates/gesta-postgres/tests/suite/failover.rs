//! A replica that takes over during the life of a store.

use std::time::Duration;

use gesta_services::OwnServer;
use gesta_store::{
    Delivery, EventStore, Invalid, Position, ReadAll, StoreError, Subscribe, Subscription,
    conformance::{block_on, block_on_within},
};
use tokio::time::Instant;

use crate::server::{TestStore, append_of, texts_of, with_client};

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Returns a URL for the primary, and for the replica once it is promoted.
fn url_of_both(replica: &OwnServer) -> String {
    let authority = |url: &str| {
        let (_, rest) = url.split_once('@').expect("the URL has a user");
        rest.split('/').next().expect("the URL has a host").to_owned()
    };
    let primary = replica.url_of_needed("postgres-15").expect("a replica has a primary");
    let (primary, replica) = (authority(&primary), authority(&replica.url()));
    format!("postgres://postgres@{primary},{replica}/postgres?target_session_attrs=read-write")
}

/// Waits until the replica has this number of events.
fn wait_for_replica(replica: &OwnServer, test: &TestStore, events: i64) {
    let count = format!("SELECT count(*) FROM {}.events", test.schema);
    with_client(&replica.url(), async |client| {
        let end = Instant::now() + WAIT_MAX;
        loop {
            let row = client.query_one(&count, &[]).await;
            if row.is_ok_and(|row| row.get::<_, i64>(0) == events) {
                return;
            }
            assert!(Instant::now() < end, "the replica does not follow");
        }
    });
}

fn promote(replica: &mut OwnServer) {
    replica.crash_needed("postgres-15").unwrap();
    with_client(&replica.url(), async |client| {
        client.query_one("SELECT pg_promote()", &[]).await.unwrap();
    });
}

fn next(subscription: &mut Subscription) -> Result<Delivery, StoreError> {
    block_on_within(WAIT_MAX, subscription.next()).expect("a subscription has no end")
}

/// Takes deliveries up to `CaughtUp` at a position.
fn catch_up(subscription: &mut Subscription, position: u64) {
    while next(subscription).unwrap() != Delivery::CaughtUp(Position::new(position)) {}
}

/// One subscription has seen an event that is lost, and must not continue as if nothing had
/// happened. Another one has not, and continues.
#[test]
fn after_a_failover_only_those_who_saw_lost_events_are_refused() {
    let Some(mut replica) = OwnServer::start_or_skip("postgres-replica") else { return };
    let test = TestStore::create(&url_of_both(&replica));
    let store = test.open();
    for text in ["1", "2", "3"] {
        block_on(store.append(append_of("order-1", text))).unwrap();
    }
    let before = block_on(store.head()).unwrap();
    let mut kept = store.subscribe(Subscribe::to_all().into());
    catch_up(&mut kept, 3);
    wait_for_replica(&replica, &test, 3);
    with_client(&replica.url(), async |client| {
        client.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let end = Instant::now() + WAIT_MAX;
        let receives = "SELECT count(*) FROM pg_stat_wal_receiver";
        while client.query_one(receives, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(Instant::now() < end, "the replica goes on to follow");
        }
    });
    block_on(store.append(append_of("order-1", "lost"))).unwrap();
    let mut ahead = store.subscribe(Subscribe::to_all().into());
    catch_up(&mut ahead, 4);

    promote(&mut replica);
    // The first attempt has an unknown outcome if it was cut off by the crash.
    let append = append_of("order-1", "after");
    let appended = loop {
        match block_on(store.append(append.clone())) {
            Ok(appended) => break appended,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    assert_eq!(appended.position, Position::new(4), "it takes the place of the lost event");
    let after = block_on(store.head()).unwrap();
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(texts_of(&store, "order-1"), ["1", "2", "3", "after"]);

    let Delivery::Events(page) = next(&mut kept).unwrap() else { panic!("expected an event") };
    assert_eq!(page.iter().map(|event| &event.data[..]).collect::<Vec<_>>(), [b"after"]);
    let refused = next(&mut ahead).unwrap_err();
    assert!(
        matches!(refused, StoreError::Rejected(Invalid::OtherIncarnation { .. })),
        "expected a refusal: {refused}"
    );
    // The same for consumers that come with their checkpoints.
    for (position, is_kept) in [(3, true), (4, false)] {
        let position = Position::new(position);
        let from = Subscribe::to_all().after(position).incarnation(before.incarnation);
        assert_eq!(next(&mut store.subscribe(from.into())).is_ok(), is_kept, "{position}");
    }
}

/// Its connections stay open, and the first append after the promotion is made on one of them.
#[test]
fn a_replica_that_is_promoted_gets_an_incarnation_before_its_first_event() {
    let Some(mut replica) = OwnServer::start_or_skip("postgres-replica") else { return };
    let primary = replica.url_of_needed("postgres-15").expect("a replica has a primary");
    let test = TestStore::create(&primary);
    let store = test.open();
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    let before = block_on(store.head()).unwrap();
    wait_for_replica(&replica, &test, 1);
    let on_replica = test.open_on(&replica.url());
    let refused = block_on(on_replica.append(append_of("order-1", "refused"))).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "expected read-only: {refused}");
    assert!(refused.to_string().contains("primary"), "{refused}");
    assert_eq!(block_on(on_replica.head()).unwrap(), before);

    promote(&mut replica);
    block_on(on_replica.append(append_of("order-1", "after"))).unwrap();
    let after = block_on(on_replica.head()).unwrap();
    assert_eq!(after.position, Position::new(2));
    assert_ne!(after.incarnation, before.incarnation);
    let all = block_on(on_replica.read_all(ReadAll::forwards()).collect_events()).unwrap();
    assert_eq!(all.len(), 2);
}
