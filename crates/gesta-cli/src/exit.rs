//! What the shell learns: exit codes, and the one line that explains a failure.
//!
//! Always holds: 0 says that it was done, 1 that the store answers no, 2 that it could not be
//! asked or did not answer; the same as `--help` says.

use std::process::ExitCode;

use gesta_log::{BackupError, ScavengeError};
use gesta_store::StoreError;

use crate::output::{ReaderGone, notice};

/// What a verb came to when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// It was done, and the store is damaged.
    Damaged,
}

/// The store answers no.
const NO: u8 = 1;
/// Wrong usage, or a store that cannot be used.
const TROUBLE: u8 = 2;

/// Tells what went wrong, if anything did, and says how the program ends.
pub(crate) fn code(ended: anyhow::Result<Outcome>) -> ExitCode {
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Damaged) => ExitCode::from(NO),
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            notice(format_args!("error: {error:#}"));
            ExitCode::from(code_of(&error))
        }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(BackupError::Damaged(_) | BackupError::DamagedBackup(_)) = error.downcast_ref() {
        return NO;
    }
    if let Some(ScavengeError::Damaged(_) | ScavengeError::Read(StoreError::Corrupt(_))) =
        error.downcast_ref()
    {
        return NO;
    }
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::Conflict(_) | StoreError::Deleted { .. } | StoreError::Corrupt(_)) => NO,
        Some(
            StoreError::Rejected(_)
            | StoreError::Unsupported { .. }
            | StoreError::Overloaded(_)
            | StoreError::Unavailable { .. }
            | StoreError::Stopped { .. },
        )
        | None => TROUBLE,
    }
}
