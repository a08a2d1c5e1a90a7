//! An undamaged store, and what may be read of it once it is damaged.
//!
//! Always holds: it was written by the engine itself; what was acknowledged is known. Not here:
//! which damage there is ([`wounds`](super::wounds)).

use std::{panic, sync::Arc};

use bytes::Bytes;
use gesta_log::{Engine, LogStore, OpenError, Options, Rng, Turn};
use gesta_store::{
    Answer, Append, Appended, Direction, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, Position, ReadAll, ReadFrom, ReadStream, RecordedEvent, StoreError, StreamName, Tag,
};
use uuid::Uuid;

use super::still::{Files, StillDisk};
use crate::{
    chance::Chance,
    clock::SimClock,
    model::{Broken, Verdict, demand},
    simulation::{Shown, collected, poll_once, up_to_damage},
};

/// How a store came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In peace: sealed.
    Closed,
    /// Killed, with a group of which no later frame says that it was durable.
    Killed,
}

/// How a damaged store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Everything is there.
    Same,
    /// It did not open, for a reason that has a type.
    Refused,
    /// It opened and says what is damaged.
    Named,
    /// Of what no later frame vouches for, something is gone, and it says so.
    FewerAfterMark,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// What the opening says, and all events where it says that all is well.
    Quick,
    /// Every read there is, whatever the opening says.
    Thorough,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Original {
    pub(super) files: Files,
    events: Vec<RecordedEvent>,
    /// The segment that was written to last, and its frames.
    pub(super) last_written: String,
    frames: Vec<Frame>,
    clock: Arc<SimClock>,
}

impl Original {
    /// Writes a store whose segments have so many bytes together at least.
    pub(super) fn written(bytes_min: usize, ending: Ending) -> Verdict<Self> {
        let mut author = Author::new(bytes_min)?;
        while author.segment_bytes() < bytes_min {
            author.write_some()?;
        }
        // A group of several sectors, so that no single lost one takes all that tells of it.
        author.append(&[900, 1_400])?;
        let Author { disk, clock, mut engine, store, .. } = author;
        let events = all_events(&store)?;
        let last_written = store.locate(author_head(&events)).map(|place| place.file);
        if ending == Ending::Closed {
            drop(store);
            while engine.turn() != Turn::Ended {}
        }
        let files = disk.snapshot();
        let last_written = last_written.ok_or_else(|| Broken("nothing was written".to_owned()))?;
        let frames = files.get(&last_written).map_or(Vec::new(), |bytes| frames_of(bytes));
        let original = Self { files, events, last_written, frames, clock };
        let answered = original.judge(original.files.clone(), Look::Thorough)?;
        demand(answered == Answered::Same, || format!("undamaged, it answered {answered:?}"))?;
        Ok(original)
    }

    fn open(&self, files: Files) -> Result<(Arc<StillDisk>, LogStore), OpenError> {
        let disk = Arc::new(StillDisk::holding(files));
        let rng = Box::new(Chance::seeded(7));
        let (_, store) =
            Engine::open(Arc::clone(&disk) as _, Arc::clone(&self.clock) as _, rng, options(0))?;
        Ok((disk, store))
    }

    /// Opens the store with these files instead, and judges what it answers.
    pub(super) fn judge(&self, files: Files, look: Look) -> Verdict<Answered> {
        let judged =
            panic::catch_unwind(panic::AssertUnwindSafe(|| self.judge_opened(files, look)));
        judged.unwrap_or_else(|_| Err(Broken("it panicked".to_owned())))
    }

    fn judge_opened(&self, files: Files, look: Look) -> Verdict<Answered> {
        let last = files.get(&self.last_written).cloned().unwrap_or_default();
        let (disk, store) = match self.open(files) {
            Ok(opened) => opened,
            Err(
                OpenError::OtherVersion { .. }
                | OpenError::AnotherStore { .. }
                | OpenError::Restoring,
            ) => {
                return Ok(Answered::Refused);
            }
            Err(error @ (OpenError::Io { .. } | OpenError::Directory(_))) => {
                return Err(Broken(format!("it does not open: {error}")));
            }
        };
        demand(disk.changed_segments() == 0, || "opening wrote into a segment".to_owned())?;
        if store.report().damage.is_empty() {
            return self.judge_sound(&store, &last);
        }
        if look == Look::Thorough {
            self.judge_damaged(&store, &last)?;
        }
        Ok(Answered::Named)
    }

    /// Nothing is said to be damaged: then everything is there, but for what nobody vouches for.
    fn judge_sound(&self, store: &LogStore, last: &Bytes) -> Verdict<Answered> {
        let found = all_events(store)?;
        demand(self.events.starts_with(&found), || "other events were read".to_owned())?;
        if found.len() == self.events.len() {
            return Ok(Answered::Same);
        }
        let report = store.report();
        let told = report.torn.is_some() || report.unmarked.is_some();
        let lost = self.events.len() - found.len();
        demand(lost <= self.not_vouched_for(last) && told, || {
            format!("{lost} acknowledged events are missing in silence")
        })?;
        Ok(Answered::FewerAfterMark)
    }

    /// How many events no frame vouches for that is still whole in the last segment.
    fn not_vouched_for(&self, last: &Bytes) -> usize {
        let whole = self.frames.iter().filter(|frame| self.is_whole(frame, last));
        let mark = whole.map(|frame| frame.durable_mark).max();
        let after_mark = |frame: &&Frame| mark.is_none_or(|mark| frame.begin >= mark);
        self.frames.iter().filter(after_mark).map(|frame| frame.records).sum()
    }

    fn is_whole(&self, frame: &Frame, last: &Bytes) -> bool {
        let before = self.files.get(&self.last_written);
        let then = before.and_then(|bytes| bytes.get(frame.begin..frame.end));
        then.is_some() && then == last.get(frame.begin..frame.end)
    }

    /// Reads of every kind show what was there, up to where something is missing, and say so. What
    /// nobody vouches for may be missing at the end, besides the damage that is named.
    fn judge_damaged(&self, store: &LogStore, last: &Bytes) -> Verdict {
        let vouched = self.events.len().saturating_sub(self.not_vouched_for(last));
        let whole: Vec<_> = self.events.iter().collect();
        let shown = up_to_damage(store.read_all(ReadAll::forwards()))?;
        is_beginning(&shown, &whole, vouched, "all")?;
        let backwards =
            ReadAll { direction: Direction::Backwards, from: ReadFrom::End, ..ReadAll::forwards() };
        let mut shown = up_to_damage(store.read_all(backwards))?.events;
        shown.reverse();
        let ends = |end: &usize| self.events.get(..*end).is_some_and(|all| all.ends_with(&shown));
        demand((vouched..=self.events.len()).any(|end| ends(&end)), || {
            "other events were read backwards".to_owned()
        })?;
        for stream in STREAMS.map(name) {
            let is_of = |event: &&RecordedEvent| event.stream == stream;
            let whole: Vec<_> = self.events.iter().filter(is_of).collect();
            let vouched = self.events.iter().take(vouched).filter(is_of).count();
            let shown = up_to_damage(store.read_stream(ReadStream::forwards(stream.clone())))?;
            is_beginning(&shown, &whole, vouched, stream.as_str())?;
        }
        let event = event(1, 1);
        let mut answer = store.append(Append::to(name("s-1"), ExpectedRevision::Any, [event]));
        match poll_once(answer.as_mut()) {
            Some(Err(StoreError::Corrupt(_))) => Ok(()),
            answer => Err(Broken(format!("a damaged store answered an append: {answer:?}"))),
        }
    }
}

fn is_beginning(
    Shown { events: found, to_the_end: ended }: &Shown,
    whole: &[&RecordedEvent],
    vouched: usize,
    what: &str,
) -> Verdict {
    let same =
        found.len() <= whole.len() && found.iter().eq(whole.iter().copied().take(found.len()));
    demand(same, || format!("other events were read of {what}"))?;
    demand(!ended || found.len() >= vouched, || {
        format!("a read of {what} ended in silence after {} of {}", found.len(), whole.len())
    })
}

fn all_events(store: &LogStore) -> Verdict<Vec<RecordedEvent>> {
    collected(store.read_all(ReadAll::forwards()))?
        .map_err(|error| Broken(format!("nothing is said to be damaged, but: {error}")))
}

const STREAMS: [&str; 4] = ["s-1", "s-2", "größe", "t-1"];

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a valid name")
}

fn event(id: u128, bytes: usize) -> NewEvent {
    let event_type = EventType::new("noted").expect("a valid name");
    let id_bytes = Bytes::from(id.to_le_bytes().repeat(bytes.div_ceil(16)));
    let data = id_bytes.slice(..bytes);
    let tag = Tag::new(format!("number:{}", id % 7)).expect("a valid tag");
    NewEvent::json(EventId::from(Uuid::from_u128(id)), event_type, data).tagged([tag])
}

fn options(bytes: usize) -> Options {
    let segment_bytes = ((bytes / 8) as u64).max(16 << 10);
    Options {
        segment_bytes_first: segment_bytes,
        segment_bytes_max: segment_bytes,
        frame_bytes_max: 1 << 10, // so that groups of several frames are common
        ..Options::default()
    }
}

/// Writes a store.
struct Author {
    chance: Chance,
    disk: Arc<StillDisk>,
    clock: Arc<SimClock>,
    engine: Engine,
    store: LogStore,
}

impl Author {
    fn new(bytes: usize) -> Verdict<Self> {
        let (disk, clock) = (Arc::new(StillDisk::default()), Arc::new(SimClock::new()));
        let rng = Box::new(Chance::seeded(1));
        let opened =
            Engine::open(Arc::clone(&disk) as _, Arc::clone(&clock) as _, rng, options(bytes));
        let (engine, store) = opened.map_err(|error| Broken(format!("no new store: {error}")))?;
        Ok(Self { chance: Chance::seeded(2), disk, clock, engine, store })
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
        for mut answer in answers {
            loop {
                let turn = self.engine.turn();
                match (poll_once(answer.as_mut()), turn) {
                    (Some(Ok(_)), _) => break,
                    (Some(Err(error)), _) => return Err(Broken(format!("not written: {error}"))),
                    (None, Turn::At(time)) => self.clock.advance_to(time),
                    (None, Turn::Wait | Turn::Ended) => {
                        return Err(Broken("an append was never answered".to_owned()));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A frame, as `docs/format.md` has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) begin: usize,
    pub(super) end: usize,
    records: usize,
    durable_mark: usize,
}

/// The frames of an undamaged segment.
pub(super) fn frames_of(bytes: &[u8]) -> Vec<Frame> {
    let begins = (0..bytes.len()).step_by(8).filter(|at| bytes.get(*at..at + 4) == Some(b"GFRM"));
    begins.filter_map(|begin| frame_at(bytes, begin)).collect()
}

fn frame_at(bytes: &[u8], begin: usize) -> Option<Frame> {
    let number = |at: usize, length: usize| {
        let field = bytes.get(begin + at..begin + at + length)?;
        Some(field.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let end = begin + number(8, 4)?;
    let frame = Frame { begin, end, records: number(12, 4)?, durable_mark: number(24, 8)? };
    (end <= bytes.len()).then_some(frame)
}

fn author_head(events: &[RecordedEvent]) -> Position {
    events.last().map_or(Position::START, |event| event.position)
}

pub(super) fn is_segment(file: &str) -> bool {
    file.strip_suffix(".seg").is_some()
}
