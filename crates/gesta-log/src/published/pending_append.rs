//! An append between its precheck and its answer.

use gesta_store::{Append, EventId};

use crate::{
    format::{FRAME_HEADER_BYTES, Record, align},
    index::Precheck,
};

/// Maximum size of an opening frame, which the first append of a segment brings along.
const OPENING_BYTES_MAX: usize = 128;
/// Approximate memory of one term of a condition, in bytes.
const TERM_BYTES: usize = 64;

/// An append with the result of its precheck.
#[derive(Debug)]
pub(crate) struct PendingAppend {
    pub(crate) append: Append,
    pub(crate) precheck: Precheck,
    /// Upper bound of its size in a segment.
    pub(crate) group_bytes: usize,
}

impl PendingAppend {
    pub(crate) fn new(append: Append, precheck: Precheck) -> Self {
        let records: usize = append
            .streams
            .iter()
            .flat_map(|part| part.events.iter().map(|event| (event, &part.stream)))
            .map(|(event, stream)| Record::encoded_bytes(event, stream))
            .sum();
        // As if it had a frame of its own and began a segment.
        let group_bytes = align(FRAME_HEADER_BYTES + records) + OPENING_BYTES_MAX;
        Self { append, precheck, group_bytes }
    }

    /// Approximate memory, which counts towards the submission queue's budget.
    pub(crate) fn bytes(&self) -> usize {
        let condition = self.append.condition.iter();
        let items = condition.flat_map(|condition| condition.none_matching.items());
        let terms: usize = items.map(|item| item.tags().len() + item.types().len() + 1).sum();
        size_of::<Self>() + self.group_bytes + terms * TERM_BYTES
    }

    pub(crate) fn first_event(&self) -> Option<EventId> {
        self.append.events().next().map(|event| event.id)
    }
}
