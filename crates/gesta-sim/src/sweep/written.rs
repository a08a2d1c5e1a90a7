//! A store as the engine writes it, and how it lay at several times.
//!
//! Always holds: what was acknowledged is known, and where each record is. The index's files lag
//! behind by one segment, as they do when their thread has much to do; so for each segment there is
//! a time at which it had ended and the index's files did not have it. Not here: damage
//! ([`wounds`](super::wounds)), what may be read ([`original`](super::original)).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gesta_log::{Engine, EventPlace, LogStore, Options, Rng, Turn};
use gesta_store::{
    Answer, Append, Appended, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position,
    ReadAll, RecordedEvent, StreamName, Tag,
};
use uuid::Uuid;

use super::still::{Files, StillDisk};
use crate::{
    chance::Chance,
    clock::SimClock,
    model::{Broken, Verdict, demand},
    simulation::{collected, poll_once},
};

/// A store has so many segments, if they are not to be smaller than [`SEGMENT_BYTES_MIN`]: many, so
/// that a change touches little, but each makes an opening longer.
const SEGMENTS: usize = 32;
const SEGMENT_BYTES_MIN: usize = 16 << 10;

/// The streams that have events.
pub(super) const STREAMS: [&str; 4] = ["s-1", "s-2", "größe", "t-1"];

/// How a store came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In peace: sealed.
    Closed,
    /// Killed, with a group of which no later frame says that it was durable.
    Killed,
}

/// See the module.
pub(super) struct Written {
    /// As it lay in the end: the index's files have all segments that have ended.
    pub(super) files: Files,
    pub(super) events: Vec<RecordedEvent>,
    /// Where the records of these events are.
    pub(super) places: Vec<EventPlace>,
    /// By segments, how the store lay when they had ended.
    pub(super) fresh: BTreeMap<String, Fresh>,
    pub(super) clock: Arc<SimClock>,
}

/// How a store lay when a segment had ended and the index's files had all segments but this one.
pub(super) struct Fresh {
    pub(super) files: Files,
    /// How many events there were.
    pub(super) events: usize,
    /// The segment that was written to last.
    pub(super) last: String,
}

/// Writes a store whose segments have so many bytes together at least.
pub(super) fn written(bytes_min: usize, ending: Ending) -> Verdict<Written> {
    let mut author = Author::new(bytes_min)?;
    while author.segment_bytes() < bytes_min {
        author.write_some()?;
    }
    // A group of several sectors, so that no single lost one takes all that tells of it.
    author.append(&[900, 1_400])?;
    let Author { disk, clock, mut engine, store, mut fresh, last, .. } = author;
    let events = all_events(&store)?;
    let place = |event: &RecordedEvent| {
        let place = store.locate(event.position);
        place.ok_or_else(|| Broken(format!("{} is nowhere", event.position)))
    };
    let places = events.iter().map(place).collect::<Verdict<Vec<_>>>()?;
    if ending == Ending::Closed {
        drop(store);
        while engine.turn() != Turn::Ended {}
        let files = disk.snapshot();
        fresh.insert(last.clone(), Fresh { files, events: events.len(), last });
        while engine.file_some() {}
    }
    Ok(Written { files: disk.snapshot(), events, places, fresh, clock })
}

pub(super) fn all_events(store: &LogStore) -> Verdict<Vec<RecordedEvent>> {
    collected(store.read_all(ReadAll::forwards()))?
        .map_err(|error| Broken(format!("nothing is said to be damaged, but: {error}")))
}

pub(super) fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid name")
}

pub(super) fn event(id: u128, bytes: usize) -> NewEvent {
    let event_type = EventType::new("noted").expect("a valid name");
    let id_bytes = Bytes::from(id.to_le_bytes().repeat(bytes.div_ceil(16)));
    let data = id_bytes.slice(..bytes);
    let tag = Tag::new(format!("number:{}", id % 7)).expect("a valid tag");
    NewEvent::json(EventId::from(Uuid::from_u128(id)), event_type, data).tagged([tag])
}

/// How a store of so many bytes is opened.
pub(super) fn options(bytes: usize) -> Options {
    let segment_bytes = (bytes / SEGMENTS).max(SEGMENT_BYTES_MIN) as u64;
    Options {
        segment_bytes_first: segment_bytes,
        segment_bytes_max: segment_bytes,
        frame_bytes_max: 1 << 10, // so that groups of several frames are common
        ..Options::default()
    }
}

pub(super) fn is_segment(file: &str) -> bool {
    file.strip_suffix(".seg").is_some()
}

/// Writes a store.
struct Author {
    chance: Chance,
    disk: Arc<StillDisk>,
    clock: Arc<SimClock>,
    engine: Engine,
    store: LogStore,
    fresh: BTreeMap<String, Fresh>,
    /// The segment that was written to last.
    last: String,
}

impl Author {
    fn new(bytes: usize) -> Verdict<Self> {
        let (disk, clock) = (Arc::new(StillDisk::default()), Arc::new(SimClock::new()));
        let rng = Box::new(Chance::seeded(1));
        let opened =
            Engine::open(Arc::clone(&disk) as _, Arc::clone(&clock) as _, rng, options(bytes));
        let (engine, store) = opened.map_err(|error| Broken(format!("no new store: {error}")))?;
        let (chance, fresh, last) = (Chance::seeded(2), BTreeMap::new(), String::new());
        Ok(Self { chance, disk, clock, engine, store, fresh, last })
    }

    fn segment_bytes(&self) -> usize {
        self.disk
            .snapshot()
            .iter()
            .filter(|(file, _)| is_segment(file))
            .map(|(_, bytes)| bytes.len())
            .sum()
    }

    /// One group of a few appends, and now and then a pause after it.
    fn write_some(&mut self) -> Verdict {
        let sizes: Vec<_> = (0..self.chance.within(1..4)).map(|_| self.some_size()).collect();
        self.append(&sizes)?;
        if self.chance.percent(10) {
            self.clock.advance(options(0).close_after);
            self.engine.turn();
        }
        Ok(())
    }

    fn some_size(&mut self) -> usize {
        match self.chance.below(10) {
            0..5 => self.chance.below(120),
            5..9 => 300 + self.chance.below(600),
            _ => 1_000 + self.chance.below(2_000),
        }
    }

    /// One append for each size, queued together.
    fn append(&mut self, sizes: &[usize]) -> Verdict {
        let store = self.store.clone();
        let mut answers: Vec<Answer<'_, Appended>> = Vec::new();
        for size in sizes {
            let id = u128::from_le_bytes(self.chance.bytes());
            let stream = name(self.chance.pick(&STREAMS));
            answers.push(store.append(Append::to(
                stream,
                ExpectedRevision::Any,
                [event(id, *size)],
            )));
        }
        let mut head = Position::START;
        for mut answer in answers {
            head = loop {
                let turn = self.engine.turn();
                match (poll_once(answer.as_mut()), turn) {
                    (Some(Ok(appended)), _) => break appended.position,
                    (Some(Err(error)), _) => return Err(Broken(format!("not written: {error}"))),
                    (None, Turn::At(time)) => self.clock.advance_to(time),
                    (None, Turn::Wait | Turn::Ended) => {
                        return Err(Broken("an append was never answered".to_owned()));
                    }
                }
            };
        }
        self.file_what_ended(head)
    }

    /// Once another segment is written to: notes how the store lies, and lets the index's files
    /// come after.
    fn file_what_ended(&mut self, head: Position) -> Verdict {
        let place = self.store.locate(head).map(|place| place.file);
        let last = place.ok_or_else(|| Broken("nothing was written".to_owned()))?;
        let ended = std::mem::replace(&mut self.last, last.clone());
        if ended == last || ended.is_empty() {
            return Ok(());
        }
        let events = usize::try_from(head.number()).expect("there are few");
        self.fresh.insert(ended, Fresh { files: self.disk.snapshot(), events, last });
        let filed = self.engine.file_some();
        while self.engine.file_some() {}
        demand(filed, || "a segment that ended was not filed".to_owned())
    }
}
