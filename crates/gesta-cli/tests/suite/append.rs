//! `gesta append`: accepted events and rejected input.

use std::fs;

use futures_executor::block_on;
use gesta_store::{Capability, CorrelationId, EventStore as _, Filter, ReadAll};

use crate::scene::{Scene, program, run};

const ORDER: [&str; 4] = ["append", "order-1", "--type", "order-placed"];

fn order<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ORDER.iter().chain(more).copied().collect()
}

#[test]
fn what_was_appended_is_read_again_with_all_that_was_said_of_it() {
    let scene = Scene::empty();
    let id = "0190a6b4-7c00-7000-8000-000000000001";
    let appended = scene.run(&order(&[
        "--data",
        r#"{"total": 9.90}"#,
        "--tag",
        "customer:17850",
        "--tag",
        "product:22423",
        "--id",
        id,
        "--correlation",
        "call-1",
        "--causation",
        "click-2",
        "--metadata",
        r#"{"actor":"ann"}"#,
        "--schema-version",
        "2",
    ]));
    assert_eq!(appended.stdout(), "appended 1 event: order-1 is at revision 0, position 1\n");

    let read = scene.run(&["read", "order-1", "--json"]);
    let recorded_at = read.objects()[0]["recordedAt"].as_str().unwrap().to_owned();
    assert_eq!(
        read.stdout().trim_end(),
        format!(
            r#"{{"position":1,"stream":"order-1","revision":0,"recordedAt":"{recorded_at}","id":"{id}","type":"order-placed","schemaVersion":2,"tags":["customer:17850","product:22423"],"correlationId":"call-1","causationId":"click-2","contentType":"application/json","data":{{"total":9.90}},"metadata":{{"actor":"ann"}}}}"#
        ),
        "to the letter: 9.90 stays 9.90"
    );
}

#[test]
fn a_writer_adds_the_ids_that_the_url_lists_and_later_ones_keep_them() {
    let scene = Scene::of_two_orders();
    let has = |capability| scene.open().capabilities().has(capability);
    assert!(!has(Capability::CorrelationFilter));
    let url = format!("gesta:{}?index=correlation", scene.path().display());
    let at = |arguments: &[&str]| run(program(&[&["--store", &url], arguments].concat()));
    at(&["read", "order-1"]).stdout();
    assert!(!has(Capability::CorrelationFilter), "a reader changes nothing");
    at(&order(&["--data", "{}", "--correlation", "call-1"])).stdout();
    scene.run(&order(&["--data", "{}"])).stdout();
    assert!(has(Capability::CorrelationFilter));
    assert!(!has(Capability::CausationFilter));
    let correlation = Filter::Correlation(CorrelationId::new("call-1").unwrap());
    let read = ReadAll::forwards().filter(correlation);
    let found = block_on(scene.open().read_all(read).collect_events()).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn a_parameter_of_the_url_that_is_none_is_refused() {
    let scene = Scene::empty();
    for (parameters, explanation) in [
        ("index=correlations", "correlations"),
        ("cache=7", "`cache=7` is no parameter of a gesta: URL"),
    ] {
        let url = format!("gesta:{}?{parameters}", scene.path().display());
        let refused = run(program(&[&["--store", &url], &order(&["--data", "{}"])[..]].concat()));
        refused.fails_with(2, explanation);
    }
    let url = format!("gesta:{}?index=all", scene.path().display());
    let refused = scene.run(&["backup", &url]);
    refused.fails_with(2, "expected a directory without parameters; remove ?index=all");
}

#[test]
fn appending_answers_in_json_when_asked_to() {
    let scene = Scene::of_two_orders();
    let id = "0190a6b4-7c00-7000-8000-000000000001";
    let append = || scene.run(&order(&["--data", "{}", "--id", id, "--json"]));
    let expected = |recorded| {
        serde_json::json!({
            "stream": "order-1",
            "revision": 2,
            "position": 4,
            "recorded": recorded,
            "ids": [id],
        })
    };
    assert_eq!(append().objects(), [expected("now")]);
    assert_eq!(append().objects(), [expected("earlier")]);
}

#[test]
fn every_line_of_standard_input_is_an_event() {
    let scene = Scene::empty();
    let appended = scene.run_with_input(&ORDER, "{\"n\":1}\n\n{\"n\":2}\r\n{\"n\":3}");
    assert_eq!(appended.stdout(), "appended 3 events: order-1 is at revision 2, position 3\n");
    let data: Vec<_> = scene
        .run(&["read", "order-1", "--json"])
        .objects()
        .iter()
        .map(|event| event["data"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(data, [1, 2, 3]);
}

#[test]
fn one_bad_line_keeps_all_of_them_out_and_is_named() {
    let scene = Scene::of_two_orders();
    let before = scene.files();
    let refused = scene.run_with_input(&ORDER, "{}\nplaced\n{}\n");
    refused.fails_with(2, "line 2 of standard input is not JSON");
    assert_eq!(scene.files(), before);
}

#[test]
fn standard_input_without_a_line_appends_nothing() {
    let scene = Scene::empty();
    scene.run(&ORDER).fails_with(2, "standard input has no lines");
    assert!(scene.files().is_empty(), "and begins no store");
}

#[test]
fn a_file_of_any_kind_can_be_data() {
    let scene = Scene::empty();
    let files = Scene::empty();
    let file = files.path().join("label.bin");
    fs::write(&file, [0xff, 0x00, 0x10]).unwrap();
    let file = file.to_str().unwrap();
    let appended =
        scene.run(&order(&["--data-file", file, "--content-type", "application/octet-stream"]));
    appended.stdout();
    let event = &scene.run(&["read", "order-1", "--json"]).objects()[0];
    assert_eq!(event["dataBase64"], "/wAQ");
    assert_eq!(event["contentType"], "application/octet-stream");
    assert!(scene.run(&["read", "order-1"]).stdout().ends_with("  0xff0010\n"));
}

#[test]
fn json_that_is_no_unicode_is_no_json() {
    let scene = Scene::empty();
    let files = Scene::empty();
    let file = files.path().join("latin-1.json");
    fs::write(&file, b"\"caf\xe9\"").unwrap();
    let refused = scene.run(&order(&["--data-file", file.to_str().unwrap()]));
    refused.fails_with(2, "latin-1.json is not JSON: invalid unicode");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let scene = Scene::empty();
    scene.run(&order(&["--data-file", "no-such.json"])).fails_with(2, "cannot read no-such.json");
}

#[test]
fn an_expectation_that_holds_appends() {
    let scene = Scene::empty();
    for expectation in ["none", "0", "exists", "any"] {
        scene.run(&order(&["--data", "{}", "--expect", expectation])).stdout();
    }
}

#[test]
fn an_expectation_that_does_not_hold_is_a_conflict_and_appends_nothing() {
    let scene = Scene::of_two_orders();
    for (expectation, why) in [
        ("none", "order-1 is at revision 1, expected no stream"),
        ("7", "order-1 is at revision 1, expected revision 7"),
    ] {
        let refused = scene.run(&order(&["--data", "{}", "--expect", expectation]));
        refused.fails_with(1, &format!("error: nothing was appended: conflict: stream {why}"));
    }
    let missing =
        ["append", "order-9", "--type", "order-paid", "--data", "{}", "--expect", "exists"];
    scene.run(&missing).fails_with(1, "order-9 does not exist, expected an existing stream");
    assert_eq!(scene.run(&["read", "--all", "--json"]).objects().len(), 3);
}

#[test]
fn the_same_id_is_appended_once() {
    let scene = Scene::empty();
    let once = order(&["--data", "{}", "--id", "0190a6b4-7c00-7000-8000-000000000001"]);
    let appended = "appended 1 event: order-1 is at revision 0, position 1\n";
    assert_eq!(scene.run(&once).stdout(), appended);
    let known = "nothing was appended: the event was appended before, to revision 0 of order-1, \
                 position 1\n";
    assert_eq!(scene.run(&once).stdout(), known);
    assert_eq!(scene.run(&["read", "order-1", "--json"]).objects().len(), 1);
}

#[test]
fn ids_are_given_for_every_event_or_for_none() {
    let scene = Scene::empty();
    let one_id = order(&["--id", "0190a6b4-7c00-7000-8000-000000000001"]);
    let refused = scene.run_with_input(&one_id, "{}\n{}\n");
    refused.fails_with(2, "expected one --id for each event (2), or none; got 1");
}

#[test]
fn bad_input_is_rejected_with_advice() {
    let scene = Scene::empty();
    for (bad, advice) in [
        (&["--data", "placed"][..], "put double quotes around text"),
        (&["--data", "{}", "--metadata", "ann"], "--metadata is not JSON"),
        (&["--data", "{}", "--tag", "customer"], "expected KEY:VALUE, such as customer:17850"),
        (&["--data", "{}", "--tag", ":17850"], "tag key is empty"),
        (&["--data", "{}", "--expect", "-1"], "a number from 0"),
        (
            &["--data", "{}", "--expect", "new"],
            "expected any, none, exists, or the stream's last revision",
        ),
        (&["--data", "{}", "--id", "17"], "invalid length"),
        (&["--data", "{}", "--data-file", "f"], "cannot be used with"),
    ] {
        scene.run(&order(bad)).fails_with(2, advice);
    }
    let refused = scene.run(&["append", "$settings", "--type", "changed", "--data", "{}"]);
    refused.fails_with(2, "$settings is a system stream");
    for (name, advice) in [
        ("", "stream name is empty"),
        ("order-", "stream name order- has no id after its `-`"),
        ("order-1\n2", "stream name has the control character U+000A at byte 7"),
    ] {
        let refused = scene.run(&["append", name, "--type", "t", "--data", "{}"]);
        refused.fails_with(2, advice);
    }
    let long = "x".repeat(256);
    let refused = scene.run(&["append", "order-1", "--type", &long, "--data", "{}"]);
    refused.fails_with(2, "event type has 256 bytes, more than the limit of 255");
}

#[test]
fn a_store_that_another_process_has_open_takes_no_append_from_here() {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    let owner = std::process::id();
    let refused = scene.run(&order(&["--data", "{}"]));
    refused.fails_with(2, &format!("cannot append: process {owner} has gesta:"));
    drop(store);
    scene.run(&order(&["--data", "{}"])).stdout();
}

#[test]
fn a_store_begins_in_an_empty_directory_only() {
    let scene = Scene::empty();
    fs::write(scene.path().join("letter.txt"), "dear ann").unwrap();
    let refused = scene.run(&order(&["--data", "{}"]));
    refused.fails_with(2, "a new store needs an empty one");
    assert_eq!(scene.files().len(), 1);
}
