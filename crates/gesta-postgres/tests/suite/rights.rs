//! Rights and credentials: what a user needs to read, and errors of logins.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use gesta_postgres::{OpenError, OpenMode, PostgresStore};
use gesta_store::{
    EventStore, ListStreams, OrdinalIndex, Overload, ReadAll, ReadOrdinals, StoreError, Subscribe,
    conformance::block_on,
};

use crate::server::{TestStore, append_of, texts_of};

/// The rights of `docs/guide/postgres.md` for reading.
const MAY_READ: &str = "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; \
    GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}";
/// Those for appending, in addition.
const MAY_APPEND: &str = "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {role}; \
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}";

/// Runs a test as a user who has these rights on a store with an event.
fn as_user(rights: &[&str], test: impl FnOnce(&TestStore, PostgresStore)) {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let store = TestStore::create(&server);
    let owner = store.open();
    block_on(owner.append(append_of("order-1", "placed"))).unwrap();
    block_on(owner.close()).unwrap();
    let role = store.schema.replace("test", "role");
    for right in rights {
        store.execute(&right.replace("{role}", &role));
    }
    let (_, address) = server.split_once('@').expect("the URL has a user");
    let url = store.url_on(&format!("postgres://{role}@{address}")).parse().unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let opened = block_on(PostgresStore::connect_to(url, OpenMode::Existing));
        test(&store, opened.expect("the user may open the store"));
    }));
    store.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    outcome.unwrap();
}

#[test]
fn a_user_who_may_only_select_reads_everything_and_appends_nothing() {
    as_user(&[MAY_READ], |_, store| {
        assert_eq!(texts_of(&store, "order-1"), ["placed"]);
        let mut all = store.read_all(ReadAll::forwards());
        assert_eq!(block_on(all.next()).unwrap().unwrap().len(), 1);
        assert_eq!(block_on(store.list_streams(ListStreams::all())).unwrap().len(), 1);
        block_on(store.describe_stream(&"order-1".parse().unwrap())).unwrap();
        let index = OrdinalIndex::Category("order".parse().unwrap());
        let mut ordinals = store.read_ordinals(ReadOrdinals::forwards(index));
        assert_eq!(block_on(ordinals.next()).unwrap().unwrap().len(), 1);
        let mut followed = store.subscribe(Subscribe::to_all().into());
        block_on(followed.next()).unwrap().unwrap();
        let refused = block_on(store.append(append_of("order-1", "paid"))).unwrap_err();
        assert!(matches!(refused, StoreError::Denied { .. }), "{refused}");
    });
}

#[test]
fn a_user_with_the_rights_of_an_application_appends() {
    as_user(&[MAY_READ, MAY_APPEND], |_, store| {
        block_on(store.append(append_of("order-1", "paid"))).unwrap();
        assert_eq!(texts_of(&store, "order-1"), ["placed", "paid"]);
    });
}

/// After a failover there is an incarnation to add, which is left to a user who appends.
#[test]
fn a_user_who_may_only_select_reads_after_a_failover() {
    as_user(&[MAY_READ], |test, store| {
        let before = block_on(store.head()).unwrap().incarnation;
        test.execute("UPDATE {schema}.incarnations SET timeline = timeline + 1");
        let url = test.url_on(&test.server);
        let (_, address) = url.split_once('@').unwrap();
        let role = test.schema.replace("test", "role");
        let url = format!("postgres://{role}@{address}").parse().unwrap();
        let again = block_on(PostgresStore::connect_to(url, OpenMode::Existing)).unwrap();
        assert_eq!(texts_of(&again, "order-1"), ["placed"]);
        assert_eq!(block_on(again.head()).unwrap().incarnation, before);
        let owner = test.open();
        assert_ne!(block_on(owner.head()).unwrap().incarnation, before);
    });
}

/// Opens a store at a server that gives each connection this answer.
fn error_of(answer: &'static [u8]) -> StoreError {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // The startup message; the answer does not depend on it.
            drop(connection.read(&mut [0; 1_024]));
            drop(connection.write_all(answer));
            // Waits until the client is gone.
            drop(connection.read(&mut [0; 1]));
        }
    });
    let url = format!("postgres://ann@127.0.0.1:{port}/shop?sslmode=disable");
    match block_on(PostgresStore::connect(&url)) {
        Err(OpenError::Server { error, .. }) => error,
        other => panic!("the server does not answer: {other:?}"),
    }
}

#[test]
fn a_password_that_is_missing_is_denied_with_the_ways_to_give_one() {
    let error = error_of(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
    let StoreError::Denied { reason } = &error else { panic!("expected `denied`: {error}") };
    for way in ["asks for a password", "USER:PASSWORD@", "PGPASSWORD", ".pgpass"] {
        assert!(reason.contains(way), "{reason}");
    }
}

#[test]
fn a_server_without_free_connections_is_not_given_a_limit_that_it_has_not_told() {
    let error = error_of(b"E\0\0\0\x24SFATAL\0VFATAL\0C53300\0Mtoo many\0\0");
    let StoreError::Overloaded(Overload::Connections { max: 0, reason }) = &error else {
        panic!("expected no connections: {error}");
    };
    assert!(reason.starts_with("PostgreSQL at 127.0.0.1:"), "{reason}");
    assert!(error.to_string().ends_with(": too many (SQLSTATE 53300)"), "{error}");
}
