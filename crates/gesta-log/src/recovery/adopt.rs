//! Adoption: adds the frames of a segment to the log and its index.
//!
//! Invariants:
//! - The last segment is adopted up to its torn tail, any other one up to the length that its
//!   successor names.
//! - Bad bytes are reported, never skipped silently.
//!
//! Elsewhere: the corruption rule, which distinguishes a torn tail from damage ([`scan`]).

use foldhash::HashMap;
use gesta_store::{Damage, Position, RecordedAt, RecordedEvent, Revision, StreamName};

use super::{
    AdoptedLog, OpenedSegment, ProgressCounter, Recovery, failed, incarnation_of,
    index_files::IndexFiles,
};
use crate::{
    disk::{Access, Cache, Operation},
    format::{Chain, Frame, FrameKind, Gap, HEADER_BYTES, Opening, Seed, SegmentHeader},
    index::{CoveredSegment, Index, IndexEntry},
    mutations::mutated,
    options::{OpenError, Torn, Unmarked},
    segment::{
        SegmentName,
        scan::{self, BadRange, ScanResult, ScanStart},
        segment_file,
    },
};

/// The result of scanning one segment.
pub(super) struct SegmentContents {
    /// Read together with the frames: another process may have replaced the file since recovery
    /// began.
    pub(super) header: SegmentHeader,
    pub(super) scanned: ScanResult,
    pub(super) frames: Vec<(u64, Frame)>,
    /// Number of bytes read.
    bytes: u64,
}

impl SegmentContents {
    fn first_bad(&self) -> Option<u64> {
        self.scanned.bad.first().map(|bad| bad.offset)
    }
}

impl Recovery<'_> {
    /// Scans one segment and adds its frames to the log. Returns its size in bytes.
    pub(super) fn adopt(
        &mut self,
        log: &mut AdoptedLog,
        segment: &OpenedSegment,
        successor: Option<&OpenedSegment>,
    ) -> Result<u64, OpenError> {
        let last = successor.is_none();
        // A killed process may have left bytes in the page cache only. Sync before adoption: an
        // event that was shown once must survive the next power failure.
        if last {
            self.sync(&segment.file)?;
        }
        let adopted_length = segment.length_stated_by(successor);
        if segment.first != log.end.next {
            // Damage before this segment destroyed events: report them, and continue with its first
            // position and an unknown chain.
            self.assign_missing(log.end.next, segment);
            log.chain = None;
            log.end.next = segment.first.max(log.end.next);
        }
        let incarnation = incarnation_of(&segment.header);
        if log.incarnations.last().is_none_or(|(last, _)| *last != incarnation) {
            log.incarnations.push((incarnation, segment.first));
        }
        let start = ScanStart {
            seed: segment.seed(),
            chain: log.chain,
            next: log.end.next,
            adopted_length,
        };
        let SegmentContents { header, scanned, frames, bytes } =
            self.contents(segment, start, last)?;
        if last && mutated!(TornTailZeroed) {
            self.zero_torn_tail(segment, &scanned)?;
        }
        self.report_damage(segment, &scanned, successor);
        // Its rename may not be durable yet.
        self.swapped |= header.rewritten.is_some();
        let seed = Seed::new(header.salt, header.number);
        for (_, frame) in frames {
            self.index(log, segment, seed, &frame);
        }
        log.chain = scanned.chain;
        // Unknown after damage up to the end. The old value does no harm: a damaged store is not
        // written, so nothing continues from it.
        log.end.chain = scanned.chain.unwrap_or(log.end.chain);
        log.end.next = scanned.next;
        // The next segment names this one by the length and salt that it had before a rewrite, so
        // that a rewrite does not change its successor.
        log.end.predecessor = Opening {
            predecessor: header.number,
            adopted_length: match () {
                () if mutated!(AdoptUpToMark) => scanned.mark,
                () if mutated!(AdoptTornTail) => scanned.end + scanned.torn_bytes,
                () => header.named_length(scanned.end),
            },
            salt: header.named_salt(),
        };
        self.unflushed.push(CoveredSegment {
            number: header.number,
            salt: header.salt,
            incarnation: header.incarnation,
            first: segment.first.number(),
            end: scanned.next.number(),
            adopted_length: scanned.end,
            chain: log.end.chain.0,
            last_recorded_at: log.index.last_recorded_at().map(RecordedAt::micros),
        });
        Ok(bytes)
    }

    /// Checks the segments that index files cover: each must exist and be long enough. The frames
    /// of the latest ones are verified as well, up to `bytes_max`.
    ///
    /// If no segment follows, the last one is always verified, and read past the page cache.
    pub(super) fn check(
        &mut self,
        index_files: &IndexFiles,
        last_is_covered: bool,
        bytes_max: u64,
        steps: &mut ProgressCounter<'_>,
    ) -> Result<(), OpenError> {
        // Backwards, so that the latest segments are verified while the budget lasts.
        let mut left = bytes_max;
        for (n, covered) in index_files.covered.iter().enumerate().rev() {
            let last = last_is_covered && n + 1 == index_files.covered.len();
            let name = SegmentName::of(covered.number);
            let file = name.as_str();
            let length = match self.disk.length(file) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                Err(error) => return Err(failed(&format!("read {file}"), error)),
            };
            if length < covered.adopted_length {
                // A rewritten segment is shorter than the one that the run covers.
                if self.is_just_replaced(covered)? {
                    steps.advance(length);
                    continue;
                }
                let what = match length {
                    0 => "missing".to_owned(),
                    _ => format!(
                        "the file is truncated; the log expects {} bytes",
                        covered.adopted_length
                    ),
                };
                self.damaged_covered(covered, length, what);
                continue;
            }
            // Older damage is found when it is read.
            if !last && covered.adopted_length > left {
                steps.advance(length);
                left = 0;
                continue;
            }
            left = left.saturating_sub(covered.adopted_length);
            if last {
                self.sync(file)?;
            }
            let before = n.checked_sub(1).and_then(|before| index_files.covered.get(before));
            self.check_frames(
                index_files,
                covered,
                before,
                if last { Cache::Bypass } else { self.older_segments },
            )?;
            steps.advance(length);
        }
        // The loop went backwards; damage is reported in the order of the log.
        self.report.damage.reverse();
        Ok(())
    }

    /// Verifies the frames of a segment that index files cover.
    fn check_frames(
        &mut self,
        index_files: &IndexFiles,
        covered: &CoveredSegment,
        before: Option<&CoveredSegment>,
        cache: Cache,
    ) -> Result<(), OpenError> {
        let file = segment_file(covered.number);
        let genesis = || index_files.store.map(Chain::genesis);
        let start = ScanStart {
            seed: Seed::new(covered.salt, covered.number),
            chain: before.map(|before| Chain(before.chain)).or_else(genesis),
            next: Position::new(covered.first),
            adopted_length: Some(covered.adopted_length),
        };
        let bytes = self.read(&file, usize::MAX, cache)?;
        let Some(header) = self.header(covered.number, &file, &bytes)? else {
            // The damage was reported without positions; the index files know them.
            let (first, last) = (covered.first, covered.end.saturating_sub(1));
            if let (Some(damage), true) = (self.report.damage.last_mut(), last >= first) {
                damage.positions = Some(Position::new(first)..=Position::new(last));
            }
            return Ok(());
        };
        if self.access == Access::ReadOnly && header.salt != covered.salt {
            return Ok(()); // Another process has just replaced it.
        }
        // The run states chain, positions and length, as a successor would.
        let scanned = scan::walk(&bytes, start, |_, _| {});
        // Backwards, because the caller turns all damage around in the end.
        for bad in scanned.bad.iter().rev() {
            let resumes = bad.resumes.unwrap_or(Position::new(covered.end));
            let last = Position::new(resumes.number().saturating_sub(1));
            self.report.damage.push(
                Damage::new(file.clone(), bad.offset, bad.what.to_string())
                    .positions((last >= bad.missing).then_some(bad.missing..=last)),
            );
        }
        // Valid frames of another history are damage as well.
        let ends = (scanned.chain.map(|chain| chain.0), scanned.next.number());
        if scanned.bad.is_empty() && ends != (Some(covered.chain), covered.end) {
            let what = "the segment's events are not those that the index file lists".to_owned();
            self.damaged_covered(covered, HEADER_BYTES, what);
        }
        Ok(())
    }

    /// Returns whether another process has replaced a segment since the index files were read.
    fn is_just_replaced(&self, covered: &CoveredSegment) -> Result<bool, OpenError> {
        // A writer holds the lock, so no other process replaces anything.
        if self.access == Access::ReadWrite {
            return Ok(false);
        }
        let start = match self.disk.read(
            &segment_file(covered.number),
            0,
            HEADER_BYTES as usize,
            self.older_segments,
        ) {
            Ok(start) => start,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read a segment", error)),
        };
        let header = SegmentHeader::decode(&start);
        Ok(header.is_ok_and(|header| header.rewritten.is_some() && header.salt != covered.salt))
    }

    fn damaged_covered(&mut self, covered: &CoveredSegment, offset: u64, what: String) {
        let last = Position::new(covered.end.saturating_sub(1));
        let first = Position::new(covered.first);
        self.report.damage.push(
            Damage::new(segment_file(covered.number), offset, what)
                .positions((last >= first).then_some(first..=last)),
        );
    }

    /// Returns the part of a segment that belongs to the log. Reports the end of the last one.
    pub(super) fn contents(
        &mut self,
        segment: &OpenedSegment,
        start: ScanStart,
        last: bool,
    ) -> Result<SegmentContents, OpenError> {
        let mut contents = self.scan_consistent(segment, start, last)?;
        let SegmentContents { header, scanned, frames, .. } = &mut contents;
        if last {
            self.report_end(segment, scanned, frames);
        }
        // Frames that no durable mark covers may be from an unacknowledged write that the writer
        // gave up. Two cases must not adopt them:
        // - the successor is lost, which named this segment's adopted length;
        // - a reader of the last segment may meet a writer at work. A sealed one is complete.
        let unnamed = !last && header.adopted_length(start.adopted_length).is_none();
        let follows = last && self.access == Access::ReadOnly && scanned.bad.is_empty();
        if (unnamed || follows) && !scanned.sealed {
            keep_marked(scanned, start.chain, frames);
        }
        Ok(contents)
    }

    /// Scans a segment, again if a concurrent writer made the first scan inconsistent.
    fn scan_consistent(
        &self,
        segment: &OpenedSegment,
        start: ScanStart,
        last: bool,
    ) -> Result<SegmentContents, OpenError> {
        let bypass = last && !mutated!(AdoptFromPageCache);
        let cache = if bypass { Cache::Bypass } else { self.older_segments };
        let mut contents = self.scan_once(segment, start, cache)?;
        if !last || self.access == Access::ReadWrite {
            return Ok(contents);
        }
        // With a writer at work, one read may return a durable mark together with older zeros in
        // the range that it covers. That range was durable before the mark was written, so a second
        // read sees it; only a range that is bad twice is damage.
        while let Some(bad) = contents.first_bad() {
            contents = self.scan_once(segment, start, cache)?;
            if contents.first_bad() == Some(bad) {
                break;
            }
        }
        Ok(contents)
    }

    /// Scans a segment once.
    fn scan_once(
        &self,
        segment: &OpenedSegment,
        start: ScanStart,
        cache: Cache,
    ) -> Result<SegmentContents, OpenError> {
        let bytes = self.read(&segment.file, usize::MAX, cache)?;
        // The file may have been rewritten since its header was read. A rewritten segment has
        // another salt, which seeds all checksums, but is named as before.
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) if header.named_salt() == segment.header.named_salt() => header,
            Ok(_) | Err(_) => segment.header,
        };
        let start = ScanStart {
            seed: Seed::new(header.salt, header.number),
            adopted_length: header.adopted_length(start.adopted_length),
            ..start
        };
        let mut frames = Vec::new();
        let scanned = scan::walk(&bytes, start, |offset, frame| frames.push((offset, frame)));
        Ok(SegmentContents { header, scanned, frames, bytes: bytes.len() as u64 })
    }

    /// Adds the events of a frame to the index.
    fn index(&mut self, log: &mut AdoptedLog, segment: &OpenedSegment, seed: Seed, frame: &Frame) {
        self.report.events += frame.events.len() as u64;
        let number = segment.header.number;
        if let Some(gap) = &frame.gap {
            self.report_misplaced(segment, || misplaced_in_gap(&log.index, gap, frame));
            return log.index.insert_frame(number, seed, frame);
        }
        for events in frame.appends() {
            self.report_misplaced(segment, || {
                // The index is updated after the append.
                let known = StreamsOfAppend::default();
                find_misplaced(&log.index, events.iter().map(event_location), known)
            });
            log.index.insert(number, seed, events.iter().map(IndexEntry::from));
        }
    }

    fn report_misplaced(
        &mut self,
        segment: &OpenedSegment,
        misplaced: impl FnOnce() -> Option<Damage>,
    ) {
        // After damage, missing revisions are expected.
        if self.report.damage.is_empty()
            && let Some(mut misplaced) = misplaced()
        {
            misplaced.file.clone_from(&segment.file);
            self.report.damage.push(misplaced);
        }
    }

    /// Reports the torn tail of the last segment, and the events that no durable mark covers.
    fn report_end(
        &mut self,
        segment: &OpenedSegment,
        scanned: &ScanResult,
        frames: &[(u64, Frame)],
    ) {
        if scanned.torn_bytes > 0 && scanned.bad.is_empty() {
            self.report.torn = Some(Torn {
                file: segment.file.clone(),
                offset: scanned.end,
                bytes: scanned.torn_bytes,
            });
        }
        // A seal or a close frame is written only after everything before it is durable.
        let sealed_or_closed = frames.last().is_some_and(|(_, frame)| {
            matches!(frame.header.kind, FrameKind::Seal | FrameKind::Close)
        });
        let mut after_mark = frames
            .iter()
            .filter(|(offset, _)| *offset >= scanned.mark)
            .flat_map(|(_, frame)| frame.events.iter().map(|(_, event)| event.position));
        if let (false, Some(first)) = (sealed_or_closed, after_mark.next()) {
            let last = after_mark.last().unwrap_or(first);
            self.report.unmarked = Some(Unmarked {
                file: segment.file.clone(),
                offset: scanned.mark,
                positions: first..=last,
                // A writer has synced the file before it reads it.
                durable: self.access == Access::ReadWrite,
            });
        }
    }

    /// A mutation: recovery never writes to an old segment.
    fn zero_torn_tail(
        &self,
        segment: &OpenedSegment,
        scanned: &ScanResult,
    ) -> Result<(), OpenError> {
        if scanned.torn_bytes == 0 {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(scanned.torn_bytes).unwrap_or_default()];
        let (file, offset) = (segment.file.clone(), scanned.end);
        let write = Operation::Write { file, offset, bytes: zeros.into() };
        self.disk.run(write).map_err(|source| failed("write zeros", source))
    }

    /// Reports the bad ranges of a segment, with the positions that each of them destroyed.
    pub(super) fn report_damage(
        &mut self,
        segment: &OpenedSegment,
        scanned: &ScanResult,
        successor: Option<&OpenedSegment>,
    ) {
        for bad in &scanned.bad {
            let BadRange { offset, what, missing, resumes } = bad;
            // Damage up to the end of the segment destroyed everything before its successor.
            let resumes = resumes.or(successor.map(|successor| successor.first));
            let last = resumes.and_then(|resumes| resumes.number().checked_sub(1));
            let positions =
                last.map(Position::new).filter(|last| last >= missing).map(|last| *missing..=last);
            self.report.damage.push(
                Damage::new(segment.file.clone(), *offset, what.to_string()).positions(positions),
            );
        }
    }

    /// Assigns the missing positions before a segment to the nearest damaged file before it, whose
    /// extent was not known yet.
    pub(super) fn assign_missing(&mut self, from: Position, segment: &OpenedSegment) {
        let last = Position::new(segment.first.number().saturating_sub(1));
        let before = |damage: &&mut Damage| {
            damage.positions.is_none() && damage.file.as_str() < segment.file.as_str()
        };
        let nearest = self.report.damage.iter_mut().filter(before);
        if let Some(damage) = nearest.max_by(|one, other| one.file.cmp(&other.file))
            && from <= last
        {
            damage.positions = Some(from..=last);
        }
    }
}

/// Drops the frames that no durable mark covers.
fn keep_marked(scanned: &mut ScanResult, before: Option<Chain>, frames: &mut Vec<(u64, Frame)>) {
    let visible = frames.partition_point(|(offset, _)| *offset < scanned.mark);
    let Some((offset, hidden)) = frames.get(visible) else { return };
    scanned.end = *offset;
    scanned.next = hidden.header.first_position;
    let last = visible.checked_sub(1).and_then(|last| frames.get(last));
    scanned.chain = last.map_or(before, |(_, frame)| Some(frame.header.chain));
    frames.truncate(visible);
}

/// An event's position, stream and revision, and its record's offset.
type EventLocation<'a> = (Position, &'a StreamName, Revision, u64);

fn event_location((offset, event): &(u64, RecordedEvent)) -> EventLocation<'_> {
    (event.position, &event.stream, event.revision, *offset)
}

fn misplaced_in_gap(index: &Index, gap: &Gap, frame: &Frame) -> Option<Damage> {
    let scavenged =
        gap.scavenged.iter().map(|event| (event.position, &event.stream, event.revision, 0));
    let mut all: Vec<_> = scavenged.chain(frame.events.iter().map(event_location)).collect();
    all.sort_unstable_by_key(|(position, ..)| *position);
    find_misplaced(index, all.into_iter(), HashMap::default())
}

/// The next expected revision of streams.
trait NextRevisions<'a> {
    fn of(&self, stream: &StreamName) -> Option<Revision>;
    fn set(&mut self, stream: &'a StreamName, next: Revision);
}

/// The streams of one append. Most appends have one, so a map is filled only when events of another
/// one follow.
#[derive(Default)]
struct StreamsOfAppend<'a> {
    last: Option<(&'a StreamName, Revision)>,
    earlier: HashMap<&'a StreamName, Revision>,
}

impl<'a> NextRevisions<'a> for StreamsOfAppend<'a> {
    fn of(&self, stream: &StreamName) -> Option<Revision> {
        match self.last {
            Some((same, next)) if same == stream => Some(next),
            _ if mutated!(EarlierPartsForgotten) => None,
            _ => self.earlier.get(stream).copied(),
        }
    }

    fn set(&mut self, stream: &'a StreamName, next: Revision) {
        match self.last.replace((stream, next)) {
            Some((other, next)) if other != stream => {
                self.earlier.insert(other, next);
            }
            _ => {}
        }
    }
}

impl<'a> NextRevisions<'a> for HashMap<&'a StreamName, Revision> {
    fn of(&self, stream: &StreamName) -> Option<Revision> {
        self.get(stream).copied()
    }

    fn set(&mut self, stream: &'a StreamName, next: Revision) {
        self.insert(stream, next);
    }
}

/// Returns the damage if an event's revision does not continue its stream.
///
/// Consults the memtables only. Looking up every stream in the index files would dominate the time
/// to open a store; `verify` does it.
fn find_misplaced<'a>(
    index: &Index,
    events: impl Iterator<Item = EventLocation<'a>>,
    mut known: impl NextRevisions<'a>,
) -> Option<Damage> {
    let in_files = index.last_position_in_runs();
    for (position, stream, revision, offset) in events {
        let expected = match known.of(stream) {
            Some(next) => next,
            None => {
                let head = index.stream_head(stream, in_files).ok()?;
                match head {
                    Some(head) => head.next(),
                    // Earlier events of the stream may be in the index files.
                    None if in_files > Position::START => revision,
                    None => Revision::FIRST,
                }
            }
        };
        if expected != revision {
            return Some(
                Damage::new(
                    String::new(),
                    offset,
                    format!("{stream} continues with revision {revision} instead of {expected}"),
                )
                .positions(position..=position),
            );
        }
        known.set(stream, revision.next());
    }
    None
}
