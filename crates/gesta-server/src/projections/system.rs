//! Projections of the system, which clients expect to run.
//!
//! Owns: their names. Invariant: they are the store's index under other names, so they run always,
//! have nothing to configure, and are never behind.

use tonic::Status;

/// Names of the projections that the original starts with.
pub(super) const NAMES: [&str; 5] =
    ["$by_category", "$by_correlation_id", "$by_event_type", "$stream_by_category", "$streams"];

/// Refuses a change of a projection of the system.
pub(super) fn refuse_change(name: &str) -> Result<(), Status> {
    match is_of_system(name) {
        true => Err(Status::failed_precondition(format!(
            "{name} cannot be changed or stopped: its streams are read from the store's index"
        ))),
        false => Ok(()),
    }
}

pub(super) fn is_of_system(name: &str) -> bool {
    NAMES.contains(&name)
}
