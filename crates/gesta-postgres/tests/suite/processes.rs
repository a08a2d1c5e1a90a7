//! Several processes on one store, each played by a store of its own.

use gesta_store::{
    Delivery, EventId, EventStore, Subscribe, Subscription,
    conformance::{block_on, block_on_within},
};

use crate::server::{TestStore, append_of, with_client};

const PROCESSES: usize = 2;
const WRITERS: usize = 16;
const EVENTS_EACH: usize = 60;

/// Collects events until there are `count`.
fn delivered(mut subscription: Subscription, count: usize) -> Vec<(u64, EventId)> {
    let mut events = Vec::new();
    while events.len() < count {
        let next = block_on_within(std::time::Duration::from_secs(120), subscription.next());
        if let Delivery::Events(page) = next.expect("a subscription has no end").unwrap() {
            events.extend(page.iter().map(|event| (event.position.number(), event.id)));
        }
    }
    events
}

/// Every event once and in order, while sessions are ended at random.
#[test]
fn subscribers_miss_nothing_of_writers_in_two_processes_whose_sessions_are_ended() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let stores: Vec<_> = (0..PROCESSES).map(|_| test.open()).collect();
    let count = PROCESSES * WRITERS * EVENTS_EACH;
    let subscriptions: Vec<Subscription> =
        stores.iter().map(|store| store.subscribe(Subscribe::to_all().into())).collect();
    let (seen, written): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
        let readers: Vec<_> = subscriptions
            .into_iter()
            .map(|subscription| scope.spawn(move || delivered(subscription, count)))
            .collect();
        let writers: Vec<_> = (0..PROCESSES * WRITERS)
            .map(|writer| {
                let store = &stores[writer % PROCESSES];
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    for _ in 0..EVENTS_EACH {
                        let append = append_of(&format!("writer-{writer}"), "{}");
                        ids.extend(append.events().map(|event| event.id));
                        while let Err(error) = block_on(store.append(append.clone())) {
                            assert!(error.is_transient(), "{error}");
                        }
                    }
                    ids
                })
            })
            .collect();
        for _ in 0..10 {
            end_some_sessions(&test);
        }
        (
            readers.into_iter().map(|reader| reader.join().unwrap()).collect(),
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect(),
        )
    });
    let mut written: Vec<EventId> = written;
    written.sort();
    for events in seen {
        let positions: Vec<u64> = events.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, (1..=count as u64).collect::<Vec<_>>(), "dense and in order");
        let mut ids: Vec<EventId> = events.iter().map(|(_, id)| *id).collect();
        ids.sort();
        assert_eq!(ids, written);
    }
}

/// Ends a third of the sessions that have worked in the schema of the test.
fn end_some_sessions(test: &TestStore) {
    with_client(&test.server, async |client| {
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                      WHERE application_name = 'gesta' AND query LIKE '%' || $1 || '%' \
                        AND random() < 0.3";
        client.query_one(ended, &[&test.schema]).await.unwrap();
    });
}
