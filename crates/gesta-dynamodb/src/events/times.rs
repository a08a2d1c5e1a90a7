//! Places of times: binary searches, since recorded times never fall.

use gesta_store::{Position, RecordedAt, Revision, StreamName};

use super::{
    layout::{TIME, stream_partition},
    scan::containing,
};
use crate::{
    errors::CallError,
    item::{Attributes as _, sorted},
    table::Table,
};

/// The events that are counted from the start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    Before(RecordedAt),
    At(RecordedAt),
}

impl Until {
    fn has(self, recorded_at: RecordedAt) -> bool {
        match self {
            Self::Before(time) => recorded_at < time,
            Self::At(time) => recorded_at <= time,
        }
    }
}

/// Returns the last position whose event is counted, or 0.
pub(super) async fn position(
    table: &Table,
    until: Until,
    mark: Position,
) -> Result<Position, CallError> {
    let (mut counted, mut end) = (0, mark.number());
    while counted < end {
        let middle = counted + (end - counted).div_ceil(2);
        let Some(batch) = containing(table, middle).await? else { break };
        if until.has(batch.recorded_at) {
            counted = (batch.next() - 1).min(end);
        } else {
            end = batch.first - 1;
        }
    }
    Ok(Position::new(counted))
}

/// Returns the number of a stream's events that are counted.
pub(super) async fn revisions(
    table: &Table,
    stream: &StreamName,
    until: Until,
    head: Option<Revision>,
) -> Result<u64, CallError> {
    let partition = stream_partition(stream);
    let (mut counted, mut end) = (0, head.map_or(0, |head| head.number() + 1));
    while counted < end {
        let middle = counted + (end - counted) / 2;
        let Some(entry) = table.get(&partition, &sorted(middle)).await? else { break };
        if until.has(RecordedAt::from_micros(entry.number(TIME)?)) {
            counted = middle + 1;
        } else {
            end = middle;
        }
    }
    Ok(counted)
}
