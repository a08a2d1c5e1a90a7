//! Clauses about concurrency: writers on several threads, with concurrent readers.
//!
//! Threads return their observations. Only the clause itself asserts, on the test's thread. These
//! clauses do all their work when they are called, outside the executor of the fixture, because a
//! thread that waits for others inside of it would hold them up.

use std::{
    future::{Ready, ready},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{Fixture, Waiter, support::*};
use crate::{
    Append, Appended, Delivery, EventId, EventStore, ExpectedRevision, NewEvent, ReadAll,
    RecordedWhen, StoreError, Subscribe,
};

const WRITERS: usize = 20;
/// Number of new observations of the watcher after which writers may stop.
const OBSERVATIONS_MIN: usize = 8;
/// Minimum and maximum number of appends of one writer, to bound slow and fast watchers.
const APPENDS_MIN: usize = 4;
const APPENDS_MAX: usize = 200;

/// Runs appends concurrently, each on its own thread.
fn concurrently(fixture: &Fixture, appends: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
    // Start together, for as much contention as possible.
    let (ready, store, waiter) = (Barrier::new(appends.len()), &*fixture.store, fixture.waiter());
    thread::scope(|scope| {
        let writers: Vec<_> = appends
            .into_iter()
            .map(|append| {
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    waiter.wait_for(store.append(append))
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("an append does not panic")).collect()
    })
}

pub(super) fn of_twenty_writers_on_one_revision_one_wins(fixture: &Fixture) -> Ready<()> {
    let (store, waiter) = (&*fixture.store, fixture.waiter());
    waiter.wait_for(grow(store, "order-1", 1));
    let append = || Append::to(name("order-1"), exact(0), [event()]);
    let answers = concurrently(fixture, std::iter::repeat_with(append).take(WRITERS).collect());
    // Exactly one append can have found revision 0.
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "exactly one append must succeed");
    assert_eq!(
        lost.into_iter().map(conflict).count(),
        WRITERS - 1,
        "all other appends must conflict"
    );
    assert_eq!(waiter.wait_for(stream_ids(store, "order-1")).len(), 2);
    ready(())
}

pub(super) fn one_append_offered_many_times_at_once_happens_once(fixture: &Fixture) -> Ready<()> {
    let (store, waiter) = (&*fixture.store, fixture.waiter());
    let append = Append::to(name("order-1"), ExpectedRevision::NoStream, events(2));
    let offered: Vec<EventId> = append.events().map(|event| event.id).collect();
    let answers = concurrently(fixture, vec![append; WRITERS]);
    let answers: Vec<Place> = answers.into_iter().map(place).collect();
    assert!(
        answers.windows(2).all(|pair| pair.first() == pair.last()),
        "all repeats must get the same answer, got {answers:?}"
    );
    assert_eq!(waiter.wait_for(stream_ids(store, "order-1")), offered);
    ready(())
}

pub(super) fn one_append_offered_many_times_at_once_is_recorded_now_once(
    fixture: &Fixture,
) -> Ready<()> {
    let append = Append::to(name("order-1"), ExpectedRevision::NoStream, events(2));
    let answers = concurrently(fixture, vec![append; WRITERS]).into_iter().map(accepted);
    let now = answers.filter(|answer| answer.recorded == RecordedWhen::Now).count();
    assert_eq!(now, 1, "exactly one append must have recorded the events");
    ready(())
}

pub(super) fn appends_at_once_all_happen(fixture: &Fixture) -> Ready<()> {
    let (store, waiter) = (&*fixture.store, fixture.waiter());
    let append =
        |n| Append::to(name(&format!("order-{}", n % 4)), ExpectedRevision::Any, events(2));
    let appends: Vec<Append> = (0..WRITERS).map(append).collect();
    let mut offered: Vec<EventId> =
        appends.iter().flat_map(Append::events).map(|event| event.id).collect();
    concurrently(fixture, appends).into_iter().for_each(|answer| drop(accepted(answer)));
    // The order of concurrent appends is not specified.
    let streams = ["order-0", "order-1", "order-2", "order-3"];
    let mut found: Vec<EventId> =
        streams.iter().flat_map(|stream| waiter.wait_for(stream_ids(store, stream))).collect();
    offered.sort();
    found.sort();
    assert_eq!(found, offered);
    ready(())
}

/// Appends events, two at a time, until the watcher has made enough observations.
fn write(
    (store, waiter): (&dyn EventStore, Waiter<'_>),
    stream: &str,
    observations: &AtomicUsize,
) -> Vec<Result<Appended, StoreError>> {
    let mut answers = Vec::new();
    let watched = || observations.load(Ordering::Relaxed) >= OBSERVATIONS_MIN;
    while answers.len() < APPENDS_MIN || !watched() && answers.len() < APPENDS_MAX {
        let append = Append::to(name(stream), ExpectedRevision::Any, events(2));
        answers.push(waiter.wait_for(store.append(append)));
        thread::yield_now();
    }
    answers
}

/// Runs several writers and a watcher that counts its observations. Appends `last` when the writers
/// are done, so that the watcher knows when to stop.
fn while_writing<T: Send>(
    (store, waiter): (&dyn EventStore, Waiter<'_>),
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
                write((store, waiter), stream, observations)
            })
        });
        let mut answers: Vec<_> = writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("an append does not panic"))
            .collect();
        // After all writers have ended, so that its position is last.
        let last = Append::to(name("last-1"), ExpectedRevision::Any, [last]);
        answers.push(waiter.wait_for(store.append(last)));
        (watcher.join().expect("a watcher does not panic"), answers)
    });
    // On the clause's own thread, where a panic fails the test.
    answers.into_iter().for_each(|answer| drop(accepted(answer)));
    seen
}

/// After a reader has seen a position, no event appears at or before it.
pub(super) fn nothing_appears_before_what_was_seen(fixture: &Fixture) -> Ready<()> {
    let (store, waiter) = (&*fixture.store, fixture.waiter());
    let last = event();
    let id = last.id;
    let reads = while_writing((store, waiter), last, |observations| {
        let mut reads: Vec<Vec<EventId>> = Vec::new();
        while reads.last().is_none_or(|read| !read.contains(&id)) {
            let read = waiter.wait_for(store.read_all(ReadAll::forwards()).collect_events());
            // The assertions below report the missing events.
            let Ok(events) = read else { break };
            let read = recorded_ids(&written(events));
            // Count a read only if it shows something new.
            if reads.last() != Some(&read) {
                reads.push(read);
                observations.fetch_add(1, Ordering::Relaxed);
            }
        }
        reads
    });
    let whole = waiter.wait_for(all_ids(store));
    assert_eq!(reads.last(), Some(&whole), "the last read must return all events");
    for read in reads {
        assert!(
            whole.starts_with(&read),
            "an earlier read must be a prefix of the last one, got {read:?}, then {whole:?}"
        );
    }
    ready(())
}

pub(super) fn a_subscription_misses_nothing_while_events_are_appended(
    fixture: &Fixture,
) -> Ready<()> {
    let (store, waiter) = (&*fixture.store, fixture.waiter());
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    let last = event();
    let id = last.id;
    let seen = while_writing((store, waiter), last, |observations| {
        let mut seen: Vec<EventId> = Vec::new();
        while seen.last() != Some(&id) {
            let Some(Ok(delivery)) = waiter.wait_for(subscription.next()) else { break };
            if let Delivery::Events(page) = delivery {
                seen.extend(recorded_ids(&written(page)));
                observations.fetch_add(1, Ordering::Relaxed);
            }
        }
        seen
    });
    assert_eq!(seen, waiter.wait_for(all_ids(store)));
    ready(())
}
