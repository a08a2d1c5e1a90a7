//! Wakers are foreign code: the memory stores run and drop them outside their locks.

use std::{
    pin::{Pin, pin},
    sync::{Arc, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures_core::Stream;
use gesta_store::{
    CreateReadModel, EventStore, MemoryReadModels, ReadModelStore, Stage, Subscribe,
    conformance::block_on, memory::MemoryStore,
};

/// Panics if `test` does not end: a lock that is taken twice never comes free.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        test();
        done.send(()).expect("the test still waits");
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("the test ends");
}

/// A waker that calls the store when it is dropped, as the waker of a task with a handle may.
struct ReadsHeadOnDrop(MemoryStore);

impl Wake for ReadsHeadOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for ReadsHeadOnDrop {
    fn drop(&mut self) {
        block_on(self.0.head()).expect("a memory store answers");
    }
}

#[test]
fn a_waker_of_a_subscription_may_call_the_store_when_it_is_dropped() {
    ends(|| {
        let store = MemoryStore::new();
        let mut all = store.subscribe(Subscribe::to_all().into());
        let mut poll = || {
            let waker = Waker::from(Arc::new(ReadsHeadOnDrop(store.clone())));
            Pin::new(&mut all).poll_next(&mut Context::from_waker(&waker)).is_pending()
        };
        assert!(!poll(), "it has caught up");
        assert!(poll());
        assert!(poll(), "the second waker replaces the first");
        drop(all);
    });
}

/// A waker that calls the store when it is woken, as an executor that polls at once does.
struct ListsOnWake(MemoryReadModels);

impl Wake for ListsOnWake {
    fn wake(self: Arc<Self>) {
        let listed = block_on(self.0.list_read_models("names"));
        assert_eq!(listed.expect("a memory store answers").len(), 1);
    }
}

#[test]
fn a_waker_of_a_transaction_that_waits_may_call_the_store() {
    ends(|| {
        let store = MemoryReadModels::new();
        let create = CreateReadModel::new("names", 1, Stage::Live);
        let names = block_on(store.create_read_model(create)).unwrap();
        let first = block_on(store.begin(&names)).unwrap();
        let mut second = pin!(store.begin(&names));
        let waker = Waker::from(Arc::new(ListsOnWake(store.clone())));
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(first);
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    });
}
