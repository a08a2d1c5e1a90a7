//! Reads from a replica.

use std::time::Duration;

use gesta_services::OwnServer;
use gesta_store::{EventStore, ReadAll, StoreError, conformance::block_on};

use crate::server::{TestStore, append_of, texts_of, with_client};

/// A store that reads from the replica, and the replica.
fn open_or_skip() -> Option<(OwnServer, TestStore, String)> {
    let replica = OwnServer::start_or_skip("postgres-replica")?;
    let primary = replica.url_of_needed("postgres-15").expect("a replica has a primary");
    let test = TestStore::create(&primary);
    let url = replica.url();
    let (_, address) = url.split_once('@').expect("the URL has a user");
    let address = address.split('/').next().expect("the URL has a host");
    let url = format!("{primary}?replica={address}");
    Some((replica, test, url))
}

/// Waits until the replica has this number of events.
fn wait_for_replay(replica: &OwnServer, test: &TestStore, events: usize) {
    let count = format!("SELECT count(*) FROM \"{}\".events", test.schema);
    with_client(&replica.url(), async |client| {
        let replayed = async {
            while client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0) < events as i64 {}
        };
        tokio::time::timeout(Duration::from_secs(60), replayed).await.expect("it follows");
    });
}

#[test]
fn reads_see_the_appends_of_the_process_and_go_on_without_the_primary() {
    let Some((mut replica, test, url)) = open_or_skip() else { return };
    let store = test.open_on(&url);
    let mut expected = Vec::new();
    for nth in 0..50 {
        block_on(store.append(append_of("order-1", &nth.to_string()))).unwrap();
        expected.push(nth.to_string());
        assert_eq!(texts_of(&store, "order-1"), expected);
    }
    // The last reads may have been the primary's, if the replica stood behind for long.
    wait_for_replay(&replica, &test, expected.len());
    replica.crash_needed("postgres-15").unwrap();
    assert_eq!(texts_of(&store, "order-1"), expected);
    let all = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    assert_eq!(all.len(), expected.len());
    let error = block_on(store.append(append_of("order-1", "lost"))).unwrap_err();
    assert!(error.is_transient(), "only the primary judges: {error}");
    let described = block_on(store.describe_stream(&crate::server::name("order-1")));
    assert!(matches!(described, Err(StoreError::Unreachable { .. })), "{described:?}");
}

#[test]
fn a_replica_that_stands_behind_or_is_down_is_not_asked() {
    let Some((mut replica, test, url)) = open_or_skip() else { return };
    let store = test.open_on(&url);
    block_on(store.append(append_of("order-1", "first"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["first"]);
    with_client(&replica.url(), async |client| {
        client.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    });
    block_on(store.append(append_of("order-1", "second"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["first", "second"], "the primary has it");
    replica.crash().unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["first", "second"]);
    replica.start().unwrap();
    block_on(store.append(append_of("order-1", "third"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["first", "second", "third"]);
}
