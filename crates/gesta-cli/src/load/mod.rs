//! Benchmark driver: identical loads over any [`Engine`].
//!
//! Owns: the loads ([`append`], [`read`], [`subscribe`]), the histogram ([`latencies`]) and the
//! device baseline ([`device`]). Invariants: with the same seed, every engine gets the same
//! requests in the same order; each thread waits for its append before the next one; a timed run
//! includes the clean close of the engine. Not here: output, and the engines built only for
//! comparison. Those are in `bench/`, outside the workspace, which includes this module by path. So
//! nothing in this module may depend on the rest of the crate.

pub(crate) mod append;
pub(crate) mod clock;
pub(crate) mod device;
pub(crate) mod engine;
pub(crate) mod event_store;
pub(crate) mod latencies;
pub(crate) mod read;
pub(crate) mod subscribe;
pub(crate) mod workload;
