//! The end of a seed: a last life, and damage that no crash explains.
//!
//! Always holds: it is known up to where something that is still whole says that everything was
//! durable; what is missing before that must be told. Not here: what may be shown of a damaged
//! store ([`damaged`](super::damaged)).

use gesta_store::Position;

use super::{
    Settled, Simulation,
    damaged::{Remains, Told},
    life::Life,
};
use crate::{
    disk::{Crash, DamageKind, Hazards, Lie, SECTOR_BYTES, Victim},
    fault::Fault,
    model::{Honesty, Verdict},
};

/// How many appends are under way when a life ends in the middle of a write.
const TORN_APPENDS: usize = 4;

/// Up to where something later vouches for what was appended.
#[derive(Clone, Copy, Debug)]
struct Vouched {
    to: Position,
    by: Voucher,
}

/// What says that something was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voucher {
    /// The next append, which may lie in the same sector.
    Append,
    /// What the store says after a while without appends.
    Rest,
}

impl Simulation {
    /// A quiet end, or one of the kinds of damage.
    pub(super) fn last_act(&mut self) -> Verdict {
        match self.chance.below(100) {
            0..25 => {
                self.last_life()?;
                self.open().map(drop)
            }
            25..60 => self.damage_at_rest(),
            60..80 => self.lying_device(),
            _ => self.damage_under_readers(),
        }
    }

    /// A life without hazards.
    fn last_life(&mut self) -> Verdict<Vouched> {
        let mut life = self.open()?;
        self.disk.expose_to(Hazards::default());
        let way = self.chance.below(10);
        if way < 7 {
            self.append_something(&mut life);
        }
        if way < 4 {
            self.settle(&mut life)?;
            let to = self.model.history().head();
            self.end(life)?;
            return Ok(Vouched { to, by: Voucher::Rest });
        }
        self.settle_until(&mut life, Settled::Answered)?;
        let to = self.model.vouched();
        self.end(life)?;
        Ok(Vouched { to, by: Voucher::Append })
    }

    /// A life that ends while several appends are written at once, so that any of their sectors may
    /// be missing.
    fn torn_life(&mut self) -> Verdict<Vouched> {
        let mut life = self.open()?;
        self.disk.expose_to(Hazards::default());
        self.append_something(&mut life);
        self.settle_until(&mut life, Settled::Answered)?;
        (0..TORN_APPENDS).for_each(|_| self.append_something(&mut life));
        self.turn(&mut life)?;
        self.die(life);
        drop(self.open()?);
        Ok(Vouched { to: self.model.vouched(), by: Voucher::Append })
    }

    fn append_something(&mut self, life: &mut Life) {
        let last = self.client.certain_append();
        let number = self.model.register(last, Honesty::Sound);
        self.offer(life, number);
    }

    /// Bytes change while nobody looks.
    fn damage_at_rest(&mut self) -> Verdict {
        let vouched = if self.chance.percent(45) { self.torn_life() } else { self.last_life() }?;
        self.disk.crash(Crash::PowerCut); // so that the device and the cache are the same
        let faults = self.inflict(vouched);
        let flipped = faults.contains(&Fault::FlippedBit);
        let remains = if flipped { Remains::Sure } else { Remains::Perhaps };
        let told = self.judge(vouched.to, remains)?;
        self.weigh(&faults, told);
        Ok(())
    }

    /// The device says that it has written something which it has not, or has elsewhere.
    fn lying_device(&mut self) -> Verdict {
        let mut life = self.open()?;
        self.disk.expose_to(Hazards::default());
        let (lie, fault) = self
            .chance
            .pick(&[(Lie::Nowhere, Fault::LostWrite), (Lie::Elsewhere, Fault::MisdirectedWrite)]);
        self.disk.lie_after(self.chance.within(0..6), lie);
        for _ in 0..self.chance.within(20..60) {
            match self.chance.below(16) {
                0..5 => self.offer_some(&mut life),
                5..10 => self.turn(&mut life).map(drop),
                10..15 => self.complete_some(),
                _ => self.file_some(&mut life),
            }?;
        }
        self.settle(&mut life)?;
        let lied = self.disk.call_off_lie();
        self.append_something(&mut life);
        self.settle(&mut life)?;
        self.end(life)?;
        let told = self.judge(self.model.history().head(), Remains::Perhaps)?;
        if lied {
            self.weigh(&[fault], told);
        }
        Ok(())
    }

    /// Bytes change while the store is open: readers meet it at once, the writer goes on.
    fn damage_under_readers(&mut self) -> Verdict {
        let mut life = self.open()?;
        self.disk.expose_to(Hazards::default());
        self.append_something(&mut life);
        self.settle(&mut life)?;
        self.file_some(&mut life)?;
        let head = self.model.history().head();
        let mut faults = self.inflict(Vouched { to: head, by: Voucher::Rest });
        if !faults.is_empty() {
            self.disk.fired(Fault::DamageUnderReaders);
            faults.push(Fault::DamageUnderReaders);
        }
        let told = self.judge_reads(life.store())?;
        self.file_some(&mut life)?;
        self.append_something(&mut life);
        self.settle(&mut life)?;
        self.end(life)?;
        let told = told.or(self.judge(self.model.history().head(), Remains::Perhaps)?);
        self.weigh(&faults, told);
        Ok(())
    }

    /// Damages something; returns which faults that were.
    fn inflict(&mut self, vouched: Vouched) -> Vec<Fault> {
        let kind = self.chance.pick(&DamageKind::ALL);
        match (self.chance.below(10), vouched.by) {
            (0..3, _) => {
                if self.disk.damage_some(Victim::Index, kind).is_none() {
                    return Vec::new();
                }
                self.disk.fired(Fault::DamagedIndex);
                vec![kind.fault(), Fault::DamagedIndex]
            }
            (3, Voucher::Rest) => match self.disk.damage_some(Victim::Log, kind) {
                Some(_) => vec![kind.fault()],
                None => Vec::new(),
            },
            _ => self.inflict_on_an_event(vouched, kind),
        }
    }

    fn inflict_on_an_event(&mut self, vouched: Vouched, kind: DamageKind) -> Vec<Fault> {
        let events = self.model.history().events();
        let last = events.len().saturating_sub(1);
        let place = if self.chance.percent(50) { last } else { self.chance.below(events.len()) };
        let Some((victim, later)) = events.get(place..).and_then(<[_]>::split_first) else {
            return Vec::new();
        };
        // The last frame and an append that vouches for it may lie in one sector.
        let later = later.iter().filter(|event| event.position <= vouched.to);
        let between: usize = later.map(|event| event.data.len()).sum();
        let apart = vouched.by == Voucher::Rest || between > SECTOR_BYTES;
        let kind = if apart { kind } else { DamageKind::FlippedBit };
        self.trace.note(|| format!("damage to the event at {}", victim.position));
        if self.disk.damage(victim.id.as_uuid().as_bytes(), kind) {
            vec![kind.fault()]
        } else {
            Vec::new() // nobody says that events are stored as they are
        }
    }

    fn weigh(&self, faults: &[Fault], told: Told) {
        if told == Told::Damage {
            faults.iter().for_each(|fault| self.disk.mattered(*fault));
        }
    }
}
