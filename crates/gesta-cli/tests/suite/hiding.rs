//! Verbs that hide events or forbid streams: they ask, and nothing else does it.

use serde_json::json;

use crate::scene::{Scene, append};

#[test]
fn an_append_never_deletes() {
    let scene = Scene::of_two_orders();
    let before = scene.files();
    for (stream, event_type) in
        [("$$order-1", "$tombstone"), ("$$order-1", "$metadata"), ("$settings", "changed")]
    {
        let refused = scene.run(&["append", stream, "--type", event_type, "--data", "{}"]);
        refused.fails_with(2, &format!("stream {stream} is the system's"));
        refused.fails_with(2, "`gesta tombstone`");
    }
    let refused = scene.run(&["append", "order-1", "--type", "$tombstone", "--data", "{}"]);
    refused.fails_with(2, "event type $tombstone is the system's");
    assert_eq!(scene.files(), before);
    scene.run(&["read", "order-1"]).said();
}

#[test]
fn what_takes_something_away_asks_and_does_nothing_where_nobody_answers() {
    let scene = Scene::of_two_orders();
    let before = scene.files();
    for verb in [
        &["delete", "order-1"][..],
        &["truncate", "order-1", "--before", "1"],
        &["tombstone", "order-1"],
        &["metadata", "set", "order-1", "{\"$maxCount\":1}"],
    ] {
        scene.run(verb).fails_with(2, "nobody is there to confirm it");
        scene.run(verb).fails_with(2, "--yes");
    }
    assert_eq!(scene.files(), before);
}

#[test]
fn a_deleted_stream_can_begin_again_and_a_tombstoned_one_cannot() {
    let scene = Scene::of_two_orders();
    let deleted = scene.run(&["delete", "order-1", "--yes"]);
    assert_eq!(deleted.said(), "deleted order-1 up to revision 1\n");
    scene.run(&["read", "order-1"]).fails_with(3, "order-1 was deleted");
    scene.run(&["delete", "order-1", "--yes"]).fails_with(3, "order-1 was deleted");
    scene.run(&["append", "order-1", "--type", "order-placed", "--data", "{}"]).said();
    let read = scene.run(&["read", "order-1", "--json"]).objects();
    assert_eq!(read.iter().map(|event| &event["revision"]).collect::<Vec<_>>(), [&json!(2)]);

    let told = &scene.run(&["tombstone", "order-2", "--yes", "--json"]).objects()[0];
    assert_eq!(told["stream"], "order-2");
    for verb in [
        &["append", "order-2", "--type", "order-placed", "--data", "{}"][..],
        &["tombstone", "order-2", "--yes"],
        &["delete", "order-2", "--yes"],
        &["metadata", "get", "order-2"],
    ] {
        scene.run(verb).fails_with(1, "deleted for ever");
    }
}

#[test]
fn a_truncated_stream_begins_later_and_what_is_hidden_stays_hidden() {
    let scene = Scene::of_two_orders();
    let truncated = scene.run(&["truncate", "order-1", "--before", "1", "--yes"]);
    assert_eq!(truncated.said(), "order-1 begins at revision 1\n");
    assert_eq!(scene.run(&["read", "order-1", "--json"]).objects().len(), 1);
    let again = ["truncate", "order-1", "--before", "1", "--yes"];
    scene.run(&again).fails_with(1, "begins at revision 1 already");
    let all = ["truncate", "order-1", "--before", "2", "--yes"];
    scene.run(&all).fails_with(2, "`gesta delete`");
    let undelete = ["metadata", "set", "order-1", "{\"$maxCount\":5}", "--yes"];
    scene.run(&undelete).fails_with(1, "put \"$tb\":1 or a later revision");
    let keep = ["metadata", "set", "order-1", "{\"$tb\":1,\"$maxCount\":5}", "--yes"];
    assert_eq!(scene.run(&keep).said(), "set the metadata of order-1\n");
    let told = &scene.run(&["metadata", "get", "order-1", "--json"]).objects()[0];
    let expected = json!({
        "stream": "order-1", "revision": 1, "metadata": { "$tb": 1, "$maxCount": 5 },
    });
    assert_eq!(*told, expected);
}

#[test]
fn metadata_that_are_none_are_refused_with_the_reason() {
    let scene = Scene::of_two_orders();
    for (json, reason) in [
        ("nope", "the metadata are not JSON"),
        ("{\"$maxCount\":0}", "$maxCount is 0"),
        ("{\"$maxcount\":1}", "$maxcount is not known"),
    ] {
        scene.run(&["metadata", "set", "order-1", json, "--yes"]).fails_with(2, reason);
    }
    scene.run(&["metadata", "get", "oder-1"]).fails_with(3, "there is no stream oder-1");
}

#[test]
fn a_stream_that_never_was_is_told_apart_from_one_that_was_deleted() {
    let scene = Scene::of_two_orders();
    append(&scene.open(), "order-3", "order-placed", "{}");
    scene.run(&["delete", "order-3", "--yes"]).said();
    for (stream, code, message) in [
        ("oder-1", "no-such-stream", "there is no stream oder-1"),
        ("order-3", "stream-deleted", "order-3 was deleted"),
    ] {
        for verb in [
            &["read", stream][..],
            &["delete", stream, "--yes"],
            &["truncate", stream, "--before", "1", "--yes"],
        ] {
            scene.run(verb).fails_with(3, message);
            let failed = scene.run(&[verb, &["--json"]].concat());
            failed.fails_with(3, message);
            assert_eq!(failed.error()["code"], code);
        }
    }
}
