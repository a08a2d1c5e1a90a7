//! A server that dies at any append of a projection emits each event once.

use std::sync::Arc;

use gesta_store::memory::MemoryStore;

use super::{
    crashing::{CrashingStore, Death, Moment},
    driver::{Driver, continuous},
};
use crate::{client::*, scene::Scene};

/// Emits two events for each event, in streams of their own, and counts by key.
const SCRIPT: &str = "fromCategory('order').partitionBy(e => 'k' + e.data.n % 3).when({ \
    $init: () => ({ n: 0 }), happened(s, e) { s.n += 1; \
    emit('copies', 'copied', { n: e.data.n }); linkTo('links-' + e.data.n % 2, e) } }).outputState()";
/// Source events: in one part before the projection begins, in small parts while it is live.
const OLD: u128 = 40;
const LIVE: u128 = 6;

#[tokio::test]
async fn a_server_that_dies_at_any_append_emits_each_event_once() {
    let mut died = 0;
    for left in 0..6 {
        for moment in [Moment::Before, Moment::After] {
            died += u32::from(once(Death::Final(moment), left).await);
            died += u32::from(once(Death::Unknown(moment), left).await);
        }
    }
    assert_eq!(died, 4 * 6, "each append was the last one once in each way");
}

/// Plays one life and death, and returns whether there was a death.
async fn once(death: Death, left: u64) -> bool {
    let store = MemoryStore::new();
    let crashing = CrashingStore::new(&store, death, left);
    let mut scene = Scene::of_store(Arc::clone(&crashing) as _).await;
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..=OLD).await;
    driver.create_as(continuous("copy", true, true), SCRIPT).await.unwrap();
    for (number, answered) in (0..LIVE).zip(1..) {
        // Each event is an append of the projection.
        crashing.answered(answered).await;
        let event = vec![proposed(OLD + 1 + number, "happened")];
        // A dead server takes nothing.
        if append(&mut client, "order-2", ANY, event).await.is_err() {
            break;
        }
    }
    if matches!(death, Death::Unknown(_)) {
        let total = OLD + LIVE;
        driver.reaches("copy", "k0", &format!("{{\"n\":{}}}", total / 3)).await;
    }
    scene.stop();
    scene.ended().await;
    let has_died = crashing.has_died();
    let mut scene = Scene::of_store(Arc::new(store)).await;
    check(&scene).await;
    scene.stop();
    scene.ended().await;
    has_died
}

/// Lets the next server finish, and counts everything.
async fn check(scene: &Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(scene).await);
    // The first server may have died before it got all live events.
    let live = Read::stream("order-2").run(&mut client).await.unwrap();
    let live = live.iter().filter(|read| matches!(read, read_resp::Content::Event(_))).count();
    let total = usize::try_from(OLD).unwrap() + live;
    for key in 0..3 {
        let count = (1..=total).filter(|number| number % 3 == key).count();
        driver.reaches("copy", &format!("k{key}"), &format!("{{\"n\":{count}}}")).await;
    }
    driver.disable("copy").await.unwrap();
    let copies = Read::stream("copies").run(&mut client).await.unwrap();
    let numbers: Vec<_> = copies.iter().map(number).collect();
    let expected: Vec<_> = (1..=total).collect();
    assert_eq!(numbers, expected, "each once and in order");
    let links = [Read::stream("links-0"), Read::stream("links-1")];
    let mut linked = 0;
    for links in links {
        linked += links.places(&mut client).await.len();
    }
    assert_eq!(linked, total);
    for key in 0..3 {
        let results = Read::stream(&format!("$projections-copy-k{key}-result"));
        let count = (1..=total).filter(|number| number % 3 == key).count();
        assert_eq!(results.places(&mut client).await.len(), count, "one result for each event");
    }
}

fn number(content: &read_resp::Content) -> usize {
    let record = event(content).event.as_ref().unwrap();
    let text = std::str::from_utf8(&record.data).unwrap();
    text.trim_start_matches("{\"n\":").trim_end_matches('}').parse().unwrap()
}

#[tokio::test]
async fn projections_survive_a_restart() {
    let store = MemoryStore::new();
    let count = "fromAll().when({ $init: () => ({ n: 0 }), happened(s) { s.n += 1 } })";
    {
        // A store that is shared is not closed by the end of its server.
        let lent = CrashingStore::new(&store, Death::Final(Moment::Before), u64::MAX - 1);
        let mut scene = Scene::of_store(lent).await;
        let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
        grow(&mut client, "order-1", 1..4).await;
        driver.create("running", count).await;
        driver.create("stopped", count).await;
        driver.reaches("running", "", r#"{"n":3}"#).await;
        driver.reaches("stopped", "", r#"{"n":3}"#).await;
        driver.disable("stopped").await.unwrap();
        scene.stop();
        scene.ended().await;
    }
    let scene = Scene::of_store(Arc::new(store)).await;
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 4..6).await;
    driver.reaches("running", "", r#"{"n":5}"#).await;
    assert_eq!(driver.details("running").await.events_processed_after_restart, 2);
    assert_eq!(driver.status("stopped").await, "Stopped");
    assert_eq!(driver.state("stopped").await, r#"{"n":3}"#);
    let details = driver.details("stopped").await;
    assert_ne!(details.position, "C:0/P:0", "the checkpoint tells the position");
    assert_eq!(details.position, details.last_checkpoint);
}

#[tokio::test]
async fn two_servers_on_one_store_emit_each_event_once() {
    let store = MemoryStore::new();
    let first = Scene::of_store(Arc::new(store.clone())).await;
    let second = Scene::of_store(Arc::new(store)).await;
    let (mut client, mut driver) = (first.client().await, Driver::of(&first).await);
    grow(&mut client, "order-1", 1..20).await;
    driver.create_as(continuous("copy", true, false), SCRIPT).await.unwrap();
    let mut other = Driver::of(&second).await;
    other.becomes("copy", "Running").await;
    grow(&mut client, "order-2", 20..41).await;
    driver.reaches("copy", "k0", r#"{"n":13}"#).await;
    // A change by one server reaches the other.
    other.disable("copy").await.unwrap();
    driver.becomes("copy", "Stopped").await;
    let copies = Read::stream("copies").run(&mut client).await.unwrap();
    let numbers: Vec<_> = copies.iter().map(number).collect();
    let mut sorted = numbers.clone();
    sorted.dedup();
    assert_eq!(numbers, sorted, "none twice");
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "in order: {numbers:?}");
}
