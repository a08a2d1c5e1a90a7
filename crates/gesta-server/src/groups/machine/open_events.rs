//! The events of a source that are not finished yet.
//!
//! Invariant: [`OpenEvents::complete`] never reaches an open event. Memory is that of the open
//! events, however many are finished behind the first of them.

use std::collections::BTreeMap;

/// The places of open events, and how far the source was read.
#[derive(Debug)]
pub(super) struct OpenEvents {
    /// Each open place with the last place that was passed before it.
    open: BTreeMap<u64, Option<u64>>,
    passed: Option<u64>,
}

impl OpenEvents {
    /// Begins after a place. `None` is the start of the source.
    pub(super) const fn after(passed: Option<u64>) -> Self {
        Self { open: BTreeMap::new(), passed }
    }

    /// Takes over the next event of the source. Returns `false` if the source has passed its place.
    #[must_use]
    pub(super) fn begin(&mut self, place: u64) -> bool {
        if self.passed.is_some_and(|passed| place <= passed) {
            return false;
        }
        self.open.insert(place, self.passed);
        self.passed = Some(place);
        true
    }

    /// Passes a place without an event for the group.
    pub(super) fn pass(&mut self, place: u64) {
        self.passed = self.passed.max(Some(place));
    }

    pub(super) fn finish(&mut self, place: u64) {
        let was_open = self.open.remove(&place).is_some();
        debug_assert!(was_open, "the event at {place} was finished before");
    }

    /// Returns the last place up to which everything is finished.
    pub(super) fn complete(&self) -> Option<u64> {
        self.open.first_key_value().map_or(self.passed, |(_, before)| *before)
    }

    /// Returns the last place that was read.
    pub(super) const fn passed(&self) -> Option<u64> {
        self.passed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_complete_ends_before_the_first_open_event() {
        let mut events = OpenEvents::after(Some(3));
        assert!(events.begin(5));
        assert!(events.begin(9));
        assert!(!events.begin(9), "it was read before");
        events.finish(9);
        assert_eq!(events.complete(), Some(3));
        events.finish(5);
        assert_eq!(events.complete(), Some(9));
        events.pass(20);
        assert_eq!(events.complete(), Some(20));
    }
}
