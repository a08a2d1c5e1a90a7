//! Queries from a replica: they see what was committed before, or use the primary.

use gesta_postgres::PostgresReadModels;
use gesta_services::OwnServer;
use gesta_store::{
    DatabaseError, ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage,
    conformance::block_on,
};

use super::{TestReadModels, create};
use crate::server::with_client;

async fn put(
    store: &PostgresReadModels,
    id: &ReadModelId,
    value: u64,
) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    tx.put_json("orders", "1", &value.into()).await?;
    tx.commit().await
}

/// Returns the row as a new reader sees it, and whether it came from a replica.
async fn get(
    store: &PostgresReadModels,
    id: &ReadModelId,
) -> Result<(Option<u64>, bool), DatabaseError> {
    let mut reader = store.reader(id).await?;
    let value = reader.get_json("orders", "1").await?;
    let from = reader.find("select pg_is_in_recovery()", &[], |row| row.try_get(0)).await?;
    Ok((value.and_then(|value| value.as_u64()), from == Some(true)))
}

#[test]
fn a_query_from_the_replica_sees_what_was_committed_before_it() {
    let Some(primary) = gesta_services::url_or_skip("postgres-15") else { return };
    let Some(replica) = gesta_services::url_or_skip("postgres-replica") else { return };
    let test = TestReadModels::create(&primary);
    let (url, replica) = (test.url_on(&primary), test.url_on(&replica));
    // The other process knows no replica, and its commits do not wait for the disk.
    let other = test.open();
    block_on(async {
        let store = PostgresReadModels::connect_with_replica(&url, &replica).await.unwrap();
        let id = create(&store, Stage::Live).await?;
        let mut from_replica = 0;
        for value in 0..40 {
            put(if value % 2 == 0 { &store } else { &other }, &id, value).await?;
            let (seen, is_replica) = get(&store, &id).await?;
            assert_eq!(seen, Some(value));
            from_replica += u32::from(is_replica);
        }
        assert!(from_replica > 20, "{from_replica} of 40; {:?}", store.troubles().await);
        let missing = ReadModelId { projection: "none".to_owned(), build: 999_999 };
        assert!(matches!(store.reader(&missing).await, Err(DatabaseError::Missing { .. })));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_replica_that_stands_still_or_is_away_leaves_queries_to_the_primary() {
    let Some(mut replica) = OwnServer::start_or_skip("postgres-replica") else { return };
    let primary = replica.url_of_needed("postgres-15").expect("a replica has a primary");
    let test = TestReadModels::create(&primary);
    let (url, replica_url) = (test.url_on(&primary), test.url_on(&replica.url()));
    let server = replica.url();
    let on_replica = |statement: &str| {
        with_client(&server, async |client| client.batch_execute(statement).await).unwrap();
    };
    block_on(async {
        let store = PostgresReadModels::connect_with_replica(&url, &replica_url).await.unwrap();
        let id = create(&store, Stage::Live).await?;
        put(&store, &id, 1).await?;
        assert_eq!(get(&store, &id).await?, (Some(1), true));
        assert!(store.troubles().await.is_empty());
        on_replica("SELECT pg_wal_replay_pause()");
        put(&store, &id, 2).await?;
        assert_eq!(get(&store, &id).await?, (Some(2), false));
        let [trouble] = &store.troubles().await[..] else { panic!("one trouble") };
        assert!(trouble.contains("queries use the primary"), "{trouble}");
        on_replica("SELECT pg_wal_replay_resume()");
        assert_eq!(get(&store, &id).await?.0, Some(2));
        replica.crash().unwrap();
        assert_eq!(get(&store, &id).await?, (Some(2), false));
        assert_eq!(store.troubles().await.len(), 1);
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

/// Returns the URL of the primary with the replica for queries.
fn replicated(test: &TestReadModels, replica: &OwnServer) -> String {
    let url = replica.url();
    let (_, address) = url.split_once('@').expect("the URL has a user");
    let address = address.split('/').next().expect("the URL has a host");
    format!("{}&replica={address}", test.url_on(&test.server))
}

#[test]
fn queries_go_on_without_the_primary() {
    let Some(mut replica) = OwnServer::start_or_skip("postgres-replica") else { return };
    let primary = replica.url_of_needed("postgres-15").expect("a replica has a primary");
    let test = TestReadModels::create(&primary);
    let url = replicated(&test, &replica);
    block_on(async {
        let store = PostgresReadModels::connect(&url).await.unwrap();
        let id = create(&store, Stage::Live).await?;
        put(&store, &id, 1).await?;
        // Another process makes sure that the replica has the row: this one looks at no server.
        let other = PostgresReadModels::connect(&url).await.unwrap();
        while get(&other, &id).await? != (Some(1), true) {}
        replica.crash_needed("postgres-15").unwrap();
        assert_eq!(get(&store, &id).await?, (Some(1), true));
        let [trouble] = &store.troubles().await[..] else { panic!("one trouble") };
        assert!(trouble.contains("without the primary"), "{trouble}");
        let error = put(&store, &id, 2).await.unwrap_err();
        assert!(error.is_transient(), "only the primary changes rows: {error}");
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_query_without_the_primary_does_not_go_back_behind_a_commit() {
    let Some(mut replica) = OwnServer::start_or_skip("postgres-replica") else { return };
    let primary = replica.url_of_needed("postgres-15").expect("a replica has a primary");
    let test = TestReadModels::create(&primary);
    let url = replicated(&test, &replica);
    block_on(async {
        let store = PostgresReadModels::connect(&url).await.unwrap();
        let id = create(&store, Stage::Live).await?;
        put(&store, &id, 1).await?;
        while get(&store, &id).await? != (Some(1), true) {}
        let pause = "SELECT pg_wal_replay_pause()";
        with_client(&replica.url(), async |client| client.batch_execute(pause).await).unwrap();
        put(&store, &id, 2).await?;
        replica.crash_needed("postgres-15").unwrap();
        let error = get(&store, &id).await.unwrap_err();
        assert!(error.is_transient(), "the replica lacks the second row: {error}");
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}
