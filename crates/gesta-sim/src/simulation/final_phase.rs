//! The end of a run: a final session, then damage that no crash explains.
//!
//! Invariants: the last proven durable position is known; losses before it must be reported. Not
//! here: the reads allowed on a damaged store ([`damaged`](super::damaged)).

use gesta_store::Position;

use super::{
    SettleUntil, Simulation,
    damaged::{Reported, Residue},
    session::Session,
};
use crate::{
    disk::{Crash, DamageKind, DamageTarget, FaultConfig, SECTOR_BYTES, SyncFault},
    fault::Fault,
    model::{AppendKind, CheckResult},
};

/// Appends in flight when a session ends in the middle of a write.
const TORN_APPENDS: usize = 4;

/// The last position that later bytes prove durable.
#[derive(Clone, Copy, Debug)]
struct ProvenDurable {
    up_to: Position,
    by: Proof,
}

/// Bytes that prove durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// The next append, possibly in the same sector.
    NextAppend,
    /// The close frame written after a pause without appends.
    CloseFrame,
}

impl Simulation {
    /// Ends the run without damage, or with one of its kinds.
    pub(super) fn final_phase(&mut self) -> CheckResult {
        match self.rng.below(100) {
            0..25 => {
                self.final_session()?;
                self.open().map(drop)
            }
            25..60 => self.damage_at_rest(),
            60..80 => self.faulty_device(),
            _ => self.damage_under_readers(),
        }
    }

    /// Runs a session without faults.
    fn final_session(&mut self) -> CheckResult<ProvenDurable> {
        let mut session = self.open()?;
        self.disk.set_faults(FaultConfig::default());
        let way = self.rng.below(10);
        if way < 7 {
            self.append_unconditionally(&mut session);
        }
        if way < 4 {
            self.settle(&mut session)?;
            let up_to = self.model.history().head();
            self.end_session(session)?;
            return Ok(ProvenDurable { up_to, by: Proof::CloseFrame });
        }
        self.settle_until(&mut session, SettleUntil::Answered)?;
        let up_to = self.model.proven();
        self.end_session(session)?;
        Ok(ProvenDurable { up_to, by: Proof::NextAppend })
    }

    /// Runs a session that crashes during the write of several appends, so any of their sectors may
    /// be missing.
    fn torn_session(&mut self) -> CheckResult<ProvenDurable> {
        let mut session = self.open()?;
        self.disk.set_faults(FaultConfig::default());
        self.append_unconditionally(&mut session);
        self.settle_until(&mut session, SettleUntil::Answered)?;
        (0..TORN_APPENDS).for_each(|_| self.append_unconditionally(&mut session));
        // One turn submits the write; no completion is delivered.
        self.turn(&mut session)?;
        self.crash_session(session);
        // Recovery decides which of the torn appends survive.
        drop(self.open()?);
        Ok(ProvenDurable { up_to: self.model.proven(), by: Proof::NextAppend })
    }

    fn append_unconditionally(&mut self, session: &mut Session) {
        let last = self.client.unconditional_append();
        let number = self.model.register(last, AppendKind::Valid);
        self.submit(session, number);
    }

    /// Changes bytes while the store is closed.
    fn damage_at_rest(&mut self) -> CheckResult {
        let proven = if self.rng.percent(45) { self.torn_session() } else { self.final_session() }?;
        // Makes cache and device equal before bytes change.
        self.disk.crash(Crash::PowerCut);
        let faults = self.corrupt(proven);
        let flipped = faults.contains(&Fault::FlippedBit);
        let residue = if flipped { Residue::Certain } else { Residue::Possible };
        let reported = self.check_damaged_store(proven.up_to, residue)?;
        self.count_effective(&faults, reported);
        Ok(())
    }

    /// Runs a session on a device that drops or misdirects one sync.
    fn faulty_device(&mut self) -> CheckResult {
        let mut session = self.open()?;
        self.disk.set_faults(FaultConfig::default());
        let (sync_fault, fault) = self.rng.pick(&[
            (SyncFault::Lost, Fault::LostWrite),
            (SyncFault::Misdirected, Fault::MisdirectedWrite),
        ]);
        self.disk.fault_sync_after(self.rng.in_range(0..6), sync_fault);
        for _ in 0..self.rng.in_range(20..60) {
            match self.rng.below(16) {
                0..5 => self.submit_some(&mut session),
                5..10 => self.turn(&mut session).map(drop),
                10..15 => self.complete_some(),
                _ => self.flush_some(&mut session),
            }?;
        }
        self.settle(&mut session)?;
        // The append after it makes the store write a mark that covers the lost bytes.
        let lied = self.disk.cancel_sync_fault();
        self.append_unconditionally(&mut session);
        self.settle(&mut session)?;
        self.end_session(session)?;
        let reported = self.check_damaged_store(self.model.history().head(), Residue::Possible)?;
        if lied {
            self.count_effective(&[fault], reported);
        }
        Ok(())
    }

    /// Changes bytes while the store is open: readers meet the damage at once, the writer
    /// continues.
    fn damage_under_readers(&mut self) -> CheckResult {
        let mut session = self.open()?;
        self.disk.set_faults(FaultConfig::default());
        self.append_unconditionally(&mut session);
        self.settle(&mut session)?;
        self.flush_some(&mut session)?;
        let head = self.model.history().head();
        let mut faults = self.corrupt(ProvenDurable { up_to: head, by: Proof::CloseFrame });
        if !faults.is_empty() {
            self.disk.fired(Fault::DamageUnderReaders);
            faults.push(Fault::DamageUnderReaders);
        }
        let reported = self.check_reads(session.store())?;
        self.flush_some(&mut session)?;
        self.append_unconditionally(&mut session);
        self.settle(&mut session)?;
        self.end_session(session)?;
        let reported =
            reported.or(self.check_damaged_store(self.model.history().head(), Residue::Possible)?);
        self.count_effective(&faults, reported);
        Ok(())
    }

    /// Injects damage. Returns the faults that happened.
    fn corrupt(&mut self, proven: ProvenDurable) -> Vec<Fault> {
        let kind = self.rng.pick(&DamageKind::ALL);
        match (self.rng.below(10), proven.by) {
            (0..3, _) => {
                if self.disk.damage_target(DamageTarget::Index, kind).is_none() {
                    return Vec::new();
                }
                self.disk.fired(Fault::DamagedIndex);
                vec![kind.fault(), Fault::DamagedIndex]
            }
            (3, Proof::CloseFrame) => match self.disk.damage_target(DamageTarget::Log, kind) {
                Some(_) => vec![kind.fault()],
                None => Vec::new(),
            },
            _ => self.corrupt_event(proven, kind),
        }
    }

    fn corrupt_event(&mut self, proven: ProvenDurable, kind: DamageKind) -> Vec<Fault> {
        let events = self.model.history().events();
        let last = events.len().saturating_sub(1);
        let place = if self.rng.percent(50) { last } else { self.rng.below(events.len()) };
        let Some((victim, later)) = events.get(place..).and_then(<[_]>::split_first) else {
            return Vec::new();
        };
        // The last frame and the append that proves it durable may share a sector.
        let later = later.iter().filter(|event| event.position <= proven.up_to);
        let between: usize = later.map(|event| event.data.len()).sum();
        let apart = proven.by == Proof::CloseFrame || between > SECTOR_BYTES;
        let kind = if apart { kind } else { DamageKind::FlippedBit };
        self.trace.record(|| format!("damage to the event at {}", victim.position));
        if self.disk.damage(victim.id.as_uuid().as_bytes(), kind) {
            vec![kind.fault()]
        } else {
            Vec::new() // the event is not stored verbatim
        }
    }

    fn count_effective(&self, faults: &[Fault], reported: Reported) {
        if reported == Reported::Damage {
            faults.iter().for_each(|fault| self.disk.mattered(*fault));
        }
    }
}
