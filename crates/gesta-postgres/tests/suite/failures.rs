//! Servers that go away, and connections that break: nothing is lost, doubled or reported wrongly.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Context, Waker},
};

use gesta_postgres::PostgresStore;
use gesta_services::{Fault, FaultProxy, Message, OwnServer};
use gesta_store::{
    Append, EventStore, ExpectedRevision, Overload, ReadAll, RecordedWhen, Revision, StoreError,
    conformance::{block_on, block_on_within},
};
use tokio_postgres::{Client, NoTls};

use crate::server::{TestStore, append_of, event, name, texts_of, with_client};

/// Number of columns of the row of verdicts, by which an answer to appends is recognized.
const VERDICT_COLUMNS: u16 = 7;

/// Selects the answer to an append that has this text among its values. The commit has happened by
/// then: the server sends the row together with what follows the commit.
fn answer_to(text: &'static str) -> impl FnMut(&Message) -> bool + Send + 'static {
    let mut sent = false;
    move |message| {
        sent |= message.from_client() && message.contains(text);
        let is_verdict =
            message.is(b'D') && message.body().starts_with(&VERDICT_COLUMNS.to_be_bytes());
        sent && message.from_server() && is_verdict
    }
}

#[test]
fn an_append_whose_answer_is_lost_happens_once() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let proxy = FaultProxy::start(&server).unwrap();
    let store = test.open_on(proxy.url());
    for expected in [ExpectedRevision::Any, ExpectedRevision::Exact(Revision::FIRST)] {
        proxy.inject(Fault::cut_before(answer_to("marked")));
        let append = Append::to(name("order-1"), expected, [event("marked")]);
        let answer = block_on(store.append(append.clone())).unwrap();
        proxy.wait_until_injected();
        // By the first attempt, which the second cannot tell from another caller's.
        assert_eq!(answer.recorded, RecordedWhen::Earlier);
        assert_eq!(block_on(store.append(append)).unwrap(), answer);
    }
    assert_eq!(texts_of(&store, "order-1"), ["marked", "marked"]);
}

#[test]
fn an_append_that_never_arrives_is_sent_again() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let proxy = FaultProxy::start(&server).unwrap();
    let store = test.open_on(proxy.url());
    proxy.inject(Fault::cut_before(|message| message.from_client() && message.contains("marked")));
    let answer = block_on(store.append(append_of("order-1", "marked"))).unwrap();
    proxy.wait_until_injected();
    assert_eq!(answer.recorded, RecordedWhen::Now);
    assert_eq!(texts_of(&store, "order-1"), ["marked"]);
}

/// It was recorded, and the server stays away: neither an answer nor a failure would be true.
#[test]
fn an_append_whose_outcome_cannot_be_found_out_is_reported_as_unknown() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let mut proxy = FaultProxy::start(&server).unwrap();
    let store = test.open_on(&format!("{}?statement_timeout=4", proxy.url()));
    let append = append_of("order-1", "marked");
    proxy.inject(Fault::stall_before(answer_to("marked")));
    let error = std::thread::scope(|scope| {
        let appending = scope.spawn(|| block_on(store.append(append.clone())));
        proxy.wait_until_injected();
        proxy.refuse().unwrap();
        proxy.cut_all();
        appending.join().unwrap().unwrap_err()
    });
    assert!(!error.is_definite(), "{error}");
    let later = block_on(store.append(append_of("order-1", "later"))).unwrap_err();
    assert!(matches!(later, StoreError::Unreachable { .. }), "it was never sent: {later}");
    proxy.accept().unwrap();
    let answer = block_on(store.append(append)).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["marked"]);
    assert_eq!(answer.position, block_on(store.head()).unwrap().position);
}

#[test]
fn a_server_that_is_down_refuses_definitely_and_is_used_again_without_reopening() {
    let Some(mut server) = OwnServer::start_or_skip("postgres") else { return };
    let test = TestStore::create(&server.url());
    let store = test.open();
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    assert!(block_on(store.server_version()).unwrap().starts_with("18."));
    server.stop().unwrap();
    let error = block_on(store.append(append_of("order-1", "lost"))).unwrap_err();
    assert!(error.is_definite() && error.is_transient(), "{error}");
    let unseen = block_on(store.server_version()).unwrap_err();
    assert!(matches!(unseen, StoreError::Unreachable { .. }), "{unseen}");
    let read = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap_err();
    assert!(matches!(read, StoreError::Unreachable { .. }), "{read}");
    server.start().unwrap();
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
}

/// Two appends of one batch are committed, the answer is lost, and then the server refuses every
/// append: the refusal is true of the second attempt only.
#[test]
fn appends_that_were_recorded_are_not_refused_because_their_repeats_are() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let proxy = FaultProxy::start(&server).unwrap();
    let store = test.open_on(proxy.url());
    let appends = ["marked", "beside"].map(|text| append_of("order-1", text));
    let mut first = store.append(append_of("order-1", "first"));
    let mut waiting = appends.clone().map(|append| store.append(append));
    with_client(&server, async |client| {
        test.lock_appends(client).await;
        let mut context = Context::from_waker(Waker::noop());
        while !test.is_lock_awaited(client).await {
            assert!(first.as_mut().poll(&mut context).is_pending());
        }
        // They are queued while the first one waits, and become one batch.
        for append in &mut waiting {
            assert!(append.as_mut().poll(&mut context).is_pending());
        }
        proxy.inject(Fault::stall_before(answer_to("marked")));
    });
    block_on(first).unwrap();
    proxy.wait_until_injected();
    let functions = [("append", "elsewhere"), ("append_alone", "elsewhere_alone")];
    for (name, elsewhere) in functions {
        test.execute(&format!("ALTER FUNCTION {{schema}}.{name} RENAME TO {elsewhere}"));
    }
    proxy.cut_all();
    for append in waiting {
        let error = block_on(append).unwrap_err();
        assert!(!error.is_definite(), "it was recorded: {error}");
    }
    for (name, elsewhere) in functions {
        test.execute(&format!("ALTER FUNCTION {{schema}}.{elsewhere} RENAME TO {name}"));
    }
    for append in appends {
        block_on(store.append(append)).unwrap();
    }
    assert_eq!(texts_of(&store, "order-1"), ["first", "marked", "beside"]);
}

#[test]
fn writers_lose_and_double_nothing_while_the_server_crashes() {
    let Some(mut server) = OwnServer::start_or_skip("postgres") else { return };
    const WRITERS: usize = 8;
    let test = TestStore::create(&server.url());
    let store = test.open();
    let (stop, appended) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let store = &store;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write_until(store, writer, stop, appended)))
            .collect();
        for crash in 1..=3 {
            while appended.load(Ordering::Relaxed) < crash * 100 {
                std::thread::yield_now();
            }
            server.crash().unwrap();
            server.start().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for (writer, count) in counts.into_iter().enumerate() {
        let expected: Vec<String> = (0..count).map(|nth| nth.to_string()).collect();
        assert_eq!(texts_of(&store, &format!("writer-{writer}")), expected);
    }
}

/// Appends numbered events, each until it is acknowledged. Returns their number.
fn write_until(
    store: &PostgresStore,
    writer: usize,
    stop: &AtomicBool,
    appended: &AtomicUsize,
) -> usize {
    let mut nth = 0;
    while !stop.load(Ordering::Relaxed) {
        let append = append_of(&format!("writer-{writer}"), &nth.to_string());
        loop {
            match block_on_within(std::time::Duration::from_secs(120), store.append(append.clone()))
            {
                Ok(_) => break,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            std::thread::yield_now();
        }
        nth += 1;
        appended.fetch_add(1, Ordering::Relaxed);
    }
    nth
}

/// The definite error of an append. The first attempt has an unknown outcome if it was sent before
/// the client knew that its connection was gone.
fn refusal(store: &PostgresStore, append: Append) -> StoreError {
    match block_on(store.append(append.clone())).unwrap_err() {
        StoreError::Unavailable { .. } => block_on(store.append(append)).unwrap_err(),
        error => error,
    }
}

#[test]
fn a_server_that_became_read_only_says_so_and_is_read() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let test = TestStore::create(&server.url());
    let store = test.open();
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    test.execute(
        "ALTER DATABASE postgres SET default_transaction_read_only = on; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
          WHERE application_name = 'gesta' AND pid <> pg_backend_pid()",
    );
    let error = refusal(&store, append_of("order-1", "refused"));
    let StoreError::ReadOnly { reason } = &error else { panic!("expected read-only: {error}") };
    assert!(reason.contains("primary server"), "{reason}");
    assert_eq!(texts_of(&store, "order-1"), ["before"]);
}

/// Takes the connections that are left to this user, and those that stores lose.
async fn take_every_connection(url: &str, client: &Client) -> Vec<Client> {
    let ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
                 WHERE application_name = 'gesta'";
    let mut others = take_the_rest(url).await;
    for _ in 0..2 {
        client.query_one(ended, &[]).await.unwrap();
        others.extend(take_the_rest(url).await);
    }
    others
}

/// Opens connections until the server refuses one.
async fn take_the_rest(url: &str) -> Vec<Client> {
    let mut others = Vec::new();
    while let Ok((other, connection)) = tokio_postgres::connect(url, NoTls).await {
        tokio::spawn(connection);
        others.push(other);
    }
    others
}

#[test]
fn a_server_without_connections_left_refuses_definitely() {
    let settings = ["max_connections=8", "superuser_reserved_connections=0", "max_wal_senders=0"];
    let Some(server) = OwnServer::with_or_skip("postgres", &settings) else { return };
    let test = TestStore::create(&server.url());
    let store = test.open();
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    let error = with_client(&server.url(), async |client| {
        let _others = take_every_connection(&server.url(), client).await;
        refusal(&store, append_of("order-1", "refused"))
    });
    let StoreError::Overloaded(Overload::Connections { max: 8, reason }) = &error else {
        panic!("expected no connections: {error}");
    };
    let (named, _) = reason.split_once(": ").unwrap();
    assert!(server.url().contains(named.trim_start_matches("PostgreSQL at ")), "{error}");
    assert!(reason.ends_with("(SQLSTATE 53300)"), "{error}");
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
}

#[test]
fn reserved_connections_and_a_users_limit_are_named_in_the_words_of_the_server() {
    let settings = ["max_connections=8", "superuser_reserved_connections=3", "max_wal_senders=0"];
    let Some(server) = OwnServer::with_or_skip("postgres", &settings) else { return };
    let test = TestStore::create(&server.url());
    test.execute("CREATE ROLE ann LOGIN; GRANT CREATE ON DATABASE postgres TO ann");
    let as_ann = server.url().replace("postgres@", "ann@");
    let store = test.open_on(&as_ann);
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    let reserved = "remaining connection slots are reserved";
    for (limit, said) in [("-1", reserved), ("4", "too many connections for role \"ann\"")] {
        test.execute(&format!("ALTER ROLE ann CONNECTION LIMIT {limit}"));
        let error = with_client(&server.url(), async |client| {
            let _others = take_every_connection(&as_ann, client).await;
            refusal(&store, append_of("order-1", "refused"))
        });
        let StoreError::Overloaded(Overload::Connections { reason, .. }) = &error else {
            panic!("expected no connections: {error}");
        };
        assert!(reason.starts_with(&store.place()) && reason.contains(said), "{error}");
        block_on(store.append(append_of("order-1", said))).unwrap();
    }
    assert_eq!(texts_of(&store, "order-1").len(), 3, "nothing that was refused is there");
}

#[test]
fn a_full_pooler_is_named_and_used_again_without_opening_the_store_again() {
    let settings = ["max_client_conn = 8"];
    let Some(mut pooler) = OwnServer::with_or_skip("pgbouncer", &settings) else { return };
    let server = pooler.url_of_needed("postgres").unwrap();
    let test = TestStore::create(&server);
    let store = test.open_on(&pooler.url());
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    // Its connections are gone, and others are faster.
    pooler.crash().unwrap();
    pooler.start().unwrap();
    let (refused, not_opened) = with_client(&pooler.url(), async |_| {
        let _others = take_the_rest(&pooler.url()).await;
        let opened = block_on(PostgresStore::connect(&test.url_on(&pooler.url())));
        (refusal(&store, append_of("order-1", "refused")), opened.unwrap_err())
    });
    let said = "the connection pooler refused the connection";
    assert!(matches!(refused, StoreError::Unreachable { .. }), "{refused}");
    for text in [refused.to_string(), not_opened.to_string()] {
        assert!(text.contains(&store.place()), "{text}");
        assert!(text.contains(said) && text.contains("max_client_conn"), "{text}");
    }
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
}

/// Each transaction waits for one of the pooler's own connections to the server.
#[test]
fn a_pooler_whose_connections_are_all_in_use_is_named_after_its_time_limit() {
    let settings = ["default_pool_size = 1", "query_wait_timeout = 1"];
    let Some(pooler) = OwnServer::with_or_skip("pgbouncer", &settings) else { return };
    let server = pooler.url_of_needed("postgres").unwrap();
    let test = TestStore::create(&server);
    let store = test.open_on(&pooler.url());
    block_on(store.append(append_of("order-1", "before"))).unwrap();
    let error = with_client(&pooler.url(), async |client| {
        client.batch_execute("BEGIN; SELECT 1").await.unwrap();
        refusal(&store, append_of("order-1", "refused"))
    });
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&store.place()), "{error}");
    assert!(error.to_string().contains("query_wait_timeout"), "{error}");
    block_on(store.append(append_of("order-1", "after"))).unwrap();
    assert_eq!(texts_of(&store, "order-1"), ["before", "after"]);
}
