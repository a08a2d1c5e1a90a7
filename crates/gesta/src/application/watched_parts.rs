//! Parts of the application's own in its health and its metrics.
//!
//! Owns: their list, and what is asked of them. Not here: the reports ([`health`](super::health),
//! [`metrics`](super::metrics)).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::Position;

pub(super) type Question = Arc<dyn Fn() -> PartStatus + Send + Sync>;

/// State of a part that an application [watches](super::Gesta::watch_part).
///
/// The default is a part that is well and does not follow the store.
///
/// ```
/// use gesta::{PartStatus, Position};
///
/// let relay = PartStatus::default().at(Position::START).in_trouble("no brokers");
/// assert_eq!(relay.position, Some(Position::START));
/// assert_eq!(relay.trouble.as_deref(), Some("no brokers"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartStatus {
    /// Position up to which it has handled all events. `None` if it does not follow the store, or
    /// does not know yet.
    pub position: Option<Position>,
    /// Cause of its trouble, with the way to end it. `None` if it is well.
    pub trouble: Option<String>,
}

impl PartStatus {
    /// Sets the position up to which all events are handled.
    #[must_use]
    pub const fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Sets the trouble.
    #[must_use]
    pub fn in_trouble(mut self, trouble: impl Into<String>) -> Self {
        self.trouble = Some(trouble.into());
        self
    }
}

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

    /// Asks each part.
    pub(super) fn ask(&self) -> Vec<(String, PartStatus)> {
        // The questions run without the lock.
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        parts.into_iter().map(|(name, question)| (name, question())).collect()
    }
}
