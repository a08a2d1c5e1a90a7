//! Checkpoints and states, as a projection's streams keep them.
//!
//! Owns: the records, their events and their look-up. Invariant: a record of another projection of
//! the same name, or of an epoch before a reset, is not used.

use std::num::NonZeroU64;

use gesta_store::{
    Checkpoint, EventId, EventStore, EventType, ExpectedRevision, Incarnation, NewEvent, Position,
    ReadStream, RecordedEvent, Revision, StoreError, StreamAppend, StreamMetadata, StreamName,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::config::ProjectionConfig;

const CHECKPOINT: &str = "$ProjectionCheckpoint";
const STATE: &str = "$ProjectionState";

/// The state of the projection or of a partition. `None` as state: the script makes the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionState {
    /// JSON.
    pub(super) state: Option<String>,
    /// JSON. `None` if a filter leaves nothing.
    pub(super) result: Option<String>,
    /// Head of the partition's stream.
    pub(super) head: Option<Revision>,
    /// Changed since it was stored.
    pub(super) is_dirty: bool,
}

impl PartitionState {
    pub(super) fn bytes(&self) -> usize {
        let sizes = [&self.state, &self.result].map(|json| json.as_ref().map_or(0, String::len));
        sizes.iter().sum()
    }
}

/// A stored checkpoint, with the state that has no partition and the state that all share.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CheckpointRecord {
    id: String,
    epoch: u64,
    position: u64,
    incarnation: String,
    /// Number of events that handlers have seen.
    pub(super) handled: u64,
    /// A one-time projection has come to its end.
    pub(super) is_completed: bool,
    state: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    shared: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StateRecord {
    id: String,
    epoch: u64,
    state: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
}

/// Everything that a checkpoint keeps.
#[derive(Clone, Debug)]
pub(super) struct Progressed<'a> {
    pub(super) checkpoint: Checkpoint,
    pub(super) handled: u64,
    pub(super) is_completed: bool,
    pub(super) root: &'a PartitionState,
    pub(super) shared: Option<&'a str>,
}

/// The last checkpoint of a projection's stream.
#[derive(Debug)]
pub(super) struct LastCheckpoint {
    /// Head of the stream.
    pub(super) head: Option<Revision>,
    /// Id of the last event.
    pub(super) id: Option<EventId>,
    /// The record, if it is of this projection and epoch.
    pub(super) record: Option<CheckpointRecord>,
    /// The record is of this projection before a reset.
    pub(super) is_before_reset: bool,
}

impl CheckpointRecord {
    pub(super) fn position(&self) -> Position {
        Position::new(self.position)
    }

    /// Returns the place to continue from.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let incarnation = self.incarnation.parse().ok().map(Incarnation::new)?;
        Some(Checkpoint { position: self.position(), incarnation })
    }

    pub(super) fn root(&self, head: Option<Revision>) -> PartitionState {
        PartitionState {
            state: text(self.state.as_deref()),
            result: text(self.result.as_deref()),
            head,
            is_dirty: false,
        }
    }

    pub(super) fn shared(&self) -> Option<String> {
        text(self.shared.as_deref())
    }
}

/// Returns the event of a checkpoint.
pub(super) fn checkpoint_event(
    config: &ProjectionConfig,
    progressed: &Progressed<'_>,
) -> Result<NewEvent, StoreError> {
    let record = CheckpointRecord {
        id: config.id.clone(),
        epoch: config.epoch,
        position: progressed.checkpoint.position.number(),
        incarnation: progressed.checkpoint.incarnation.as_uuid().to_string(),
        handled: progressed.handled,
        is_completed: progressed.is_completed,
        state: raw(progressed.root.state.as_deref()),
        result: raw(progressed.root.result.as_deref()),
        shared: raw(progressed.shared),
    };
    event(CHECKPOINT, &record)
}

/// Returns the event of a partition's state.
pub(super) fn state_event(
    config: &ProjectionConfig,
    state: &PartitionState,
) -> Result<NewEvent, StoreError> {
    let record = StateRecord {
        id: config.id.clone(),
        epoch: config.epoch,
        state: raw(state.state.as_deref()),
        result: raw(state.result.as_deref()),
    };
    event(STATE, &record)
}

/// Returns the parts of an append that replace the last record of a stream. A new stream hides all
/// records but the last.
pub(super) fn replacing(
    stream: StreamName,
    head: Option<Revision>,
    event: NewEvent,
) -> Result<Vec<StreamAppend>, StoreError> {
    let Some(head) = head else {
        let metadata = StreamMetadata::default().max_count(NonZeroU64::MIN);
        let about = EventType::new(StreamMetadata::EVENT_TYPE)?;
        let about = NewEvent::json(EventId::random(), about, metadata.to_json());
        let metadata_stream = stream.metadata_stream()?;
        return Ok(vec![
            StreamAppend::new(stream, ExpectedRevision::NoStream, [event]),
            StreamAppend::new(metadata_stream, ExpectedRevision::Any, [about]),
        ]);
    };
    Ok(vec![StreamAppend::new(stream, ExpectedRevision::Exact(head), [event])])
}

/// Reads the last checkpoint of a projection.
pub(super) async fn last_checkpoint(
    store: &dyn EventStore,
    config: &ProjectionConfig,
    stream: &StreamName,
) -> Result<LastCheckpoint, StoreError> {
    let head = store.describe_stream(stream).await?.head;
    let last = last_event(store, stream).await?;
    let record = last.as_ref().and_then(parse::<CheckpointRecord>);
    let record = record.filter(|record| record.id == config.id);
    let is_before_reset = record.as_ref().is_some_and(|record| record.epoch < config.epoch);
    Ok(LastCheckpoint {
        head,
        id: last.map(|event| event.id),
        record: record.filter(|record| record.epoch == config.epoch),
        is_before_reset,
    })
}

/// Reads the state of a partition.
pub(super) async fn stored_state(
    store: &dyn EventStore,
    config: &ProjectionConfig,
    stream: &StreamName,
) -> Result<PartitionState, StoreError> {
    let Some(last) = last_event(store, stream).await? else {
        let head = store.describe_stream(stream).await?.head;
        return Ok(PartitionState { head, ..PartitionState::default() });
    };
    let record = parse::<StateRecord>(&last)
        .filter(|record| record.id == config.id && record.epoch == config.epoch);
    Ok(PartitionState {
        state: record.as_ref().and_then(|record| text(record.state.as_deref())),
        result: record.as_ref().and_then(|record| text(record.result.as_deref())),
        head: Some(last.revision),
        is_dirty: false,
    })
}

async fn last_event(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<Option<RecordedEvent>, StoreError> {
    let read = ReadStream::backwards(stream.clone()).limit(1);
    Ok(store.read_stream(read).collect_events().await?.pop())
}

fn event(event_type: &str, record: &impl Serialize) -> Result<NewEvent, StoreError> {
    let data = serde_json::to_vec(record).expect("a record is plain data");
    Ok(NewEvent::json(EventId::random(), EventType::new(event_type)?, data))
}

fn parse<Record: DeserializeOwned>(event: &RecordedEvent) -> Option<Record> {
    serde_json::from_slice(&event.data).ok()
}

/// States come from the script's engine, which writes valid JSON.
fn raw(json: Option<&str>) -> Option<Box<RawValue>> {
    json.and_then(|json| RawValue::from_string(json.to_owned()).ok())
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    raw.map(|raw| raw.get().to_owned())
}
