//! The program, run as a script runs it.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    process::{Command, Output},
};

use gesta_log::{LogStore, Options};
use gesta_store::{Capability, EventStore as _, Position};
use serde_json::Value;

fn run(store: &Path, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gesta-bench"))
        .args(words.split_whitespace())
        .args(["--store", &format!("gesta:{}", store.display())])
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(store: &Path, words: &str) -> String {
    let output = run(store, words);
    assert!(output.status.success() && output.stderr.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn report(store: &Path, words: &str) -> Value {
    serde_json::from_str(&succeeds(store, words)).unwrap()
}

#[track_caller]
fn fails(store: &Path, words: &str, explanation: &str) {
    let output = run(store, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains(explanation), "{words}: {output:?}");
}

#[test]
fn measured_appends_are_in_the_store_afterwards() {
    let store = tempfile::tempdir().unwrap();
    let words = "append --seconds 0.1 --writers 4 --events-per-append 3 --event-bytes 50";
    let report = report(store.path(), words);
    let events = report["events"].as_u64().unwrap();
    assert_eq!(events, report["appends"].as_u64().unwrap() * 3);
    assert!(report["seconds"].as_f64() >= Some(0.1), "{report}");
    assert!(report["latency"]["p50_us"].as_f64() > Some(0.0), "{report}");
    assert!(report["device"]["write_and_sync_p50_us"].as_f64() > Some(0.0), "{report}");

    let opened = LogStore::open(store.path(), Options::default()).unwrap();
    let mut read = 0;
    let all = opened.scan(Position::START, |event| {
        assert_eq!(event.data.len(), 50);
        read += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((all.unwrap(), read), (events, events));
    drop(opened);
    fails(store.path(), words, "is not empty");
}

#[test]
fn conditions_that_hold_are_no_conflicts() {
    for condition in ["query", "exact"] {
        let store = tempfile::tempdir().unwrap();
        let words =
            format!("append --seconds 0.1 --writers 4 --streams 10 --condition {condition}");
        let report = report(store.path(), &words);
        assert_eq!(report["condition"], condition);
        assert!(report["events"].as_u64() > Some(0), "{report}");
    }
}

#[test]
fn an_empty_store_is_filled_before_it_is_read_and_then_read_as_it_is() {
    let store = tempfile::tempdir().unwrap();
    let filled = report(store.path(), "read --seconds 0.05 --events 20000");
    assert_eq!((&filled["events"], &filled["stream_events"]), (&20_000.into(), &100.0.into()));
    assert!(filled["category_events_per_second"].as_f64() > Some(0.0), "{filled}");
    let again = report(store.path(), "read --seconds 0.05");
    assert_eq!(again["events"], 20_000);
    assert!(again["category_events_per_second"].is_null(), "{again}");
}

#[test]
fn deliveries_are_reported_with_appends() {
    let store = tempfile::tempdir().unwrap();
    let words = "subscribe --seconds 0.2 --rate 500 --subscribers 4 --filtered 2 --stalled 1";
    let report = report(store.path(), words);
    assert!(report["events"].as_u64() > Some(0), "{report}");
    assert!(report["delivery"]["p99_us"].as_f64() > Some(0.0), "{report}");
    fails(store.path(), words, "is not empty");
}

#[test]
fn a_store_is_measured_with_the_look_ups_of_its_url() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}?index=event-id,correlation", directory.path().display());
    let mut append = Command::new(env!("CARGO_BIN_EXE_gesta-bench"));
    append.args(["append", "--seconds", "0.05", "--store", &url]);
    let output = append.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let opened = LogStore::open(directory.path(), Options::default()).unwrap();
    let capabilities = opened.capabilities();
    assert!(capabilities.has(Capability::CorrelationFilter), "{capabilities:?}");
    assert!(!capabilities.has(Capability::CausationFilter), "{capabilities:?}");
}

#[test]
fn commands_are_measured_over_memory_and_log_beside_the_store_itself() {
    let directory = tempfile::tempdir().unwrap();
    let words = "framework execute --tasks 1,4 --writers 4 --seconds 0.05 --rounds 1";
    let report = report(directory.path(), words);
    for (store, name) in ["memory", "log"].iter().enumerate() {
        let store = &report["stores"][store];
        assert_eq!(store["store"], *name);
        for own in ["append_by_threads", "append_by_tasks"] {
            assert!(store[own]["per_second"].as_f64() > Some(0.0), "{report}");
        }
        let execute = store["execute"].as_array().unwrap();
        assert_eq!(execute.len(), 2);
        for tasks in execute {
            let rate = tasks["per_second"].as_f64();
            assert!(rate > Some(0.0) && tasks["processor_us"].as_f64() > Some(0.0), "{report}");
            assert!(tasks["of_append"].as_f64() > Some(0.0), "{report}");
        }
    }
    assert!(report["event_bytes"].as_u64() > Some(128), "{report}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn loads_projections_and_reactions_are_measured_and_complete() {
    let directory = tempfile::tempdir().unwrap();
    let words = "framework load --events 500 --loads 2 --snapshot-loads 2 --rounds 1";
    let loads = report(directory.path(), words);
    assert_eq!(loads["events"], 500);
    assert!(loads["faster"].as_f64() > Some(0.0), "{loads}");

    let words = "framework project --events 5000 --accounts 7 --rounds 1";
    let projected = report(directory.path(), words);
    assert!((1..=5_000).contains(&projected["batch_events"].as_u64().unwrap()), "{projected}");
    assert!(projected["of_bare"].as_f64() > Some(0.0), "{projected}");

    let words = "framework react --instances 20 --events-each 3 --rounds 1";
    let reactions = report(directory.path(), words);
    assert_eq!(reactions["events"], 60);
    assert!(reactions["appended_each"].as_f64() >= Some(3.0), "{reactions}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");

    fs::write(directory.path().join("own"), "a user's file").unwrap();
    fails(directory.path(), "framework load", "is not empty");
}

#[test]
fn a_recording_is_checked_after_the_program_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (store, log) = (directory.path().join("store"), directory.path().join("log"));
    fs::create_dir(&store).unwrap();
    let mut lines = String::new();
    for life in ["1", "2"] {
        let recorded = succeeds(
            &store,
            &format!(
                "record --life {life} --writers 4 --appends-each 50 --streams 5 --segment-bytes 8192"
            ),
        );
        assert!(recorded.starts_with(&format!("life {life} ")), "{recorded}");
        lines.push_str(&recorded);
    }
    let check = format!("check {}", log.display());
    fs::write(&log, &lines).unwrap();
    let found = report(&store, &check);
    let (acknowledged, refused) = (found["acknowledged"].as_u64(), found["refused"].as_u64());
    assert_eq!(acknowledged.unwrap() + refused.unwrap(), 400, "{found}");

    lines.push_str("offer 0 50\nack 0 50 1 0\n");
    fs::write(&log, lines).unwrap();
    fails(&store, &check, "but is missing");
}
