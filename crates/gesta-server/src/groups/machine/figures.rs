//! The figures of a group, as an operator asks for them.

use super::{event::ConsumerId, latencies::Latency, meter::Measured};

/// A group at one moment.
#[derive(Clone, Debug)]
pub(in crate::groups) struct GroupFigures {
    pub(in crate::groups) delivered: Measured,
    pub(in crate::groups) is_live: bool,
    /// Parked events are being delivered again.
    pub(in crate::groups) is_replaying: bool,
    pub(in crate::groups) checkpoint: Option<u64>,
    /// The last place that was read.
    pub(in crate::groups) last_known: Option<u64>,
    /// Events that wait for their first delivery.
    pub(in crate::groups) waiting: usize,
    /// Events that wait for a further delivery.
    pub(in crate::groups) retried: usize,
    pub(in crate::groups) in_flight: usize,
    /// Consumers in the order in which they connected.
    pub(in crate::groups) consumers: Vec<(ConsumerId, ConsumerFigures)>,
}

/// A consumer at one moment.
#[derive(Clone, Debug)]
pub(in crate::groups) struct ConsumerFigures {
    pub(in crate::groups) delivered: Measured,
    pub(in crate::groups) in_flight: usize,
    pub(in crate::groups) free_slots: usize,
    /// Times of answers; empty if they are not measured.
    pub(in crate::groups) latencies: Vec<Latency>,
}
