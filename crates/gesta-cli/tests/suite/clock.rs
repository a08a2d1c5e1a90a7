//! A store whose clock was wrong once.

use std::{sync::Arc, time::Duration};

use gesta_log::{Access, Clock, Engine, FileDisk, Options, SystemRng};
use gesta_store::{
    Append, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, RecordedAt, StreamName,
};

use crate::scene::Scene;

/// A clock of the year 2170.
#[derive(Debug)]
struct Future;

impl Clock for Future {
    fn now(&self) -> RecordedAt {
        RecordedAt::from_micros(200 * 365 * 86_400 * 1_000_000)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn written_in_the_future() -> Scene {
    let scene = Scene::empty();
    let disk = Arc::new(FileDisk::open(scene.path(), Access::ReadWrite).unwrap());
    let opened = Engine::open(disk, Arc::new(Future), Box::new(SystemRng), Options::default());
    let (mut engine, store) = opened.unwrap();
    let event = NewEvent::json(EventId::random(), EventType::new("order-placed").unwrap(), "{}");
    let stream = StreamName::new("order-1").unwrap();
    let answer = store.append(Append::to(stream, ExpectedRevision::Any, [event]));
    // Segments are created on another thread.
    let waker = std::task::Waker::noop();
    let mut answer = answer;
    while answer.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending() {
        engine.poll();
        std::thread::yield_now();
    }
    scene
}

#[test]
fn a_clock_that_was_in_the_future_is_reported_and_recorded_time_restarts_on_request() {
    let scene = written_in_the_future();
    let ran = scene.run(&["clock"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("gesta clock --restart"), "{ran:?}");
    let restarted =
        scene.run(&["clock", "--restart", "--actor", "ann", "--reason", "the battery was empty"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    assert_eq!(scene.run(&["clock"]).stdout(), "the recorded time follows the system clock\n");
    scene.run(&["append", "order-1", "--type", "order-paid", "--data", "{}"]);
    let events = scene.run(&["read", "--all", "--json"]).objects();
    let years: Vec<_> =
        events.iter().map(|event| event["recordedAt"].as_str().unwrap()[..2].to_owned()).collect();
    assert_eq!(years, ["21", "20", "20"]);
    assert_eq!(events[1]["stream"], "audit-operations");
    assert_eq!(events[1]["data"]["reason"], "the battery was empty");
    let again = scene.run(&["clock", "--restart"]);
    let nothing = "the recorded time is not ahead of the system clock; nothing was changed\n";
    assert_eq!(again.stdout(), nothing);
    let again = &scene.run(&["clock", "--restart", "--json"]).objects()[0];
    assert_eq!(*again, serde_json::json!({ "restarted": false, "secondsAhead": 0 }));
    assert_eq!(scene.run(&["read", "audit-operations"]).stdout().lines().count(), 1);
}

#[test]
fn a_store_that_goes_with_the_clock_says_so() {
    let scene = Scene::of_two_orders();
    assert_eq!(scene.run(&["clock"]).stdout(), "the recorded time follows the system clock\n");
}
