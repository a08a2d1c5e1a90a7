//! Reads and subscriptions whose connection breaks, and whose next one leads elsewhere.

use gesta_kurrentdb::KurrentStore;
use gesta_store::{
    Append, DeleteStream, Delivery, EventId, EventStore, EventType, ExpectedRevision, Invalid,
    NewEvent, Page, Pages, ReadAll, ReadStream, StoreError, StreamName, Subscribe, Subscription,
    conformance::block_on,
};

use crate::{junction::Junction, server::TestServer};

/// More than a connection takes before its reader does.
const EVENTS: u64 = 24;
const EVENT_BYTES: usize = 1 << 20;

fn stream() -> StreamName {
    StreamName::new("order-1").unwrap()
}

/// Fills a store with large events, whose ids come from a seed.
fn fill(server: &TestServer, seed: &str) {
    for number in 0..EVENTS {
        append(server, EventId::derived_from(seed, number));
    }
}

fn append(server: &TestServer, id: EventId) {
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES));
    let event = NewEvent::json(id, EventType::new("happened").unwrap(), data);
    block_on(server.store.append(Append::to(stream(), ExpectedRevision::Any, [event]))).unwrap();
}

fn served(seed: &str) -> TestServer {
    let server = TestServer::of_memory();
    fill(&server, seed);
    server
}

fn connect(junction: &Junction) -> KurrentStore {
    let url = format!("kurrentdb://{}?tls=false&discoveryInterval=10", junction.address);
    block_on(KurrentStore::connect(&url)).unwrap()
}

fn ids(page: &Page) -> Vec<EventId> {
    page.iter().map(|event| event.id).collect()
}

/// The reads of all directions and targets.
fn reads(store: &KurrentStore) -> [(&'static str, Pages); 4] {
    [
        ("stream forwards", store.read_stream(ReadStream::forwards(stream()))),
        ("stream backwards", store.read_stream(ReadStream::backwards(stream()))),
        ("all forwards", store.read_all(ReadAll::forwards())),
        ("all backwards", store.read_all(ReadAll::backwards())),
    ]
}

/// Reads to the end, and returns what was read before an error.
fn rest(mut pages: Pages, mut read: Vec<EventId>) -> (Vec<EventId>, Option<StoreError>) {
    loop {
        match block_on(pages.next()) {
            None => return (read, None),
            Some(Err(error)) => return (read, Some(error)),
            Some(Ok(page)) => read.extend(ids(&page)),
        }
    }
}

fn is_of_other_store(error: &StoreError) -> bool {
    matches!(error, StoreError::Rejected(Invalid::OtherIncarnation { .. }))
}

#[test]
fn an_interrupted_read_continues_in_the_same_store() {
    let server = served("one");
    let junction = Junction::to(server.address);
    for (what, mut pages) in reads(&connect(&junction)) {
        let first = block_on(pages.next()).unwrap().unwrap();
        let connections = junction.accepted();
        junction.switch_to(server.address);
        let (read, error) = rest(pages, ids(&first));
        assert!(error.is_none(), "{what}: {error:?}");
        assert!(junction.accepted() > connections, "{what}: the read was not interrupted");
        let mut expected: Vec<_> = (0..EVENTS).map(|n| EventId::derived_from("one", n)).collect();
        if what.ends_with("backwards") {
            expected.reverse();
        }
        assert_eq!(read, expected, "{what}");
    }
}

#[test]
fn an_interrupted_read_does_not_continue_in_another_store() {
    let (one, other) = (served("one"), served("other"));
    let junction = Junction::to(one.address);
    for (what, mut pages) in reads(&connect(&junction)) {
        junction.switch_to(one.address);
        let first = block_on(pages.next()).unwrap().unwrap();
        junction.switch_to(other.address);
        let (read, error) = rest(pages, ids(&first));
        assert!(error.as_ref().is_some_and(is_of_other_store), "{what}: {error:?}");
        let foreign = (0..EVENTS).map(|n| EventId::derived_from("other", n));
        assert!(foreign.into_iter().all(|id| !read.contains(&id)), "{what}");
    }
}

#[test]
fn an_interrupted_read_whose_last_event_is_hidden_by_then_is_to_be_repeated() {
    let server = served("one");
    let junction = Junction::to(server.address);
    let store = connect(&junction);
    let mut pages = store.read_stream(ReadStream::forwards(stream()));
    let first = block_on(pages.next()).unwrap().unwrap();
    let delete = DeleteStream::new(stream(), ExpectedRevision::Any);
    block_on(server.store.delete_stream(delete)).unwrap();
    junction.switch_to(server.address);
    let (_, error) = rest(pages, ids(&first));
    let error = error.unwrap();
    assert!(error.is_transient() && error.to_string().contains("read again"), "{error}");
}

/// Takes events until `count` of them have come.
fn events(subscription: &mut Subscription, count: u64) -> Result<Vec<EventId>, StoreError> {
    let mut taken = Vec::new();
    while (taken.len() as u64) < count {
        if let Delivery::Events(page) = block_on(subscription.next()).unwrap()? {
            taken.extend(ids(&page));
        }
    }
    Ok(taken)
}

fn subscriptions(store: &KurrentStore) -> [(&'static str, Subscription); 2] {
    [
        ("stream", store.subscribe(Subscribe::to_stream(stream()).into())),
        ("all", store.subscribe(Subscribe::to_all().into())),
    ]
}

#[test]
fn an_interrupted_subscription_continues_in_the_same_store_only() {
    let (one, other) = (served("one"), served("other"));
    let junction = Junction::to(one.address);
    for (what, mut subscription) in subscriptions(&connect(&junction)) {
        junction.switch_to(one.address);
        let taken = events(&mut subscription, EVENTS).unwrap();
        assert_eq!(taken.len() as u64, EVENTS, "{what}");
        junction.switch_to(one.address);
        let added = EventId::random();
        append(&one, added);
        // Events that an earlier subscription has added come before it.
        while events(&mut subscription, 1).unwrap().last() != Some(&added) {}
        append(&other, EventId::random());
        append(&other, EventId::random());
        junction.switch_to(other.address);
        let error = events(&mut subscription, 1).unwrap_err();
        assert!(is_of_other_store(&error), "{what}: {error}");
    }
}
