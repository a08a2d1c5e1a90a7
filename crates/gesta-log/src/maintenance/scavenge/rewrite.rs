//! Rewrites one segment without its hidden events.
//!
//! Invariants:
//! - Frames without hidden events are copied unchanged, including their chain values.
//! - Neighbouring frames with hidden events are merged into a gap frame.
//! - The new file is read back past the page cache and verified before it is used.
//!
//! Elsewhere: the replacement of the old file
//! ([`Compactor`](crate::maintenance::compaction::Compactor)).

use bytes::Bytes;
use foldhash::HashSet;
use gesta_store::{Damage, Position, RecordedAt, RecordedEvent, StreamName};

use super::{
    error::{ScavengeError, failed},
    hidden::HiddenEvents,
};
use crate::{
    disk::{Cache, Disk, Operation},
    format::{
        Chain, Frame, FrameKind, Gap, GapAppend, GapEvent, GroupLocation, HEADER_BYTES, IdsDigest,
        PendingFrame, Rewritten, Seed, SegmentHeader, copy_events, encode_bare, encode_gap,
        encode_opening, mark_offset, record_length, write_frame_headers,
    },
    index::{CoveredSegment, OffsetOverrides, Term, TermKey},
    mutations::mutated,
    segment::scan::{self, ScanStart},
    segment::segment_file,
};

/// Size of a gap frame's lists and records after which the next frame begins, in bytes. A lookup of
/// scavenged events reads a whole gap frame, and damage destroys the whole frame.
const GAP_BYTES: usize = 32 << 10;
/// Size of one write, in bytes.
const WRITE_BYTES: usize = 1 << 20;

/// The new form of a segment, in memory.
#[derive(Debug)]
pub(super) struct RewrittenSegment {
    covered: CoveredSegment,
    header: SegmentHeader,
    before: Chain,
    file: Vec<u8>,
    /// The events that this rewrite removes.
    scavenged: Vec<RecordedEvent>,
    /// Streams that lose their last event.
    emptied: Vec<StreamName>,
}

/// A rewritten segment that is durable under its temporary name.
pub(super) struct DurableRewrite {
    covered: CoveredSegment,
    frames: Vec<Frame>,
    rewriting: RewrittenSegment,
}

impl RewrittenSegment {
    /// Builds the segment without its hidden events. Returns `None` if it has none, unless `roomy`
    /// says that its unused space is worth a rewrite.
    pub(super) fn of(
        disk: &dyn Disk,
        covered: &CoveredSegment,
        before: Chain,
        salt: [u8; 16],
        (hidden, roomy): (&mut HiddenEvents<'_>, bool),
    ) -> Result<Option<Self>, ScavengeError> {
        let (old, bytes, frames) = read(disk, covered, before)?;
        let mut scavenged = Vec::new();
        for event in frames.iter().flat_map(|(_, frame)| &frame.events).map(|(_, event)| event) {
            if hidden.is_hidden(event)? {
                scavenged.push(event.clone());
            }
        }
        if scavenged.is_empty() && !roomy {
            return Ok(None);
        }
        let earlier = old.rewritten.map_or(0, |rewritten| rewritten.scavenged);
        // Keep the name by which the successor's opening frame knows the segment.
        let mut header = SegmentHeader {
            salt,
            rewritten: Some(Rewritten {
                named_salt: old.named_salt(),
                named_length: old.named_length(covered.adopted_length),
                scavenged: earlier + scavenged.len() as u64,
            }),
            ..old
        };
        let positions = scavenged.iter().map(|event| event.position).collect();
        let mut body = SegmentBody::new(Seed::new(salt, covered.number), &bytes, positions);
        for (_, frame) in &frames {
            body.frame(frame);
        }
        // The header states the file's final size, so it is encoded last.
        let group = body.end(covered);
        header.bytes = HEADER_BYTES + group.len() as u64;
        let mut file = header.encode();
        file.extend_from_slice(&group);
        // Only a mutation asks for these streams.
        let last = |event: &&RecordedEvent| hidden.was_last(&event.stream, event.revision);
        let emptied = scavenged.iter().filter(last).map(|event| event.stream.clone()).collect();
        Ok(Some(Self { covered: *covered, header, before, file, scavenged, emptied }))
    }

    pub(super) fn newly_scavenged(&self) -> u64 {
        self.scavenged.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// Writes the file durably under a temporary name, reads it back and verifies it.
    pub(super) fn write(
        self,
        disk: &dyn Disk,
        file: &str,
    ) -> Result<DurableRewrite, ScavengeError> {
        let cannot = |source| failed("rewrite", &self.covered, source);
        // Write, sync, read back: only a file that passed all three may replace the old one.
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
        // The old file is about to be replaced for good: prove that the device has the new one.
        // One byte more is asked for, so that a longer file is noticed.
        let back = disk.read(file, 0, bytes.len() + 1, Cache::Bypass).map_err(cannot)?;
        let scanned =
            (back == bytes).then(|| walk(&back, &self.header, &self.covered, self.before));
        match scanned {
            Some((scanned, frames)) if ends_as_covered(&scanned, &self.covered) => {
                let (salt, adopted_length) = (self.header.salt, scanned.end);
                let covered = CoveredSegment { salt, adopted_length, ..self.covered };
                let frames = frames.into_iter().map(|(_, frame)| frame).collect();
                Ok(DurableRewrite { covered, frames, rewriting: self })
            }
            Some(_) | None => {
                Err(damaged(&self.covered, 0, "the data read back differ from the data written"))
            }
        }
    }
}

impl DurableRewrite {
    /// Returns the new offsets of the segment's records, and the terms whose postings changed.
    pub(super) fn overrides(&self, key: &TermKey) -> OffsetOverrides {
        // Postings of the removed events' tags, causations and own ids disappear. Those of streams
        // and appends stay, because revisions and repeats need them, and so do those of categories,
        // types and correlations, whose ordinals must not move.
        let mut dropped = HashSet::default();
        for event in &self.rewriting.scavenged {
            dropped.insert(key.hash(&Term::EventId(event.id)));
            dropped.extend(event.tags.iter().map(|tag| key.hash(&Term::Tag(tag))));
            if let Some(causation) = &event.causation_id {
                dropped.insert(key.hash(&Term::Causation(causation)));
            }
            if mutated!(ScavengeMovesOrdinals)
                && let Some(category) = event.stream.category()
            {
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

/// Reads and verifies a segment. Returns its header, bytes and frames.
fn read(
    disk: &dyn Disk,
    covered: &CoveredSegment,
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
    // Never rewrite damage: it would get valid checksums.
    let (scanned, frames) = walk(&bytes, &header, covered, before);
    match scanned.bad.first() {
        Some(bad) => Err(damaged(covered, bad.offset, &bad.what.to_string())),
        None if ends_as_covered(&scanned, covered) => Ok((header, bytes, frames)),
        None => Err(damaged(covered, scanned.end, "the segment does not end where the index says")),
    }
}

/// Frames with their offsets.
type Frames = Vec<(u64, Frame)>;

fn walk(
    bytes: &Bytes,
    header: &SegmentHeader,
    covered: &CoveredSegment,
    before: Chain,
) -> (scan::ScanResult, Frames) {
    let start = ScanStart {
        seed: Seed::new(header.salt, header.number),
        chain: Some(before),
        next: Position::new(covered.first),
        adopted_length: header.adopted_length(Some(covered.adopted_length)),
    };
    let mut frames = Vec::new();
    let scanned = scan::walk(bytes, start, |offset, frame| frames.push((offset, frame)));
    (scanned, frames)
}

fn ends_as_covered(scanned: &scan::ScanResult, covered: &CoveredSegment) -> bool {
    scanned.bad.is_empty()
        && scanned.next.number() == covered.end
        && scanned.chain == Some(Chain(covered.chain))
}

fn damaged(covered: &CoveredSegment, offset: u64, what: &str) -> ScavengeError {
    let file = segment_file(covered.number);
    ScavengeError::Damaged(Damage::new(file, offset, what.to_owned()))
}

/// Builds the part of the file that follows the header.
struct SegmentBody<'a> {
    place: GroupLocation,
    /// The bytes of the old segment.
    old: &'a Bytes,
    /// Positions of the events to remove, ascending.
    removed: Vec<Position>,
    group: Vec<u8>,
    frames: Vec<PendingFrame>,
    open: Option<OpenGap<'a>>,
}

/// A gap frame to which neighbouring frames may still be added.
struct OpenGap<'a> {
    gap: Gap,
    kept: Vec<&'a [u8]>,
    chain: Chain,
}

impl<'a> SegmentBody<'a> {
    fn new(seed: Seed, old: &'a Bytes, removed: Vec<Position>) -> Self {
        debug_assert!(removed.is_sorted(), "removed positions are looked up by binary search");
        let place = GroupLocation { group_offset: HEADER_BYTES, seed };
        Self { place, old, removed, group: Vec::new(), frames: Vec::new(), open: None }
    }

    fn is_removed(&self, event: &RecordedEvent) -> bool {
        self.removed.binary_search(&event.position).is_ok()
    }

    fn frame(&mut self, frame: &Frame) {
        match (frame.header.kind, &frame.opening) {
            (FrameKind::Opening, Some(opening)) => {
                // Names the same predecessor as before: the order of the segments never changes.
                let (chain, next) = (frame.header.chain, frame.header.first_position);
                let opening = encode_opening(&mut self.group, &self.place, chain, next, opening);
                self.frames.push(opening);
            }
            // Marks are replaced by the one seal at the end.
            (FrameKind::Opening | FrameKind::Close | FrameKind::Seal, _) => {}
            (FrameKind::Events, _)
                if !frame.events.iter().any(|(_, event)| self.is_removed(event)) =>
            {
                // The gap so far comes first, so that frames stay in the order of positions.
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
        open.add(frame, self.old, |event| self.is_removed(event));
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

    /// Adds the seal, whose mark covers everything: the file is durable before it is used.
    fn end(mut self, covered: &CoveredSegment) -> Vec<u8> {
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

/// Returns the bytes of a verified record.
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
            scavenged: Vec::new(),
        };
        Self { gap, kept: Vec::new(), chain }
    }

    fn bytes_max(&self) -> usize {
        let kept: usize = self.kept.iter().map(|record| record.len()).sum();
        self.gap.bytes_max() + kept
    }

    fn add(&mut self, frame: &Frame, old: &'a Bytes, is_removed: impl Fn(&RecordedEvent) -> bool) {
        let Self { gap, kept, chain } = self;
        // A gap ends with the chain value of its last frame, so the next frame's is still valid.
        *chain = frame.header.chain;
        let next = frame.next().number();
        gap.positions = u32::try_from(next - gap.first.number()).expect("a segment has fewer");
        let (recorded, scavenged) = match &frame.gap {
            Some(earlier) => {
                gap.appends.extend_from_slice(&earlier.appends);
                (Some(earlier.last_recorded_at), earlier.scavenged.as_slice())
            }
            None => (frame.events.last().map(|(_, event)| event.recorded_at), &[][..]),
        };
        gap.last_recorded_at = recorded.unwrap_or(gap.last_recorded_at);
        // Record the appends that lose an event now; a later repeat is compared with them.
        let hit = |events: &&[_]| events.iter().any(|(_, event)| is_removed(event));
        gap.appends.extend(frame.appends().filter(hit).filter_map(gap_append));
        gap.appends.sort_unstable_by_key(|append| append.position);
        gap.scavenged.extend_from_slice(scavenged);
        for (offset, event) in &frame.events {
            if is_removed(event) {
                gap.scavenged.push(GapEvent::from(event));
            } else {
                kept.push(record(old, *offset));
            }
        }
        gap.scavenged.sort_unstable_by_key(|scavenged| scavenged.position);
    }
}

/// The entry of an append that loses events.
fn gap_append(events: &[(u64, RecordedEvent)]) -> Option<GapAppend> {
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
        open.gap.scavenged = (1..=1_000)
            .map(|number| GapEvent {
                position: Position::new(number),
                stream: stream.clone(),
                revision: Revision::new(number - 1),
                event_type: None,
                correlation_id: None,
            })
            .collect();
        let bytes = open.bytes_max();
        assert!(bytes > 1_000, "{bytes}");
        open.kept.push(&[0; 100]);
        assert_eq!(open.bytes_max(), bytes + 100);
    }
}
