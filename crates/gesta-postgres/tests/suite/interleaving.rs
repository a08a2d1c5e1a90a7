//! A transaction that commits late: no reader passes its event.

use std::task::{Context, Waker};

use gesta_postgres::PostgresStore;
use gesta_store::{
    Delivery, EventStore, Position, ReadAll, Subscribe, Subscription, conformance::block_on,
};
use uuid::Uuid;

use crate::server::{TestStore, append_of, with_client};

/// An append of one event to the stream `late-1`, as another process sends it.
const LATE: &str = "SELECT {schema}.append(\
    ARRAY['late-1'], ARRAY[1], ARRAY['happened'], ARRAY['late'], \
    ARRAY[1, 2], ARRAY['{id}']::uuid[], ARRAY[1], ARRAY[NULL]::bigint[], \
    ARRAY[1], ARRAY[1], ARRAY[0], ARRAY[0]::bigint[], ARRAY[1], \
    ARRAY[1], ARRAY[0], ARRAY[1], ARRAY['{id}']::uuid[], ARRAY[1], ARRAY[1], ARRAY[NULL]::text[], \
    ARRAY[NULL]::text[], ARRAY[NULL]::text[], ARRAY[NULL]::bytea[], ARRAY[NULL]::bytea[], \
    ARRAY['late']::bytea[], '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', \
    '{}', '{}', '{}', '{}', '{}', '{}', left(pg_walfile_name(pg_current_wal_lsn()), 8), \
    ARRAY[0], ARRAY[0])";

/// Replaces the lock by a sequence, as stores without this measure assign positions.
const WITHOUT_LOCK: &str = "
CREATE SEQUENCE {schema}.planted START WITH 2;
DO $do$ DECLARE text text := pg_get_functiondef('{schema}.append'::regproc); BEGIN
    EXECUTE replace(text, 'head_after := head_before;',
        'head_before := nextval(''{schema}.planted'') - 1; head_after := head_before;');
END $do$;
DO $do$ DECLARE text text := pg_get_functiondef('{schema}.append_alone'::regproc); BEGIN
    EXECUTE replace(text, 'now_at := greatest(',
        'head_before := nextval(''{schema}.planted'') - 1; now_at := greatest(');
END $do$;
DO $do$ DECLARE function text; BEGIN
    FOREACH function IN ARRAY ARRAY['append', 'append_alone'] LOOP
        EXECUTE regexp_replace(pg_get_functiondef(('{schema}.' || function)::regproc),
            'PERFORM pg_advisory_xact_lock[^;]*;', '');
    END LOOP;
END $do$;";

#[test]
fn an_event_that_commits_late_is_delivered_in_its_place() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open();
    block_on(store.append(append_of("first-1", "first"))).unwrap();
    let delivered = deliveries_around_a_late_commit(&test, &store);
    let expected = [(1, "first"), (2, "late"), (3, "prompt")];
    assert_eq!(delivered, expected.map(|(position, text)| (position, text.to_owned())));
}

/// The test above notices a store whose readers pass an event.
#[test]
fn an_event_that_commits_late_is_passed_without_the_lock() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open();
    // The name of the type is known then, and two transactions do not wait for each other by it.
    block_on(store.append(append_of("first-1", "first"))).unwrap();
    test.execute(WITHOUT_LOCK);
    let delivered = deliveries_around_a_late_commit(&test, &store);
    let expected = [(1, "first"), (3, "prompt"), (4, "last")];
    assert_eq!(delivered, expected.map(|(position, text)| (position, text.to_owned())));
    let all = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    assert_eq!(all.len(), 4, "the late event is there, and was never delivered");
}

/// Appends an event in a transaction that stays open, and another one next to it, and commits the
/// first when the second is recorded or waits for it. Returns what a subscription delivers in all.
fn deliveries_around_a_late_commit(test: &TestStore, store: &PostgresStore) -> Vec<(u64, String)> {
    let late = LATE.replace("{schema}", &test.schema).replace("{id}", &Uuid::new_v4().to_string());
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    let mut delivered = Vec::new();
    let mut prompt = store.append(append_of("prompt-1", "prompt"));
    let mut recorded = false;
    with_client(&test.server, async |client| {
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute(&late).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        while !recorded && !test.is_lock_awaited(client).await {
            recorded = prompt.as_mut().poll(&mut context).is_ready();
        }
        if recorded {
            delivered.extend(up_to_head(&mut subscription));
        }
        client.batch_execute("COMMIT").await.unwrap();
    });
    if recorded {
        // A later event brings the subscription past the late one.
        block_on(store.append(append_of("prompt-1", "last"))).unwrap();
    } else {
        block_on(prompt).unwrap();
    }
    while delivered.len() < 3 {
        delivered.extend(up_to_head(&mut subscription));
    }
    delivered
}

/// Returns what is delivered until the head is reached.
fn up_to_head(subscription: &mut Subscription) -> Vec<(u64, String)> {
    let mut delivered = Vec::new();
    loop {
        match block_on(subscription.next()).expect("a subscription has no end").unwrap() {
            Delivery::Events(page) => {
                delivered.extend(page.iter().map(|event| {
                    let text = String::from_utf8_lossy(&event.data).into_owned();
                    (event.position.number(), text)
                }));
                return delivered;
            }
            Delivery::CaughtUp(position) if position > Position::START => return delivered,
            _ => {}
        }
    }
}
