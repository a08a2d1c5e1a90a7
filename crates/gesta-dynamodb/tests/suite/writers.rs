//! Several processes on one store: order, and what a writer leaves that ends halfway.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use gesta_dynamodb::DynamoStore;
use gesta_store::{
    Append, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, Position, ReadAll,
    ReadStream, RecordedWhen, StoreError, StreamName, conformance::block_on,
};

use crate::server::{fresh_url, key, number, table, with_client};

const WRITERS: usize = 3;
const APPENDS: usize = 40;

fn connect(url: &str) -> DynamoStore {
    block_on(DynamoStore::connect(url)).unwrap()
}

fn event() -> NewEvent {
    NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), "{}")
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// Each writer has a connection of its own. All of them also add to one stream, at the revision
/// that they have read.
fn write(url: &str, writer: usize) -> Vec<EventId> {
    let store = connect(url);
    let mut recorded = Vec::new();
    for nth in 0..APPENDS {
        let alone = event();
        recorded.push(alone.id);
        let own = stream(&format!("writer-{writer}-{}", nth % 5));
        block_on(store.append(Append::to(own, ExpectedRevision::Any, [alone]))).unwrap();
        let shared = event();
        recorded.push(shared.id);
        loop {
            let head = block_on(store.describe_stream(&stream("shared-1"))).unwrap().head;
            let expected = head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
            let append = Append::to(stream("shared-1"), expected, [shared.clone()]);
            match block_on(store.append(append)) {
                Ok(appended) => {
                    assert_eq!(appended.recorded, RecordedWhen::Now);
                    break;
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    recorded
}

/// Reads on from where it was. An event that appears at or before a position that was read would
/// leave a gap.
fn follow(url: &str, is_over: &AtomicBool) -> u64 {
    let store = connect(url);
    let mut seen = 0;
    loop {
        // Before the read: what was appended until then is read.
        let was_over = is_over.load(Ordering::SeqCst);
        let read = ReadAll::forwards().from(Position::new(seen + 1));
        for event in block_on(store.read_all(read).collect_events()).unwrap() {
            assert_eq!(event.position.number(), seen + 1, "positions are dense and in order");
            seen += 1;
        }
        if was_over {
            return seen;
        }
    }
}

#[test]
fn writers_of_several_processes_record_each_event_once_and_readers_see_them_in_order() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let is_over = AtomicBool::new(false);
    let (recorded, seen) = thread::scope(|scope| {
        let (url, is_over) = (&url, &is_over);
        let reader = scope.spawn(move || follow(url, is_over));
        let writers: Vec<_> =
            (0..WRITERS).map(|nth| scope.spawn(move || write(url, nth))).collect();
        let recorded: Vec<EventId> =
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        is_over.store(true, Ordering::SeqCst);
        (recorded, reader.join().unwrap())
    });
    assert_eq!(seen, recorded.len() as u64);
    let store = connect(&url);
    let all = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    let ids: BTreeSet<EventId> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids, recorded.into_iter().collect());
    let shared =
        block_on(store.read_stream(ReadStream::forwards(stream("shared-1"))).collect_events());
    let revisions: Vec<u64> = shared.unwrap().iter().map(|event| event.revision.number()).collect();
    assert!(revisions.iter().copied().eq(0..(WRITERS * APPENDS) as u64));
}

/// Takes back everything that a writer does after it has put the log's item of position 2.
fn cut_off_at_2(url: &str, id: EventId) {
    let events = table(url, "events");
    with_client(url, async |client| {
        let revision = format!("{:020}", 1);
        for (pk, sk) in [("stream#order-1", revision.as_str()), (&format!("id#{id}"), "order-1")] {
            let deletion = client.delete_item().table_name(&events).set_key(Some(key(pk, sk)));
            deletion.send().await.unwrap();
        }
        let mark = client.update_item().table_name(&events).set_key(Some(key("mark", "-")));
        let mark = mark.update_expression("SET nx = :two");
        mark.expression_attribute_values(":two", number(2)).send().await.unwrap();
    });
}

#[test]
fn a_batch_whose_writer_ended_is_completed_and_never_doubled() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let url = fresh_url(&endpoint);
    let append = |event| Append::to(stream("order-1"), ExpectedRevision::Any, [event]);
    let (first, second, third) = (event(), event(), event());
    let store = connect(&url);
    block_on(store.append(append(first))).unwrap();
    // This one was open before, and knows nothing of the second event.
    let other = connect(&url);
    block_on(store.append(append(second.clone()))).unwrap();
    drop(store);
    cut_off_at_2(&url, second.id);

    assert_eq!(block_on(other.head()).unwrap().position, Position::new(1), "it is not visible yet");
    let found = block_on(other.find_append(second.id)).unwrap().expect("a look completes it");
    assert_eq!(found.position, Position::new(2));

    cut_off_at_2(&url, second.id);
    let repeated = block_on(connect(&url).append(append(second.clone()))).unwrap();
    assert_eq!(repeated.recorded, RecordedWhen::Earlier, "opening completes it");
    let appended = block_on(other.append(append(third.clone()))).unwrap();
    assert_eq!(appended.position, Position::new(3));
    let read =
        block_on(other.read_stream(ReadStream::forwards(stream("order-1"))).collect_events());
    let ids: Vec<EventId> = read.unwrap().iter().map(|event| event.id).collect();
    assert_eq!(ids.last(), Some(&third.id));
    assert_eq!(ids.len(), 3);
}
