//! A bounded trace of the last steps, for explaining a failure.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::Append;

const ENTRIES_MAX: usize = 60;

/// A shared buffer of trace entries, or `None` if tracing is off. Clones share the buffer.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    entries: Option<Arc<Mutex<VecDeque<String>>>>,
}

impl Trace {
    pub(crate) const fn disabled() -> Self {
        Self { entries: None }
    }

    pub(crate) fn recording() -> Self {
        Self { entries: Some(Arc::default()) }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.entries.is_some()
    }

    pub(crate) fn record(&self, text: impl FnOnce() -> String) {
        let Some(entries) = &self.entries else { return };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(text());
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        let Some(entries) = &self.entries else { return Vec::new() };
        entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Formats an append on one line.
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
