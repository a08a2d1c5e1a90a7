//! Opening the store, again and again until it holds, and what must be there then.
//!
//! Always holds: a crash that strikes while the store is opened is carried out before the next
//! try; a store that opens shows everything that was ever seen.

use std::sync::Arc;

use gesta_log::{Clock, Disk, Engine, LogStore, OpenError, Options};
use gesta_store::{EventStore, ReadAll};

use super::{Simulation, life::Life, reads::collected};
use crate::{
    disk::{Crash, Hazards},
    model::{Broken, Verdict, demand},
};

impl Simulation {
    /// Opens the store and checks that everything is there.
    pub(super) fn open(&mut self) -> Verdict<Life> {
        let (engine, store) = self.open_at_last()?;
        let changes = self.disk.changes_while_opening();
        demand(changes == 0, || format!("opening changed files, {changes} times"))?;
        let report = store.report();
        demand(report.damage.is_empty(), || {
            format!("a crash was taken for damage: {:?}", report.damage)
        })?;
        let events = collected(store.read_all(ReadAll::forwards()))?;
        let events = events.map_err(|error| Broken(format!("reading all failed: {error}")))?;
        self.trace.note(|| format!("opened with {} events, torn: {:?}", events.len(), report.torn));
        self.model.recovered(&events)?;
        let hazards = self.hazards();
        self.disk.expose_to(hazards);
        self.deadline = None;
        let life = Life::new(engine, store);
        self.check_head(&life)?;
        Ok(life)
    }

    fn open_at_last(&mut self) -> Verdict<(Engine, LogStore)> {
        loop {
            let sync_errors_per_mille = if self.chance.percent(10) { 400 } else { 0 };
            self.disk.expose_to(Hazards { sync_errors_per_mille, ..Hazards::default() });
            if self.chance.percent(25) {
                self.disk.strike_after(self.chance.within(0..16));
            }
            let opened = self.try_to_open();
            let struck = self.disk.call_off_strike();
            match opened {
                Ok(opened) if !struck => return Ok(opened),
                Ok(_) => {}
                Err(_) if struck || self.disk.has_failed() => {}
                Err(error) => {
                    return Err(Broken(format!("it does not open after a crash: {error}")));
                }
            }
            let crash = self.chance.pick(&[Crash::PowerCut, Crash::Kill]);
            self.trace.note(|| format!("{crash:?} while opening"));
            self.disk.crash(crash);
        }
    }

    pub(super) fn try_to_open(&mut self) -> Result<(Engine, LogStore), OpenError> {
        let disk: Arc<dyn Disk> = Arc::clone(&self.disk) as _;
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let (rng, options) = (Box::new(self.chance.fork()), self.options());
        self.disk.while_opening(|| Engine::open(disk, clock, rng, options))
    }

    /// Small segments, so that they are left often.
    fn options(&mut self) -> Options {
        Options {
            segment_bytes_first: self.chance.pick(&[8 << 10, 12 << 10, 24 << 10]),
            segment_bytes_max: self.chance.pick(&[8 << 10, 24 << 10]),
            tail_bytes_max: self.chance.pick(&[0, 4 << 10, 1 << 20]),
            group_bytes_max: self.chance.pick(&[1 << 10, 16 << 10, 4 << 20]),
            frame_bytes_max: self.chance.pick(&[0, 0, 1 << 10, 4 << 10]),
            ..Options::default()
        }
    }

    /// What a life has to cope with.
    fn hazards(&mut self) -> Hazards {
        let calm = Hazards {
            done_at_once_percent: self.chance.pick(&[0, 0, 30, 100]),
            poisons_new_ranges: self.chance.percent(50),
            ..Hazards::default()
        };
        match self.chance.below(10) {
            0..6 => calm,
            6 => Hazards { shortages_per_mille: self.chance.pick(&[50, 300]), ..calm },
            7 | 8 => Hazards { sync_errors_per_mille: self.chance.pick(&[20, 100]), ..calm },
            _ => Hazards { write_errors_per_mille: 50, ..calm },
        }
    }
}
