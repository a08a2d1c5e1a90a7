//! Clauses about concurrency: writers on several threads, with concurrent readers.
//!
//! Threads return their observations. Only the clause itself asserts, on the test's thread.

use std::{
    future::Future,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{Fixture, block_on_within, support::*};
use crate::{
    Append, Appended, Delivery, EventId, EventStore, ExpectedRevision, NewEvent, ReadAll,
    StoreError, Subscribe,
};

const WRITERS: usize = 20;
/// Number of new observations of the watcher after which writers may stop.
const OBSERVATIONS_MIN: usize = 8;
/// Minimum and maximum number of appends of one writer, to bound slow and fast watchers.
const APPENDS_MIN: usize = 4;
const APPENDS_MAX: usize = 200;

/// Waits on a thread other than the clause's, whose deadline does not apply there.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    block_on_within(Fixture::TIMEOUT, future)
}

/// Runs appends concurrently, each on its own thread.
fn concurrently(store: &dyn EventStore, appends: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
    // Start together, for as much contention as possible.
    let ready = Barrier::new(appends.len());
    thread::scope(|scope| {
        let writers: Vec<_> = appends
            .into_iter()
            .map(|append| {
                scope.spawn(|| {
                    ready.wait();
                    wait_for(store.append(append))
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("an append does not panic")).collect()
    })
}

pub(super) async fn of_twenty_writers_on_one_revision_one_wins(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    let append = || Append::to(name("order-1"), exact(0), [event()]);
    let answers = concurrently(store, std::iter::repeat_with(append).take(WRITERS).collect());
    // Exactly one append can have found revision 0.
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "exactly one append must succeed");
    assert_eq!(
        lost.into_iter().map(conflict).count(),
        WRITERS - 1,
        "all other appends must conflict"
    );
    assert_eq!(stream_ids(store, "order-1").await.len(), 2);
}

pub(super) async fn one_append_offered_many_times_at_once_happens_once(store: &dyn EventStore) {
    let append = Append::to(name("order-1"), ExpectedRevision::NoStream, events(2));
    let offered: Vec<EventId> = append.events().map(|event| event.id).collect();
    let answers = concurrently(store, vec![append; WRITERS]);
    let answers: Vec<Appended> = answers.into_iter().map(accepted).collect();
    assert!(
        answers.windows(2).all(|pair| pair.first() == pair.last()),
        "all repeats must get the same answer, got {answers:?}"
    );
    assert_eq!(all_ids(store).await, offered);
}

pub(super) async fn appends_at_once_all_happen(store: &dyn EventStore) {
    let append =
        |n| Append::to(name(&format!("order-{}", n % 4)), ExpectedRevision::Any, events(2));
    let appends: Vec<Append> = (0..WRITERS).map(append).collect();
    let mut offered: Vec<EventId> =
        appends.iter().flat_map(Append::events).map(|event| event.id).collect();
    concurrently(store, appends).into_iter().for_each(|answer| drop(accepted(answer)));
    // The order of concurrent appends is not specified.
    let mut found = all_ids(store).await;
    offered.sort();
    found.sort();
    assert_eq!(found, offered);
}

/// Appends events, two at a time, until the watcher has made enough observations.
fn write(
    store: &dyn EventStore,
    stream: &str,
    observations: &AtomicUsize,
) -> Vec<Result<Appended, StoreError>> {
    let mut answers = Vec::new();
    let watched = || observations.load(Ordering::Relaxed) >= OBSERVATIONS_MIN;
    while answers.len() < APPENDS_MIN || !watched() && answers.len() < APPENDS_MAX {
        let append = Append::to(name(stream), ExpectedRevision::Any, events(2));
        answers.push(wait_for(store.append(append)));
        thread::yield_now();
    }
    answers
}

/// Runs several writers and a watcher that counts its observations. Appends `last` when the writers
/// are done, so that the watcher knows when to stop.
fn while_writing<T: Send>(
    store: &dyn EventStore,
    last: NewEvent,
    watch: impl FnOnce(&AtomicUsize) -> T + Send,
) -> T {
    // Four writers and the watcher.
    let (observations, ready) = (&AtomicUsize::new(0), &Barrier::new(5));
    let (seen, answers) = thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            ready.wait();
            watch(observations)
        });
        let streams = ["order-0", "order-1", "order-2", "order-3"];
        let writers = streams.map(|stream| {
            scope.spawn(move || {
                ready.wait();
                write(store, stream, observations)
            })
        });
        let mut answers: Vec<_> = writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("an append does not panic"))
            .collect();
        // After all writers have ended, so that its position is last.
        let last = Append::to(name("last-1"), ExpectedRevision::Any, [last]);
        answers.push(wait_for(store.append(last)));
        (watcher.join().expect("a watcher does not panic"), answers)
    });
    // On the clause's own thread, where a panic fails the test.
    answers.into_iter().for_each(|answer| drop(accepted(answer)));
    seen
}

/// After a reader has seen a position, no event appears at or before it.
pub(super) async fn nothing_appears_before_what_was_seen(store: &dyn EventStore) {
    let last = event();
    let id = last.id;
    let reads = while_writing(store, last, |observations| {
        let mut reads: Vec<Vec<EventId>> = Vec::new();
        while reads.last().is_none_or(|read| !read.contains(&id)) {
            let read = wait_for(store.read_all(ReadAll::forwards()).collect_events());
            // The assertions below report the missing events.
            let Ok(events) = read else { break };
            let read = recorded_ids(&events);
            // Count a read only if it shows something new.
            if reads.last() != Some(&read) {
                reads.push(read);
                observations.fetch_add(1, Ordering::Relaxed);
            }
        }
        reads
    });
    let whole = all_ids(store).await;
    assert_eq!(reads.last(), Some(&whole), "the last read must return all events");
    for read in reads {
        assert!(
            whole.starts_with(&read),
            "an earlier read must be a prefix of the last one, got {read:?}, then {whole:?}"
        );
    }
}

pub(super) async fn a_subscription_misses_nothing_while_events_are_appended(
    store: &dyn EventStore,
) {
    let mut subscription = store.subscribe(Subscribe::to_all());
    let last = event();
    let id = last.id;
    let seen = while_writing(store, last, |observations| {
        let mut seen: Vec<EventId> = Vec::new();
        while seen.last() != Some(&id) {
            let Some(Ok(delivery)) = wait_for(subscription.next()) else { break };
            if let Delivery::Events(page) = delivery {
                seen.extend(recorded_ids(&page));
                observations.fetch_add(1, Ordering::Relaxed);
            }
        }
        seen
    });
    assert_eq!(seen, all_ids(store).await);
}
