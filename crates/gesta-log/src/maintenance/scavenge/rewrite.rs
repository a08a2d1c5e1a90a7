//! One segment, rewritten without what is hidden.
//!
//! Always holds: frames of which nothing goes are copied as they are, chain and all; of the others a
//! gap frame stands for neighbours together; what was written is read back past the cache and walked
//! before anybody relies on it. Not here: when the new file takes the old one's place.

use bytes::Bytes;
use foldhash::HashSet;
use gesta_store::{Damage, Position, RecordedAt, RecordedEvent, StreamName};

use super::{ScavengeError, failed, hidden::Hidden};
use crate::{
    disk::{Cache, Disk, Operation},
    format::{
        Chain, Frame, FrameKind, Gap, GapAppend, GapEvent, GroupLocation, HEADER_BYTES, IdsDigest,
        PendingFrame, Rewritten, Seed, SegmentHeader, copy_events, encode_bare, encode_gap,
        encode_opening, mark_offset, record_length, write_frame_headers,
    },
    index::{Covered, OffsetOverrides, Term, TermKey},
    mutations::mutated,
    segment::scan::{self, ScanStart},
    segment::segment_file,
};

/// A gap frame is ended when its lists and the records that it keeps have about so many bytes: whoever
/// asks for what is gone reads all of it, and damage takes all of it.
const GAP_BYTES: usize = 32 << 10;
/// Bytes that one operation writes.
const WRITE_BYTES: usize = 1 << 20;
/// A segment as it will be.
#[derive(Debug)]
pub(super) struct Rewriting {
    covered: Covered,
    header: SegmentHeader,
    before: Chain,
    file: Vec<u8>,
    /// Events that go now.
    gone: Vec<RecordedEvent>,
    /// Those after which their streams have no events left.
    emptied: Vec<StreamName>,
}

/// A segment that is durable and whole under its unfinished name.
pub(super) struct Written {
    covered: Covered,
    frames: Vec<Frame>,
    rewriting: Rewriting,
}

impl Rewriting {
    /// The segment without what is hidden; none if nothing is, and `roomy` does not say that it has
    /// space to give back all the same.
    pub(super) fn of(
        disk: &dyn Disk,
        covered: &Covered,
        before: Chain,
        salt: [u8; 16],
        (hidden, roomy): (&mut Hidden<'_>, bool),
    ) -> Result<Option<Self>, ScavengeError> {
        let (old, bytes, frames) = read(disk, covered, before)?;
        let mut gone = Vec::new();
        for event in frames.iter().flat_map(|(_, frame)| &frame.events).map(|(_, event)| event) {
            if hidden.is(event)? {
                gone.push(event.clone());
            }
        }
        if gone.is_empty() && !roomy {
            return Ok(None);
        }
        let earlier = old.rewritten.map_or(0, |rewritten| rewritten.gone);
        let mut header = SegmentHeader {
            salt,
            rewritten: Some(Rewritten {
                named_salt: old.named_salt(),
                named_length: old.named_length(covered.adopted_length),
                gone: earlier + gone.len() as u64,
            }),
            ..old
        };
        let positions = gone.iter().map(|event| event.position).collect();
        let mut body = Body::new(Seed::new(salt, covered.number), &bytes, positions);
        for (_, frame) in &frames {
            body.frame(frame);
        }
        let group = body.end(covered);
        header.bytes = HEADER_BYTES + group.len() as u64;
        let mut file = header.encode();
        file.extend_from_slice(&group);
        let last = |event: &&RecordedEvent| hidden.was_last(&event.stream, event.revision);
        let emptied = gone.iter().filter(last).map(|event| event.stream.clone()).collect();
        Ok(Some(Self { covered: *covered, header, before, file, gone, emptied }))
    }

    pub(super) fn newly_gone(&self) -> u64 {
        self.gone.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// Writes the file under another name, durably, and reads it back.
    pub(super) fn write(self, disk: &dyn Disk, file: &str) -> Result<Written, ScavengeError> {
        let cannot = |source| failed("rewrite", &self.covered, source);
        let bytes = Bytes::from(self.file.clone());
        disk.run(Operation::Create { file: file.to_owned() }).map_err(cannot)?;
        for (nth, start) in (0..bytes.len()).step_by(WRITE_BYTES).enumerate() {
            let bytes = bytes.slice(start..bytes.len().min(start + WRITE_BYTES));
            let offset = (nth * WRITE_BYTES) as u64;
            let write = Operation::Write { file: file.to_owned(), offset, bytes };
            disk.run(write).map_err(cannot)?;
        }
        if !mutated!(ScavengeWithoutSync) {
            disk.run(Operation::Sync { file: file.to_owned() }).map_err(cannot)?;
        }
        let back = disk.read(file, 0, bytes.len() + 1, Cache::Bypass).map_err(cannot)?;
        let walked = (back == bytes).then(|| walk(&back, &self.header, &self.covered, self.before));
        match walked {
            Some((walked, frames)) if ends_there(&walked, &self.covered) => {
                let (salt, adopted_length) = (self.header.salt, walked.end);
                let covered = Covered { salt, adopted_length, ..self.covered };
                let frames = frames.into_iter().map(|(_, frame)| frame).collect();
                Ok(Written { covered, frames, rewriting: self })
            }
            Some(_) | None => {
                Err(damaged(&self.covered, 0, "it does not read back as it was rewritten"))
            }
        }
    }
}

impl Written {
    /// What the index has to know of it.
    pub(super) fn patch(&self, key: &TermKey) -> OffsetOverrides {
        let mut dropped = HashSet::default();
        for event in &self.rewriting.gone {
            dropped.insert(key.hash(&Term::EventType(&event.event_type)));
            dropped.extend(event.tags.iter().map(|tag| key.hash(&Term::Tag(tag))));
            if let Some(category) = event.stream.category() {
                dropped.insert(key.hash(&Term::Category(&category)));
            }
        }
        if mutated!(ScavengeForgetsRevisions) {
            let emptied = &self.rewriting.emptied;
            dropped.extend(emptied.iter().map(|stream| key.hash(&Term::Stream(stream))));
        }
        OffsetOverrides::new(self.covered, self.frames.iter(), dropped)
    }
}

/// The segment's header, bytes and frames, verified.
fn read(
    disk: &dyn Disk,
    covered: &Covered,
    before: Chain,
) -> Result<(SegmentHeader, Bytes, Frames), ScavengeError> {
    let file = segment_file(covered.number);
    let cannot = |source| failed("read", covered, source);
    let length = usize::try_from(disk.length(&file).map_err(cannot)?).unwrap_or(usize::MAX);
    let bytes = disk.read(&file, 0, length, Cache::Use).map_err(cannot)?;
    let header = SegmentHeader::decode(&bytes)
        .map_err(|what| damaged(covered, 0, &format!("segment header: {what}")))?;
    if header.salt != covered.salt {
        return Err(damaged(covered, 0, "the header names another segment"));
    }
    let (walked, frames) = walk(&bytes, &header, covered, before);
    match walked.bad.first() {
        Some(bad) => Err(damaged(covered, bad.offset, &bad.what.to_string())),
        None if ends_there(&walked, covered) => Ok((header, bytes, frames)),
        None => Err(damaged(covered, walked.end, "it ends otherwise than the index says")),
    }
}

/// Frames with their offsets.
type Frames = Vec<(u64, Frame)>;

fn walk(
    bytes: &Bytes,
    header: &SegmentHeader,
    covered: &Covered,
    before: Chain,
) -> (scan::ScanResult, Frames) {
    let start = ScanStart {
        seed: Seed::new(header.salt, header.number),
        chain: Some(before),
        next: Position::new(covered.first),
        adopted_length: header.adopted_length(Some(covered.adopted_length)),
    };
    let mut frames = Vec::new();
    let walked = scan::walk(bytes, start, |offset, frame| frames.push((offset, frame)));
    (walked, frames)
}

fn ends_there(walked: &scan::ScanResult, covered: &Covered) -> bool {
    walked.bad.is_empty()
        && walked.next.number() == covered.end
        && walked.chain == Some(Chain(covered.chain))
}

fn damaged(covered: &Covered, offset: u64, what: &str) -> ScavengeError {
    let file = segment_file(covered.number);
    ScavengeError::Damaged(Damage { file, offset, positions: None, what: what.to_owned() })
}

/// What follows the header, as it grows.
struct Body<'a> {
    place: GroupLocation,
    /// The segment as it is.
    old: &'a Bytes,
    /// Positions that go, ascending.
    goes: Vec<Position>,
    group: Vec<u8>,
    frames: Vec<PendingFrame>,
    open: Option<OpenGap<'a>>,
}

/// A gap frame that neighbours may still be added to.
struct OpenGap<'a> {
    gap: Gap,
    kept: Vec<&'a [u8]>,
    chain: Chain,
}

impl<'a> Body<'a> {
    fn new(seed: Seed, old: &'a Bytes, goes: Vec<Position>) -> Self {
        let place = GroupLocation { group_offset: HEADER_BYTES, seed };
        Self { place, old, goes, group: Vec::new(), frames: Vec::new(), open: None }
    }

    fn goes(&self, event: &RecordedEvent) -> bool {
        self.goes.binary_search(&event.position).is_ok()
    }

    fn frame(&mut self, frame: &Frame) {
        match (frame.header.kind, &frame.opening) {
            (FrameKind::Opening, Some(opening)) => {
                let (chain, next) = (frame.header.chain, frame.header.first_position);
                let opening = encode_opening(&mut self.group, &self.place, chain, next, opening);
                self.frames.push(opening);
            }
            (FrameKind::Opening | FrameKind::Close | FrameKind::Seal, _) => {}
            (FrameKind::Events, _) if !frame.events.iter().any(|(_, event)| self.goes(event)) => {
                self.end_gap();
                let records = frame.events.iter().map(|(offset, _)| record(self.old, *offset));
                let copied = copy_events(&mut self.group, &self.place, &frame.header, records);
                self.frames.push(copied);
            }
            (FrameKind::Events | FrameKind::Gap, _) => self.add_to_gap(frame),
        }
    }

    fn add_to_gap(&mut self, frame: &Frame) {
        let first = frame.header.first_position;
        let mut open = self.open.take().unwrap_or_else(|| OpenGap::new(first, frame.header.chain));
        open.add(frame, self.old, |event| self.goes(event));
        let full = open.bytes_max() > GAP_BYTES;
        self.open = Some(open);
        if full {
            self.end_gap();
        }
    }

    fn end_gap(&mut self) {
        let Some(OpenGap { gap, kept, chain }) = self.open.take() else { return };
        let frame = encode_gap(&mut self.group, &self.place, chain, &gap, kept.into_iter());
        self.frames.push(frame);
    }

    /// Adds the seal. Everything will be durable before any of it counts, and the seal says so.
    fn end(mut self, covered: &Covered) -> Vec<u8> {
        self.end_gap();
        write_frame_headers(&mut self.group, &self.place, HEADER_BYTES, &self.frames);
        let end = HEADER_BYTES + self.group.len() as u64;
        let seal_at = usize::try_from(mark_offset(end) - HEADER_BYTES).expect("it fits memory");
        self.group.resize(seal_at, 0);
        let (chain, next) = (Chain(covered.chain), Position::new(covered.end));
        let seal = encode_bare(&mut self.group, chain, next, FrameKind::Seal);
        write_frame_headers(&mut self.group, &self.place, end, &[seal]);
        self.group
    }
}

/// The bytes of a record that was verified.
fn record(segment: &Bytes, offset: u64) -> &[u8] {
    let rest = usize::try_from(offset).ok().and_then(|at| segment.get(at..)).unwrap_or_default();
    let length = record_length(rest).unwrap_or_default();
    rest.get(..length).expect("the record was verified")
}

impl<'a> OpenGap<'a> {
    fn new(first: Position, chain: Chain) -> Self {
        let gap = Gap {
            first,
            positions: 0,
            last_recorded_at: RecordedAt::from_micros(0),
            appends: Vec::new(),
            gone: Vec::new(),
        };
        Self { gap, kept: Vec::new(), chain }
    }

    fn bytes_max(&self) -> usize {
        let kept: usize = self.kept.iter().map(|record| record.len()).sum();
        self.gap.bytes_max() + kept
    }

    fn add(&mut self, frame: &Frame, old: &'a Bytes, goes: impl Fn(&RecordedEvent) -> bool) {
        let Self { gap, kept, chain } = self;
        *chain = frame.header.chain;
        let next = frame.next().number();
        gap.positions = u32::try_from(next - gap.first.number()).expect("a segment has fewer");
        let (recorded, gone) = match &frame.gap {
            Some(earlier) => {
                gap.appends.extend_from_slice(&earlier.appends);
                (Some(earlier.last_recorded_at), earlier.gone.as_slice())
            }
            None => (frame.events.last().map(|(_, event)| event.recorded_at), &[][..]),
        };
        gap.last_recorded_at = recorded.unwrap_or(gap.last_recorded_at);
        let hit = |events: &&[_]| events.iter().any(|(_, event)| goes(event));
        gap.appends.extend(frame.appends().filter(hit).filter_map(gone_append));
        gap.appends.sort_unstable_by_key(|append| append.position);
        gap.gone.extend_from_slice(gone);
        for (offset, event) in &frame.events {
            if goes(event) {
                let RecordedEvent { position, stream, revision, .. } = event;
                let (position, revision) = (*position, *revision);
                gap.gone.push(GapEvent { position, stream: stream.clone(), revision });
            } else {
                kept.push(record(old, *offset));
            }
        }
        gap.gone.sort_unstable_by_key(|gone| gone.position);
    }
}

/// An append with these events, of which one goes.
fn gone_append(events: &[(u64, RecordedEvent)]) -> Option<GapAppend> {
    let (_, first) = events.first()?;
    Some(GapAppend {
        position: first.position,
        events: u32::try_from(events.len()).expect("an append is within its limit"),
        first_event: first.id,
        ids: IdsDigest::of(events.iter().map(|(_, event)| event.id)),
    })
}

#[cfg(test)]
mod tests {
    use gesta_store::Revision;

    use super::*;

    #[test]
    fn a_gap_of_which_nothing_is_kept_has_its_size() {
        let mut open = OpenGap::new(Position::new(1), Chain([0; 32]));
        assert!(open.bytes_max() < 1_000);
        let stream = StreamName::new("session-1").unwrap();
        open.gap.gone = (1..=1_000)
            .map(|number| GapEvent {
                position: Position::new(number),
                stream: stream.clone(),
                revision: Revision::new(number - 1),
            })
            .collect();
        let bytes = open.bytes_max();
        assert!(bytes > 1_000, "{bytes}");
        open.kept.push(&[0; 100]);
        assert_eq!(open.bytes_max(), bytes + 100);
    }
}
