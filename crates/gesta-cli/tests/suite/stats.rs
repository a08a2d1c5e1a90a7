//! `gesta stats`: counts and sizes.

use gesta_store::{DeleteStream, EventStore as _, ExpectedRevision, StreamName};
use serde_json::json;

use crate::scene::{Scene, append};

/// A store with two orders, a customer, a stream without a category, and a deleted one.
fn scene() -> Scene {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    append(&store, "customer-1", "named", "{}");
    append(&store, "log", "noted", "{}");
    append(&store, "order-3", "order-placed", "{}");
    let (stream, expected) = (StreamName::new("order-3").unwrap(), ExpectedRevision::StreamExists);
    futures_executor::block_on(store.delete_stream(DeleteStream::new(stream, expected))).unwrap();
    drop(store);
    scene
}

#[test]
fn a_store_is_counted_to_the_event() {
    let scene = scene();
    let stats = &scene.run(&["stats", "--json"]).objects()[0];
    assert_eq!((&stats["events"], &stats["position"]), (&json!(7), &json!(7)));
    assert_eq!((&stats["streams"], &stats["segments"]), (&json!(4), &json!(2)));
    assert_eq!(
        stats["categories"],
        json!([
            { "category": "order", "streams": 2, "events": 3 },
            { "category": "customer", "streams": 1, "events": 1 },
        ])
    );
    assert_eq!(stats["withoutCategory"], json!({ "streams": 1, "events": 1 }));
    assert_eq!(stats["otherEvents"], 2, "of the deleted stream, and that it was deleted");
    let events = scene.run(&["export"]).objects();
    assert_eq!(stats["firstRecordedAt"], events[1]["recordedAt"]);
    assert_eq!(stats["lastRecordedAt"], events[7]["recordedAt"]);
    let log: u64 = scene
        .files()
        .iter()
        .filter(|(file, _)| file.extension().is_some_and(|end| end == "seg"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    assert_eq!(stats["files"]["log"], json!({ "files": 2, "bytes": log }));
}

#[test]
fn people_get_a_table_of_the_largest_categories() {
    let ran = scene().run(&["stats", "--categories", "1"]);
    let lines: Vec<_> = ran.stdout().lines().collect();
    assert_eq!(lines[0], "events      7");
    assert_eq!(lines[1], "streams     4");
    let table = lines.iter().position(|line| line.is_empty()).unwrap();
    assert_eq!(
        lines[table + 1..],
        [
            "      EVENTS     STREAMS  CATEGORY",
            "           3           2  order",
            "           1           1  (smaller categories)",
            "           1           1  (no category)",
            "           2           -  (others)",
        ]
    );
}
