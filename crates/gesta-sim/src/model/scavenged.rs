//! What scavenging may take.
//!
//! Always holds: nothing that a stream read shows; what one call that succeeded has taken does not
//! come back.

use std::collections::BTreeSet;

use gesta_store::{Position, RecordedEvent};

use super::{Broken, History, Model, Verdict, demand};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Scavenging {
    /// What may be gone after a crash: hidden when somebody began to scavenge.
    may_go: BTreeSet<Position>,
    /// What is gone, but may come back: whoever scavenged was not told that it is durable.
    may_return: BTreeSet<Position>,
}

impl Model {
    /// Somebody begins to scavenge; everything published is known.
    pub(crate) fn begin_scavenging(&mut self) {
        self.scavenging.may_go = self.history.hidden();
    }

    /// Somebody has scavenged, or tried to; these events are left.
    pub(crate) fn scavenged(&mut self, left: &[RecordedEvent], done: bool) -> Verdict {
        let gone = take_away(&mut self.history, left, &self.scavenging.may_go)?;
        if !done {
            self.scavenging.may_return.extend(gone);
        }
        self.scavenging.may_go.clear();
        demand(self.history.events() == left, || "scavenging changed what it left".to_owned())
    }

    /// The store was opened again, and shows these events. Settles what scavenging has come to that
    /// was interrupted.
    pub(super) fn settle_scavenging(&mut self, found: &[RecordedEvent]) {
        let Scavenging { may_go, may_return } = &mut self.scavenging;
        for event in found {
            if may_return.contains(&event.position) {
                self.history.bring_back(event.position);
            }
        }
        // What else is missing is lost, which is told of where everything is compared.
        let left: BTreeSet<_> = found.iter().map(|event| event.position).collect();
        let there = self.history.events().iter().map(|event| event.position);
        let missing = there.filter(|position| !left.contains(position));
        let gone: Vec<_> = missing.filter(|position| may_go.contains(position)).collect();
        self.history.take_away(&gone);
        // An opening makes durable what it found.
        may_return.clear();
        may_go.clear();
    }
}

/// Takes what is not left out of the history, if it may be missing. Says what that was.
fn take_away(
    history: &mut History,
    left: &[RecordedEvent],
    may_go: &BTreeSet<Position>,
) -> Verdict<Vec<Position>> {
    let left: BTreeSet<_> = left.iter().map(|event| event.position).collect();
    let there = history.events().iter().map(|event| event.position);
    let gone: Vec<_> = there.filter(|position| !left.contains(position)).collect();
    if let Some(lost) = gone.iter().find(|position| !may_go.contains(position)) {
        return Err(Broken(format!("the event at {lost} is gone, though a stream read shows it")));
    }
    history.take_away(&gone);
    Ok(gone)
}
