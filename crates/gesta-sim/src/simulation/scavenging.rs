//! Scavenging: what it may take, and what a crash in the middle of it may leave.
//!
//! Always holds: what was gone before is gone after, and of what was there only that may be missing
//! which no stream read showed; so whatever else is read later can be compared with the history.

use gesta_log::{Disk, Operation, ScavengeOptions};
use gesta_store::{EventStore, ReadAll};

use super::{
    Simulation,
    life::Life,
    reads::{catch_up, collected},
};
use crate::model::{Broken, Verdict};

/// Calls of the disk within which a crash strikes.
const CALLS_MAX: u64 = 60;

impl Simulation {
    /// Somebody scavenges; now and then the process or the system ends meanwhile.
    pub(super) fn scavenge(&mut self, life: &mut Life) -> Verdict {
        self.story.operations += 1;
        catch_up(life.store(), &mut self.model)?;
        self.model.begin_scavenging();
        let strikes = self.chance.percent(25);
        if strikes {
            self.disk.strike_after(self.chance.within(0..CALLS_MAX));
        }
        let options = ScavengeOptions { threshold_percent: self.chance.pick(&[0, 0, 10, 40]) };
        let scavenged = self.disk.while_filing(|| life.store().scavenge(options, &mut |_| {}));
        self.trace.note(|| match &scavenged {
            Ok(report) => format!("scavenged {} events", report.events),
            Err(error) => format!("scavenging: {error}"),
        });
        if self.disk.call_off_strike() {
            life.doom();
            return Ok(());
        }
        self.story.scavenged += scavenged.as_ref().map_or(0, |report| report.events);
        let left = collected(life.store().read_all(ReadAll::forwards()))?;
        let left =
            left.map_err(|error| Broken(format!("after scavenging, a read failed: {error}")))?;
        self.model.scavenged(&left, scavenged.is_ok())
    }

    /// Now and then the owner removes the list of the index's files, so that the log alone has to
    /// know everything.
    pub(super) fn forget_index(&mut self) {
        if self.chance.percent(10) {
            self.trace.note(|| "the file INDEX is removed".to_owned());
            drop(self.disk.run(Operation::Remove { file: "INDEX".to_owned() }));
        }
    }
}
