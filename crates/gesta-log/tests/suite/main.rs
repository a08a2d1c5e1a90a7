//! Tests of the engine at its boundary: the conformance suite, and its guarantees about crashes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod backup;
mod clock;
mod conformance;
mod crashes;
mod damage;
mod damage_reports;
mod draws;
mod faults;
mod harness;
mod linearizable;
mod lookups;
mod on_disk_index;
mod ownership;
mod reader;
mod same_ids;
mod scavenge;
mod segments;
mod shortages;
mod threads;
mod transfer;
