//! Several processes on one store: two programs write, a third one reads.

use std::{
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use gesta_postgres::PostgresStore;
use gesta_store::{
    Delivery, EventStore, Page, Subscribe, Subscription,
    conformance::{block_on, block_on_within},
};
use tokio::time::Instant;

use crate::server::{TestStore, append_of, with_client};

const PROCESSES: usize = 2;
const WRITERS_EACH: usize = 32;
const SUBSCRIBERS: usize = 4;
/// Events of each writer: the short form, and 200,000 in all.
const EVENTS_SHORT: usize = 30;
const EVENTS_FULL: usize = 3_125;
/// Sessions are ended each time after this number of events.
const EVENTS_BETWEEN_ENDS: u64 = 500;
const DELIVERY_MAX: Duration = Duration::from_secs(120);

const URL: &str = "GESTA_TEST_WRITE_TO";
const PROCESS: &str = "GESTA_TEST_WRITE_AS";

fn events_each() -> usize {
    if gesta_services::e2e::is_full() { EVENTS_FULL } else { EVENTS_SHORT }
}

/// Every event once and in order, while sessions of all three programs are ended at random.
#[test]
fn subscribers_miss_nothing_of_writers_in_two_processes_whose_sessions_are_ended() {
    if let (Ok(url), Ok(process)) = (std::env::var(URL), std::env::var(PROCESS)) {
        return write_all(&url, &process);
    }
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let stores = [test.open(), test.open()];
    let begun = Instant::now();
    let mut writers: Vec<Child> = (0..PROCESSES).map(|nth| start_writers(&test, nth)).collect();
    let count = (PROCESSES * WRITERS_EACH * events_each()) as u64;
    let mut ends = 0;
    std::thread::scope(|scope| {
        let (sender, progress) = mpsc::channel();
        for nth in 0..SUBSCRIBERS {
            let subscription = stores[nth % stores.len()].subscribe(Subscribe::to_all().into());
            let sender = sender.clone();
            scope.spawn(move || check_all(subscription, count, &sender));
        }
        drop(sender);
        let mut next = EVENTS_BETWEEN_ENDS;
        // The channel ends when all subscribers have everything.
        for position in progress {
            if position >= next {
                ends += end_some_sessions(&test);
                next += EVENTS_BETWEEN_ENDS;
            }
        }
    });
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success(), "a process of writers failed");
    }
    assert!(ends > 0, "no session was ended");
    let seconds = begun.elapsed().as_secs_f64();
    report(&format!("{count} events, {ends} sessions ended, {seconds:.1} s"));
}

#[expect(clippy::print_stdout, reason = "a test reports to standard output")]
fn report(figures: &str) {
    println!("figures: {figures}");
}

/// Runs this test again, as a program that writes.
fn start_writers(test: &TestStore, process: usize) -> Child {
    let name = "processes::\
                subscribers_miss_nothing_of_writers_in_two_processes_whose_sessions_are_ended";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(URL, test.url_on(&test.server))
        .env(PROCESS, process.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Each writer has a stream of its own, and repeats an append until it is acknowledged.
fn write_all(url: &str, process: &str) {
    let store = block_on(PostgresStore::connect(url)).expect("the store opens");
    std::thread::scope(|scope| {
        for writer in 0..WRITERS_EACH {
            let store = &store;
            scope.spawn(move || {
                for nth in 0..events_each() {
                    let stream = format!("writer-{process}-{writer}");
                    let append = append_of(&stream, &nth.to_string());
                    while let Err(error) = block_on(store.append(append.clone())) {
                        assert!(error.is_transient(), "{error}");
                    }
                }
            });
        }
    });
    block_on(store.close()).unwrap();
}

/// Takes `count` events, and checks that each follows the one before it, in the store and in its
/// stream.
fn check_all(mut subscription: Subscription, count: u64, progress: &mpsc::Sender<u64>) {
    let mut position = 0;
    let mut revisions = std::collections::HashMap::new();
    while position < count {
        let next = block_on_within(DELIVERY_MAX, subscription.next());
        let delivery = next.expect("a subscription has no end").unwrap();
        let page = if let Delivery::Events(page) = delivery { page } else { Page::new() };
        for event in page {
            position += 1;
            assert_eq!(event.position.number(), position, "dense and in order");
            let expected: &mut u64 = revisions.entry(event.stream.clone()).or_default();
            assert_eq!(event.revision.number(), *expected, "{}", event.stream);
            let text = String::from_utf8_lossy(&event.data);
            assert_eq!(text, expected.to_string(), "each append once, in its order");
            *expected += 1;
        }
        progress.send(position).expect("the test listens");
    }
}

/// Ends a third of the sessions that have worked in the schema of the test. Returns their number.
fn end_some_sessions(test: &TestStore) -> i64 {
    with_client(&test.server, async |client| {
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                      WHERE application_name = 'gesta' AND query LIKE '%' || $1 || '%' \
                        AND random() < 0.3";
        client.query_one(ended, &[&test.schema]).await.unwrap().get(0)
    })
}
