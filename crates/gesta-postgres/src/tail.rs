//! The latest events, read once for all subscriptions that wait at the head.
//!
//! Owns: the batches of the last moments, and which of them a subscription may take. Invariants:
//! - Batches follow each other without a gap, up to the last position that was asked for.
//! - An event is as visible as it was when its batch was read. A batch is kept for [`KEPT`], and a
//!   change of metadata in a later batch ends those before it: events that it hides are in no batch
//!   that is handed out after it.
//! - Batches of an earlier history of the server are never handed out.
//!
//! Not here: the statement that reads a batch ([`at_head`](crate::subscribe::at_head)).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use gesta_store::RecordedEvent;
use tokio::time::Instant;

use crate::head::SeenHead;

/// Time for which a batch is handed out.
const KEPT: Duration = Duration::from_secs(1);
/// Maximum number of batches.
const BATCHES_MAX: usize = 16;

/// The events after a position, up to another one.
#[derive(Debug)]
pub(crate) struct TailBatch {
    pub(crate) after: u64,
    pub(crate) last: u64,
    /// Those that were visible.
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) read_at: Instant,
}

impl TailBatch {
    /// Returns `true` if events of the range are missing, because they were hidden.
    pub(crate) fn has_hidden(&self) -> bool {
        (self.events.len() as u64) < self.last - self.after
    }

    fn changes_metadata(&self) -> bool {
        self.events.iter().any(|event| event.stream.described_stream().is_some())
    }
}

/// The latest batches.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    head: SeenHead,
    batches: VecDeque<Arc<TailBatch>>,
}

impl Tail {
    /// Forgets what is too old, or of another history than that of the head.
    pub(crate) fn forget(&mut self, head: SeenHead, now: Instant) {
        if !self.head.is_of_history(head) {
            self.batches.clear();
        }
        self.head = head;
        self.batches.retain(|batch| now.duration_since(batch.read_at) < KEPT);
    }

    /// Returns the position after which the next batch begins, or `None` without batches.
    pub(crate) fn last(&self) -> Option<u64> {
        self.batches.back().map(|batch| batch.last)
    }

    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }

    /// Adds the batch that follows the others.
    pub(crate) fn add(&mut self, batch: TailBatch) {
        debug_assert!(self.last().is_none_or(|last| last == batch.after), "no gap");
        if batch.changes_metadata() {
            self.batches.clear();
        }
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(Arc::new(batch));
    }

    /// Returns the batch with the event after a position.
    pub(crate) fn following(&self, position: u64) -> Option<Arc<TailBatch>> {
        let holds = |batch: &&Arc<TailBatch>| batch.after <= position && position < batch.last;
        self.batches.iter().find(holds).cloned()
    }
}

#[cfg(test)]
mod tests {
    use gesta_store::{EventId, EventType, NewEvent, Position, RecordedAt, Revision, StreamName};

    use super::*;

    fn batch(after: u64, last: u64, stream: &str) -> TailBatch {
        let event = |position| {
            let event_type = EventType::new("happened").unwrap();
            let event = NewEvent::json(EventId::random(), event_type, "{}");
            let (revision, position) = (Revision::FIRST, Position::new(position));
            let stream = StreamName::stored(stream).unwrap();
            RecordedEvent::new(event, stream, revision, position, RecordedAt::from_micros(1))
        };
        let events = (after + 1..=last).map(event).collect();
        TailBatch { after, last, events, read_at: Instant::now() }
    }

    fn ranges(tail: &Tail) -> Vec<(u64, u64)> {
        tail.batches.iter().map(|batch| (batch.after, batch.last)).collect()
    }

    #[test]
    fn a_subscription_finds_the_batch_that_goes_on_where_it_is() {
        let mut tail = Tail::default();
        tail.add(batch(10, 12, "order-1"));
        tail.add(batch(12, 15, "order-1"));
        let found = |position| tail.following(position).map(|batch| (batch.after, batch.last));
        assert_eq!(
            [9, 10, 11, 12, 14, 15].map(found),
            [None, Some((10, 12)), Some((10, 12)), Some((12, 15)), Some((12, 15)), None]
        );
    }

    #[test]
    fn a_change_of_metadata_ends_the_batches_before_it() {
        let mut tail = Tail::default();
        tail.add(batch(10, 12, "order-1"));
        tail.add(batch(12, 13, "$$order-1"));
        tail.add(batch(13, 14, "order-1"));
        assert_eq!(ranges(&tail), [(12, 13), (13, 14)]);
    }

    #[test]
    fn batches_end_with_their_time_and_with_the_history_of_the_server() {
        let head = crate::head::KnownHead::new();
        let mut tail = Tail::default();
        tail.forget(head.get(), Instant::now());
        tail.add(batch(10, 12, "order-1"));
        tail.forget(head.get(), Instant::now());
        assert_eq!(ranges(&tail), [(10, 12)]);
        head.restart(11);
        tail.forget(head.get(), Instant::now());
        assert_eq!(ranges(&tail), []);
        tail.add(batch(11, 12, "order-1"));
        tail.forget(head.get(), Instant::now() + KEPT);
        assert_eq!(ranges(&tail), []);
    }
}
