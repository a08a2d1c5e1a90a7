//! Clauses about limits and reserved streams.

use bytes::Bytes;

use super::support::*;
use crate::{
    Append, EventStore, EventType, ExpectedRevision, Invalid, InvalidName, NewEvent, Revision,
    StreamAppend, StreamMetadata, StreamName, Tag,
};

fn sized(bytes: usize) -> NewEvent {
    let event = event();
    // The event type counts towards the size.
    let rest = bytes - event.event_type.as_str().len();
    NewEvent { data: Bytes::from(vec![0; rest]), ..event }
}

#[track_caller]
fn over_limit(invalid: &Invalid, limit: usize) {
    match invalid {
        Invalid::Limit { actual, max, .. } => assert!(
            *max == limit && actual > max,
            "the error must name the limit {limit} and a larger size, got: {invalid}"
        ),
        other => panic!("expected a limit, got: {other}"),
    }
}

async fn offer(store: &dyn EventStore, events: Vec<NewEvent>) -> Result<(), crate::StoreError> {
    let append = Append::to(name("order-1"), ExpectedRevision::Any, events);
    store.append(append).await.map(drop)
}

pub(super) async fn an_event_at_the_limit_is_accepted(store: &dyn EventStore) {
    let max = store.capabilities().limits.event_bytes_max;
    accepted(offer(store, vec![sized(max)]).await);
    let read = stream_events(store, "order-1").await;
    assert_eq!(read.len(), 1);
    assert!(read.iter().all(|event| event.data.len() == max - "happened".len()));
}

pub(super) async fn an_event_over_the_limit_is_rejected(store: &dyn EventStore) {
    let max = store.capabilities().limits.event_bytes_max;
    over_limit(&rejected(offer(store, vec![event(), sized(max + 1)]).await), max);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
}

pub(super) async fn an_append_over_the_limit_is_rejected(store: &dyn EventStore) {
    let limits = store.capabilities().limits;
    // Half of the largest event where that leads to the limit, the largest one otherwise.
    let sizes = [limits.event_bytes_max / 2, limits.event_bytes_max];
    let count = |size: &usize| limits.append_bytes_max / *size + 1;
    let reaches = |size: &usize| count(size) <= limits.events_per_append_max;
    // Fewer events reach the limit of their number first.
    let Some(size) = sizes.into_iter().find(reaches) else { return };
    let (one, count) = (sized(size), count(&size));
    // Share the payload: only the ids must differ.
    let alike = std::iter::repeat_with(|| NewEvent { id: event().id, ..one.clone() });
    let answer = offer(store, alike.take(count).collect()).await;
    over_limit(&rejected(answer), limits.append_bytes_max);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
}

/// Only where the limit can be met by a test.
const COUNT_MAX: usize = 10_000;

pub(super) async fn more_events_than_the_limit_are_rejected(store: &dyn EventStore) {
    let max = store.capabilities().limits.events_per_append_max;
    assert!(max >= 10, "an append must take at least 10 events, got {max}");
    if max > COUNT_MAX {
        return;
    }
    over_limit(&rejected(offer(store, events(max + 1)).await), max);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
    // The limit itself is allowed.
    accepted(offer(store, events(max)).await);
}

pub(super) async fn more_streams_than_the_limit_are_rejected(store: &dyn EventStore) {
    let max = store.capabilities().limits.streams_per_append_max;
    assert!(max >= 3, "an append must take at least 3 streams, got {max}");
    if max > COUNT_MAX {
        return;
    }
    let checks = (0..max).map(|n| StreamAppend {
        stream: name(&format!("checked-{n}")),
        expected: ExpectedRevision::NoStream,
        events: Vec::new(),
    });
    let mut append = Append::of(checks.collect());
    append = append.and(name("order-1"), ExpectedRevision::NoStream, [event()]);
    over_limit(&rejected(store.append(append.clone()).await.map(drop)), max);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
    // The limit itself is allowed.
    append.streams.remove(0);
    accepted(store.append(append).await);
}

pub(super) async fn more_tags_than_the_limit_are_rejected(store: &dyn EventStore) {
    let max = store.capabilities().limits.tags_max;
    let tags = |count| -> Vec<Tag> { (0..count).map(|n| tag(&format!("n:{n}"))).collect() };
    over_limit(&rejected(offer(store, vec![event().tagged(tags(max + 1))]).await), max);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
    // The limit itself is allowed.
    accepted(offer(store, vec![event().tagged(tags(max))]).await);
}

pub(super) async fn a_system_stream_takes_no_other_events(store: &dyn EventStore) {
    for text in ["$settings", "$$order-1"] {
        let stream = name(text);
        let append = Append::to(stream.clone(), ExpectedRevision::Any, [event()]);
        assert_eq!(rejected(store.append(append).await), Invalid::SystemStream { stream });
    }
    assert_eq!(all_ids(store).await, [], "nothing must be appended");
}

pub(super) async fn a_privileged_append_takes_events_of_system_streams(store: &dyn EventStore) {
    let batch = events(2);
    let append = Append::to(name("$settings"), ExpectedRevision::NoStream, batch.clone());
    let append = append.privileged();
    let answer = place(store.append(append.clone()).await);
    assert_eq!(answer.1, [(name("$settings"), Revision::new(1))]);
    assert_eq!(stream_ids(store, "$settings").await, ids(&batch));
    assert_eq!(place(store.append(append).await), answer, "a repeat gets the first answer");
}

/// Metadata stay readable: privilege does not extend to their streams.
pub(super) async fn a_privileged_append_takes_no_other_events_for_metadata(store: &dyn EventStore) {
    let stream = name("$$order-1");
    let append = Append::to(stream.clone(), ExpectedRevision::Any, [event()]).privileged();
    assert_eq!(rejected(store.append(append).await), Invalid::SystemStream { stream });
    assert_eq!(stream_ids(store, "$$order-1").await, [], "nothing must be appended");
}

pub(super) async fn metadata_that_cannot_be_read_are_rejected(store: &dyn EventStore) {
    let set = EventType::new(StreamMetadata::EVENT_TYPE).expect("a type's name");
    let event = NewEvent::json(event().id, set, r#"{"$maxCount":"many"}"#);
    let append = Append::to(name("$$order-1"), ExpectedRevision::Any, [event]);
    match rejected(store.append(append).await) {
        Invalid::Metadata { reason } => {
            assert!(
                reason.contains("$maxCount"),
                "the reason must name `$maxCount`, got: {reason}"
            );
        }
        other => panic!("expected unreadable metadata, got: {other}"),
    }
    assert_eq!(all_ids(store).await, [], "nothing must be appended");
}

/// The name of the metadata stream has to fit, too. Earlier versions accepted names that are too
/// long for it.
pub(super) async fn a_stream_without_room_for_metadata_takes_no_events(store: &dyn EventStore) {
    for bytes in [StreamName::BYTES_MAX + 1, StreamName::BYTES_MAX + 2] {
        let stored = accepted(StreamName::stored("n".repeat(bytes)).map_err(Into::into));
        let append = Append::to(stored, ExpectedRevision::Any, [event()]);
        match rejected(store.append(append).await) {
            Invalid::Name(InvalidName::TooLong { max, .. }) => {
                assert_eq!(max, StreamName::BYTES_MAX);
            }
            other => panic!("expected a name that is too long, got: {other}"),
        }
    }
    assert_eq!(all_ids(store).await, [], "nothing must be appended");
}

pub(super) async fn the_longest_streams_can_be_deleted(store: &dyn EventStore) {
    let [deleted, ended] = ["d", "t"].map(|one| one.repeat(StreamName::BYTES_MAX));
    grow(store, &deleted, 2).await;
    delete(store, &deleted).await;
    assert_eq!(stream_ids(store, &deleted).await, []);
    set_metadata(store, &deleted, StreamMetadata::default()).await;
    grow(store, &ended, 2).await;
    tombstone(store, &ended).await;
    let append = Append::to(name(&ended), ExpectedRevision::Any, [event()]);
    assert_eq!(self::deleted(store.append(append).await), name(&ended));
}
