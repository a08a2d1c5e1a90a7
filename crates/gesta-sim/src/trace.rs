//! What happened last, for whoever has to understand a failure.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::Append;

/// How many notes are kept.
const NOTES_MAX: usize = 60;

/// Notes, or nobody who takes them. Clones take the same notes.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    notes: Option<Arc<Mutex<VecDeque<String>>>>,
}

impl Trace {
    pub(crate) const fn silent() -> Self {
        Self { notes: None }
    }

    pub(crate) fn taking_notes() -> Self {
        Self { notes: Some(Arc::default()) }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.notes.is_some()
    }

    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        let Some(notes) = &self.notes else { return };
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() == NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(text());
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let Some(notes) = &self.notes else { return Vec::new() };
        notes.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// An append on one line.
pub(crate) fn append(append: &Append) -> String {
    let parts = append.streams.iter().map(|part| {
        format!("{} events to {} at {}", part.events.len(), part.stream, part.expected)
    });
    let text = parts.collect::<Vec<_>>().join(", ");
    match &append.condition {
        Some(condition) => format!("{text}, none matching after {}", condition.after),
        None => text,
    }
}
