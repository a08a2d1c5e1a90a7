//! Servers that are slow, full, locked or closed to the user: clear errors, bounded waits, and
//! recovery without opening the store again.

use std::time::Duration;

use gesta_postgres::{OpenError, PostgresStore};
use gesta_services::OwnServer;
use gesta_store::{
    Append, EventStore, ExpectedRevision, Overload, StoreError,
    conformance::{block_on, block_on_within},
};
use tokio::time::Instant;

use crate::server::{TestStore, append_of, event, name, texts_of, with_client};

/// The time limit of statements in these tests, as a parameter of the URL.
const ONE_SECOND: &str = "statement_timeout=1";
/// Far more than a call may take with that limit, far less than the default limit.
const BOUND: Duration = Duration::from_secs(25);

#[test]
fn a_lock_that_is_held_too_long_is_named_and_nothing_is_appended() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open_on(&format!("{server}?{ONE_SECOND}"));
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    let (error, took) = with_client(&server, async |client| {
        test.lock_appends(client).await;
        let begun = Instant::now();
        let appended = store.append(append_of("order-1", "refused"));
        (block_on_within(BOUND, appended).unwrap_err(), begun.elapsed())
    });
    assert!(error.is_definite() && error.is_transient(), "{error}");
    assert!(error.to_string().contains("holds the lock of the store"), "{error}");
    assert!(took >= Duration::from_millis(500), "it waited: {took:?}");
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
}

/// The server takes the statement and stops. No client can know whether it will be carried out.
#[test]
fn a_server_that_stands_still_leaves_the_outcome_open_and_is_used_again() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let test = TestStore::create(&server.url());
    let store = test.open_on(&format!("{}?{ONE_SECOND}", server.url()));
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    server.pause().unwrap();
    let append = append_of("order-1", "once");
    let error = block_on_within(BOUND, store.append(append.clone())).unwrap_err();
    assert!(!error.is_definite(), "it may have been carried out: {error}");
    // Nothing was sent any more.
    let later = block_on_within(BOUND, store.append(append_of("order-1", "later"))).unwrap_err();
    assert!(later.is_definite() && later.is_transient(), "{later}");
    let read = block_on_within(BOUND, store.head()).unwrap_err();
    assert!(matches!(read, StoreError::Unreachable { .. }), "{read}");
    server.resume().unwrap();
    block_on_within(BOUND, store.append(append)).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "once"]);
}

#[test]
fn a_full_disk_refuses_definitely_until_there_is_room() {
    let disk_bytes = 24 << 20;
    let Some(server) = OwnServer::with_small_disk_or_skip("postgres", disk_bytes) else { return };
    let location = server.small_disk().join("tables");
    with_client(&server.url(), async |client| {
        let place = location.display();
        let statements = [
            // The server makes the directory itself, where only it sees the disk.
            format!("COPY (SELECT 1) TO PROGRAM 'mkdir {place}'"),
            format!("CREATE TABLESPACE small LOCATION '{place}'"),
            "ALTER ROLE postgres SET default_tablespace = small".to_owned(),
        ];
        for statement in &statements {
            client.batch_execute(statement).await.unwrap();
        }
    });
    let test = TestStore::create(&server.url());
    let store = test.open();
    let filler = "CREATE TABLE {schema}.filler AS \
                  SELECT repeat(n::text, 100) FROM generate_series(1, 10000) n";
    test.execute(filler);
    // Text that does not shrink.
    let text = |nth: usize| format!("{nth} {}", incompressible(nth, 200_000));
    let mut recorded = Vec::new();
    let error = loop {
        assert!(recorded.len() < 1_000, "the disk is full long before");
        let text = text(recorded.len());
        match block_on(store.append(append_of("order-1", &text))) {
            Ok(_) => recorded.push(text),
            Err(error) => break error,
        }
    };
    let StoreError::Overloaded(Overload::DiskFull { reason }) = &error else {
        panic!("full: {error}")
    };
    assert!(reason.contains(&store.place()), "it names the server: {reason}");
    assert!(error.is_definite() && error.is_transient(), "{error}");
    assert_eq!(texts_of(&store, "order-1"), recorded, "it is read, and nothing is half there");
    test.execute("DROP TABLE {schema}.filler");
    let text = text(recorded.len());
    block_on(store.append(append_of("order-1", &text))).unwrap();
    recorded.push(text);
    assert_eq!(texts_of(&store, "order-1"), recorded);
}

/// Returns text of random letters.
fn incompressible(seed: usize, bytes: usize) -> String {
    let mut state = seed as u64 + 1;
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        // The generator of Knuth's MMIX.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text
}

#[test]
fn a_wrong_password_is_denied_without_being_printed_also_in_the_life_of_a_store() {
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all ann 127.0.0.1/32 scram-sha-256\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hba.conf");
    std::fs::write(&file, rules).unwrap();
    let setting = format!("hba_file={}", file.display());
    let Some(server) = OwnServer::with_or_skip("postgres", &[&setting]) else { return };
    let change = |statement: &str| {
        with_client(&server.url(), async |client| client.batch_execute(statement).await.unwrap());
    };
    change("CREATE ROLE ann LOGIN SUPERUSER PASSWORD 'hunter2'");
    let url = |password: &str| server.url().replace("postgres@", &format!("ann:{password}@"));
    let test = TestStore::create(&server.url());
    let wrong = block_on(PostgresStore::connect(&test.url_on(&url("hunter3")))).unwrap_err();
    let OpenError::Server { error: StoreError::Denied { reason }, .. } = &wrong else {
        panic!("expected `denied`, got: {wrong}");
    };
    assert!(reason.contains("check user and password"), "{reason}");
    for printed in [wrong.to_string(), format!("{wrong:?}")] {
        assert!(!printed.contains("hunter"), "{printed}");
    }
    let store = test.open_on(&url("hunter2"));
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    change(
        "ALTER ROLE ann PASSWORD 'hunter4'; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ann'",
    );
    let append = Append::to(name("order-1"), ExpectedRevision::Any, [event("refused")]);
    let error = match block_on(store.append(append.clone())).unwrap_err() {
        // It may have been sent before the connection was known to be gone.
        StoreError::Unavailable { .. } => block_on(store.append(append)).unwrap_err(),
        error => error,
    };
    assert!(matches!(error, StoreError::Denied { .. }), "expected `denied`: {error}");
    change("ALTER ROLE ann PASSWORD 'hunter2'");
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
}
