//! Batches: appends that one call of the server judges together.
//!
//! The server judges the appends of a batch in order, and knows the heads that earlier ones of the
//! batch lead to. It looks up repeats, conditions and metadata once, before the batch. So an append
//! starts the next batch if one of these could depend on an append of this batch. The order of the
//! queue is kept.

use std::collections::HashSet;

use gesta_store::{Append, EventId};

use super::queue::QueuedAppend;

/// Maximum number of appends and of bytes in a batch. One append may be larger.
const BATCH_APPENDS_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Appends that are judged together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) appends: Vec<QueuedAppend>,
    first_ids: HashSet<EventId>,
    bytes: usize,
    changes_metadata: bool,
}

impl Batch {
    /// Adds an append, or returns it if it belongs to the next batch.
    pub(super) fn take(&mut self, queued: QueuedAppend) -> Option<QueuedAppend> {
        let append = &queued.append;
        let first_id = append.events().next().map(|event| event.id);
        let changes_metadata = changes_metadata(append);
        let stays_apart = self.changes_metadata
            || changes_metadata
            || self.appends.len() >= BATCH_APPENDS_MAX
            || self.bytes + queued.bytes > BATCH_BYTES_MAX
            || first_id.is_some_and(|id| self.first_ids.contains(&id))
            || self.meets_condition_of(append);
        if stays_apart && !self.appends.is_empty() {
            return Some(queued);
        }
        self.first_ids.extend(first_id);
        self.bytes += queued.bytes;
        self.changes_metadata = changes_metadata;
        self.appends.push(queued);
        None
    }

    /// Returns `true` if an event of the batch matches the condition of an append.
    fn meets_condition_of(&self, append: &Append) -> bool {
        let Some(condition) = &append.condition else { return false };
        let events = self.appends.iter().flat_map(|queued| queued.append.events());
        let query = &condition.none_matching;
        events.into_iter().any(|event| query.matches(&event.event_type, &event.tags))
    }
}

fn changes_metadata(append: &Append) -> bool {
    let mut parts = append.streams.iter();
    parts.any(|part| !part.events.is_empty() && part.stream.described_stream().is_some())
}
