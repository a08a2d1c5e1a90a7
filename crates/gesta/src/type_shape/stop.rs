//! The end of a run, which serde sees as an error.

use std::fmt;

use serde::de::Error;

/// The error that ends a run.
#[derive(Debug)]
pub(super) enum TraceStopped {
    /// The end of the path, or a trial value that a type rejects.
    Ended,
    /// A struct without a field that it requires.
    Missing(&'static str),
}

impl fmt::Display for TraceStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("traced")
    }
}

impl std::error::Error for TraceStopped {}

impl Error for TraceStopped {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Ended
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}
