//! Failures: the server goes away, a transaction is stuck, a handle is closed.

use std::time::Duration;

use futures_util::future::{Either, select};
use gesta_postgres::PostgresReadModels;
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

/// Far more than a call may take that a server refuses.
const BOUND: Duration = Duration::from_secs(25);

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

/// Returns host and port of a server.
fn address_of(url: &str) -> String {
    let (_, address) = url.rsplit_once('@').expect("the URL has a user");
    address.split('/').next().expect("a part").to_owned()
}

/// Changes the password of `ann` while a store is open, and back. Returns the refusal in between.
fn refused_logins(server: &OwnServer, store: &PostgresReadModels) -> String {
    let run = |statement: &str| {
        with_client(&server.url(), async |client| client.batch_execute(statement).await.unwrap());
    };
    block_on(async {
        let id = create(store, Stage::Live).await.unwrap();
        let mut tx = store.begin(&id).await.unwrap();
        tx.put_json("orders", "1", &1.into()).await.unwrap();
        run("ALTER ROLE ann PASSWORD 'hunter4'");
        // The connection is open and lives on.
        tx.advance(first_advance(1)).await.unwrap();
        tx.commit().await.unwrap();
        run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'ann'");
        let refused = block_on_within(BOUND, store.reader(&id)).map(drop);
        let refused = assert_unavailable(refused);
        let begun = block_on_within(BOUND, store.begin(&id)).map(drop);
        assert_eq!(assert_unavailable(begun), refused);
        run("ALTER ROLE ann PASSWORD 'hunter2'");
        let mut reader = store.reader(&id).await.unwrap();
        assert_eq!(reader.get_json("orders", "1").await.unwrap(), Some(1.into()));
        refused
    })
}

#[test]
fn a_password_that_was_changed_is_named_without_being_printed_until_it_is_right_again() {
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all ann 127.0.0.1/32 scram-sha-256\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hba.conf");
    std::fs::write(&file, rules).unwrap();
    let setting = format!("hba_file={}", file.display());
    let Some(server) = OwnServer::with_or_skip("postgres", &[&setting]) else { return };
    with_client(&server.url(), async |client| {
        let role = "CREATE ROLE ann LOGIN SUPERUSER PASSWORD 'hunter2'";
        client.batch_execute(role).await.unwrap();
    });
    let test = TestReadModels::create(&server.url());
    let url = |password: &str| server.url().replace("postgres@", &format!("ann:{password}@"));
    let wrong = block_on(PostgresReadModels::connect(&test.url_on(&url("hunter3")))).unwrap_err();
    let refused = refused_logins(&server, &test.open_on(&url("hunter2")));
    let address = address_of(&server.url());
    for text in [wrong.to_string(), format!("{wrong:?}"), refused] {
        assert!(text.contains(&address), "{text}");
        assert!(text.contains("password authentication failed"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
        assert!(!text.contains("appends"), "{text}");
    }
}

#[test]
fn a_server_without_connections_left_is_named_and_used_again() {
    let settings = ["max_connections=6", "superuser_reserved_connections=0", "max_wal_senders=0"];
    let Some(server) = OwnServer::with_or_skip("postgres", &settings) else { return };
    let test = TestReadModels::create(&server.url());
    let store = test.open();
    let id = block_on(create(&store, Stage::Live)).unwrap();
    let refused = with_client(&server.url(), async |client| {
        let ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
                     WHERE application_name = 'gesta'";
        client.query_one(ended, &[]).await.unwrap();
        let mut others = Vec::new();
        while let Ok((other, connection)) =
            tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await
        {
            others.push((other, tokio::spawn(connection)));
        }
        assert_unavailable(block_on_within(BOUND, store.begin(&id)).map(drop))
    });
    let address = address_of(&server.url());
    assert!(
        refused.contains(&format!("no connection is left: PostgreSQL at {address}: ")),
        "{refused}"
    );
    block_on(store.begin(&id)).unwrap();
}

#[test]
fn a_catalogue_that_is_gone_is_told_as_one_of_read_models() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestReadModels::create(&server);
    let store = test.open();
    let id = block_on(create(&store, Stage::Live)).unwrap();
    test.execute("DROP SCHEMA {schema} CASCADE");
    let address = address_of(&test.server);
    for told in [
        assert_unavailable(block_on(store.list_read_models("order-summaries")).map(drop)),
        assert_unavailable(block_on(store.begin(&id)).map(drop)),
    ] {
        assert!(told.contains(&address), "{told}");
        assert!(told.contains("builds the read models anew"), "{told}");
        assert!(!told.contains("appends"), "{told}");
    }
    drop(store);
    block_on(create(&test.open(), Stage::Live)).unwrap();
}
