//! Maintenance: everything that is neither an append nor a read.
//!
//! Elsewhere: the threads that run it ([`store`](crate::store)), the bytes of runs and segments
//! ([`index`](crate::index), [`format`](crate::format)).

pub(crate) mod backup;
pub(crate) mod compaction;
pub(crate) mod scavenge;
pub(crate) mod transfer;
pub(crate) mod verify;
