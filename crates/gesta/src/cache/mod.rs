//! Cached answers to queries.
//!
//! Owns: the opt-in of a query ([`Caching`]), the groups of rows that queries depend on and events
//! change ([`RowGroups`]), reading through a cache (`answers`), the marks that projections set
//! (`marks`), and with the feature `cache` the cache of this process ([`MemoryQueryCache`]).
//!
//! Invariants: an answer from the cache reflects every event up to the position that the caller
//! asked for, whatever the cache has lost. Without a cache, or while it does not answer, the read
//! model answers as before.
//!
//! Not here: the contract of caches ([`QueryCache`](gesta_store::QueryCache)), and queries
//! themselves ([`Query`](crate::Query)).

mod answers;
mod caching;
mod flights;
mod marks;
#[cfg(feature = "cache")]
mod memory;
mod row_groups;

pub use answers::QueryCacheCounts;
pub(crate) use answers::{AnswerCache, FreshAnswer, ReadPlace, ReadPlan, trouble_of};
pub use caching::Caching;
pub(crate) use marks::CacheMarks;
#[cfg(feature = "cache")]
pub use memory::MemoryQueryCache;
pub use row_groups::RowGroups;
