//! A promise that was not kept, and the checks that find one.

use std::fmt;

/// A violated promise, described for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `Err` with the first violated promise.
pub(crate) type CheckResult<T = ()> = Result<T, Violation>;

/// Returns a violation unless `holds`.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> CheckResult {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}
