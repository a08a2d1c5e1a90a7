//! Failures: the server goes away, a transaction is stuck, a handle is closed.

use std::time::Duration;

use futures_util::future::{Either, select};
use gesta_services::OwnServer;
use gesta_store::{
    Advance, DatabaseError, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage,
    conformance::{block_on, block_on_within},
};

use tokio::sync::oneshot;

use super::{TestReadModels, checkpoint, create, first_advance};
use crate::server::with_client;

#[track_caller]
fn assert_unavailable<T>(outcome: Result<T, DatabaseError>) -> String {
    match outcome {
        Err(error @ DatabaseError::Unavailable { .. }) => error.to_string(),
        Err(other) => panic!("expected an error that passes, got {other}"),
        Ok(_) => panic!("expected an error that passes"),
    }
}

/// Waits until the slow statement runs.
fn until_running(server: &str) {
    let running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' \
                   AND query LIKE '%pg_sleep(25), ''dropped%' AND pid <> pg_backend_pid()";
    with_client(server, async |client| {
        while client.query(running, &[]).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    });
}

/// Ends every other connection to the database.
const END_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";

#[test]
fn a_killed_connection_undoes_its_transaction_and_the_next_one_connects_again() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server.url());
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        let mut tx = store.begin(&id).await?;
        tx.put_json("orders", "1", &1.into()).await?;
        tx.advance(first_advance(1)).await?;
        let mut reader = store.reader(&id).await?;
        with_client(&server.url(), async |client| client.batch_execute(END_ALL).await).unwrap();
        assert_unavailable(reader.get_json("orders", "1").await);
        assert_unavailable(tx.commit().await);
        drop(reader);

        let mut tx = store.begin(&id).await?;
        assert_eq!(tx.checkpoint().await?, None);
        tx.advance(first_advance(2)).await?;
        tx.commit().await?;
        with_client(&server.url(), async |client| client.batch_execute(END_ALL).await).unwrap();
        let listed = store.list_read_models("order-summaries").await?;
        assert_eq!(listed[0].checkpoint, Some(checkpoint(2)));
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}

#[test]
fn a_server_that_crashed_is_used_again_with_rows_that_fit_the_checkpoint() {
    let Some(mut server) = OwnServer::start_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server.url());
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        let mut from = None;
        for position in 1..=50 {
            let mut tx = store.begin(&id).await?;
            tx.put_json("orders", &position.to_string(), &1.into()).await?;
            tx.advance(Advance { from, to: checkpoint(position) }).await?;
            tx.commit().await?;
            from = Some(checkpoint(position));
        }
        server.crash().unwrap();
        let down = assert_unavailable(store.begin(&id).await);
        assert!(!down.contains("secret"), "{down}");
        assert_unavailable(store.list_read_models("order-summaries").await);
        server.start().unwrap();
        let mut tx = store.begin(&id).await?;
        let kept = tx.checkpoint().await?.map_or(0, |kept| kept.position.number());
        let rows = tx.list_json(gesta_store::ListRows::of("orders")).await?;
        assert_eq!(
            u64::try_from(rows.len()).unwrap(),
            kept,
            "rows and checkpoint are of one moment"
        );
        tx.rollback().await
    })
    .unwrap();
}

#[test]
fn a_statement_whose_future_is_dropped_is_cancelled_and_the_next_transaction_begins() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    let id = block_on(async {
        let id = create(&store, Stage::Live).await?;
        let mut tx = store.begin(&id).await?;
        let (found, is_running) = oneshot::channel();
        let looked_up = server.clone();
        let looking = std::thread::spawn(move || {
            until_running(&looked_up);
            found.send(())
        });
        let slow = Box::pin(tx.execute("select pg_sleep(25), 'dropped'", &[]));
        match select(slow, is_running).await {
            Either::Left((ended, _)) => panic!("it must not end: {ended:?}"),
            Either::Right((found, slow)) => {
                found.expect("the statement was seen");
                drop(slow);
            }
        }
        looking.join().unwrap().unwrap();
        let refused = tx.execute("select 1", &[]).await.unwrap_err();
        assert!(refused.to_string().contains("abandoned"), "{refused}");
        drop(tx);
        Ok::<_, DatabaseError>(id)
    })
    .unwrap();
    // Sooner than the statement would have ended.
    let next = async { store.begin(&id).await?.rollback().await };
    block_on_within(Duration::from_secs(15), next).unwrap();
}

#[test]
fn a_closed_handle_says_so_and_open_transactions_end() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    block_on(async {
        let id = create(&store, Stage::Live).await?;
        let mut tx = store.begin(&id).await?;
        store.clone().close().await;
        let closed = assert_unavailable(store.begin(&id).await);
        assert!(closed.contains("were closed; open them again"), "{closed}");
        tx.put_json("orders", "1", &1.into()).await?;
        tx.commit().await?;
        let again = test.open();
        assert_eq!(again.reader(&id).await?.get_json("orders", "1").await?, Some(1.into()));
        again.close().await;
        Ok::<_, DatabaseError>(())
    })
    .unwrap();
}
