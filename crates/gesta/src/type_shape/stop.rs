//! The end of a run, which serde sees as an error.

use std::fmt;

use serde::de::Error;

/// The error that ends a run.
#[derive(Debug)]
pub(super) struct TraceStopped;

impl fmt::Display for TraceStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("traced")
    }
}

impl std::error::Error for TraceStopped {}

impl Error for TraceStopped {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
