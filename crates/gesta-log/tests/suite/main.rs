//! The engine at its boundary: the conformance suite, and what it promises about crashes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod backup;
mod conformance;
mod crashes;
mod damage;
mod draws;
mod faults;
mod filed;
mod linearizable;
mod reader;
mod scavenge;
mod scene;
mod segments;
mod threads;
mod transfer;
