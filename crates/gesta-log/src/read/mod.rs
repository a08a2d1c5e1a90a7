//! Reading published events.
//!
//! Owns: pages of streams and of the whole store, and subscriptions. Always holds: what is handed
//! out was verified by its own checksum and stands at the position that was asked for; locks are
//! never held while bytes are read. Not here: the index; appends.

mod all;
mod fetch;
mod follow;
mod scan;
mod span;
mod stream;
mod subscription;
mod visible;

pub(crate) use all::{AllPages, Selection};
pub(crate) use fetch::Reader;
pub(crate) use follow::Follower;
pub(crate) use span::{Earlier, EarlierAppend};
pub(crate) use stream::StreamPages;
pub(crate) use subscription::LogSubscription;
pub(crate) use visible::{Ends, before};

/// Events of a page at most.
pub(crate) const PAGE_EVENTS_MAX: usize = 256;
/// Bytes that a page stops at, a single large event aside.
pub(crate) const PAGE_BYTES_MAX: usize = 4 << 20;
/// Positions that are looked at for one page of a filter that looks at the events themselves.
pub(crate) const SCAN_POSITIONS_MAX: usize = 4_096;
