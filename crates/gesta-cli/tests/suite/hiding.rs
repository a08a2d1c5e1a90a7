//! Commands that hide events or tombstone streams: they ask first, and no other command does it.

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
        refused.fails_with(2, &format!("{stream} is a system stream"));
        refused.fails_with(2, "`gesta tombstone`");
    }
    let refused = scene.run(&["append", "order-1", "--type", "$tombstone", "--data", "{}"]);
    refused.fails_with(2, "$tombstone is a system event type");
    assert_eq!(scene.files(), before);
    scene.run(&["read", "order-1"]).stdout();
}

#[test]
fn commands_that_hide_events_ask_and_do_nothing_without_an_answer() {
    let scene = Scene::of_two_orders();
    let before = scene.files();
    for verb in [
        &["delete", "order-1"][..],
        &["truncate", "order-1", "--before", "1"],
        &["tombstone", "order-1"],
        &["metadata", "set", "order-1", "{\"$maxCount\":1}"],
    ] {
        scene.run(verb).fails_with(2, "standard input is not a terminal");
        scene.run(verb).fails_with(2, "--yes");
    }
    assert_eq!(scene.files(), before);
}

#[test]
fn a_deleted_stream_can_begin_again_and_a_tombstoned_one_cannot() {
    let scene = Scene::of_two_orders();
    let deleted = scene.run(&["delete", "order-1", "--yes"]);
    assert_eq!(deleted.stdout(), "deleted order-1 up to revision 1\n");
    scene.run(&["read", "order-1"]).fails_with(3, "order-1 is deleted");
    scene.run(&["delete", "order-1", "--yes"]).fails_with(3, "order-1 is deleted");
    scene.run(&["append", "order-1", "--type", "order-placed", "--data", "{}"]).stdout();
    let read = scene.run(&["read", "order-1", "--json"]).objects();
    assert_eq!(read.iter().map(|event| &event["revision"]).collect::<Vec<_>>(), [&json!(2)]);

    let ran = &scene.run(&["tombstone", "order-2", "--yes", "--json"]).objects()[0];
    assert_eq!(ran["stream"], "order-2");
    for verb in [
        &["append", "order-2", "--type", "order-placed", "--data", "{}"][..],
        &["tombstone", "order-2", "--yes"],
        &["delete", "order-2", "--yes"],
        &["metadata", "get", "order-2"],
    ] {
        scene.run(verb).fails_with(1, "is tombstoned");
    }
}

#[test]
fn a_truncated_stream_begins_later_and_what_is_hidden_stays_hidden() {
    let scene = Scene::of_two_orders();
    let truncated = scene.run(&["truncate", "order-1", "--before", "1", "--yes"]);
    assert_eq!(truncated.stdout(), "order-1 starts at revision 1\n");
    assert_eq!(scene.run(&["read", "order-1", "--json"]).objects().len(), 1);
    let again = ["truncate", "order-1", "--before", "1", "--yes"];
    scene.run(&again).fails_with(1, "already starts at revision 1");
    let all = ["truncate", "order-1", "--before", "2", "--yes"];
    scene.run(&all).fails_with(2, "`gesta delete`");
    let undelete = ["metadata", "set", "order-1", "{\"$maxCount\":5}", "--yes"];
    scene.run(&undelete).fails_with(1, "include \"$tb\":1 or a later revision");
    let keep = ["metadata", "set", "order-1", "{\"$tb\":1,\"$maxCount\":5}", "--yes"];
    assert_eq!(scene.run(&keep).stdout(), "set the metadata of order-1\n");
    let ran = &scene.run(&["metadata", "get", "order-1", "--json"]).objects()[0];
    let expected = json!({
        "stream": "order-1", "revision": 1, "metadata": { "$tb": 1, "$maxCount": 5 },
    });
    assert_eq!(*ran, expected);
}

#[test]
fn metadata_that_are_none_are_refused_with_the_reason() {
    let scene = Scene::of_two_orders();
    for (json, reason) in [
        ("nope", "metadata is not JSON"),
        ("{\"$maxCount\":0}", "$maxCount must be at least 1"),
        ("{\"$maxcount\":1}", "unknown name $maxcount; did you mean $maxCount?"),
        ("{\"team\":\"sales\",\"$ttl\":1}", "unknown name $ttl; expected one of $maxAge, "),
    ] {
        scene.run(&["metadata", "set", "order-1", json, "--yes"]).fails_with(2, reason);
    }
    scene.run(&["metadata", "get", "oder-1"]).fails_with(3, "stream oder-1 does not exist");
}

#[test]
fn a_missing_stream_has_another_code_than_a_deleted_one() {
    let scene = Scene::of_two_orders();
    append(&scene.open(), "order-3", "order-placed", "{}");
    scene.run(&["delete", "order-3", "--yes"]).stdout();
    for (stream, code, message) in [
        ("oder-1", "no-such-stream", "stream oder-1 does not exist"),
        ("order-3", "stream-deleted", "order-3 is deleted"),
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

#[test]
fn a_stream_of_the_systems_is_left_alone_by_every_verb() {
    let scene = Scene::of_two_orders();
    scene.run(&["metadata", "set", "order-1", r#"{"$maxCount":5}"#, "--yes"]).stdout();
    let before = scene.files();
    for stream in ["$$order-1", "$$oder-1", "$settings"] {
        for verb in [
            &["tombstone", stream, "--yes"][..],
            &["delete", stream, "--yes"],
            &["truncate", stream, "--before", "1", "--yes"],
            &["metadata", "set", stream, r#"{"$maxCount":1}"#, "--yes"],
        ] {
            let refused = scene.run(&[verb, &["--json"]].concat());
            assert_eq!((refused.code, &refused.error()["code"]), (2, &json!("system-stream")));
            scene.run(verb).fails_with(2, &format!("{stream} is a system stream"));
        }
    }
    let refused = scene.run(&["tombstone", "$$order-1", "--yes"]);
    refused.fails_with(2, "the stream holds the metadata of order-1");
    assert_eq!(scene.files(), before);
}

/// A store with the journal of a process manager that has inputs set aside of three subjects, of
/// which one was released and another was skipped.
fn with_a_journal() -> Scene {
    let scene = Scene::empty();
    let store = scene.open();
    let set_aside = |subject, numbers: &[u64]| {
        let inputs: Vec<_> = numbers.iter().map(|number| json!({ "number": number })).collect();
        json!({ "subject": subject, "inputs": inputs, "delivered": 9 }).to_string()
    };
    let ann = json!({ "instance": "ann" });
    let poison = json!({ "source": "user-poison" });
    let (journal, aside) = ("processes:journal-welcome", "process-inputs-set-aside");
    append(&store, journal, aside, &set_aside(json!({ "instance": "before" }), &[1]));
    let queue = json!({ "subject": ann, "inputs": [{ "number": 2 }], "delivered": 7 });
    let piece = json!({ "instances": [], "queues": [queue], "skipped": ["an-id"] }).to_string();
    append(&store, journal, "process-checkpoint-piece", &piece);
    append(&store, journal, "process-checkpointed", r#"{"pieces":1}"#);
    append(&store, journal, aside, &set_aside(poison.clone(), &[3, 4]));
    append(&store, journal, aside, &set_aside(json!({ "instance": "bea" }), &[5]));
    let released = json!({ "subject": { "instance": "bea" }, "numbers": [5], "skipped": [] });
    append(&store, journal, "process-inputs-released", &released.to_string());
    drop(store);
    scene
}

#[test]
fn what_a_process_manager_has_set_aside_is_forgotten_only_if_that_is_said() {
    let scene = with_a_journal();
    let (journal, before) = ("processes:journal-welcome", scene.files());
    let verbs = [
        &["truncate", journal, "--before", "5", "--yes"][..],
        &["metadata", "set", journal, r#"{"$maxCount":1}"#, "--yes"],
        &["delete", journal, "--yes"],
        &["tombstone", journal, "--yes"],
    ];
    for verb in verbs {
        let refused = scene.run(verb);
        refused.fails_with(
            1,
            "process manager welcome would lose 3 inputs set aside (1 of instance:ann, 2 of \
             stream:user-poison), and 1 skipped event",
        );
        refused.fails_with(1, "--forget-set-aside");
        let error = scene.run(&[verb, &["--json"]].concat()).error();
        assert_eq!(error["code"], "would-forget-set-aside");
    }
    assert_eq!(scene.files(), before);
    // Metadata that hides nothing needs no option.
    scene.run(&["metadata", "set", journal, r#"{"owner":"ann"}"#, "--yes"]).stdout();
    for verb in verbs {
        let scene = with_a_journal();
        scene.run(&[verb, &["--forget-set-aside"]].concat()).stdout();
    }
}

#[test]
fn the_journal_of_a_process_manager_with_nothing_set_aside_is_deleted_like_another_stream() {
    let scene = Scene::empty();
    let journal = "processes:journal-welcome";
    append(&scene.open(), journal, "process-checkpointed", r#"{"pieces":0}"#);
    assert!(scene.run(&["delete", journal, "--yes"]).stdout().starts_with("deleted "));
}

/// A store with the journal of a reactor that has two dead letters, after one before a checkpoint
/// and one that was retried.
fn with_a_reactors_journal() -> Scene {
    let scene = Scene::empty();
    let store = scene.open();
    let advanced = |position: u64, held: serde_json::Value, released: &[&str]| {
        let place = json!({ "position": position, "incarnation": "i" });
        json!({ "place": place, "held": held, "released": released }).to_string()
    };
    let letter = |stream: &str| {
        let letter = json!({
            "id": "i", "eventType": "t", "position": 1, "error": "e", "attempts": 1, "since": 1,
        });
        json!({ "stream": stream, "next": 0, "through": 1, "letter": letter })
    };
    let moving_on = |stream: &str| json!({ "stream": stream, "next": 1, "through": 1 });
    let append = |event_type, data: &str| append(&store, REACTOR, event_type, data);
    append("reactor-advanced", &advanced(3, json!([letter("user-before")]), &[]));
    append("reactor-checkpointed", r#"{"place":{"position":5,"incarnation":"i"},"ahead":[]}"#);
    append("reactor-advanced", &advanced(5, json!([letter("user-ann"), letter("user-bea")]), &[]));
    append("reactor-advanced", &advanced(6, json!([letter("user-cy"), letter("user-di")]), &[]));
    append("reactor-advanced", &advanced(7, json!([moving_on("user-bea")]), &["user-cy"]));
    drop(store);
    scene
}

const REACTOR: &str = "reactors:journal-welcome-mail";

#[test]
fn the_position_and_the_dead_letters_of_a_reactor_are_forgotten_only_if_that_is_said() {
    let scene = with_a_reactors_journal();
    let before = scene.files();
    let verbs = [
        &["truncate", REACTOR, "--before", "4", "--yes"][..],
        &["metadata", "set", REACTOR, r#"{"$maxCount":1}"#, "--yes"],
        &["delete", REACTOR, "--yes"],
        &["tombstone", REACTOR, "--yes"],
    ];
    for verb in verbs {
        let refused = scene.run(verb);
        refused.fails_with(
            1,
            "reactor welcome-mail would lose its position 7, and 2 dead letters (stream user-ann, \
             stream user-di)",
        );
        refused.fails_with(1, "--forget-set-aside");
        let error = scene.run(&[verb, &["--json"]].concat()).error();
        assert_eq!(error["code"], "would-forget-set-aside");
    }
    assert_eq!(scene.files(), before);
    for verb in verbs {
        let scene = with_a_reactors_journal();
        scene.run(&[verb, &["--forget-set-aside"]].concat()).stdout();
    }
}

#[test]
fn a_reactor_without_dead_letters_loses_its_position_only_if_that_is_said() {
    let scene = Scene::empty();
    let begun = r#"{"place":{"position":5,"incarnation":"i"},"ahead":[]}"#;
    append(&scene.open(), REACTOR, "reactor-checkpointed", begun);
    let delete = ["delete", REACTOR, "--yes"];
    scene.run(&delete).fails_with(1, "reactor welcome-mail would lose its position 5\n");
    scene.run(&[&delete[..], &["--forget-set-aside"]].concat()).stdout();
    // A stream without events holds nothing.
    scene.run(&["tombstone", "reactors:journal-unknown", "--yes"]).stdout();
}
