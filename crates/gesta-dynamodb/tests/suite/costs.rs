//! Units that calls consume, as the server counts them. The guide has these numbers.

use gesta_dynamodb::{ConsumedUnits, DynamoReadModels, DynamoStore};
use gesta_services::OwnServer;
use gesta_store::{
    Append, CreateReadModel, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent,
    ReadAll, ReadModelStore as _, ReadModelTx as _, ReadRows as _, ReadStream, Revision, Rows as _,
    Stage, StreamName, conformance::block_on,
};

use crate::server::fresh_url;

fn events(count: usize) -> Vec<NewEvent> {
    let event_type = EventType::new("order-placed").unwrap();
    let event = || NewEvent::json(EventId::random(), event_type.clone(), vec![b'x'; 400]);
    (0..count).map(|_| event()).collect()
}

/// Units between two counts.
fn between(before: ConsumedUnits, after: ConsumedUnits) -> (f64, f64) {
    (after.read - before.read, after.written - before.written)
}

#[test]
fn calls_consume_what_the_guide_says() {
    // A server of its own: a request that is sent again consumes units again.
    let Some(server) = OwnServer::start_or_skip("dynamodb") else { return };
    let url = fresh_url(&server.url());
    let store = block_on(DynamoStore::connect(&url)).unwrap();
    let mut lines = Vec::new();
    let mut measure = |what: &str, work: &dyn Fn()| {
        let before = store.consumed_units();
        work();
        let (read, written) = between(before, store.consumed_units());
        lines.push((what.to_owned(), read, written));
        (read, written)
    };
    let stream = StreamName::new("order-1").unwrap();
    let append = |expected, count| {
        block_on(store.append(Append::to(stream.clone(), expected, events(count)))).unwrap();
    };
    let (_, first) = measure("first event of a stream", &|| append(ExpectedRevision::NoStream, 1));
    let at = |revision| ExpectedRevision::Exact(Revision::new(revision));
    let (_, next) = measure("next event", &|| append(at(0), 1));
    let (_, hundred) = measure("100 events in one append", &|| append(at(1), 100));
    let load = |from| {
        let read = ReadStream::forwards(stream.clone()).from(Revision::new(from));
        block_on(store.read_stream(read).collect_events()).unwrap();
    };
    let (loaded, _) = measure("load of 102 events", &|| load(0));
    let (tail, _) = measure("load of a tail of 2 events", &|| load(100));
    let (page, _) = measure("page of the whole store, 102 events", &|| {
        block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    });

    // Log, event, id, mark; and the name and the category of a new stream.
    assert_eq!((first, next), (6.0, 4.0), "{lines:#?}");
    // Events of 400 bytes take a unit each in their stream, and half a unit in the log.
    assert!((145.0..150.0).contains(&hundred), "{lines:#?}");
    assert!(loaded <= 14.0 && tail <= 2.0 && page <= 13.0, "{lines:#?}");

    let rows = block_on(DynamoReadModels::connect(&url)).unwrap();
    let id = block_on(rows.create_read_model(CreateReadModel::new("orders", 1, Stage::Live)));
    let id = id.unwrap();
    let commit = |keys: std::ops::Range<u32>| {
        let before = rows.consumed_units();
        block_on(async {
            let mut tx = rows.begin(&id).await.unwrap();
            for key in keys {
                let value = "x".repeat(400).into();
                tx.put_json("orders", &key.to_string(), &value).await.unwrap();
            }
            tx.commit().await.unwrap();
        });
        between(before, rows.consumed_units()).1
    };
    assert_eq!(commit(0..1), 3.0, "a row, and the head twice");
    assert_eq!(commit(0..100), 102.0, "with the values before, a row is still within 1 KB");
    let before = rows.consumed_units();
    let read =
        block_on(async { rows.reader(&id).await.unwrap().get_json("orders", "7").await.unwrap() });
    assert!(read.is_some());
    assert!(between(before, rows.consumed_units()).0 <= 2.0, "the head, and the row");
}
