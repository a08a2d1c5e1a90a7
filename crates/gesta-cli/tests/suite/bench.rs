//! `gesta bench`: reports, and the stores it refuses.

use std::fs;

use gesta_store::{EventStore as _, ReadAll};

use crate::scene::{Scene, program, run};

const APPEND: [&str; 4] = ["bench", "append", "--seconds", "0.1"];

#[test]
fn measured_appends_are_in_the_store_afterwards() {
    let scene = Scene::empty();
    let words = ["--writers", "4", "--events-per-append", "3", "--event-bytes", "50", "--json"];
    let report = &scene.run(&[&APPEND[..], &words].concat()).objects()[0];
    let events = report["events"].as_u64().unwrap();
    assert_eq!(events, report["appends"].as_u64().unwrap() * 3);
    assert!(report["seconds"].as_f64() >= Some(0.1), "{report}");
    assert!(report["latency"]["p50_us"].as_f64() > Some(0.0), "{report}");
    assert!(report["device"]["write_and_sync_p50_us"].as_f64() > Some(0.0), "{report}");

    let read = scene.open().read_all(ReadAll::forwards()).collect_events();
    let read = futures_executor::block_on(read).unwrap();
    assert_eq!(read.len() as u64, events);
    assert!(read.iter().all(|event| event.data.len() == 50));
}

#[test]
fn a_person_is_told_the_rate_and_what_the_device_takes() {
    let measured = Scene::empty().run(&APPEND);
    for told in ["events a second", "an append, µs", "the device, µs"] {
        assert!(measured.said().contains(told), "{measured:?}");
    }
}

#[test]
fn a_store_in_memory_is_measured_without_a_device() {
    let report = run(program(&[&APPEND[..], &["--store", "memory:", "--json"]].concat()));
    assert!(report.objects()[0]["device"].is_null());
}

#[test]
fn conditions_that_hold_are_no_conflicts() {
    for condition in ["query", "exact"] {
        let words = ["--writers", "4", "--streams", "10", "--condition", condition, "--json"];
        let report = &Scene::empty().run(&[&APPEND[..], &words].concat()).objects()[0];
        assert_eq!(report["condition"], condition);
        assert!(report["events"].as_u64() > Some(0), "{report}");
    }
}

#[test]
fn a_store_that_has_events_is_not_measured_on() {
    let scene = Scene::of_two_orders();
    scene.run(&APPEND).fails_with(2, "is not empty");
    assert_eq!(scene.run(&["read", "--all"]).said().lines().count(), 3);
}

#[test]
fn a_store_that_is_there_is_read_and_left_as_it_is() {
    let scene = Scene::of_two_orders();
    let before = scene.files();
    let report = &scene.run(&["bench", "read", "--seconds", "0.05", "--json"]).objects()[0];
    assert_eq!(report["events"], 3);
    assert!(report["load"]["p50_us"].as_f64() > Some(0.0), "{report}");
    assert!(report["category_events_per_second"].is_null(), "{report}");
    assert_eq!(scene.files(), before);
}

#[test]
fn an_empty_store_is_filled_before_it_is_read() {
    let scene = Scene::empty();
    let words = ["bench", "read", "--seconds", "0.05", "--events", "20000", "--json"];
    let report = &scene.run(&words).objects()[0];
    assert_eq!((&report["events"], &report["stream_events"]), (&20_000.into(), &100.0.into()));
    assert!(report["category_events_per_second"].as_f64() > Some(0.0), "{report}");
    let measured = scene.run(&["bench", "read", "--seconds", "0.05"]);
    for told in ["all events", "a stream, µs", "its last ten, µs", "20000 events"] {
        assert!(measured.said().contains(told), "{measured:?}");
    }
}

#[test]
fn deliveries_are_told_beside_appends() {
    let load = ["bench", "subscribe", "--seconds", "0.2", "--rate", "500"];
    let who = ["--subscribers", "4", "--filtered", "2", "--stalled", "1"];
    let report = &Scene::empty().run(&[&load[..], &who, &["--json"]].concat()).objects()[0];
    assert!(report["events"].as_u64() > Some(0), "{report}");
    assert!(report["delivery"]["p99_us"].as_f64() > Some(0.0), "{report}");
    let measured = Scene::empty().run(&[&load[..], &who].concat());
    assert!(measured.said().contains("a delivery, µs"), "{measured:?}");
    Scene::of_two_orders().run(&load).fails_with(2, "is not empty");
}

#[test]
fn what_was_told_is_recounted_after_the_program_ended() {
    let scene = Scene::empty();
    let log = scene.path().with_extension("log");
    for life in ["1", "2"] {
        let words = ["bench", "record", "--life", life, "--writers", "4", "--appends-each", "50"];
        let told =
            scene.run(&[&words[..], &["--streams", "5", "--segment-bytes", "8192"]].concat());
        assert!(told.said().starts_with(&format!("life {life} ")), "{told:?}");
        let before = fs::read_to_string(&log).unwrap_or_default();
        fs::write(&log, before + told.said()).unwrap();
    }
    let recount = ["bench", "check", log.to_str().unwrap()];
    let found = &scene.run(&[&recount[..], &["--json"]].concat()).objects()[0];
    let (acknowledged, refused) = (found["acknowledged"].as_u64(), found["refused"].as_u64());
    assert_eq!(acknowledged.unwrap() + refused.unwrap(), 400, "{found}");
    assert!(scene.run(&recount).said().contains("acknowledged appends are there once"));

    let mut lines = fs::read_to_string(&log).unwrap();
    lines.push_str("offer 0 50\nack 0 50 1 0\n");
    fs::write(&log, lines).unwrap();
    scene.run(&recount).fails_with(2, "LOST");
    fs::remove_file(log).unwrap();
}
