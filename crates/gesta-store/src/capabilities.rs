//! Limits and optional features of a store.
//!
//! A store that lacks a feature refuses its use with
//! [`StoreError::Unsupported`](crate::StoreError::Unsupported). It never approximates the feature.

/// The optional features and limits of a store.
///
/// ```
/// use gesta_store::{EventStore, Durability, memory::MemoryStore};
///
/// let can = MemoryStore::new().capabilities();
/// assert!(can.multi_stream_append && can.append_condition);
/// assert_eq!(can.durability, Durability::Volatile);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Durability of an acknowledged append.
    pub durability: Durability,
    /// Appends to several streams at once are supported.
    pub multi_stream_append: bool,
    /// Appends with an [`AppendCondition`](crate::AppendCondition) are supported.
    pub append_condition: bool,
    /// Range of [`find_append`](crate::EventStore::find_append).
    pub find_append: AppendLookup,
    /// Number of most recent appends among which any repeat is recognized. At least 2.
    ///
    /// A repeat whose streams with events are all expected at `NoStream` or `Exact` is recognized
    /// without limit.
    pub repeat_window_appends: u64,
    /// Filters other than [`Filter::Everything`](crate::Filter::Everything) are supported, and
    /// evaluated by the store.
    pub filtered_reads: bool,
    /// Positions have no gaps, so the difference of two positions is a number of events.
    pub dense_positions: bool,
    /// Maximum sizes of input.
    pub limits: Limits,
}

/// Failures that an acknowledged append survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// None: events are lost when the process ends.
    Volatile,
    /// The end of the process, but not a power failure: written, not synced.
    Buffered,
    /// A power failure: written and synced before the acknowledgement.
    Synced,
}

/// Range of [`find_append`](crate::EventStore::find_append).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendLookup {
    /// The store cannot look up appends.
    Unsupported,
    /// The last n appends.
    Window(u64),
    /// All events that are stored.
    Unlimited,
}

/// Maximum sizes of input. A store rejects larger input with
/// [`Invalid::Limit`](crate::Invalid::Limit).
///
/// Names have limits of their own, such as [`StreamName::BYTES_MAX`](crate::StreamName::BYTES_MAX).
///
/// ```
/// use gesta_store::Limits;
///
/// assert_eq!(Limits::DEFAULT.event_bytes_max, 16 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event, by [`NewEvent::content_bytes`](crate::NewEvent::content_bytes).
    pub event_bytes_max: usize,
    /// Bytes of one append: for each event its content, its stream's name, and
    /// [`EVENT_OVERHEAD`](Self::EVENT_OVERHEAD).
    pub append_bytes_max: usize,
    /// Number of tags of one event.
    pub tags_max: usize,
}

impl Limits {
    /// Bytes counted for each event in addition to its content, so that the limit also bounds
    /// appends of many tiny events.
    pub const EVENT_OVERHEAD: usize = 72;

    /// 16 MiB per event, 32 MiB per append, 64 tags per event.
    pub const DEFAULT: Self =
        Self { event_bytes_max: 16 << 20, append_bytes_max: 32 << 20, tags_max: 64 };
}
