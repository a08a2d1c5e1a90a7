//! Events that an application recorded in the store of a server, read through the protocol: the
//! packing of the server and the reading of this crate are compared.

use gesta_store::{
    Append, CausationId, ContentType, CorrelationId, Delivery, EventId, EventStore, EventType,
    ExpectedRevision, NewEvent, ReadAll, ReadStream, RecordedEvent, StreamName, Subscribe, Tag,
    conformance::block_on,
};

use crate::server::TestServer;

const METADATA_OF_ALL_KINDS: [&[u8]; 9] = [
    b"",
    b"{}",
    br#"{"actor":"ann","n":[1,2.50]}"#,
    br#"{ "actor" : "ann" }"#,
    br#"{"b":1,"a":2}"#,
    br#"{"$correlationId":"of-the-user"}"#,
    br#"{"gesta.metadata":"none"}"#,
    b"plain text",
    b"\xff\x00",
];

fn event(metadata: &[u8]) -> NewEvent {
    let event_type = EventType::new("paid").unwrap();
    NewEvent::json(EventId::random(), event_type, "{}").metadata(metadata.to_vec())
}

fn of_type(content_type: &str) -> NewEvent {
    let event_type = EventType::new("paid").unwrap();
    let content_type = ContentType::new(content_type).unwrap();
    NewEvent::new(EventId::random(), event_type, content_type, b"1".to_vec())
}

/// Events with each part that the protocol has no field for, alone and together.
fn events_of_all_kinds() -> Vec<NewEvent> {
    let tags = || [Tag::new("customer:17850").unwrap(), Tag::new("quote:\"").unwrap()];
    let conversation = || CorrelationId::new("request-42").unwrap();
    let cause = || CausationId::new("command \"7\"").unwrap();
    let mut events = vec![
        event(b"").tagged(tags()),
        event(b"").schema_version(7),
        event(b"").correlation_id(conversation()),
        event(b"").causation_id(cause()),
        of_type("text/plain"),
        of_type("application/vnd.example+json"),
        event(br#"{"actor":"ann"}"#),
        event(b"plain text"),
    ];
    events.extend(METADATA_OF_ALL_KINDS.map(|metadata| {
        event(metadata)
            .schema_version(7)
            .tagged(tags())
            .correlation_id(conversation())
            .causation_id(cause())
    }));
    events
}

#[test]
fn events_of_the_store_of_a_server_have_all_of_their_parts_behind_the_protocol() {
    for server in [TestServer::of_memory(), TestServer::of_log()] {
        let stream = StreamName::new("order-1").unwrap();
        let append = Append::to(stream.clone(), ExpectedRevision::NoStream, events_of_all_kinds());
        block_on(server.store.append(append)).unwrap();
        let read = || ReadStream::forwards(stream.clone());
        let stored = block_on(server.store.read_stream(read()).collect_events()).unwrap();
        assert_eq!(stored.len(), events_of_all_kinds().len());
        let store = server.connect();
        let of_stream = block_on(store.read_stream(read()).collect_events()).unwrap();
        let of_all = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
        let mut live: Vec<RecordedEvent> = Vec::new();
        let mut subscription = store.subscribe(Subscribe::to_all().into());
        while live.len() < stored.len() {
            if let Delivery::Events(page) = block_on(subscription.next()).unwrap().unwrap() {
                live.extend(page);
            }
        }
        for (number, event) in stored.iter().enumerate() {
            for read in [&of_stream, &of_all, &live] {
                assert_eq!(read.get(number), Some(event));
            }
        }
    }
}
