//! A segment of an import: built in memory, and written to a file once it is full.
//!
//! Invariants:
//! - A file gets its final name only once it is durable and has been read back.
//! - Small appends share frames, as in a group commit.
//! - Neighbouring appends with scavenged events share a gap frame.

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

/// Maximum size of a frame that several appends share, in bytes. As in [`Options`](crate::Options).
const FRAME_BYTES_MAX: usize = 4 << 10;
/// Size of a gap frame's lists and records after which the next frame begins, in bytes.
const GAP_BYTES: usize = 32 << 10;
/// Size after which a segment ends, in bytes.
const SEGMENT_BYTES: usize = 16 << 20;
/// Size of one write, in bytes.
const WRITE_BYTES: usize = 1 << 20;
const UNFINISHED: &str = ".new";

/// The state before a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentStart {
    pub(super) store: [u8; 16],
    pub(super) predecessor: Opening,
    pub(super) chain: Chain,
    pub(super) next: Position,
    /// The latest recorded time so far.
    pub(super) recorded_at: RecordedAt,
}

impl SegmentStart {
    /// Returns the state before the first segment.
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

/// A segment that is being built.
#[derive(Debug)]
pub(super) struct ImportedSegment {
    before: SegmentStart,
    number: u64,
    salt: [u8; 16],
    incarnation: Incarnation,
    place: GroupLocation,
    group: Vec<u8>,
    frames: Vec<PendingFrame>,
    joinable: Option<EventsFrameBuilder>,
    gap: Option<PendingGap>,
    chain: Chain,
    next: Position,
    recorded_at: RecordedAt,
    /// Number of scavenged events.
    scavenged: u64,
}

/// A gap frame to which neighbouring appends may still be added.
#[derive(Debug)]
struct PendingGap {
    gap: Gap,
    kept: Vec<Vec<u8>>,
    kept_bytes: usize,
}

impl ImportedSegment {
    pub(super) fn new(before: SegmentStart, incarnation: Incarnation, salt: [u8; 16]) -> Self {
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
            scavenged: 0,
        };
        let SegmentStart { chain, next, predecessor, .. } = &segment.before;
        let opening =
            encode_opening(&mut segment.group, &segment.place, *chain, *next, predecessor);
        segment.frames.push(opening);
        segment
    }

    pub(super) fn is_full(&self) -> bool {
        self.group.len() >= SEGMENT_BYTES
    }

    /// Adds the next append, which was validated.
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

    /// Adds an append without scavenged events.
    fn push_whole(&mut self, append: &StoredAppend) {
        self.end_gap(None);
        let offered: Vec<_> =
            append.events.iter().map(|event| (NewEvent::from(event), event)).collect();
        let bytes = offered.iter().map(|(new, event)| Record::encoded_bytes(new, &event.stream));
        let bytes = align(FRAME_HEADER_BYTES + bytes.sum::<usize>());
        let length = self.joinable.as_ref().map_or(0, |frame| frame.length(&self.group));
        // The same rule as in a group commit, so that the copy has about the same size.
        if length + bytes > FRAME_BYTES_MAX {
            self.end_frame();
        }
        let records = offered.iter().map(|(new, event)| record(new, event, append.next()));
        let (group, chain) = (&mut self.group, self.chain);
        // Join the open frame, or begin one.
        let begin = || EventsFrameBuilder::begin(group, chain, append.first);
        let mut frame = self.joinable.take().unwrap_or_else(begin);
        frame.push_append(&mut self.group, &self.place, records, &mut Vec::new());
        self.joinable = Some(frame);
    }

    /// Adds an append with scavenged events.
    fn push_reduced(&mut self, append: &StoredAppend, of: &Scavenged) {
        self.end_frame();
        let mut open = self.gap.take().unwrap_or_else(|| PendingGap::new(append.first));
        for event in &append.events {
            let mut bytes = Vec::new();
            // The offset is not known yet; encoding the gap frame updates the checksum.
            record(&NewEvent::from(event), event, append.next()).encode(
                &mut bytes,
                0,
                self.place.seed,
            );
            open.kept_bytes += bytes.len();
            open.kept.push(bytes);
        }
        // Then the data for repeats of the append and for the next revisions of its streams.
        let gap = &mut open.gap;
        gap.positions += of.events;
        gap.appends.push(GapAppend {
            position: append.first,
            events: of.events,
            first_event: of.first_event,
            ids: IdsDigest::from_number(of.ids_digest),
        });
        gap.scavenged.extend(of.scavenged.iter().map(|scavenged| GapEvent {
            position: scavenged.position,
            stream: scavenged.stream.clone(),
            revision: scavenged.revision,
            event_type: scavenged.event_type.clone(),
            correlation_id: scavenged.correlation_id.clone(),
        }));
        self.scavenged += of.scavenged.len() as u64;
        if let Some(last) = append.events.last() {
            gap.last_recorded_at = gap.last_recorded_at.max(last.recorded_at);
        }
        let full = open.gap.bytes_max() + open.kept_bytes > GAP_BYTES;
        self.gap = Some(open);
        if full && !of.scavenged.is_empty() {
            self.end_gap(None);
        }
    }

    fn end_frame(&mut self) {
        let Some(frame) = self.joinable.take() else { return };
        let frame = frame.finish(&mut self.group);
        self.chain = frame.chain();
        self.frames.push(frame);
    }

    /// Ends the gap frame, if there is one. Its events were recorded at `at` at the latest.
    fn end_gap(&mut self, at: Option<RecordedAt>) {
        let Some(PendingGap { mut gap, kept, .. }) = self.gap.take() else { return };
        // The times of scavenged events are lost; the latest known one is a lower bound.
        let known = gap.last_recorded_at.max(self.recorded_at);
        gap.last_recorded_at = at.map_or(known, |at| at.max(known));
        self.recorded_at = gap.last_recorded_at;
        self.chain = chain_over(self.chain, &gap);
        let records = kept.iter().map(Vec::as_slice);
        let frame = encode_gap(&mut self.group, &self.place, self.chain, &gap, records);
        self.frames.push(frame);
    }

    /// Writes the file durably under its final name. `last_recorded_at` is the recorded time of the
    /// store's last event, if this is its last segment.
    pub(super) fn write(
        mut self,
        disk: &FileDisk,
        last_recorded_at: Option<RecordedAt>,
    ) -> Result<(SegmentStart, u64), ImportError> {
        self.end_frame();
        self.end_gap(last_recorded_at);
        // The whole file is durable before any of it counts, so the frames' marks may stay at the
        // minimum; the seal covers them all.
        write_frame_headers(&mut self.group, &self.place, HEADER_BYTES, &self.frames);
        let end = HEADER_BYTES + self.group.len() as u64;
        let seal_at = usize::try_from(mark_offset(end) - HEADER_BYTES).expect("it fits memory");
        self.group.resize(seal_at, 0);
        let seal = encode_bare(&mut self.group, self.chain, self.next, FrameKind::Seal);
        write_frame_headers(&mut self.group, &self.place, end, &[seal]);
        let bytes = HEADER_BYTES + self.group.len() as u64;
        // Gap frames need the header of a rewritten segment. There never was another form of this
        // one, so it names itself.
        let rewritten =
            Rewritten { named_salt: self.salt, named_length: bytes, scavenged: self.scavenged };
        let header = SegmentHeader {
            store: self.before.store,
            incarnation: *self.incarnation.as_uuid().as_bytes(),
            number: self.number,
            salt: self.salt,
            bytes,
            rewritten: (self.scavenged > 0).then_some(rewritten),
        };
        let mut file = header.encode();
        file.append(&mut self.group);
        write(disk, self.number, file.into())?;
        let (predecessor, salt) = (self.number, self.salt);
        let before = SegmentStart {
            store: self.before.store,
            predecessor: Opening { predecessor, adopted_length: bytes, salt },
            chain: self.chain,
            next: self.next,
            recorded_at: self.recorded_at,
        };
        Ok((before, bytes))
    }
}

impl PendingGap {
    fn new(first: Position) -> Self {
        let gap = Gap {
            first,
            positions: 0,
            last_recorded_at: RecordedAt::from_micros(0),
            appends: Vec::new(),
            scavenged: Vec::new(),
        };
        Self { gap, kept: Vec::new(), kept_bytes: 0 }
    }
}

/// Returns a chain value for a gap. The original one depended on the scavenged events and is lost.
/// Nothing verifies this value; it is derived from what is known, so that imports are reproducible.
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
            // Free the space: the failure may be the lack of it.
            drop(disk.run(Operation::Remove { file: unfinished() }));
            return Err(cannot(source));
        }
    }
    // One byte more than was written, so that a longer file is noticed.
    let back = disk.read(&unfinished(), 0, bytes.len() + 1, Cache::Bypass).map_err(cannot)?;
    if back != bytes {
        let what = "the data read back differ from the data written".to_owned();
        return Err(ImportError::Damaged(Damage::new(file, 0, what)));
    }
    // Each segment is durable before the next one begins, so an interrupted import continues behind
    // the last of them.
    disk.run(Operation::Rename { from: unfinished(), to: file.clone() }).map_err(cannot)?;
    disk.run(Operation::SyncDirectory).map_err(cannot)
}

/// Returns whether a file is an incomplete segment of an interrupted import.
pub(super) fn is_unfinished(file: &str) -> bool {
    file.ends_with(".seg.new")
}
