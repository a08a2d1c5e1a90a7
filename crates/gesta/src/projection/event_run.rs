//! Neighbouring events of a page, which one transaction applies.
//!
//! Invariant: an event of the system is alone in its run.

use std::{ops::Range, sync::Arc};

use gesta_store::{Position, RecordedEvent};

/// Neighbouring events of a page.
#[derive(Clone)]
pub(super) struct EventRun {
    page: Arc<Vec<RecordedEvent>>,
    range: Range<usize>,
}

impl EventRun {
    /// Splits a page. System events change a single stream and get a run of their own; ordinary
    /// events share one.
    pub(super) fn split(page: Vec<RecordedEvent>) -> Vec<Self> {
        let is_systems = |event: &RecordedEvent| event.stream.is_system();
        let runs = page.chunk_by(|one, next| !is_systems(one) && !is_systems(next));
        let lengths: Vec<usize> = runs.map(<[_]>::len).collect();
        let (page, mut end) = (Arc::new(page), 0);
        let run_of = |length| {
            let start = end;
            end += length;
            Self { page: Arc::clone(&page), range: start..end }
        };
        lengths.into_iter().map(run_of).collect()
    }

    pub(super) fn events(&self) -> &[RecordedEvent] {
        self.page.get(self.range.clone()).unwrap_or_default()
    }

    /// Leaves out the events up to a position. Returns `true` if there were some.
    pub(super) fn begin_after(&mut self, position: Position) -> bool {
        let applied = self.events().iter().take_while(|event| event.position <= position).count();
        self.range.start += applied;
        applied > 0
    }

    /// Returns a run for each event.
    pub(super) fn one_by_one(&self) -> impl Iterator<Item = Self> {
        self.range.clone().map(|one| Self { page: Arc::clone(&self.page), range: one..one + 1 })
    }
}
