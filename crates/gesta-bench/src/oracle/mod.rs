//! Crash-test oracle: appends recorded by an external process, and the check of a store against
//! that record.
//!
//! Owns: the planned appends ([`plan`]), the log format ([`log`]), the recording ([`record`]) and
//! the check ([`check`]). Invariants: an append is logged before it is made and its acknowledgement
//! after it is received, each by a single write, so that a kill loses no complete line. The content
//! of an append follows from its id, so that every byte can be compared, acknowledged or not. Not
//! here: killing the process, which the tests of this crate do.

pub mod check;
pub mod log;
pub mod plan;
pub mod record;
