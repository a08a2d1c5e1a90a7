//! Servers that go away, come back, or never answer.

use std::net::TcpListener;

use gesta_kurrentdb::{KurrentStore, OpenError};
use gesta_store::{
    Append, Delivery, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream,
    StoreError, StreamName, Subscribe, Subscription, conformance::block_on,
};

use crate::server::TestServer;

fn event() -> NewEvent {
    NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), "{}")
}

fn to_order(event: &NewEvent) -> Append {
    let stream = StreamName::new("order-1").unwrap();
    Append::to(stream, ExpectedRevision::Any, [event.clone()])
}

async fn next_events(subscription: &mut Subscription) -> Vec<EventId> {
    loop {
        match subscription.next().await.unwrap().unwrap() {
            Delivery::Events(events) => return events.iter().map(|event| event.id).collect(),
            Delivery::CaughtUp(_) | Delivery::Checkpoint(_) => {}
            other => panic!("a delivery of another kind: {other:?}"),
        }
    }
}

#[test]
fn a_store_goes_on_after_its_server_was_restarted() {
    let mut server = TestServer::of_memory();
    let url = format!("{}&maxDiscoverAttempts=1", server.url());
    let store = block_on(KurrentStore::connect(&url)).unwrap();
    let (before, after) = (event(), event());
    block_on(store.append(to_order(&before))).unwrap();
    server.stop();
    let refused = block_on(store.append(to_order(&after))).unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    server.start();
    block_on(store.append(to_order(&after))).unwrap();
    let read = ReadStream::forwards(StreamName::new("order-1").unwrap());
    let read = block_on(store.read_stream(read).collect_events()).unwrap();
    let ids: Vec<_> = read.iter().map(|event| event.id).collect();
    assert_eq!(ids, [before.id, after.id]);
}

#[test]
fn a_subscription_goes_on_behind_its_last_event_after_a_restart() {
    let mut server = TestServer::of_memory();
    let url = format!("{}&maxDiscoverAttempts=1000&discoveryInterval=10", server.url());
    let store = block_on(KurrentStore::connect(&url)).unwrap();
    let streams = ["order-1", "order-2"].map(|name| StreamName::new(name).unwrap());
    let mut all = store.subscribe(Subscribe::to_all().into());
    let mut one = store.subscribe(Subscribe::to_stream(streams[0].clone()).into());
    let first = event();
    block_on(store.append(to_order(&first))).unwrap();
    for subscription in [&mut all, &mut one] {
        assert_eq!(block_on(next_events(subscription)), [first.id]);
    }
    server.stop();
    let second = event();
    block_on(server.store.append(to_order(&second))).unwrap();
    server.start();
    for subscription in [&mut all, &mut one] {
        assert_eq!(block_on(next_events(subscription)), [second.id]);
    }
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let url = "kurrentdb://ann:s3cret@127.0.0.1:1?tls=false&maxDiscoverAttempts=1";
    match block_on(KurrentStore::connect(url)).unwrap_err() {
        OpenError::Server { url, error: StoreError::Unreachable { .. } } => {
            assert!(!url.contains("s3cret"), "{url}");
        }
        other => panic!("expected an unreachable server, got: {other}"),
    }
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    // It accepts connections, which nobody serves.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("kurrentdb://{address}?tls=false&defaultDeadline=50&maxDiscoverAttempts=1");
    let OpenError::Server { error, .. } = block_on(KurrentStore::connect(&url)).unwrap_err() else {
        panic!("expected an error of the server");
    };
    assert!(error.to_string().contains("did not answer within 50 ms"), "{error}");
}
