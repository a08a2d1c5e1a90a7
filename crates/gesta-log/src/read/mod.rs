//! Reading published events.
//!
//! Owns pages of streams and of the whole store, reads by ordinals, starts at a time, scans, and
//! subscriptions.
//!
//! Invariants:
//! - Each returned event was verified by its own checksum, and has the requested position.
//! - No lock is held while bytes are read.
//! - A thread that polls reads from memory only; I/O threads read the rest.
//!
//! Elsewhere: the index ([`index`](crate::index)), appends ([`commit`](crate::commit)).

mod all;
mod fetch;
mod follow;
mod io_threads;
mod lookup;
mod ordinals;
mod page_stream;
mod scan;
mod size;
mod span;
mod stream;
mod subscription;
mod time;
mod visible;

pub(crate) use all::{AllPages, Selection};
pub(crate) use fetch::Reader;
pub(crate) use follow::Follower;
pub(crate) use ordinals::OrdinalReads;
pub(crate) use span::{EarlierAppend, EarlierEvent};
pub(crate) use stream::StreamPages;
pub(crate) use subscription::LogSubscription;
pub(crate) use visible::{Ends, before};

/// Maximum number of events in a page.
pub(crate) const PAGE_EVENTS_MAX: usize = 256;
/// Size after which no further event is added to a page, in bytes. A single event may be larger.
pub(crate) const PAGE_BYTES_MAX: usize = 4 << 20;
/// Maximum number of events read for one page if the filter must see the events themselves.
pub(crate) const SCAN_POSITIONS_MAX: usize = 4_096;
