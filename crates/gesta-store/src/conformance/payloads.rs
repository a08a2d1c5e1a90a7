//! Clauses about the content of events: every byte is returned unchanged.

use super::support::*;
use crate::{
    Append, Capability, CausationId, ContentType, CorrelationId, DeleteStream, EventId, EventQuery,
    EventStore, EventType, ExpectedRevision, Filter, ListStreams, NewEvent, QueryItem, ReadAll,
    ReadStream, RecordedEvent, StreamName, Subscribe, Tag,
};

/// An event without default values, as far as the store takes others.
fn full(store: &dyn EventStore) -> NewEvent {
    let content_type = match has(store, Capability::ContentTypes) {
        true => ContentType::new("application/vnd.example+json").expect("a media type"),
        false => ContentType::OCTET_STREAM,
    };
    NewEvent {
        schema_version: 7,
        content_type,
        data: r#"{"total":"12.50"}"#.into(),
        metadata: r#"{"actor":"ann"}"#.into(),
        tags: taken(store, [tag("customer:17850"), tag("country:fr")]),
        correlation_id: Some(CorrelationId::new("request-42").expect("an id")),
        causation_id: Some(CausationId::new("command-7").expect("an id")),
        ..typed("order-placed")
    }
}

/// Returns the tags if the store takes tags.
fn taken(store: &dyn EventStore, tags: impl IntoIterator<Item = Tag>) -> Vec<Tag> {
    let tags = tags.into_iter();
    if has(store, Capability::Tags) { tags.collect() } else { Vec::new() }
}

/// Returns the event as it was offered. Tags are a set, so they are sorted.
fn offered(recorded: RecordedEvent) -> NewEvent {
    let mut tags = recorded.tags;
    tags.sort();
    NewEvent {
        id: recorded.id,
        event_type: recorded.event_type,
        schema_version: recorded.schema_version,
        content_type: recorded.content_type,
        data: recorded.data,
        metadata: recorded.metadata,
        tags,
        correlation_id: recorded.correlation_id,
        causation_id: recorded.causation_id,
    }
}

/// Appends one event and expects to read it back unchanged.
async fn expect_round_trip(store: &dyn EventStore, mut event: NewEvent) {
    event.tags.sort();
    append(store, "order-1", [event.clone()]).await;
    let last = ReadStream::backwards(name("order-1")).limit(1);
    let read: Vec<_> = collected(store.read_stream(last)).await.into_iter().map(offered).collect();
    assert!(read == [event], "a read must return the event unchanged");
}

pub(super) async fn every_field_comes_back_from_a_stream(store: &dyn EventStore) {
    let mut event = full(store);
    event.tags.sort();
    append(store, "order-1", [event.clone()]).await;
    let read = stream_events(store, "order-1").await;
    assert_eq!(read.into_iter().map(offered).collect::<Vec<_>>(), [event]);
}

pub(super) async fn every_field_comes_back_from_the_whole_store(store: &dyn EventStore) {
    let mut event = full(store);
    event.tags.sort();
    append(store, "order-1", [event.clone()]).await;
    assert_eq!(all(store).await.into_iter().map(offered).collect::<Vec<_>>(), [event]);
}

pub(super) async fn every_field_comes_back_from_a_subscription(store: &dyn EventStore) {
    let mut event = full(store);
    event.tags.sort();
    append(store, "order-1", [event.clone()]).await;
    let delivered = delivered(&mut store.subscribe(Subscribe::to_all().into()), 1).await;
    assert_eq!(delivered.into_iter().map(offered).collect::<Vec<_>>(), [event]);
}

pub(super) async fn what_is_left_out_comes_back_left_out(store: &dyn EventStore) {
    let bare = NewEvent::new(EventId::random(), event_type("bare"), ContentType::OCTET_STREAM, "");
    expect_round_trip(store, bare).await;
}

pub(super) async fn bytes_that_are_no_text_come_back_unchanged(store: &dyn EventStore) {
    // Not UTF-8, and with a zero byte.
    let every_byte: Vec<u8> = (0..=u8::MAX).rev().collect();
    let (data, metadata) = (every_byte.clone().into(), every_byte.into());
    let content_type = ContentType::OCTET_STREAM;
    expect_round_trip(store, NewEvent { data, metadata, content_type, ..event() }).await;
}

pub(super) async fn a_large_payload_comes_back_unchanged(store: &dyn EventStore) {
    // A mebibyte, or as much as the store takes with the event's type.
    let room = store.capabilities().limits.event_bytes_max - "happened".len();
    let pattern: Vec<u8> = (b' '..=b'~').cycle().take(room.min(1 << 20)).collect();
    expect_round_trip(store, NewEvent { data: pattern.into(), ..event() }).await;
}

pub(super) async fn the_longest_names_come_back_unchanged(store: &dyn EventStore) {
    // Names that differ in the last byte only.
    let long = |tail: &str| format!("{}{tail}", "n".repeat(StreamName::BYTES_MAX - tail.len()));
    let tags = ["a", "b"].map(|tail| tag(&format!("{}{tail}", "t".repeat(254))));
    let event = typed(&"e".repeat(255)).tagged(taken(store, tags));
    expect_round_trip(store, event).await;
    let (one, other) = (grow(store, &long("-1"), 1).await, grow(store, &long("-2"), 2).await);
    assert_eq!(stream_ids(store, &long("-1")).await, one);
    assert_eq!(stream_ids(store, &long("-2")).await, other);
}

const NAMES: [&str; 16] = [
    "straße-1",
    "STRASSE-1",
    "Straße-1",
    "é-1",
    "e\u{301}-1",
    "注文-1",
    "🛒-1",
    " -1",
    "order-a/b",
    "order-a b",
    "order-a@b.c",
    "order-..",
    "order-%2F",
    "order-\"'",
    "order--",
    "شراء-١",
];

/// Names are compared byte by byte: case and Unicode equivalence are significant.
pub(super) async fn names_in_any_script_are_told_apart_by_their_bytes(store: &dyn EventStore) {
    let mut expected = Vec::new();
    for text in NAMES {
        let event = typed(text).tagged(taken(store, [tag(text)]));
        expected.push((text, event.id));
        append(store, text, [event]).await;
    }
    for (text, id) in expected {
        let read = stream_events(store, text).await;
        assert_eq!(recorded_ids(&read), [id], "{text}");
        for event in read {
            assert_eq!(event.stream.as_str(), text);
            assert_eq!(event.event_type.as_str(), text);
            assert_eq!(event.tags, taken(store, [tag(text)]));
        }
    }
}

pub(super) async fn filters_tell_names_apart_by_their_bytes(store: &dyn EventStore) {
    let mut added = Vec::new();
    for text in NAMES {
        let event = typed(text).tagged(taken(store, [tag(text)]));
        added.push((text, event.id));
        append(store, text, [event]).await;
    }
    for text in NAMES {
        // Some of the names share a category.
        let of_category = name(text).category().expect("each has a category");
        let alike = |(other, _): &&(&str, EventId)| {
            name(other).category().is_some_and(|category| category == of_category)
        };
        let categorized: Vec<_> = added.iter().filter(alike).map(|(_, id)| *id).collect();
        let own: Vec<_> = added.iter().filter(|(one, _)| *one == text).map(|(_, id)| *id).collect();
        let item = match has(store, Capability::Tags) {
            true => QueryItem::every().tagged([tag(text)]),
            false => QueryItem::every().of_types([event_type(text)]),
        };
        let query = EventQuery::of(item);
        for (filter, expected) in [
            (Filter::Streams(vec![name(text)]), &own),
            (Filter::StreamPrefixes(vec![text.to_owned()]), &own),
            (Filter::EventTypes(vec![event_type(text)]), &own),
            (Filter::Query(query), &own),
            (Filter::Categories(vec![of_category.clone()]), &categorized),
        ] {
            if filter.capability().is_some_and(|needed| !has(store, needed)) {
                continue;
            }
            let read = store.read_all(ReadAll::forwards().filter(filter.clone()));
            assert_eq!(recorded_ids(&collected(read).await), *expected, "{filter:?}");
        }
    }
}

/// The rule for new names is stricter than the one for stored names.
pub(super) async fn names_of_earlier_versions_come_back_unchanged(store: &dyn EventStore) {
    for text in ["order-a\nb", "order-"] {
        let stream = accepted(StreamName::stored(text).map_err(Into::into));
        let event_type = accepted(EventType::stored("a\tb").map_err(Into::into));
        let tags = taken(store, [accepted(Tag::stored("key:\r").map_err(Into::into))]);
        let event = NewEvent { event_type, ..event() }.tagged(tags);
        let append = Append::to(stream.clone(), ExpectedRevision::Any, [event.clone()]);
        accepted(store.append(append).await);
        let read = || store.read_stream(ReadStream::forwards(stream.clone()));
        let read_events = collected(read()).await;
        assert!(
            read_events.iter().all(|event| event.stream == stream),
            "events of {text:?} must keep their stream"
        );
        let back: Vec<_> = read_events.into_iter().map(offered).collect();
        assert_eq!(back, [event], "{text:?}");
        if has(store, Capability::StreamListing) {
            let list = ListStreams { prefix: text.to_owned(), after: None, limit: 10 };
            assert!(accepted(store.list_streams(list).await).contains(&stream), "{text:?}");
        }
        if has(store, Capability::Deletion) {
            let expected = ExpectedRevision::StreamExists;
            let delete = DeleteStream { stream: stream.clone(), expected };
            accepted(store.delete_stream(delete).await);
            assert_eq!(collected(read()).await, [], "{text:?}");
        }
    }
}
