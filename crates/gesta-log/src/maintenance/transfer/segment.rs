//! A segment that an import makes: in memory until it is full, then a file.
//!
//! Always holds: the file has its name once all of it is durable and was read back; small appends
//! share frames as they do where they are appended; neighbouring appends of which events were
//! scavenged share a gap frame.

use bytes::Bytes;
use gesta_store::{
    Damage, Incarnation, NewEvent, Position, RecordedAt, RecordedEvent, Revision, StreamName,
};

use super::{ImportError, Scavenged, StoredAppend};
use crate::{
    disk::{Cache, Disk, FileDisk, Operation},
    format::{
        Chain, EventsFrameBuilder, FRAME_HEADER_BYTES, FrameKind, Gap, GapAppend, GapEvent,
        GroupLocation, HEADER_BYTES, IdsDigest, Opening, PendingFrame, Record, Rewritten, Seed,
        SegmentHeader, align, encode_bare, encode_gap, encode_opening, mark_offset,
        write_frame_headers,
    },
    segment::segment_file,
};

/// Bytes up to which small appends share a frame, as in [`Options`](crate::Options).
const FRAME_BYTES_MAX: usize = 4 << 10;
/// Bytes of a gap frame's lists and records after which another one is begun.
const GAP_BYTES: usize = 32 << 10;
/// Bytes after which a segment is ended.
const SEGMENT_BYTES: usize = 16 << 20;
/// Bytes that one operation writes.
const WRITE_BYTES: usize = 1 << 20;
const UNFINISHED: &str = ".new";

/// Where the next segment begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) store: [u8; 16],
    pub(super) predecessor: Opening,
    pub(super) chain: Chain,
    pub(super) next: Position,
    /// The latest time that is known of an event before.
    pub(super) recorded_at: RecordedAt,
}

impl Before {
    /// The beginning of a store.
    pub(super) fn first(store: [u8; 16]) -> Self {
        Self {
            store,
            predecessor: Opening { predecessor: 0, adopted_length: 0, salt: [0; 16] },
            chain: Chain::genesis(store),
            next: Position::START.next(),
            recorded_at: RecordedAt::from_micros(0),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Segment {
    before: Before,
    number: u64,
    salt: [u8; 16],
    incarnation: Incarnation,
    place: GroupLocation,
    group: Vec<u8>,
    frames: Vec<PendingFrame>,
    joinable: Option<EventsFrameBuilder>,
    gap: Option<OpenGap>,
    chain: Chain,
    next: Position,
    recorded_at: RecordedAt,
    /// How many events were scavenged.
    gone: u64,
}

/// A gap frame that neighbours may still be added to.
#[derive(Debug)]
struct OpenGap {
    gap: Gap,
    kept: Vec<Vec<u8>>,
    kept_bytes: usize,
}

impl Segment {
    pub(super) fn new(before: Before, incarnation: Incarnation, salt: [u8; 16]) -> Self {
        let number = before.predecessor.predecessor + 1;
        let place = GroupLocation { group_offset: HEADER_BYTES, seed: Seed::new(salt, number) };
        let mut segment = Self {
            before,
            number,
            salt,
            incarnation,
            place,
            group: Vec::new(),
            frames: Vec::new(),
            joinable: None,
            gap: None,
            chain: before.chain,
            next: before.next,
            recorded_at: before.recorded_at,
            gone: 0,
        };
        let Before { chain, next, predecessor, .. } = &segment.before;
        let opening =
            encode_opening(&mut segment.group, &segment.place, *chain, *next, predecessor);
        segment.frames.push(opening);
        segment
    }

    pub(super) fn is_full(&self) -> bool {
        self.group.len() >= SEGMENT_BYTES
    }

    /// Adds an append, which was checked and follows the one before.
    pub(super) fn push(&mut self, append: &StoredAppend) {
        match &append.scavenged {
            None => self.push_whole(append),
            Some(of) => self.push_reduced(append, of),
        }
        self.next = append.next();
        if let Some(last) = append.events.last() {
            self.recorded_at = self.recorded_at.max(last.recorded_at);
        }
    }

    fn push_whole(&mut self, append: &StoredAppend) {
        self.end_gap(None);
        let offered: Vec<_> = append.events.iter().map(|event| (offered(event), event)).collect();
        let bytes = offered.iter().map(|(new, event)| Record::encoded_bytes(new, &event.stream));
        let bytes = align(FRAME_HEADER_BYTES + bytes.sum::<usize>());
        let length = self.joinable.as_ref().map_or(0, |frame| frame.length(&self.group));
        if length + bytes > FRAME_BYTES_MAX {
            self.end_frame();
        }
        let records = offered.iter().map(|(new, event)| record(new, event, append.next()));
        let (group, chain) = (&mut self.group, self.chain);
        let begin = || EventsFrameBuilder::begin(group, chain, append.first);
        let mut frame = self.joinable.take().unwrap_or_else(begin);
        frame.push_append(&mut self.group, &self.place, records, &mut Vec::new());
        self.joinable = Some(frame);
    }

    fn push_reduced(&mut self, append: &StoredAppend, of: &Scavenged) {
        self.end_frame();
        let mut open = self.gap.take().unwrap_or_else(|| OpenGap::new(append.first));
        for event in &append.events {
            let mut bytes = Vec::new();
            record(&offered(event), event, append.next()).encode(&mut bytes, 0, self.place.seed);
            open.kept_bytes += bytes.len();
            open.kept.push(bytes);
        }
        let gap = &mut open.gap;
        gap.positions += of.events;
        gap.appends.push(GapAppend {
            position: append.first,
            events: of.events,
            first_event: of.first_event,
            ids: IdsDigest::from_number(of.ids_digest),
        });
        gap.gone.extend(of.gone.iter().map(|gone| GapEvent {
            position: gone.position,
            stream: gone.stream.clone(),
            revision: gone.revision,
        }));
        self.gone += of.gone.len() as u64;
        if let Some(last) = append.events.last() {
            gap.last_recorded_at = gap.last_recorded_at.max(last.recorded_at);
        }
        let full = open.gap.bytes_max() + open.kept_bytes > GAP_BYTES;
        self.gap = Some(open);
        if full && !of.gone.is_empty() {
            self.end_gap(None);
        }
    }

    fn end_frame(&mut self) {
        let Some(frame) = self.joinable.take() else { return };
        let frame = frame.finish(&mut self.group);
        self.chain = frame.chain();
        self.frames.push(frame);
    }

    /// Ends the gap frame, if there is one. What it stands for was recorded at `at` at the latest.
    fn end_gap(&mut self, at: Option<RecordedAt>) {
        let Some(OpenGap { mut gap, kept, .. }) = self.gap.take() else { return };
        let known = gap.last_recorded_at.max(self.recorded_at);
        gap.last_recorded_at = at.map_or(known, |at| at.max(known));
        self.recorded_at = gap.last_recorded_at;
        self.chain = chain_over(self.chain, &gap);
        let records = kept.iter().map(Vec::as_slice);
        let frame = encode_gap(&mut self.group, &self.place, self.chain, &gap, records);
        self.frames.push(frame);
    }

    /// Writes the file durably and gives it its name. `last_recorded_at` is that of the store's last
    /// event, where this is its last segment.
    pub(super) fn write(
        mut self,
        disk: &FileDisk,
        last_recorded_at: Option<RecordedAt>,
    ) -> Result<(Before, u64), ImportError> {
        self.end_frame();
        self.end_gap(last_recorded_at);
        // All of it is durable before any of it counts, so the marks say the least.
        write_frame_headers(&mut self.group, &self.place, HEADER_BYTES, &self.frames);
        let end = HEADER_BYTES + self.group.len() as u64;
        let seal_at = usize::try_from(mark_offset(end) - HEADER_BYTES).expect("it fits memory");
        self.group.resize(seal_at, 0);
        let seal = encode_bare(&mut self.group, self.chain, self.next, FrameKind::Seal);
        write_frame_headers(&mut self.group, &self.place, end, &[seal]);
        let bytes = HEADER_BYTES + self.group.len() as u64;
        let rewritten = Rewritten { named_salt: self.salt, named_length: bytes, gone: self.gone };
        let header = SegmentHeader {
            store: self.before.store,
            incarnation: *self.incarnation.as_uuid().as_bytes(),
            number: self.number,
            salt: self.salt,
            bytes,
            rewritten: (self.gone > 0).then_some(rewritten),
        };
        let mut file = header.encode();
        file.append(&mut self.group);
        write(disk, self.number, file.into())?;
        let (predecessor, salt) = (self.number, self.salt);
        let before = Before {
            store: self.before.store,
            predecessor: Opening { predecessor, adopted_length: bytes, salt },
            chain: self.chain,
            next: self.next,
            recorded_at: self.recorded_at,
        };
        Ok((before, bytes))
    }
}

impl OpenGap {
    fn new(first: Position) -> Self {
        let gap = Gap {
            first,
            positions: 0,
            last_recorded_at: RecordedAt::from_micros(0),
            appends: Vec::new(),
            gone: Vec::new(),
        };
        Self { gap, kept: Vec::new(), kept_bytes: 0 }
    }
}

/// A gap's value of the chain. What the events that are gone made it is not known any more, and
/// nothing verifies it; it follows from what is known.
fn chain_over(before: Chain, gap: &Gap) -> Chain {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before.0);
    for append in &gap.appends {
        hasher.update(&append.position.number().to_le_bytes());
        hasher.update(append.first_event.as_uuid().as_bytes());
        hasher.update(&append.ids.number().to_le_bytes());
    }
    Chain(*hasher.finalize().as_bytes())
}

fn record<'a>(new: &'a NewEvent, event: &'a RecordedEvent, end: Position) -> Record<'a> {
    let RecordedEvent { stream, revision, position, recorded_at, .. } = event;
    let (stream, revision): (&StreamName, Revision) = (stream, *revision);
    let continues = position.next() < end;
    Record {
        event: new,
        stream,
        revision,
        position: *position,
        recorded_at: *recorded_at,
        continues,
    }
}

/// The event as it was offered once.
fn offered(event: &RecordedEvent) -> NewEvent {
    NewEvent {
        id: event.id,
        event_type: event.event_type.clone(),
        schema_version: event.schema_version,
        content_type: event.content_type.clone(),
        data: event.data.clone(),
        metadata: event.metadata.clone(),
        tags: event.tags.clone(),
        correlation_id: event.correlation_id.clone(),
        causation_id: event.causation_id.clone(),
    }
}

fn write(disk: &FileDisk, number: u64, bytes: Bytes) -> Result<(), ImportError> {
    let file = segment_file(number);
    let unfinished = || format!("{file}{UNFINISHED}");
    let cannot = |source| ImportError::Io { doing: format!("write {file}"), source };
    let pieces = (0..bytes.len()).step_by(WRITE_BYTES).map(|start| Operation::Write {
        file: unfinished(),
        offset: start as u64,
        bytes: bytes.slice(start..bytes.len().min(start + WRITE_BYTES)),
    });
    let create = Operation::Create { file: unfinished() };
    let sync = Operation::Sync { file: unfinished() };
    for operation in std::iter::once(create).chain(pieces).chain([sync]) {
        if let Err(source) = disk.run(operation) {
            // It only takes up the space that was wanting, perhaps.
            drop(disk.run(Operation::Remove { file: unfinished() }));
            return Err(cannot(source));
        }
    }
    let back = disk.read(&unfinished(), 0, bytes.len() + 1, Cache::Bypass).map_err(cannot)?;
    if back != bytes {
        let what = "it does not read back as it was written".to_owned();
        return Err(ImportError::Damaged(Damage { file, offset: 0, positions: None, what }));
    }
    disk.run(Operation::Rename { from: unfinished(), to: file.clone() }).map_err(cannot)?;
    disk.run(Operation::SyncDirectory).map_err(cannot)
}

/// Whether a file is a segment that was not ended, of an import that was cut off.
pub(super) fn is_unfinished(file: &str) -> bool {
    file.ends_with(".seg.new")
}
