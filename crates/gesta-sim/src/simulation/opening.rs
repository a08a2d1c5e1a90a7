//! Opening the store, repeatedly until it succeeds, and the checks after it.
//!
//! Invariants: a crash during opening is carried out before the next attempt; an opened store shows
//! every event ever read.

use std::sync::Arc;

use gesta_log::{Clock, Disk, Engine, IndexedIds, LogStore, OpenError, Options};
use gesta_store::{EventStore, ReadAll};

use super::{Simulation, reads::collected, session::Session};
use crate::{
    disk::{Crash, FaultConfig},
    model::{CheckResult, Violation, ensure},
};

impl Simulation {
    /// Opens the store and checks its contents.
    pub(super) fn open(&mut self) -> CheckResult<Session> {
        let (engine, store) = self.open_until_success()?;
        let changes = self.disk.changes_while_opening();
        ensure(changes == 0, || format!("opening the store changed files {changes} times"))?;
        let report = store.report();
        ensure(report.damage.is_empty(), || {
            format!("a crash was reported as damage: {:?}", report.damage)
        })?;
        let events = collected(store.read_all(ReadAll::forwards()))?;
        let events =
            events.map_err(|error| Violation(format!("reading all events failed: {error}")))?;
        self.trace
            .record(|| format!("opened with {} events, torn: {:?}", events.len(), report.torn));
        // Faults start only after the check: the reads above must succeed.
        self.model.recovered(&events)?;
        let fault_config = self.fault_config();
        self.disk.set_faults(fault_config);
        self.deadline = None;
        let session = Session::new(engine, store);
        self.check_head(&session)?;
        Ok(session)
    }

    fn open_until_success(&mut self) -> CheckResult<(Engine, LogStore)> {
        loop {
            // Recovery syncs too, and must not lose anything if that fails.
            let sync_errors_per_mille = if self.rng.percent(10) { 400 } else { 0 };
            self.disk.set_faults(FaultConfig { sync_errors_per_mille, ..FaultConfig::default() });
            if self.rng.percent(25) {
                self.disk.crash_after(self.rng.in_range(0..16));
            }
            let opened = self.try_to_open();
            let crashed_in = self.disk.cancel_crash();
            match opened {
                Ok(opened) if !crashed_in => return Ok(opened),
                // A crash struck after the last call that the opening needed.
                Ok(_) => {}
                Err(_) if crashed_in || self.disk.has_failed() => {}
                Err(error) => {
                    return Err(Violation(format!(
                        "the store could not be opened after a crash: {error}"
                    )));
                }
            }
            let crash = self.rng.pick(&[Crash::PowerCut, Crash::Kill]);
            self.trace.record(|| format!("{crash:?} while opening"));
            self.disk.crash(crash);
        }
    }

    pub(super) fn try_to_open(&mut self) -> Result<(Engine, LogStore), OpenError> {
        let disk: Arc<dyn Disk> = Arc::clone(&self.disk) as _;
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let (rng, options) = (Box::new(self.rng.fork()), self.options());
        self.disk.while_opening(|| Engine::open(disk, clock, rng, options))
    }

    /// Picks options with small segments, so that they fill up often.
    fn options(&mut self) -> Options {
        Options::default()
            .segment_bytes_first(self.rng.pick(&[8 << 10, 12 << 10, 24 << 10]))
            .segment_bytes_max(self.rng.pick(&[8 << 10, 24 << 10]))
            .tail_bytes_max(self.rng.pick(&[0, 4 << 10, 1 << 20]))
            .group_bytes_max(self.rng.pick(&[1 << 10, 16 << 10, 4 << 20]))
            .frame_bytes_max(self.rng.pick(&[0, 0, 1 << 10, 4 << 10]))
            .index(self.rng.pick(&[
                None,
                None,
                Some(IndexedIds::CORRELATION),
                Some(IndexedIds::ALL),
                Some(IndexedIds::NONE),
            ]))
    }

    /// Picks the fault rates of a session.
    fn fault_config(&mut self) -> FaultConfig {
        let calm = FaultConfig {
            immediate_completion_percent: self.rng.pick(&[0, 0, 30, 100]),
            poisons_new_ranges: self.rng.percent(50),
            ..FaultConfig::default()
        };
        match self.rng.below(10) {
            0..6 => calm,
            6 => FaultConfig { shortages_per_mille: self.rng.pick(&[50, 300]), ..calm },
            7 | 8 => FaultConfig { sync_errors_per_mille: self.rng.pick(&[20, 100]), ..calm },
            _ => FaultConfig { write_errors_per_mille: 50, ..calm },
        }
    }
}
