//! The calls of all services, as the protocol's definitions have them.

/// Paths of all calls.
const METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// Returns the paths of all calls but the one that would end the test's own subject.
pub(crate) fn calls() -> Vec<&'static str> {
    METHODS.iter().copied().filter(|path| !path.ends_with("/Shutdown")).collect()
}
