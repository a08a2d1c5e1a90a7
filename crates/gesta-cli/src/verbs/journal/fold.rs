//! The fold of a journal's events, of which only the loss matters.
//!
//! Not here: the events of each kind of journal.

use gesta_store::RecordedEvent;
use serde::Deserialize;

/// Limit on the streams that an error names.
const NAMED_MAX: usize = 5;

/// The state of a journal, as far as its loss matters.
pub(super) trait Folded: Default {
    /// Applies an event of the journal.
    fn take(&mut self, event: &RecordedEvent);

    /// Returns the loss if the journal is hidden; `None` if there is none.
    fn forgotten(&self, owner: &str) -> Option<Forgotten>;
}

/// The loss if a journal is hidden, for an error message.
pub(super) struct Forgotten {
    pub(super) lost: String,
    pub(super) remedy: String,
}

/// Joins the first names of a list, with the number of the others.
pub(super) fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = all.take(NAMED_MAX).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

/// Decodes the data of an event; `None` if they have another form.
pub(super) fn read<T: for<'de> Deserialize<'de>>(event: &RecordedEvent) -> Option<T> {
    serde_json::from_slice(&event.data).ok()
}
