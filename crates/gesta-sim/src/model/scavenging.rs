//! Events that scavenging may remove.
//!
//! Invariants: events shown by stream reads stay; events removed by a successful scavenge do not
//! reappear.

use std::collections::BTreeSet;

use gesta_store::{Position, RecordedEvent};

use super::{
    history::History,
    violation::{CheckResult, Violation, ensure},
};

/// Positions affected by scavenges with an open outcome.
#[derive(Debug, Default)]
pub(super) struct ScavengeTracker {
    /// Hidden when a scavenge began; may be missing after a crash.
    may_vanish: BTreeSet<Position>,
    /// Removed by a failed scavenge, hence possibly not durably; may reappear after a crash.
    may_reappear: BTreeSet<Position>,
}

impl ScavengeTracker {
    /// Records the hidden events before a scavenge. All published events must be in the history.
    pub(super) fn begin(&mut self, history: &History) {
        self.may_vanish = history.hidden();
    }

    /// Checks the events left by a scavenge; `done` if it succeeded.
    pub(super) fn check(
        &mut self,
        history: &mut History,
        left: &[RecordedEvent],
        done: bool,
    ) -> CheckResult {
        // Everything may go that was hidden at the start, whether or not the call succeeded.
        let gone = remove_scavenged(history, left, &self.may_vanish)?;
        if !done {
            self.may_reappear.extend(gone);
        }
        self.may_vanish.clear();
        ensure(history.events() == left, || "scavenging changed an event that it kept".to_owned())
    }

    /// Settles an interrupted scavenge by the events found after a restart.
    pub(super) fn settle(&mut self, history: &mut History, found: &[RecordedEvent]) {
        let Self { may_vanish, may_reappear } = self;
        for event in found {
            if may_reappear.contains(&event.position) {
                history.restore_scavenged(event.position);
            }
        }
        // Other missing events are lost; the comparison of all events reports them.
        let left: BTreeSet<_> = found.iter().map(|event| event.position).collect();
        let there = history.events().iter().map(|event| event.position);
        let missing = there.filter(|position| !left.contains(position));
        let gone: Vec<_> = missing.filter(|position| may_vanish.contains(position)).collect();
        history.remove_scavenged(&gone);
        // Opening makes the state that it found durable.
        may_reappear.clear();
        may_vanish.clear();
    }
}

/// Removes events that are no longer in `left` from the history, and returns their positions.
fn remove_scavenged(
    history: &mut History,
    left: &[RecordedEvent],
    may_vanish: &BTreeSet<Position>,
) -> CheckResult<Vec<Position>> {
    let left: BTreeSet<_> = left.iter().map(|event| event.position).collect();
    let there = history.events().iter().map(|event| event.position);
    let gone: Vec<_> = there.filter(|position| !left.contains(position)).collect();
    if let Some(lost) = gone.iter().find(|position| !may_vanish.contains(position)) {
        return Err(Violation(format!(
            "the event at {lost} was scavenged although stream reads show it"
        )));
    }
    history.remove_scavenged(&gone);
    Ok(gone)
}
