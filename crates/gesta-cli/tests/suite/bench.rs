//! `gesta bench`: reports, and the stores it refuses.

use gesta_store::{EventStore as _, ReadAll};

use crate::scene::Scene;

const APPEND: [&str; 4] = ["bench", "append", "--seconds", "0.1"];

#[test]
fn measured_appends_are_in_the_store_afterwards() {
    let scene = Scene::empty();
    let words = ["--writers", "4", "--events-per-append", "3", "--event-bytes", "50", "--json"];
    let report = &scene.run(&[&APPEND[..], &words].concat()).objects()[0];
    let events = report["events"].as_u64().unwrap();
    assert_eq!(events, report["appends"].as_u64().unwrap() * 3);
    assert!(report["seconds"].as_f64() >= Some(0.1), "{report}");
    assert!(report["events_per_second"].as_f64() > Some(0.0), "{report}");
    assert!(report["latency"]["p50_us"].as_f64() > Some(0.0), "{report}");

    let store = scene.open();
    let read = store.read_all(ReadAll::forwards()).collect_events();
    let read = futures_executor::block_on(read).unwrap();
    assert_eq!(read.len() as u64, events);
    assert!(read.iter().all(|event| event.data.len() == 50 && event.tags.len() == 1));
}

#[test]
fn appends_go_to_as_many_streams_as_asked_for() {
    let scene = Scene::empty();
    scene.run(&[&APPEND[..], &["--writers", "2", "--streams", "3"]].concat()).stdout();
    assert_eq!(scene.run(&["streams", "--json"]).objects().len(), 3);
}

#[test]
fn a_person_reads_rate_and_latency() {
    let measured = Scene::empty().run(&APPEND);
    for shown in ["events per second", "appends per second", "latency, µs", "to close the store"] {
        assert!(measured.stdout().contains(shown), "{measured:?}");
    }
}

#[test]
fn a_store_that_has_events_is_not_appended_to() {
    let scene = Scene::of_two_orders();
    for verb in ["append", "subscribe"] {
        scene.run(&["bench", verb, "--seconds", "0.1"]).fails_with(2, "is not empty");
    }
    assert_eq!(scene.run(&["read", "--all"]).stdout().lines().count(), 3);
}

#[test]
fn a_store_that_is_there_is_read_and_left_as_it_is() {
    let scene = Scene::of_two_orders();
    let before = scene.files();
    let read = ["bench", "read", "--seconds", "0.05"];
    let report = &scene.run(&[&read[..], &["--json"]].concat()).objects()[0];
    assert_eq!(report["events"], 3);
    assert!(report["scan_events_per_second"].as_f64() > Some(0.0), "{report}");
    assert!(report["load"]["p50_us"].as_f64() > Some(0.0), "{report}");
    assert!(report["load_last"]["p50_us"].as_f64() > Some(0.0), "{report}");
    assert_eq!(scene.files(), before);
    let measured = scene.run(&read);
    for shown in ["scanned events per second", "load of a stream, µs", "3 events"] {
        assert!(measured.stdout().contains(shown), "{measured:?}");
    }
}

#[test]
fn a_store_without_events_is_not_read() {
    Scene::empty().run(&["bench", "read"]).fails_with(2, "no store at");
}

#[test]
fn every_subscription_gets_every_event() {
    let load = ["bench", "subscribe", "--seconds", "0.2", "--rate", "500", "--subscribers", "4"];
    let report = &Scene::empty().run(&[&load[..], &["--json"]].concat()).objects()[0];
    assert_eq!((&report["events"], &report["subscribers"]), (&100.into(), &4.into()));
    assert!(report["append"]["p50_us"].as_f64() > Some(0.0), "{report}");
    assert!(report["delivery"]["p99_us"].as_f64() > Some(0.0), "{report}");
    let measured = Scene::empty().run(&load);
    assert!(measured.stdout().contains("delivery, µs"), "{measured:?}");
}
