//! The settings of a group as far as they decide what happens to events.

use std::time::Duration;

/// The way in which events are given to consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum Strategy {
    /// The consumer that connected first, as long as it has a free slot; then the next one.
    DispatchToSingle,
    /// One consumer after the other.
    RoundRobin,
    /// Events of one stream go to one consumer.
    Pinned,
    /// Events of one conversation go to one consumer.
    PinnedByCorrelation,
}

impl Strategy {
    pub(in crate::groups) const ALL: [Self; 4] =
        [Self::DispatchToSingle, Self::RoundRobin, Self::Pinned, Self::PinnedByCorrelation];

    /// Returns the name that the protocol has for it.
    pub(in crate::groups) const fn name(self) -> &'static str {
        match self {
            Self::DispatchToSingle => "DispatchToSingle",
            Self::RoundRobin => "RoundRobin",
            Self::Pinned => "Pinned",
            Self::PinnedByCorrelation => "PinnedByCorrelation",
        }
    }

    pub(in crate::groups) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    pub(super) const fn pins(self) -> bool {
        matches!(self, Self::Pinned | Self::PinnedByCorrelation)
    }
}

/// Rules of delivery, retries and checkpoints.
#[derive(Clone, Debug)]
pub(in crate::groups) struct GroupRules {
    pub(in crate::groups) strategy: Strategy,
    /// Time for an acknowledgement; `None` waits forever.
    pub(in crate::groups) message_timeout: Option<Duration>,
    /// Number of failed deliveries after which the next failure parks the event.
    pub(in crate::groups) retries_max: u32,
    /// Maximum number of consumers; `None` has no limit.
    pub(in crate::groups) consumers_max: Option<usize>,
    /// Measures the times of answers.
    pub(in crate::groups) extra_statistics: bool,
    /// Events that wait for a consumer while the group is live.
    pub(in crate::groups) live_buffer: usize,
    /// Events that wait for a consumer while the group catches up.
    pub(in crate::groups) history_buffer: usize,
    /// Events that are read while there is no consumer.
    pub(in crate::groups) read_batch: usize,
    pub(in crate::groups) checkpoint_after: Duration,
    /// Finished events below which no checkpoint is written.
    pub(in crate::groups) checkpoint_min: u64,
    /// Finished events at which a checkpoint is written at once.
    pub(in crate::groups) checkpoint_max: u64,
}
