//! The engine under a disk that lies, a clock that jumps and power that fails, by seeds.
//!
//! Owns: [`SimDisk`], [`SimClock`] and [`Chance`], a model of what a store promises, and [`run`],
//! which plays one seed: clients append, read and subscribe while operations complete in any
//! order, crashes strike, and the store is opened again; and [`sweep`], which damages a store that
//! lies still in every way. Always holds:
//!
//! - the engine runs as it is: what is simulated is behind [`Disk`](gesta_log::Disk),
//!   [`Clock`](gesta_log::Clock) and [`Rng`](gesta_log::Rng);
//! - one seed is one run, on one thread, and the same every time;
//! - the model knows nothing of the format and nothing of the engine, only answers and reads.
//!
//! Not here: real files, threads, processes.

mod chance;
mod client;
mod clock;
mod disk;
mod fault;
mod model;
mod seeds;
mod simulation;
mod sweep;
mod trace;

pub use chance::Chance;
pub use clock::SimClock;
pub use disk::{Crash, DamageKind, Hazards, Lie, SimDisk};
pub use fault::{Fault, FaultCount, FaultCounts};
pub use seeds::{DISK_OPERATIONS_MIN, FAULT_PERCENT_MIN, SEEDS_TO_JUDGE_MIN, Summary, seeds};
pub use simulation::{CRASHES_MIN, Failure, OPERATIONS_MIN, Story, run};
pub use sweep::{Ending, Extent, Sweep, Swept, sweep};
