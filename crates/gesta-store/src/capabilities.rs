//! What a store can do: limits and optional clauses of the contract.
//!
//! Always holds: a store that lacks a clause refuses with
//! [`StoreError::Unsupported`](crate::StoreError::Unsupported); it never approximates.

/// Which optional clauses of the contract hold, and how far.
///
/// ```
/// use gesta_store::{EventStore, Survives, memory::MemoryStore};
///
/// let can = MemoryStore::new().capabilities();
/// assert!(can.multi_stream_append && can.append_condition);
/// assert_eq!(can.survives, Survives::Nothing);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What an acknowledged append survives.
    pub survives: Survives,
    /// Whether one append may name several streams.
    pub multi_stream_append: bool,
    /// Whether an append may carry an [`AppendCondition`](crate::AppendCondition).
    pub append_condition: bool,
    /// How far back [`find_append`](crate::EventStore::find_append) looks.
    pub find_append: FindAppend,
    /// Over how many past appends a repeat is recognized when not every stream that gets events
    /// has an exact or no-stream expectation (with those it is recognized for ever).
    pub repeat_window_appends: u64,
    /// Whether filters are evaluated where the events are, not by the caller.
    pub filtered_reads: bool,
    /// Whether positions count events, so that lag can be told in events.
    pub positions_count_events: bool,
    /// What input may be at most.
    pub limits: Limits,
}

/// What an acknowledged append survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survives {
    /// Not even the end of the process.
    Nothing,
    /// The end of the process, but not loss of power.
    ProcessEnd,
    /// Loss of power.
    PowerLoss,
}

/// How far back [`find_append`](crate::EventStore::find_append) looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindAppend {
    /// Not at all.
    Never,
    /// Over the last so many appends.
    Window(u64),
    /// Over everything that is stored.
    ForEver,
}

/// What input may be at most; beyond it a store answers
/// [`Invalid::Limit`](crate::Invalid::Limit).
///
/// Names have limits of their own, such as
/// [`StreamName::BYTES_MAX`](crate::StreamName::BYTES_MAX).
///
/// ```
/// use gesta_store::Limits;
///
/// assert_eq!(Limits::DEFAULT.event_bytes_max, 16 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event: data, metadata, type, tags, related ids.
    pub event_bytes_max: usize,
    /// Bytes of one append: its events, the stream names with each, and
    /// [`EVENT_OVERHEAD`](Self::EVENT_OVERHEAD) for each.
    pub append_bytes_max: usize,
    /// Tags of one event.
    pub tags_max: usize,
}

impl Limits {
    /// Bytes that an event counts beyond its content, so that many small ones count as what they
    /// take.
    pub const EVENT_OVERHEAD: usize = 72;

    /// 16 MiB an event, 32 MiB an append, 64 tags.
    pub const DEFAULT: Self =
        Self { event_bytes_max: 16 << 20, append_bytes_max: 32 << 20, tags_max: 64 };
}
