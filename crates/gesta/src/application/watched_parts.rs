//! Parts of the application's own in its health.
//!
//! Owns: their list, and the questions to them. Not here: the report ([`health`](super::health)).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

pub(super) type Question = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The watched parts, by name.
#[derive(Default)]
pub(super) struct WatchedParts(Mutex<Vec<(String, Question)>>);

impl fmt::Debug for WatchedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedParts").finish_non_exhaustive()
    }
}

impl WatchedParts {
    /// Adds a part, in place of an earlier one with the same name.
    pub(super) fn insert(&self, name: String, question: Question) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|(known, _)| *known != name);
        parts.push((name, question));
    }

    /// Returns each part that has trouble, with its trouble.
    pub(super) fn in_trouble(&self) -> Vec<(String, String)> {
        // The questions run without the lock.
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        parts.into_iter().filter_map(|(name, trouble)| Some((name, trouble()?))).collect()
    }
}
