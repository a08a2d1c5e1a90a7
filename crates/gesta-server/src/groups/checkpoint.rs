//! The stream of checkpoints of one group.
//!
//! Invariants: a checkpoint is appended at the revision of the one before, so a server that no
//! longer runs the group cannot write one; an append whose outcome is unknown is repeated with the
//! same event id until it is known. The stream keeps one event. Its data are text in JSON, as the
//! clients of the original expect: a revision, or the positions of the whole store.

use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, Revision,
    StoreError, StreamName,
};
use serde_json::{Value, json};

use super::{
    configuration::keep_last,
    name::{GroupId, GroupSource},
    repeated::until_known,
};

const EVENT_TYPE: &str = "$SubscriptionCheckpoint";

/// The last checkpoint of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredCheckpoint {
    pub(super) place: Option<u64>,
    /// Head of the stream, which counts hidden events.
    pub(super) revision: Option<Revision>,
}

/// Reads the last checkpoint.
pub(super) async fn read(
    store: &dyn EventStore,
    group: &GroupId,
) -> Result<StoredCheckpoint, StoreError> {
    let last = ReadStream::backwards(group.checkpoints.clone()).limit(1);
    let last = store.read_stream(last).collect_events().await?.pop();
    let Some(event) = last else {
        let revision = store.describe_stream(&group.checkpoints).await?.head;
        return Ok(StoredCheckpoint { place: None, revision });
    };
    let place = place_of(&event.data);
    if place.is_none() {
        // The group begins at its start: events twice are better than events lost.
        tracing::warn!(%group, "the last checkpoint is unreadable; the group begins anew");
    }
    Ok(StoredCheckpoint { place, revision: Some(event.revision) })
}

/// Appends a checkpoint after the one at `last`, and returns its revision.
pub(super) async fn write(
    store: &dyn EventStore,
    group: &GroupId,
    place: u64,
    last: Option<Revision>,
) -> Result<Revision, StoreError> {
    let data = match group.source {
        GroupSource::All => format!("C:{place}/P:{place}"),
        GroupSource::Stream(_) => place.to_string(),
    };
    let event_type = EventType::new(EVENT_TYPE).expect("the type is a valid name");
    let event = NewEvent::json(EventId::random(), event_type, json!(data).to_string());
    let expected = last.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    let append = Append::to(group.checkpoints.clone(), expected, [event]).privileged();
    let appended = until_known(|| store.append(append.clone())).await?;
    if last.is_none() {
        keep_last(store, group.checkpoints.clone()).await?;
    }
    Ok(appended.revisions.first().map_or(Revision::FIRST, |(_, revision)| *revision))
}

/// Deletes the streams of a group, so that a later group of its name begins anew.
pub(super) async fn delete_streams(
    store: &dyn EventStore,
    group: &GroupId,
) -> Result<(), StoreError> {
    for stream in [&group.checkpoints, &group.parked] {
        delete(store, stream).await?;
    }
    Ok(())
}

async fn delete(store: &dyn EventStore, stream: &StreamName) -> Result<(), StoreError> {
    let delete = gesta_store::DeleteStream::new(stream.clone(), ExpectedRevision::Any);
    until_known(|| store.delete_stream(delete.clone())).await.map(drop)
}

fn place_of(data: &[u8]) -> Option<u64> {
    match serde_json::from_slice(data).ok()? {
        Value::String(text) => match text.strip_prefix("C:") {
            Some(positions) => positions.split('/').next()?.parse().ok(),
            None => text.parse().ok(),
        },
        // Earlier versions wrote numbers.
        Value::Object(position) => position.get("commitPosition")?.as_u64(),
        number => number.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_a_revision_or_a_position() {
        assert_eq!(place_of(br#""17""#), Some(17));
        assert_eq!(place_of(br#""C:9/P:9""#), Some(9));
        assert_eq!(place_of(b"17"), Some(17));
        assert_eq!(place_of(br#"{"commitPosition":9,"preparePosition":9}"#), Some(9));
        for unreadable in ["C:9", r#""C:/P:9""#, r#""nine""#, "null"] {
            assert_eq!(place_of(unreadable.as_bytes()), None, "{unreadable}");
        }
    }
}
