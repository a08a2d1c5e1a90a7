//! Events while a group holds them, and the consumers that get them.
//!
//! Owns: the identities. Invariant: keys are in the order in which events are delivered: parked
//! events that are delivered again come first, then those of the source.

use uuid::Uuid;

/// The identity of an event in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::groups) enum EventKey {
    /// A parked event that is delivered again, by its revision in the stream of parked events.
    Replayed(u64),
    /// An event of the source, by its revision or position.
    Source(u64),
}

/// A consumer of a group. A later one has a greater id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::groups) struct ConsumerId(pub(in crate::groups) u64);

/// An event that a group takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct GroupEvent<Payload> {
    pub(in crate::groups) key: EventKey,
    /// The id by which consumers acknowledge it.
    pub(in crate::groups) id: Uuid,
    /// A hash of what pins the event to a consumer.
    pub(in crate::groups) pin: u64,
    pub(in crate::groups) bytes: usize,
    pub(in crate::groups) payload: Payload,
}

/// An event that the group holds: waiting, in flight, or being parked.
#[derive(Clone, Debug)]
pub(super) struct HeldEvent<Payload> {
    pub(super) event: GroupEvent<Payload>,
    /// Number of deliveries that failed.
    pub(super) retries: u32,
    /// The consumer that had it last.
    pub(super) last: Option<ConsumerId>,
}

impl<Payload> HeldEvent<Payload> {
    pub(super) const fn key(&self) -> EventKey {
        self.event.key
    }
}
