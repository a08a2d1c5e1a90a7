//! A server that crashes, stands still, is not there or refuses the password: clear errors, bounded
//! waiting, and the same store goes on when the server is back.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use gesta_mongodb::{MongoReadModels, OpenError, bson::doc};
use gesta_services::OwnServer;
use gesta_store::{
    DatabaseError, ReadModelStore as _, ReadModelTx as _, Rows as _, SnapshotStore as _,
    StreamName, conformance::block_on,
};

use crate::{
    logins::Logins,
    server::{ORDERS, connect, create, fresh_url, get, put, with_database},
};

/// Longer than any call waits, on a machine with other work.
const WAIT_MAX: Duration = Duration::from_secs(30);
const PASSWORD: &str = "an-old-secret";
/// More connections than a test opens.
const CONNECTIONS_MAX: u32 = 10;

/// Returns the error of a call that gives up in time and names the server.
#[track_caller]
fn transient<T>(server: &str, call: impl Future<Output = Result<T, DatabaseError>>) -> String {
    #[expect(clippy::disallowed_methods, reason = "the limit of a call is tested")]
    let begun = Instant::now();
    let Err(error) = block_on(call) else { panic!("the server has answered") };
    assert!(begun.elapsed() < WAIT_MAX, "after {:?}", begun.elapsed());
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(server), "the server is named: {error}");
    assert_in_words(&error.to_string());
    error.to_string()
}

/// Asserts that a text lists no structures of the client.
#[track_caller]
fn assert_in_words(text: &str) {
    for structure in ["Kind:", "labels:", "Topology", "{", "Some("] {
        assert!(!text.contains(structure), "{text}");
    }
}

#[test]
fn a_commit_while_the_server_is_away_is_transient_and_the_store_goes_on_when_it_is_back() {
    let Some(mut server) = OwnServer::start_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server.url()));
    let id = block_on(create(&store)).unwrap();
    block_on(put(&store, &id, ("1", 1))).unwrap();
    let mut open = block_on(store.begin(&id)).unwrap();
    block_on(open.put_json(ORDERS, "1", &2.into())).unwrap();
    server.crash().unwrap();
    transient(&server.url(), open.commit());
    transient(&server.url(), get(&store, &id, "1"));
    let order = StreamName::new("order-1").unwrap();
    transient(&server.url(), store.load_snapshot(&order));
    server.start().unwrap();
    assert_eq!(block_on(get(&store, &id, "1")).unwrap(), Some(1.into()));
    block_on(put(&store, &id, ("1", 3))).unwrap();
    assert_eq!(block_on(get(&store, &id, "1")).unwrap(), Some(3.into()));
}

#[test]
fn a_server_that_stands_still_is_waited_for_within_a_limit_and_used_again() {
    let Some(server) = OwnServer::start_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server.url()));
    let id = block_on(create(&store)).unwrap();
    block_on(put(&store, &id, ("1", 1))).unwrap();
    let mut open = block_on(store.begin(&id)).unwrap();
    block_on(open.put_json(ORDERS, "1", &2.into())).unwrap();
    server.pause().unwrap();
    transient(&server.url(), open.commit());
    transient(&server.url(), get(&store, &id, "1"));
    server.resume().unwrap();
    // The outcome was unknown: the rows of the commit are there, or those before it.
    block_on(async {
        let stored = get(&store, &id, "1").await?;
        assert!(stored == Some(1.into()) || stored == Some(2.into()), "{stored:?}");
        put(&store, &id, ("1", 3)).await
    })
    .unwrap();
    assert_eq!(block_on(get(&store, &id, "1")).unwrap(), Some(3.into()));
}

#[test]
fn a_server_that_is_not_there_is_named_without_the_password_when_a_store_is_opened() {
    let url = format!("mongodb://ann:{PASSWORD}@127.0.0.1:9/shop");
    let error = block_on(MongoReadModels::connect(&url)).unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("mongodb://127.0.0.1:9/shop does not answer"), "{text}");
    assert!(text.contains("onnection refused"), "{text}");
    assert_in_words(&text);
    assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
}

/// A server with one user, `ann`, whose password is `new`, and the way to log in.
fn with_user() -> Option<(OwnServer, Logins)> {
    let user = ["setup-database=shop", "setup-username=ann", "setup-password=new"];
    let settings = [&["test-enable-new-auth"], user.as_slice()].concat();
    let server = OwnServer::with_or_skip("ferretdb", &settings)?;
    let logins = Logins::start(&server.url());
    Some((server, logins))
}

fn url_with(logins: &Logins, password: &str) -> String {
    format!("mongodb://ann:{password}@{}/shop?authSource=shop", logins.address())
}

#[test]
fn a_password_that_is_refused_is_said_so_without_it() {
    let Some((_server, logins)) = with_user() else { return };
    connect(&url_with(&logins, "new"));
    let error = block_on(MongoReadModels::connect(&url_with(&logins, PASSWORD))).unwrap_err();
    assert!(matches!(error, OpenError::Denied { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("refuses the user or the password"), "{text}");
    assert_in_words(&text);
    assert!(text.contains(&logins.address()), "the server is named: {text}");
    assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
}

#[test]
fn a_password_that_was_changed_is_said_so_and_the_store_goes_on_when_it_is_changed_back() {
    let Some((mut server, logins)) = with_user() else { return };
    let store = connect(&url_with(&logins, "new"));
    let id = block_on(create(&store)).unwrap();
    block_on(put(&store, &id, ("1", 1))).unwrap();
    let change = |from: &str, to: &str| {
        with_database(&url_with(&logins, from), async |database| {
            database.run_command(doc! { "updateUser": "ann", "pwd": to }).await.unwrap();
        });
    };
    change("new", PASSWORD);
    // Connections that are open stay as they are.
    server.crash().unwrap();
    server.start().unwrap();
    // Each connection from before the crash may cost a call, which says that it ended.
    let mut texts = (0..CONNECTIONS_MAX)
        .map(|_| transient(&logins.address(), put(&store, &id, ("1", 2))))
        .inspect(|text| assert!(!text.contains(PASSWORD), "{text}"));
    assert!(texts.any(|text| text.contains("access denied")));
    change(PASSWORD, "new");
    block_on(put(&store, &id, ("1", 3))).unwrap();
    assert_eq!(block_on(get(&store, &id, "1")).unwrap(), Some(3.into()));
}
