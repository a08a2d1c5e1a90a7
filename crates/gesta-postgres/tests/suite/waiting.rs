//! Subscriptions that wait at the head read new events together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gesta_services::{Fault, FaultProxy};
use gesta_store::{
    DeleteStream, Delivery, EventStore, ExpectedRevision, Filter, Position, Subscribe,
    Subscription, Visibility, conformance::block_on,
};

use crate::server::{TestStore, append_of, name};

const SUBSCRIPTIONS: usize = 40;

/// Counts the statements of clients, by the messages that carry their values.
fn count_statements(proxy: &FaultProxy) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    proxy.inject(Fault::cut_before(move |message| {
        let is_statement = message.from_client() && message.is(b'B');
        counted.fetch_add(usize::from(is_statement), Ordering::Relaxed);
        false
    }));
    count
}

fn next(subscription: &mut Subscription) -> Delivery {
    block_on(subscription.next()).expect("a subscription has no end").unwrap()
}

fn catch_up(subscription: &mut Subscription) {
    while !matches!(next(subscription), Delivery::CaughtUp(_)) {}
}

#[test]
fn a_new_event_costs_one_read_for_all_subscriptions_that_wait() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let proxy = FaultProxy::start(&server).unwrap();
    let store = test.open_on(proxy.url());
    block_on(store.append(append_of("order-1", "first"))).unwrap();
    let mut to_all: Vec<_> =
        (0..SUBSCRIPTIONS).map(|_| store.subscribe(Subscribe::to_all().into())).collect();
    let mut to_streams: Vec<_> = (0..SUBSCRIPTIONS)
        .map(|nth| store.subscribe(Subscribe::to_stream(name(&format!("quiet-{nth}"))).into()))
        .collect();
    to_all.iter_mut().chain(&mut to_streams).for_each(catch_up);
    let statements = count_statements(&proxy);
    block_on(store.append(append_of("order-1", "second"))).unwrap();
    std::thread::scope(|scope| {
        for subscription in &mut to_all {
            scope.spawn(move || {
                let Delivery::Events(page) = next(subscription) else { panic!("no event") };
                assert_eq!(page.len(), 1);
                assert_eq!(page[0].position, Position::new(2));
            });
        }
    });
    // An event for the last of the quiet streams wakes it, and no other one reads.
    let last = to_streams.last_mut().expect("there are some");
    block_on(store.append(append_of(&format!("quiet-{}", SUBSCRIPTIONS - 1), "third"))).unwrap();
    let Delivery::Events(page) = next(last) else { panic!("no event") };
    assert_eq!(page[0].position, Position::new(3));
    let statements = statements.load(Ordering::Relaxed);
    assert!(statements < SUBSCRIPTIONS / 2, "{statements} statements");
}

#[test]
fn an_event_that_was_read_for_others_is_not_shown_once_it_is_deleted() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open();
    block_on(store.append(append_of("order-1", "first"))).unwrap();
    let visible = || {
        let everything = Subscribe::to_all().filter(Filter::Everything);
        store.subscribe(everything.visibility(Visibility::Visible).into())
    };
    let (mut early, mut late) = (visible(), visible());
    catch_up(&mut early);
    catch_up(&mut late);
    block_on(store.append(append_of("order-2", "secret"))).unwrap();
    let Delivery::Events(page) = next(&mut early) else { panic!("no event") };
    assert_eq!(&page[0].data[..], b"secret");
    let delete = DeleteStream::new(name("order-2"), ExpectedRevision::StreamExists);
    block_on(store.delete_stream(delete)).unwrap();
    block_on(store.append(append_of("order-3", "public"))).unwrap();
    let mut delivered = Vec::new();
    while !delivered.contains(&name("order-3")) {
        if let Delivery::Events(page) = next(&mut late) {
            delivered.extend(page.into_iter().map(|event| event.stream));
        }
    }
    assert!(!delivered.contains(&name("order-2")), "{delivered:?}");
}
