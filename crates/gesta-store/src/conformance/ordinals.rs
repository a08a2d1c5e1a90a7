//! Clauses about ordinals of categories, event types, conversations and streams.

use super::support::*;
use crate::{
    CorrelationId, EventStore, NewEvent, Ordinal, OrdinalEvent, OrdinalIndex, ReadFrom,
    ReadOrdinals, RecordedEvent, Revision, StreamMetadata,
};

async fn read(store: &dyn EventStore, read: ReadOrdinals) -> Vec<OrdinalEvent> {
    accepted(store.read_ordinals(read).collect_events().await)
}

fn numbered(events: &[RecordedEvent]) -> Vec<OrdinalEvent> {
    let ordinals = (0..).map(Ordinal::new);
    let pairs = ordinals.zip(events.iter().cloned());
    pairs.map(|(ordinal, event)| OrdinalEvent { ordinal, event }).collect()
}

/// Reads these events by their ordinals, from every place in both directions.
async fn expect_ordinals(store: &dyn EventStore, of: OrdinalIndex, events: &[RecordedEvent]) {
    assert!(!events.is_empty(), "this clause needs events that count");
    let all = numbered(events);
    let (forwards, backwards) =
        (|| ReadOrdinals::forwards(of.clone()), || ReadOrdinals::backwards(of.clone()));
    assert_eq!(read(store, forwards()).await, all);
    assert_eq!(read(store, backwards()).await, reversed(&all));
    for place in 0..=all.len() {
        let ordinal = Ordinal::new(place as u64);
        let (before, from) = all.split_at(place);
        assert_eq!(read(store, forwards().from(ordinal)).await, from);
        let next: Vec<OrdinalEvent> = from.iter().take(2).cloned().collect();
        assert_eq!(read(store, forwards().from(ordinal).limit(2)).await, next);
        let back: Vec<OrdinalEvent> = before.iter().chain(from.first()).rev().cloned().collect();
        assert_eq!(read(store, backwards().from(ordinal)).await, back);
        let last: Vec<OrdinalEvent> = back.into_iter().take(1).collect();
        assert_eq!(read(store, backwards().from(ordinal).limit(1)).await, last);
    }
    // A read away from the end that it starts at is empty.
    let mut away = forwards();
    away.from = ReadFrom::End;
    assert_eq!(read(store, away).await, []);
    let mut away = backwards();
    away.from = ReadFrom::Start;
    assert_eq!(read(store, away).await, []);
}

/// Appends events to several streams, and returns all of them in the order of their positions.
async fn mixed(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let conversation = |text: &str| NewEvent {
        correlation_id: Some(CorrelationId::new(text).expect("an id")),
        ..event()
    };
    let streams = ["order-1", "account-1", "order-2", "orders-1", "order-1", "account-1"];
    for (nth, stream) in streams.into_iter().enumerate() {
        let batch = match nth % 2 {
            0 => vec![typed("placed"), conversation("request-1")],
            _ => vec![conversation("request-2"), typed("placed"), conversation("request-1")],
        };
        append(store, stream, batch).await;
    }
    let mut added = Vec::new();
    for stream in ["order-1", "account-1", "order-2", "orders-1"] {
        added.extend(stream_events(store, stream).await);
    }
    added.sort_by_key(|event| event.position);
    added
}

async fn expect_index(store: &dyn EventStore, of: OrdinalIndex) {
    let mut events = mixed(store).await;
    events.retain(|event| of.counts(event));
    expect_ordinals(store, of, &events).await;
}

pub(super) async fn events_of_a_category_have_ordinals(store: &dyn EventStore) {
    expect_index(store, OrdinalIndex::Category(category("order"))).await;
}

pub(super) async fn events_of_a_type_have_ordinals(store: &dyn EventStore) {
    expect_index(store, OrdinalIndex::EventType(event_type("placed"))).await;
}

pub(super) async fn events_of_a_conversation_have_ordinals(store: &dyn EventStore) {
    let id = CorrelationId::new("request-1").expect("an id");
    expect_index(store, OrdinalIndex::Correlation(id)).await;
}

pub(super) async fn streams_have_ordinals_in_the_order_of_their_first_events(
    store: &dyn EventStore,
) {
    expect_index(store, OrdinalIndex::Streams).await;
}

pub(super) async fn streams_of_a_category_have_ordinals(store: &dyn EventStore) {
    expect_index(store, OrdinalIndex::StreamsOf(category("order"))).await;
}

/// Also of a stream that is revived, whose first event stays what it was.
pub(super) async fn a_stream_keeps_its_ordinal_and_gets_no_second_one(store: &dyn EventStore) {
    for stream in ["order-1", "account-1", "order-2"] {
        grow(store, stream, 2).await;
    }
    let of = || ReadOrdinals::forwards(OrdinalIndex::Streams);
    let before = read(store, of()).await;
    assert_eq!(before.len(), 3, "one for each stream");
    delete(store, "order-1").await;
    grow(store, "order-1", 1).await;
    grow(store, "order-3", 1).await;
    let after = read(store, of()).await;
    // A store may have removed the hidden one.
    let kept = after.iter().filter(|counted| counted.ordinal < Ordinal::new(3));
    assert!(kept.into_iter().all(|counted| before.contains(counted)), "ordinals must not change");
    let last = after.last().map(|last| (last.ordinal, last.event.stream.clone()));
    assert_eq!(last, Some((Ordinal::new(3), name("order-3"))));
}

/// Neither metadata nor the streams that clients name with `$`.
pub(super) async fn system_streams_have_no_ordinals(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    set_metadata(store, "order-1", StreamMetadata::default()).await;
    grow(store, "order-2", 1).await;
    let streams = read(store, ReadOrdinals::forwards(OrdinalIndex::Streams)).await;
    let names: Vec<_> = streams.iter().map(|counted| counted.event.stream.as_str()).collect();
    assert_eq!(names, ["order-1", "order-2"]);
}

pub(super) async fn an_index_without_events_reads_empty(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    let none = OrdinalIndex::Category(category("account"));
    assert_eq!(read(store, ReadOrdinals::forwards(none.clone())).await, []);
    assert_eq!(read(store, ReadOrdinals::backwards(none)).await, []);
}

pub(super) async fn ordinals_come_in_pages(store: &dyn EventStore) {
    for stream in ["order-1", "account-1", "order-2"] {
        grow(store, stream, 300).await;
    }
    let of = OrdinalIndex::Category(category("order"));
    let mut pages = store.read_ordinals(ReadOrdinals::forwards(of));
    let mut next = 0;
    while let Some(page) = pages.next().await {
        let page = accepted(page);
        assert!(!page.is_empty(), "a page must not be empty");
        for OrdinalEvent { ordinal, .. } in page {
            assert_eq!(ordinal, Ordinal::new(next));
            next += 1;
        }
    }
    assert_eq!(next, 600);
}

/// Hidden events keep their ordinals, and so do the events after them.
pub(super) async fn ordinals_do_not_shift_when_events_are_hidden(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    grow(store, "order-2", 2).await;
    let of = || ReadOrdinals::forwards(OrdinalIndex::Category(category("order")));
    let before = read(store, of()).await;
    let truncate_before = Some(Revision::new(2));
    let metadata = StreamMetadata { truncate_before, ..StreamMetadata::default() };
    set_metadata(store, "order-1", metadata).await;
    grow(store, "order-1", 1).await;
    let after = read(store, of()).await;
    // A store may have removed the hidden ones.
    for OrdinalEvent { ordinal, event } in &after {
        let known = before.iter().find(|known| known.event.id == event.id);
        assert!(
            known.map_or(*ordinal == Ordinal::new(5), |known| known.ordinal == *ordinal),
            "an ordinal must not change, got {ordinal} for {}",
            event.id
        );
    }
    assert_eq!(after.last().map(|last| last.ordinal), Some(Ordinal::new(5)));
}
