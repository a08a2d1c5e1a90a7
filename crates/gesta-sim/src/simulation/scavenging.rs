//! Scavenging, and crashes during it.
//!
//! Invariants: scavenged events stay missing, and only events that no stream read shows may go
//! missing; so later reads remain comparable with the history.

use gesta_log::{Disk, Operation, ScavengeOptions};
use gesta_store::{EventStore, ReadAll};

use super::{
    Simulation,
    reads::{catch_up, collected},
    session::Session,
};
use crate::model::{CheckResult, Violation};

/// Calls of the disk within which a scheduled crash happens.
const CALLS_MAX: u64 = 60;

impl Simulation {
    /// Scavenges, in some runs with a crash in the middle.
    pub(super) fn scavenge(&mut self, session: &mut Session) -> CheckResult {
        self.stats.operations += 1;
        catch_up(session.store(), &mut self.model)?;
        self.model.begin_scavenging();
        let with_crash = self.rng.percent(25);
        if with_crash {
            self.disk.crash_after(self.rng.in_range(0..CALLS_MAX));
        }
        let options = ScavengeOptions::default().threshold_percent(self.rng.pick(&[0, 0, 10, 40]));
        let scavenged = self.disk.while_flushing(|| session.store().scavenge(options, &mut |_| {}));
        self.trace.record(|| match &scavenged {
            Ok(report) => format!("scavenged {} events", report.events),
            Err(error) => format!("scavenging failed: {error}"),
        });
        // The outcome is settled after the restart, by the events that are left.
        if self.disk.cancel_crash() {
            session.mark_crashed();
            return Ok(());
        }
        self.stats.scavenged += scavenged.as_ref().map_or(0, |report| report.events);
        let left = collected(session.store().read_all(ReadAll::forwards()))?;
        let left =
            left.map_err(|error| Violation(format!("after scavenging, a read failed: {error}")))?;
        self.model.scavenged(&left, scavenged.is_ok())
    }

    /// Removes the index manifest occasionally, so that the log alone must be sufficient.
    pub(super) fn remove_index_manifest(&mut self) {
        if self.rng.percent(10) {
            self.trace.record(|| "removed the index manifest".to_owned());
            drop(self.disk.run(Operation::Remove { file: "INDEX".to_owned() }));
        }
    }
}
