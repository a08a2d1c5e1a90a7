//! The test kit: tests that read like the business.
//!
//! Owns: [`given`] for commands, [`reaction`] for processes, [`stored`] for upcasters,
//! [`assert_events_locked`] for the stored forms of all events, timers and commands of processes,
//! [`assert_processes_understood`] for stored processes and a new definition, [`VirtualClock`], and [`drain`],
//! which waits until nothing is left to do. Always holds: nothing here sleeps or looks at the
//! time. Failed expectations panic, at the line of the test.

mod clock;
mod drain;
mod lock;
mod processes;
mod reaction;
mod scenario;
mod snapshots;
mod stored;

pub use clock::VirtualClock;
pub use drain::drain;
pub use lock::assert_events_locked;
pub use processes::assert_processes_understood;
pub use reaction::{Reacted, Reaction, reaction, reaction_of};
pub use scenario::{Given, IntoHistory, When, given};
pub use snapshots::assert_snapshots_hold;
pub use stored::{Stored, stored};

pub use crate::snapshot::assert_snapshots_equal_replays;
