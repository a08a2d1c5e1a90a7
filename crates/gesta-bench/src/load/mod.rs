//! Benchmark driver: identical loads over any [`Engine`](engine::Engine).
//!
//! Owns: the loads ([`append`], [`read`], [`subscribe`]), the histogram ([`latencies`]) and the
//! device baseline ([`device`]). Invariants: with the same seed, every engine gets the same
//! requests in the same order; each thread waits for one append before it starts the next; a timed
//! run includes the clean close of the engine. Not here: output, and the engines built only for
//! comparison, which are in `bench/`, outside the workspace.

pub mod append;
pub mod clock;
pub mod device;
pub mod engine;
pub mod event_store;
pub mod latencies;
pub mod read;
pub mod subscribe;
pub mod workload;
