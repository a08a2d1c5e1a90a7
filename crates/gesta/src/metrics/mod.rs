//! Counters and histograms that are recorded without a lock.
//!
//! Owns: the histogram of times, the table of counters by name, and what the pipeline counts.
//! Invariants: recording takes no lock and allocates nothing, except for the first record of a
//! name; the number of names is bounded. Not here: the values of an application at one moment
//! ([`Gesta::metrics`](crate::Gesta::metrics)), and their text for a monitoring system.

mod histogram;
mod keyed;
mod pipeline;

pub use histogram::{LATENCY_BOUNDS, Latencies, LatencyHistogram};
pub use keyed::{KEYS_MAX, Keyed, OTHER_KEYS};
pub(crate) use pipeline::{CommandCounters, EXECUTED, PipelineCounters};
