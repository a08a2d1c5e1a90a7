//! Deterministic simulation of the engine: faulty disk, jumping clock and crashes, all from a seed.
//!
//! Owns: [`SimDisk`], [`SimClock`] and [`SimRng`]; a model of the store contract; [`run`], which
//! runs one seed: clients append, read and subscribe while operations complete in any order,
//! crashes happen, and the store is reopened; and [`sweep`], which corrupts a closed store in every
//! possible place. Invariants:
//!
//! - the engine is the production code: simulated parts are behind [`Disk`](gesta_log::Disk),
//!   [`Clock`](gesta_log::Clock) and [`Rng`](gesta_log::Rng);
//! - a seed is one run on one thread, and repeats exactly;
//! - the model knows neither the format nor the engine, only answers and reads.
//!
//! Not here: real files, threads, processes.

mod client;
mod clock;
mod disk;
mod fault;
mod model;
mod rng;
mod seeds;
mod simulation;
mod sweep;
mod trace;

pub use clock::SimClock;
pub use disk::{Crash, DamageKind, FaultConfig, SimDisk, SyncFault};
pub use fault::{Fault, FaultCount, FaultCounts};
pub use rng::SimRng;
pub use seeds::{DISK_OPERATIONS_MIN, FAULT_PERCENT_MIN, SEEDS_TO_ASSESS_MIN, Summary, seeds};
pub use simulation::{CRASHES_MIN, Failure, OPERATIONS_MIN, RunStats, run};
pub use sweep::{Coverage, Shutdown, SweepOptions, SweepReport, sweep};
