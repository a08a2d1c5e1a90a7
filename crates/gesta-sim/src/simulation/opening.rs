//! Opening the store, again and again until it holds, and what must be there then.
//!
//! Always holds: a crash that strikes while the store is opened is carried out before the next
//! try; a store that opens shows everything that was ever seen.

use std::sync::Arc;

use gesta_log::{Clock, Disk, Engine, LogStore, OpenError, Options};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position, ReadAll,
    RecordedEvent, StoreError, StreamName,
};
use uuid::Uuid;

use super::{Simulation, life::Life, poll::poll_once, reads::collected};
use crate::{
    disk::{Crash, DamageKind, Hazards, SECTOR_BYTES},
    fault::Fault,
    model::{Broken, Verdict, demand},
};

impl Simulation {
    /// Opens the store and checks that everything is there.
    pub(super) fn open(&mut self) -> Verdict<Life> {
        let (engine, store) = self.open_at_last()?;
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
            if struck {
                self.disk.struck_in_recovery(crash);
            } else {
                self.disk.crash(crash);
            }
        }
    }

    fn try_to_open(&mut self) -> Result<(Engine, LogStore), OpenError> {
        let disk: Arc<dyn Disk> = Arc::clone(&self.disk) as _;
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        Engine::open(disk, clock, Box::new(self.chance.fork()), self.options())
    }

    /// Small segments, so that they are left often.
    fn options(&mut self) -> Options {
        Options {
            segment_bytes_first: self.chance.pick(&[8 << 10, 12 << 10, 24 << 10]),
            segment_bytes_max: 24 << 10,
            tail_bytes_max: self.chance.pick(&[0, 4 << 10, 1 << 20]),
            group_bytes_max: self.chance.pick(&[1 << 10, 16 << 10, 4 << 20]),
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
            0..7 => calm,
            7 | 8 => Hazards { sync_errors_per_mille: self.chance.pick(&[20, 100]), ..calm },
            _ => Hazards { write_errors_per_mille: 50, ..calm },
        }
    }

    /// Damages what later frames vouch for: the store must say so, or still show everything.
    pub(super) fn damage(&mut self, vouched: Position) -> Verdict {
        self.disk.crash(Crash::PowerCut); // so that the device and the cache are the same
        let events = self.model.history().events();
        let vouched = events.partition_point(|event| event.position <= vouched);
        let place = self.chance.below(vouched);
        let Some((victim, later)) = events.get(place..vouched).and_then(<[_]>::split_first) else {
            return Ok(());
        };
        // The last frame and the one that vouches for it may lie in one sector.
        let between: usize = later.iter().map(|event| event.data.len()).sum();
        let kind = if between > SECTOR_BYTES && self.chance.percent(60) {
            DamageKind::ZeroedSector
        } else {
            DamageKind::FlippedBit
        };
        self.trace.note(|| format!("{kind:?} in the event at {}", victim.position));
        if !self.disk.damage(victim.id.as_uuid().as_bytes(), kind) {
            return Ok(()); // nobody says that events are stored as they are
        }
        self.disk.expose_to(Hazards::default());
        let (mut engine, store) = self.try_to_open().map_err(|error| {
            Broken(format!("a damaged store does not open for reading: {error}"))
        })?;
        self.trace.note(|| format!("opened with damage: {:?}", store.report().damage));
        let complete = self.is_intact(&store)?;
        let named = !store.report().damage.is_empty();
        demand(complete || named, || "damage was cut away in silence".to_owned())?;
        if named {
            self.disk.mattered(match kind {
                DamageKind::FlippedBit => Fault::FlippedBit,
                DamageKind::ZeroedSector => Fault::ZeroedSector,
            });
            return refuses_appends(&mut engine, &store);
        }
        Ok(())
    }

    /// Whether everything is there; what is shown must be right and without a gap.
    fn is_intact(&self, store: &LogStore) -> Verdict<bool> {
        let mut pages = store.read_all(ReadAll::forwards());
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            match poll_once(std::pin::pin!(pages.next())) {
                Some(Some(Ok(page))) => events.extend(page),
                Some(None | Some(Err(StoreError::Corrupt(_)))) => break,
                Some(Some(Err(error))) => return Err(Broken(format!("damage read as {error}"))),
                None => return Err(Broken("a page waited for something".to_owned())),
            }
        }
        let known = self.model.history().events();
        demand(known.starts_with(&events), || {
            let wrong = known.iter().zip(&events).find(|(known, found)| known != found);
            let place = wrong.map(|(known, _)| known.position);
            format!("after damage, a read went on as if nothing were missing at {place:?}")
        })?;
        Ok(events.len() == known.len())
    }
}

fn refuses_appends(engine: &mut Engine, store: &LogStore) -> Verdict {
    let stream = StreamName::new("order-1").expect("a valid name");
    let event_type = EventType::new("placed").expect("a valid name");
    let event = NewEvent::json(EventId::from(Uuid::nil()), event_type, "{}");
    let append = Append::to(stream, ExpectedRevision::Any, [event]);
    let mut outcome = store.append(append);
    let early = poll_once(outcome.as_mut());
    engine.turn();
    let answer = early.or_else(|| poll_once(outcome.as_mut()));
    demand(matches!(answer, Some(Err(StoreError::Corrupt(_)))), || {
        format!("a damaged store answered an append: {answer:?}")
    })
}
