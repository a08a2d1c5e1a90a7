//! Shared parts of the clauses: names, events, and calls with an expected result.
//!
//! A call with any other result panics; the message shows the expected and the actual result.

use std::{
    fmt::Debug,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use crate::{
    Append, Appended, Capability, Category, CausationId, Conflict, CorrelationId, DeleteStream,
    Delivery, EventId, EventQuery, EventStore, EventType, ExpectedRevision, Filter, Invalid,
    NewEvent, Pages, Position, QueryItem, ReadAll, ReadStream, RecordedEvent, Revision,
    SetStreamMetadata, StoreError, StreamMetadata, StreamName, Subscription, Tag, TombstoneStream,
};

pub(super) fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a clause names streams well")
}

pub(super) fn event_type(text: &str) -> EventType {
    EventType::new(text).expect("a clause names event types well")
}

pub(super) fn tag(text: &str) -> Tag {
    Tag::new(text).expect("a clause names tags well")
}

pub(super) fn category(text: &str) -> Category {
    Category::new(text).expect("a clause names categories well")
}

pub(super) fn exact(number: u64) -> ExpectedRevision {
    ExpectedRevision::Exact(Revision::new(number))
}

/// Creates an event with a new id.
pub(super) fn event() -> NewEvent {
    typed("happened")
}

/// Creates an event of this type with a new id.
pub(super) fn typed(text: &str) -> NewEvent {
    NewEvent::json(EventId::random(), event_type(text), "{}")
}

/// Creates n events with new ids.
pub(super) fn events(count: usize) -> Vec<NewEvent> {
    std::iter::repeat_with(event).take(count).collect()
}

pub(super) fn ids(events: &[NewEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

pub(super) fn recorded_ids(events: &[RecordedEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

pub(super) fn reversed<T: Clone>(items: &[T]) -> Vec<T> {
    items.iter().rev().cloned().collect()
}

/// Appends n new events without an expectation, and returns their ids. Several appends if the store
/// takes fewer events at once.
pub(super) async fn grow(store: &dyn EventStore, stream: &str, count: usize) -> Vec<EventId> {
    let events = events(count);
    let at_once = store.capabilities().limits.events_per_append_max;
    for events in events.chunks(at_once) {
        append(store, stream, events.iter().cloned()).await;
    }
    ids(&events)
}

/// An event that every filter of [`filters`] selects, with the parts that the store takes.
pub(super) fn selected(store: &dyn EventStore) -> NewEvent {
    let tags = Vec::from_iter(has(store, Capability::Tags).then(|| tag("customer:a")));
    NewEvent {
        correlation_id: Some(CorrelationId::new("request-1").expect("an id")),
        causation_id: Some(CausationId::new("command-1").expect("an id")),
        ..typed("placed").tagged(tags)
    }
}

/// A filter of each kind that the store has, which selects [`selected`] in `order-1` and no plain
/// event of `account-1`.
pub(super) fn filters(store: &dyn EventStore) -> Vec<Filter> {
    let item = match has(store, Capability::Tags) {
        true => QueryItem::every().tagged([tag("customer:a")]),
        false => QueryItem::every().of_types([event_type("placed")]),
    };
    let mut filters = vec![
        Filter::Streams(vec![name("order-1")]),
        Filter::StreamPrefixes(vec!["order-".to_owned()]),
        Filter::Categories(vec![category("order")]),
        Filter::EventTypes(vec![event_type("placed")]),
        Filter::EventTypePrefixes(vec!["plac".to_owned()]),
        Filter::Query(EventQuery::of(item)),
        Filter::Correlation(CorrelationId::new("request-1").expect("an id")),
        Filter::Causation(CausationId::new("command-1").expect("an id")),
    ];
    #[cfg(feature = "regex")]
    filters.push(Filter::Regex(accepted(crate::RegexFilter::on_stream_name("^(?!account)"))));
    filters.retain(|filter| filter.capability().is_none_or(|needed| has(store, needed)));
    filters
}

pub(super) fn has(store: &dyn EventStore, capability: Capability) -> bool {
    store.capabilities().has(capability)
}

/// Leaves out what a store appends to system streams of its own, such as statistics.
pub(super) fn written(mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    let described =
        |stream: &StreamName| stream.described_stream().is_some_and(|it| !it.is_system());
    events.retain(|event| !event.stream.is_system() || described(&event.stream));
    events
}

/// Appends events without an expectation.
pub(super) async fn append(
    store: &dyn EventStore,
    stream: &str,
    events: impl IntoIterator<Item = NewEvent>,
) -> Appended {
    accepted(store.append(Append::to(name(stream), ExpectedRevision::Any, events)).await)
}

/// Appends one new event with this expectation.
pub(super) async fn expecting(
    store: &dyn EventStore,
    stream: &str,
    expected: ExpectedRevision,
) -> Result<Appended, StoreError> {
    store.append(Append::to(name(stream), expected, [event()])).await
}

/// The position and the revisions in the answer to an append.
pub(super) type Place = (Position, Vec<(StreamName, Revision)>);

/// Returns the part of an answer that a repeat shares with the first append.
pub(super) fn place(outcome: Result<Appended, StoreError>) -> Place {
    let Appended { position, revisions, .. } = accepted(outcome);
    (position, revisions)
}

pub(super) async fn delete(store: &dyn EventStore, stream: &str) -> Appended {
    let delete = DeleteStream { stream: name(stream), expected: ExpectedRevision::Any };
    accepted(store.delete_stream(delete).await)
}

pub(super) async fn tombstone(store: &dyn EventStore, stream: &str) -> Appended {
    let tombstone = TombstoneStream { stream: name(stream), expected: ExpectedRevision::Any };
    accepted(store.tombstone_stream(tombstone).await)
}

pub(super) async fn set_metadata(
    store: &dyn EventStore,
    stream: &str,
    metadata: StreamMetadata,
) -> Appended {
    let expected_metadata = ExpectedRevision::Any;
    let change = SetStreamMetadata { stream: name(stream), expected_metadata, metadata };
    accepted(store.set_stream_metadata(change).await)
}

pub(super) async fn head(store: &dyn EventStore) -> Position {
    accepted(store.head().await).position
}

pub(super) async fn collected(pages: Pages) -> Vec<RecordedEvent> {
    accepted(pages.collect_events().await)
}

pub(super) async fn all(store: &dyn EventStore) -> Vec<RecordedEvent> {
    written(collected(store.read_all(ReadAll::forwards())).await)
}

pub(super) async fn all_ids(store: &dyn EventStore) -> Vec<EventId> {
    recorded_ids(&all(store).await)
}

pub(super) async fn stream_events(store: &dyn EventStore, stream: &str) -> Vec<RecordedEvent> {
    collected(store.read_stream(ReadStream::forwards(name(stream)))).await
}

pub(super) async fn stream_ids(store: &dyn EventStore, stream: &str) -> Vec<EventId> {
    recorded_ids(&stream_events(store, stream).await)
}

#[track_caller]
pub(super) fn accepted<T>(answer: Result<T, StoreError>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(error) => panic!("expected an answer, got: {error}"),
    }
}

#[track_caller]
fn failed<T: Debug>(answer: Result<T, StoreError>) -> StoreError {
    answer.expect_err("expected an error")
}

#[track_caller]
pub(super) fn conflict<T: Debug>(answer: Result<T, StoreError>) -> Conflict {
    match failed(answer) {
        StoreError::Conflict(conflict) => conflict,
        other => panic!("expected a conflict, got: {other}"),
    }
}

#[track_caller]
pub(super) fn rejected<T: Debug>(answer: Result<T, StoreError>) -> Invalid {
    match failed(answer) {
        StoreError::Rejected(invalid) => invalid,
        other => panic!("expected a rejection, got: {other}"),
    }
}

#[track_caller]
pub(super) fn deleted<T: Debug>(answer: Result<T, StoreError>) -> StreamName {
    match failed(answer) {
        StoreError::Deleted { stream } => stream,
        other => panic!("expected `deleted`, got: {other}"),
    }
}

/// Returns the next delivery.
pub(super) async fn next(subscription: &mut Subscription) -> Delivery {
    accepted(subscription.next().await.expect("a subscription has no end"))
}

/// Collects events until the subscription has caught up, and returns the position at which it has.
pub(super) async fn caught_up(subscription: &mut Subscription) -> (Vec<RecordedEvent>, Position) {
    let mut events = Vec::new();
    loop {
        match next(subscription).await {
            Delivery::Events(page) => events.extend(written(page)),
            Delivery::CaughtUp(position) => return (events, position),
            Delivery::Checkpoint(_) => {}
        }
    }
}

/// Collects at least `count` events.
pub(super) async fn delivered(subscription: &mut Subscription, count: usize) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        match next(subscription).await {
            Delivery::Events(page) => events.extend(written(page)),
            Delivery::CaughtUp(_) | Delivery::Checkpoint(_) => {}
        }
    }
    events
}

/// Yields once, so that other tasks run and a deadline can end a loop.
pub(super) async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a future once and drops it.
pub(super) async fn poll_once<T>(future: impl Future<Output = T>) {
    let mut future = pin!(future);
    poll_fn(|context| {
        drop(future.as_mut().poll(context));
        Poll::Ready(())
    })
    .await;
}
