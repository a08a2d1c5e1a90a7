//! Threads that append and wait: they lead the commit themselves, in turn.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Barrier, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures_core::Stream as _;
use gesta_log::{LogStore, Options};
use gesta_store::{
    Append, Appended, EventStore, ExpectedRevision, Revision, StoreError, Subscribe,
    conformance::block_on,
};

use crate::harness::{append_to, as_killed, event, event_texts, name, open};

/// Appends `appends` events, each after the one before it is durable.
fn append_in_turn(store: &LogStore, thread: usize, appends: usize) -> Vec<Appended> {
    let one = |n| {
        let append = append_to(&format!("thread-{thread}"), &format!("{thread}/{n}"));
        // A future among the threads is completed by the current leader.
        if n % 5 == 4 { block_on(store.append(append)) } else { store.append_blocking(append) }
    };
    (0..appends).map(|n| one(n).unwrap()).collect()
}

#[test]
fn what_threads_append_while_they_wait_is_there_once_and_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (threads, appends) = (16, 60);
    let answers: Vec<Vec<Appended>> = thread::scope(|scope| {
        let one = |thread| {
            scope.spawn({
                let store = &store;
                move || append_in_turn(store, thread, appends)
            })
        };
        let running: Vec<_> = (0..threads).map(one).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for answers in &answers {
        let revisions = answers.iter().map(|appended| appended.revisions[0].1);
        assert!(revisions.eq((0..appends as u64).map(Revision::new)));
        assert!(answers.is_sorted_by_key(|appended| appended.position));
    }
    let positions: BTreeSet<_> =
        answers.iter().flatten().map(|appended| appended.position).collect();
    assert_eq!(positions.len(), threads * appends);

    // An answered append is durable, whichever thread wrote it.
    let killed = as_killed(directory.path());
    for told in [event_texts(&store), event_texts(&open(killed.path()))] {
        assert_eq!(told.len(), threads * appends);
        for thread in 0..threads {
            let own = told.iter().filter(|event| event.starts_with(&format!("{thread}/")));
            assert!(
                own.eq((0..appends).map(|n| format!("{thread}/{n}")).collect::<Vec<_>>().iter())
            );
        }
    }
}

#[test]
fn a_thread_that_waits_is_told_of_repeats_and_conflicts_as_a_future_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = Append::to(name("order-1"), ExpectedRevision::NoStream, [event("placed")]);
    let appended = store.append_blocking(first.clone()).unwrap();
    assert_eq!(store.append_blocking(first.clone()).unwrap().position, appended.position);
    let late = Append::to(name("order-1"), ExpectedRevision::NoStream, [event("placed again")]);
    assert!(matches!(store.append_blocking(late), Err(StoreError::Conflict(_))));
    assert_eq!(event_texts(&store), ["placed"]);
}

#[test]
fn of_threads_that_race_for_a_revision_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let threads = 8;
    let start = Barrier::new(threads);
    for round in 0..20 {
        let expected = match round {
            0 => ExpectedRevision::NoStream,
            _ => ExpectedRevision::Exact(Revision::new(round - 1)),
        };
        let won = thread::scope(|scope| {
            let race = || {
                start.wait();
                let append = Append::to(name("seat-1"), expected, [event("taken")]);
                match store.append_blocking(append) {
                    Ok(_) => 1,
                    Err(StoreError::Conflict(_)) => 0,
                    Err(error) => panic!("{error}"),
                }
            };
            let racing: Vec<_> = (0..threads).map(|_| scope.spawn(race)).collect();
            racing.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(won, 1, "in round {round}");
    }
    assert_eq!(event_texts(&store).len(), 20);
}

#[test]
fn what_was_acknowledged_before_the_last_handle_was_dropped_is_there() {
    for round in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        // Closed by the last handle, in the background; opening it again waits for that.
        let store = LogStore::open(directory.path(), Options::default()).unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                // Each thread has a handle; dropping the last one closes the store.
                let store = store.clone();
                scope.spawn(move || append_in_turn(&store, thread, 5));
            }
            drop(store);
        });
        assert_eq!(event_texts(&open(directory.path())).len(), 20, "in round {round}");
    }
}

/// A waker that ends a subscription when it is dropped, as the waker of a task that owns one does.
struct SubscribesOnDrop(LogStore);

impl Wake for SubscribesOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for SubscribesOnDrop {
    fn drop(&mut self) {
        drop(self.0.subscribe(Subscribe::to_all().into()));
    }
}

#[test]
fn a_waker_of_a_subscription_may_call_the_store_when_it_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (done, ended) = mpsc::channel();
    let test = thread::spawn(move || {
        let mut all = store.subscribe(Subscribe::to_all().into());
        let mut poll = || {
            let waker = Waker::from(Arc::new(SubscribesOnDrop(store.clone())));
            Pin::new(&mut all).poll_next(&mut Context::from_waker(&waker)).is_pending()
        };
        assert!(!poll(), "it has caught up");
        assert!(poll());
        assert!(poll(), "the second waker replaces the first");
        drop(all);
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("no lock is held while a waker is dropped");
    test.join().unwrap();
}
