//! Parts of the application's own in its health.
//!
//! Owns: their list, and the questions to them. Not here: the report ([`health`](super::health)).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::Gesta;

type Question = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The watched parts, by name.
#[derive(Default)]
pub(super) struct WatchedParts(Mutex<Vec<(String, Question)>>);

impl fmt::Debug for WatchedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedParts").finish_non_exhaustive()
    }
}

impl WatchedParts {
    fn insert(&self, name: String, question: Question) {
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

impl Gesta {
    /// Adds a part of the application's own to [`health`](Self::health), such as a relay. Each
    /// report asks it for its trouble, which degrades the application; `None` means that it is
    /// well. A part replaces an earlier one with the same name.
    ///
    /// The question must not block.
    ///
    /// ```
    /// use gesta::{Component, Gesta};
    ///
    /// # gesta::store::conformance::block_on(async {
    /// let gesta = Gesta::at("memory:").open().await?;
    /// gesta.watch_part("printer", || Some("out of paper".to_owned()));
    /// let causes = gesta.health().await.causes;
    /// assert_eq!(causes[0].component, Component::Part);
    /// assert_eq!((&*causes[0].name, &*causes[0].detail), ("printer", "out of paper"));
    /// assert_eq!(causes[0].code(), "part-in-trouble");
    /// gesta.watch_part("printer", || None);
    /// assert_eq!(gesta.health().await.worst(), None);
    /// # Ok::<(), gesta::OpenError>(())
    /// # }).expect("a memory store opens");
    /// ```
    pub fn watch_part(
        &self,
        name: impl Into<String>,
        trouble: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        self.watched().insert(name.into(), Arc::new(trouble));
    }
}
