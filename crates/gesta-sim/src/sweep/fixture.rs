//! A store written by the engine, with snapshots of its files.
//!
//! Invariant: all acknowledged events and the places of their records are known. The index is
//! flushed one segment late, as under load; so for each segment there is a snapshot in which it is
//! sealed and not yet flushed. Not here: damage ([`corruption`](super::corruption)), the allowed
//! reads ([`intact`](super::intact)).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gesta_log::{Engine, EnginePoll, EventPlace, LogStore, Options, Rng};
use gesta_store::{
    Append, Appended, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position,
    ReadAll, RecordedEvent, StoreFuture, StreamName, Tag,
};
use uuid::Uuid;

use super::{
    files::{Files, is_segment},
    memory_disk::MemoryDisk,
};
use crate::{
    clock::SimClock,
    model::{CheckResult, Violation, ensure},
    rng::SimRng,
    simulation::{collected, poll_once},
};

/// Number of segments, unless they would be smaller than [`SEGMENT_BYTES_MIN`]. More segments limit
/// the reach of a corruption, but lengthen each opening.
const SEGMENTS: usize = 32;
const SEGMENT_BYTES_MIN: usize = 16 << 10;

/// Streams with events.
pub(super) const STREAMS: [&str; 4] = ["s-1", "s-2", "größe", "t-1"];

/// State in which a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Shut down cleanly: the last segment is closed.
    Closed,
    /// Killed, with a last group that no later frame proves durable.
    Killed,
}

/// Files and events of a written store.
pub(super) struct StoreFixture {
    /// Files at the end; the index covers all sealed segments.
    pub(super) files: Files,
    pub(super) events: Vec<RecordedEvent>,
    /// Places of the events' records.
    pub(super) places: Vec<EventPlace>,
    /// Snapshots by sealed segment.
    pub(super) snapshots: BTreeMap<String, SealSnapshot>,
    pub(super) clock: Arc<SimClock>,
}

/// Files when a segment was just sealed, and the index covered all segments before it.
pub(super) struct SealSnapshot {
    pub(super) files: Files,
    /// Number of events.
    pub(super) events: usize,
    /// Segment written last.
    pub(super) last: String,
}

/// Writes a store of at least `bytes_min` bytes of segments.
pub(super) fn build_store(bytes_min: usize, shutdown: Shutdown) -> CheckResult<StoreFixture> {
    let mut builder = StoreBuilder::new(bytes_min)?;
    while builder.segment_bytes() < bytes_min {
        builder.write_group()?;
    }
    // A group of several sectors: no single lost sector removes all evidence of it.
    builder.append(&[900, 1_400])?;
    let StoreBuilder { disk, clock, mut engine, store, mut snapshots, last, .. } = builder;
    let events = all_events(&store)?;
    let place = |event: &RecordedEvent| {
        let place = store.locate(event.position);
        place.ok_or_else(|| Violation(format!("the store has no location for {}", event.position)))
    };
    let places = events.iter().map(place).collect::<CheckResult<Vec<_>>>()?;
    if shutdown == Shutdown::Closed {
        drop(store);
        // Without handles, the engine writes the close frame and stops.
        while engine.poll() != EnginePoll::Closed {}
        let files = disk.snapshot();
        snapshots.insert(last.clone(), SealSnapshot { files, events: events.len(), last });
        while engine.compact_some() {}
    }
    Ok(StoreFixture { files: disk.snapshot(), events, places, snapshots, clock })
}

pub(super) fn all_events(store: &LogStore) -> CheckResult<Vec<RecordedEvent>> {
    collected(store.read_all(ReadAll::forwards()))?
        .map_err(|error| Violation(format!("no damage is reported, but a read failed: {error}")))
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

/// Options for a store of this size.
pub(super) fn options(bytes: usize) -> Options {
    let segment_bytes = (bytes / SEGMENTS).max(SEGMENT_BYTES_MIN) as u64;
    Options::default()
        .segment_bytes_first(segment_bytes)
        .segment_bytes_max(segment_bytes)
        // Small, for groups of several frames.
        .frame_bytes_max(1 << 10)
}

/// Writer of the store.
struct StoreBuilder {
    rng: SimRng,
    disk: Arc<MemoryDisk>,
    clock: Arc<SimClock>,
    engine: Engine,
    store: LogStore,
    snapshots: BTreeMap<String, SealSnapshot>,
    /// Segment written last.
    last: String,
}

impl StoreBuilder {
    fn new(bytes: usize) -> CheckResult<Self> {
        let (disk, clock) = (Arc::new(MemoryDisk::default()), Arc::new(SimClock::new()));
        let rng = Box::new(SimRng::from_seed(1));
        let opened =
            Engine::open(Arc::clone(&disk) as _, Arc::clone(&clock) as _, rng, options(bytes));
        let (engine, store) =
            opened.map_err(|error| Violation(format!("the store cannot be created: {error}")))?;
        let (rng, snapshots, last) = (SimRng::from_seed(2), BTreeMap::new(), String::new());
        Ok(Self { rng, disk, clock, engine, store, snapshots, last })
    }

    fn segment_bytes(&self) -> usize {
        self.disk
            .snapshot()
            .iter()
            .filter(|(file, _)| is_segment(file))
            .map(|(_, bytes)| bytes.len())
            .sum()
    }

    /// Appends one group, with a pause after some.
    fn write_group(&mut self) -> CheckResult {
        let sizes: Vec<_> = (0..self.rng.in_range(1..4)).map(|_| self.random_size()).collect();
        self.append(&sizes)?;
        if self.rng.percent(10) {
            self.clock.advance(options(0).close_after);
            self.engine.poll();
        }
        Ok(())
    }

    fn random_size(&mut self) -> usize {
        match self.rng.below(10) {
            0..5 => self.rng.below(120),
            5..9 => 300 + self.rng.below(600),
            _ => 1_000 + self.rng.below(2_000),
        }
    }

    /// Submits one append per size, all in one group.
    fn append(&mut self, sizes: &[usize]) -> CheckResult {
        let store = self.store.clone();
        let mut answers: Vec<StoreFuture<'_, Appended>> = Vec::new();
        for size in sizes {
            let id = u128::from_le_bytes(self.rng.bytes());
            let stream = name(self.rng.pick(&STREAMS));
            answers.push(store.append(Append::to(
                stream,
                ExpectedRevision::Any,
                [event(id, *size)],
            )));
        }
        let mut head = Position::START;
        for mut answer in answers {
            head = loop {
                let turn = self.engine.poll();
                match (poll_once(answer.as_mut()), turn) {
                    (Some(Ok(appended)), _) => break appended.position,
                    (Some(Err(error)), _) => {
                        return Err(Violation(format!("append failed: {error}")));
                    }
                    (None, EnginePoll::WakeAt(time)) => self.clock.advance_to(time),
                    (None, EnginePoll::Idle | EnginePoll::Closed) => {
                        return Err(Violation("an append was never answered".to_owned()));
                    }
                }
            };
        }
        self.flush_sealed(head)
    }

    /// Once the engine writes to a new segment: takes a snapshot, then flushes the sealed one.
    fn flush_sealed(&mut self, head: Position) -> CheckResult {
        let place = self.store.locate(head).map(|place| place.file);
        let last = place.ok_or_else(|| Violation("no event was written".to_owned()))?;
        let ended = std::mem::replace(&mut self.last, last.clone());
        if ended == last || ended.is_empty() {
            return Ok(());
        }
        let events = usize::try_from(head.number()).expect("there are few");
        self.snapshots.insert(ended, SealSnapshot { files: self.disk.snapshot(), events, last });
        // Flush the sealed segment, which the snapshot still lacks in its index.
        let filed = self.engine.compact_some();
        while self.engine.compact_some() {}
        ensure(filed, || "a sealed segment was not flushed".to_owned())
    }
}
