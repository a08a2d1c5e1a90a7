//! Opening: versions of the tables, schemas, and errors that name cause and remedy.

use gesta_postgres::{OpenError, PostgresStore};
use gesta_store::{EventStore, Position, StoreError, conformance::block_on};

use crate::server::{TO_VERSION_4, TestStore, append_of, texts_of};

fn refused(url: &str) -> OpenError {
    block_on(PostgresStore::connect(url)).expect_err("the store must not open")
}

#[test]
fn a_store_of_a_newer_version_is_not_opened_and_not_changed() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    block_on(test.open().close()).unwrap();
    test.execute("UPDATE {schema}.store SET version = 99");
    let error = refused(&test.url_on(&server));
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error}");
    test.execute("UPDATE {schema}.store SET version = 5");
    block_on(test.open().append(append_of("order-1", "placed"))).unwrap();
}

#[test]
fn a_store_knows_the_space_that_its_tables_take() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open();
    block_on(store.append(append_of("order-1", "placed"))).unwrap();
    let bytes = block_on(store.stored_bytes()).unwrap().unwrap();
    // An empty table with an index takes pages of 8 KiB.
    assert!(bytes >= 1 << 13, "{bytes}");
}

#[test]
fn a_store_of_an_earlier_version_is_brought_to_this_one() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open();
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    block_on(store.close()).unwrap();
    // The second version, whose `append` had another signature.
    test.execute(TO_VERSION_4);
    test.execute(
        "UPDATE {schema}.store SET version = 2; \
         DROP FUNCTION {schema}.append; \
         CREATE FUNCTION {schema}.append(stream_names text[]) RETURNS integer \
             LANGUAGE sql AS 'SELECT 1'",
    );
    let store = test.open();
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
}

#[test]
fn a_store_with_events_gets_partitions() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open();
    let append = append_of("order-1", "before");
    let answer = block_on(store.append(append.clone())).unwrap();
    block_on(store.close()).unwrap();
    test.execute(TO_VERSION_4);
    let store = test.open();
    let repeat = block_on(store.append(append)).unwrap();
    assert_eq!(repeat.position, answer.position, "a repeat is recognized");
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
    let partitions = block_on(store.archive().partitions()).unwrap();
    assert_eq!(partitions.len(), 1);
}

#[test]
fn tables_of_something_else_are_left_alone() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    test.execute("CREATE SCHEMA {schema}; CREATE TABLE {schema}.events (mine text)");
    let error = refused(&test.url_on(&server));
    assert!(matches!(error, OpenError::ForeignSchema { .. }), "{error}");
    assert!(error.to_string().contains("?schema=NAME"), "{error}");
    test.execute("INSERT INTO {schema}.events VALUES ('kept')");
}

#[test]
fn two_stores_in_one_database_are_separate() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let (one, other) = (TestStore::create(&server), TestStore::create(&server));
    let (first, second) = (one.open(), other.open());
    block_on(first.append(append_of("order-1", "first"))).unwrap();
    assert_eq!(block_on(second.head()).unwrap().position, Position::START);
    block_on(second.append(append_of("order-1", "second"))).unwrap();
    assert_eq!(texts_of(&first, "order-1"), ["first"]);
    assert_eq!(texts_of(&second, "order-1"), ["second"]);
}

#[test]
fn stores_that_open_at_the_same_time_create_the_tables_once() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let stores: Vec<PostgresStore> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..4).map(|_| scope.spawn(|| test.open())).collect();
        opening.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let incarnations: Vec<_> =
        stores.iter().map(|store| block_on(store.head()).unwrap().incarnation).collect();
    assert!(incarnations.windows(2).all(|pair| pair[0] == pair[1]), "{incarnations:?}");
}

#[test]
fn an_unknown_user_is_denied_and_no_password_is_printed() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let (_, address) = server.split_once('@').expect("the URL has a user");
    let error = refused(&format!("postgres://nobody:hunter2@{address}"));
    let OpenError::Server { error: StoreError::Denied { reason }, .. } = &error else {
        panic!("expected `denied`, got: {error}");
    };
    assert!(reason.contains("check user and password"), "{reason}");
    let (address, _) = address.split_once('/').expect("the URL has a database");
    assert!(reason.starts_with(&format!("PostgreSQL at {address}: ")), "{reason}");
    for printed in [error.to_string(), format!("{error:?}")] {
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn a_missing_database_and_a_missing_server_are_named() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let (address, _) = server.rsplit_once('/').expect("the URL has a database");
    let error = refused(&format!("{address}/nowhere")).to_string();
    assert!(error.contains("CREATE DATABASE"), "{error}");
    // A port that nothing listens on.
    let error = refused("postgres://ann:hunter2@127.0.0.1:1/shop");
    let OpenError::Server { error, .. } = &error else { panic!("expected no server: {error}") };
    let text = error.to_string();
    let named = "PostgreSQL at 127.0.0.1:1: no connection; check that the server runs";
    assert!(text.contains(named), "{text}");
    assert_eq!(text.matches("Connection refused").count(), 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    // Logs and health add each cause that the text does not have.
    let cause = std::error::Error::source(error).expect("the driver's error");
    assert!(text.contains(&cause.to_string()) && cause.source().is_none(), "{text}: {cause}");
}

#[test]
fn events_are_there_when_the_store_is_opened_again() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let append = append_of("order-1", "placed");
    let store = test.open();
    let first = block_on(store.append(append.clone())).unwrap();
    let head = block_on(store.head()).unwrap();
    block_on(store.close()).unwrap();
    let again = test.open();
    let repeated = block_on(again.append(append)).unwrap();
    assert_eq!(repeated, first.earlier(), "a repeat is always recognized");
    assert_eq!(block_on(again.head()).unwrap(), head, "it is the same incarnation");
}
