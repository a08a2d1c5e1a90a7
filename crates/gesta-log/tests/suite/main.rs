//! The engine at its boundary: the conformance suite, and what it promises about crashes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod backup;
mod clock;
mod conformance;
mod crashes;
mod damage;
mod draws;
mod faults;
mod filed;
mod linearizable;
mod ownership;
mod reader;
mod scavenge;
mod scene;
mod segments;
mod shortages;
mod threads;
mod told_alike;
mod transfer;
