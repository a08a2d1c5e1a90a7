//! The test kit: given-when-then tests of commands, processes and upcasters.
//!
//! Owns: [`given`] for commands, [`reaction`] for processes, [`react_to`] for reactors, [`stored`]
//! for upcasters, [`assert_events_locked`] for the stored forms of events, timers and commands of
//! processes, [`assert_processes_understood`] for stored processes under a changed definition,
//! [`VirtualClock`], and [`drain`], which waits until all work is done. Invariant: nothing here
//! sleeps or reads the system time. Failed expectations panic at the line of the test.

mod clock;
mod drain;
mod effects;
mod lock;
mod processes;
mod reaction;
mod scenario;
mod snapshots;
mod stored;

pub use clock::VirtualClock;
pub use drain::drain;
pub use effects::{ReactorHistory, react_to};
pub use lock::assert_events_locked;
pub use processes::assert_processes_understood;
pub use reaction::{Reacted, Reaction, reaction, reaction_of};
pub use scenario::{Given, IntoHistory, When, given};
pub use snapshots::assert_snapshots_hold;
pub use stored::{Stored, stored};

pub use crate::snapshot::assert_snapshots_equal_replays;
