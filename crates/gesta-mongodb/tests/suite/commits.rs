//! Commits of several writers, readers of earlier moments, and the choice of how to commit.

use gesta_mongodb::{Commits, MongoReadModels, OpenError};
use gesta_services::OwnServer;
use gesta_store::{
    Advance, Checkpoint, DatabaseError, Incarnation, ListRows, Position, ReadModelStore as _,
    ReadModelTx as _, ReadRows as _, Rows as _, conformance::block_on,
};
use uuid::Uuid;

use crate::server::{ORDERS, connect, create, fresh_url, get, put};

fn at(position: u64) -> Checkpoint {
    let incarnation = Incarnation::new(Uuid::nil());
    Checkpoint { position: Position::new(position), incarnation }
}

/// The URL of the same server by another name, so that transactions take no turns with those of
/// the first one: as in another process.
fn by_name(url: &str) -> String {
    url.replace("127.0.0.1", "localhost")
}

#[test]
fn of_two_processes_that_commit_at_the_same_time_one_is_refused_and_changes_nothing() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let url = fresh_url(&server);
    let (store, other) = (connect(&url), connect(&by_name(&url)));
    let outcome = block_on(async {
        let id = create(&store).await?;
        put(&store, &id, ("1", 1)).await?;
        let (mut first, mut second) = (store.begin(&id).await?, other.begin(&id).await?);
        first.put_json(ORDERS, "1", &2.into()).await?;
        first.advance(Advance { from: None, to: at(7) }).await?;
        second.put_json(ORDERS, "1", &3.into()).await?;
        second.put_json(ORDERS, "2", &3.into()).await?;
        second.advance(Advance { from: None, to: at(9) }).await?;
        first.commit().await?;
        match second.commit().await.unwrap_err() {
            DatabaseError::CheckpointConflict { expected, stored } => {
                assert_eq!((expected, stored), (None, Some(at(7))));
            }
            error => panic!("expected a conflict, got {error}"),
        }
        assert_eq!(get(&other, &id, "1").await?, Some(2.into()));
        assert_eq!(get(&other, &id, "2").await?, None);

        // Rows alone are no conflict of checkpoints, and the loser may try again.
        let (mut first, mut second) = (store.begin(&id).await?, other.begin(&id).await?);
        first.put_json(ORDERS, "1", &4.into()).await?;
        second.put_json(ORDERS, "1", &5.into()).await?;
        first.commit().await?;
        let error = second.commit().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        put(&other, &id, ("1", 5)).await?;
        assert_eq!(get(&store, &id, "1").await?, Some(5.into()));
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_reader_whose_moment_has_passed_is_told_so_and_never_sees_two_moments() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server));
    let outcome = block_on(async {
        let id = create(&store).await?;
        put(&store, &id, ("1", 1)).await?;
        let (mut first, mut second) = (store.reader(&id).await?, store.reader(&id).await?);
        assert_eq!(first.get_json(ORDERS, "other").await?, None);
        put(&store, &id, ("1", 2)).await?;
        put(&store, &id, ("1", 3)).await?;
        let passed = first.get_json(ORDERS, "1").await.unwrap_err();
        assert!(matches!(passed, DatabaseError::Unavailable { .. }), "{passed}");
        assert_eq!(second.get_json(ORDERS, "1").await?, Some(3.into()), "it had not answered yet");
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_deleted_row_is_seen_by_readers_from_before_and_can_be_written_again() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server));
    let outcome = block_on(async {
        let id = create(&store).await?;
        put(&store, &id, ("1", 1)).await?;
        let mut before = store.reader(&id).await?;
        let mut tx = store.begin(&id).await?;
        tx.delete(ORDERS, "1").await?;
        tx.commit().await?;
        assert_eq!(get(&store, &id, "1").await?, None);
        assert!(store.reader(&id).await?.list_json(ListRows::of(ORDERS)).await?.is_empty());
        assert_eq!(before.list_json(ListRows::of(ORDERS)).await?.len(), 1, "at its moment");
        put(&store, &id, ("1", 2)).await?;
        assert_eq!(get(&store, &id, "1").await?, Some(2.into()));
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_transaction_of_thousands_of_rows_is_seen_at_once() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server));
    let outcome = block_on(async {
        let id = create(&store).await?;
        let mut tx = store.begin(&id).await?;
        for nth in 0..1_500 {
            tx.put_json(ORDERS, &format!("{nth:05}"), &"x".repeat(1_000).into()).await?;
        }
        let mut before = store.reader(&id).await?;
        tx.commit().await?;
        assert!(before.list_json(ListRows::of(ORDERS)).await?.is_empty(), "at its moment");
        let mut after = store.reader(&id).await?;
        assert_eq!(after.list_json(ListRows::of(ORDERS)).await?.len(), 1_500);
        let page = ListRows::of(ORDERS).prefix("001").after("00150").limit(2);
        let page = after.list_json(page).await?;
        assert_eq!(page.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["00151", "00152"]);
        Ok::<(), DatabaseError>(())
    });
    outcome.unwrap();
}

#[test]
fn a_server_without_transactions_takes_batches_and_refuses_transactions_by_name() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let url = fresh_url(&server);
    assert_eq!(connect(&url).commits(), Commits::StagedBatches);
    let asked = block_on(MongoReadModels::connect_with(&url, Commits::Transactions));
    let error = asked.unwrap_err();
    assert!(matches!(error, OpenError::Server { .. }), "{error}");
    assert!(error.to_string().contains("it has no transactions"), "{error}");
}

#[test]
fn a_server_that_only_looks_like_a_replica_set_takes_batches() {
    let settings = ["repl-set-name=rs0"];
    let Some(server) = OwnServer::with_or_skip("ferretdb", &settings) else { return };
    let store = connect(&fresh_url(&server.url()));
    assert_eq!(store.commits(), Commits::StagedBatches);
    let outcome = block_on(async {
        let id = create(&store).await?;
        put(&store, &id, ("1", 1)).await?;
        get(&store, &id, "1").await
    });
    assert_eq!(outcome.unwrap(), Some(1.into()));
}
