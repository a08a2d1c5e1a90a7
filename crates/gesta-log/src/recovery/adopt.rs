//! From the frames of a segment to the adopted log and its index.
//!
//! Always holds: of the last segment everything is adopted that is whole, of others what their
//! successor names; what is bad is reported, never passed over. Not here: the corruption rule
//! ([`scan`]).

use foldhash::HashMap;
use gesta_store::{Damage, Position, RecordedAt, RecordedEvent, Revision, StreamName};

use super::{Log, Recovery, Segment, Steps, failed, filed::Filed, incarnation_of};
use crate::{
    disk::{Access, Cache, Operation},
    format::{Chain, Frame, FrameKind, Gap, HEADER_BYTES, Opening, Seed, SegmentHeader},
    index::{Covered, Index, IndexEntry},
    mutations::mutated,
    options::{OpenError, Torn, Unmarked},
    segment::{
        SegmentName,
        scan::{self, BadRange, ScanResult, ScanStart},
        segment_file,
    },
};

/// What one walk over a segment found.
pub(super) struct Contents {
    /// As it was read together with the frames: another process may just have replaced the file.
    pub(super) header: SegmentHeader,
    pub(super) walked: ScanResult,
    pub(super) frames: Vec<(u64, Frame)>,
    /// How many bytes were read.
    bytes: u64,
}

impl Contents {
    fn first_bad(&self) -> Option<u64> {
        self.walked.bad.first().map(|bad| bad.offset)
    }
}

impl Recovery<'_> {
    /// Walks one segment and adds what it holds to the log. Returns its size in bytes.
    pub(super) fn adopt(
        &mut self,
        log: &mut Log,
        segment: &Segment,
        successor: Option<&Segment>,
    ) -> Result<u64, OpenError> {
        let last = successor.is_none();
        if last {
            self.sync(&segment.file)?;
        }
        let adopted_length = successor
            .filter(|successor| successor.opening.predecessor == segment.header.number)
            .map(|successor| successor.opening.adopted_length);
        if segment.first != log.end.next {
            // Damage before this segment took events; go on from where it begins.
            self.took(log.end.next, segment);
            log.chain = None;
            log.end.next = segment.first.max(log.end.next);
        }
        let incarnation = incarnation_of(&segment.header);
        if log.lives.last().is_none_or(|(life, _)| *life != incarnation) {
            log.lives.push((incarnation, segment.first));
        }
        let start = ScanStart {
            seed: segment.seed(),
            chain: log.chain,
            next: log.end.next,
            adopted_length,
        };
        let Contents { header, walked, frames, bytes } = self.contents(segment, start, last)?;
        if last && mutated!(TornTailZeroed) {
            self.zero_torn_tail(segment, &walked)?;
        }
        self.report_damage(segment, &walked, successor);
        self.swapped |= header.rewritten.is_some();
        let seed = Seed::new(header.salt, header.number);
        for (_, frame) in frames {
            self.index(log, segment, seed, &frame);
        }
        log.chain = walked.chain;
        log.end.chain = walked.chain.unwrap_or(log.end.chain);
        log.end.next = walked.next;
        log.end.predecessor = Opening {
            predecessor: header.number,
            adopted_length: match () {
                () if mutated!(AdoptUpToMark) => walked.mark,
                () if mutated!(AdoptTornTail) => walked.end + walked.torn_bytes,
                () => header.named_length(walked.end),
            },
            salt: header.named_salt(),
        };
        self.unflushed.push(Covered {
            number: header.number,
            salt: header.salt,
            incarnation: header.incarnation,
            first: segment.first.number(),
            end: walked.next.number(),
            adopted_length: walked.end,
            chain: log.end.chain.0,
            last_recorded_at: log.index.last_recorded_at().map(RecordedAt::micros),
        });
        Ok(bytes)
    }

    /// Checks what the index's files cover: that the segments are there and long enough, and, of
    /// the latest ones, each frame. The very last one is checked whatever its size, and past the
    /// cache, if nothing follows it.
    pub(super) fn check(
        &mut self,
        filed: &Filed,
        last_is_covered: bool,
        bytes_max: u64,
        steps: &mut Steps<'_>,
    ) -> Result<(), OpenError> {
        let mut left = bytes_max;
        for (n, covered) in filed.covered.iter().enumerate().rev() {
            let last = last_is_covered && n + 1 == filed.covered.len();
            let name = SegmentName::of(covered.number);
            let file = name.as_str();
            let length = match self.disk.length(file) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                Err(error) => return Err(failed(&format!("read {file}"), error)),
            };
            if length < covered.adopted_length {
                if self.is_just_replaced(covered)? {
                    steps.advance(length);
                    continue;
                }
                let what = match length {
                    0 => "missing".to_owned(),
                    _ => format!(
                        "the file is cut; {} bytes belong to the log",
                        covered.adopted_length
                    ),
                };
                self.damaged_covered(covered, length, what);
                continue;
            }
            if !last && covered.adopted_length > left {
                steps.advance(length);
                left = 0;
                continue;
            }
            left = left.saturating_sub(covered.adopted_length);
            if last {
                self.sync(file)?;
            }
            let before = n.checked_sub(1).and_then(|before| filed.covered.get(before));
            self.check_frames(
                filed,
                covered,
                before,
                if last { Cache::Bypass } else { self.older_segments },
            )?;
            steps.advance(length);
        }
        self.report.damage.reverse();
        Ok(())
    }

    fn check_frames(
        &mut self,
        filed: &Filed,
        covered: &Covered,
        before: Option<&Covered>,
        cache: Cache,
    ) -> Result<(), OpenError> {
        let file = segment_file(covered.number);
        let genesis = || filed.store.map(Chain::genesis);
        let start = ScanStart {
            seed: Seed::new(covered.salt, covered.number),
            chain: before.map(|before| Chain(before.chain)).or_else(genesis),
            next: Position::new(covered.first),
            adopted_length: Some(covered.adopted_length),
        };
        let bytes = self.read(&file, usize::MAX, cache)?;
        let Some(header) = self.header(covered.number, &file, &bytes)? else {
            // Which was reported; the index's files say which events were here.
            let (first, last) = (covered.first, covered.end.saturating_sub(1));
            if let (Some(damage), true) = (self.report.damage.last_mut(), last >= first) {
                damage.positions = Some(Position::new(first)..=Position::new(last));
            }
            return Ok(());
        };
        if self.access == Access::ReadOnly && header.salt != covered.salt {
            return Ok(()); // another process just replaced it
        }
        let walked = scan::walk(&bytes, start, |_, _| {});
        for bad in walked.bad.iter().rev() {
            let resumes = bad.resumes.unwrap_or(Position::new(covered.end));
            let last = Position::new(resumes.number().saturating_sub(1));
            self.report.damage.push(Damage {
                file: file.clone(),
                offset: bad.offset,
                positions: (last >= bad.missing).then_some(bad.missing..=last),
                what: bad.what.to_string(),
            });
        }
        let ends = (walked.chain.map(|chain| chain.0), walked.next.number());
        if walked.bad.is_empty() && ends != (Some(covered.chain), covered.end) {
            let what = "it holds other events than the index's file says".to_owned();
            self.damaged_covered(covered, HEADER_BYTES, what);
        }
        Ok(())
    }

    /// Whether another process has replaced a segment since the index's files were compared with it.
    fn is_just_replaced(&self, covered: &Covered) -> Result<bool, OpenError> {
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

    fn damaged_covered(&mut self, covered: &Covered, offset: u64, what: String) {
        let last = Position::new(covered.end.saturating_sub(1));
        let first = Position::new(covered.first);
        self.report.damage.push(Damage {
            file: segment_file(covered.number),
            offset,
            positions: (last >= first).then_some(first..=last),
            what,
        });
    }

    /// What of a segment belongs to the log; says what is at the end of the last one.
    pub(super) fn contents(
        &mut self,
        segment: &Segment,
        start: ScanStart,
        last: bool,
    ) -> Result<Contents, OpenError> {
        let mut contents = self.held(segment, start, last)?;
        let Contents { header, walked, frames, .. } = &mut contents;
        if last {
            self.report_end(segment, walked, frames);
        }
        // The segment that says what of this one belongs is lost: only what a mark covers surely does.
        let unnamed = !last && header.adopted_length(start.adopted_length).is_none();
        let follows = last && self.access == Access::ReadOnly && walked.bad.is_empty();
        if (unnamed || follows) && !walked.sealed {
            keep_marked(walked, start.chain, frames);
        }
        Ok(contents)
    }

    /// What a segment holds.
    fn held(&self, segment: &Segment, start: ScanStart, last: bool) -> Result<Contents, OpenError> {
        let bypass = last && !mutated!(AdoptFromPageCache);
        let cache = if bypass { Cache::Bypass } else { self.older_segments };
        let mut contents = self.walk(segment, start, cache)?;
        if !last || self.access == Access::ReadWrite {
            return Ok(contents);
        }
        // A writer at work: a mark may be read after bytes that it covers had been read as zeros.
        // What it covers was durable by then, so only what is bad again is damage.
        while let Some(bad) = contents.first_bad() {
            contents = self.walk(segment, start, cache)?;
            if contents.first_bad() == Some(bad) {
                break;
            }
        }
        Ok(contents)
    }

    fn walk(
        &self,
        segment: &Segment,
        start: ScanStart,
        cache: Cache,
    ) -> Result<Contents, OpenError> {
        let bytes = self.read(&segment.file, usize::MAX, cache)?;
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
        let walked = scan::walk(&bytes, start, |offset, frame| frames.push((offset, frame)));
        Ok(Contents { header, walked, frames, bytes: bytes.len() as u64 })
    }

    fn index(&mut self, log: &mut Log, segment: &Segment, seed: Seed, frame: &Frame) {
        self.report.events += frame.events.len() as u64;
        let number = segment.header.number;
        if let Some(gap) = &frame.gap {
            self.report_misplaced(segment, || misplaced_in_gap(&log.index, gap, frame));
            return log.index.insert_frame(number, seed, frame);
        }
        for events in frame.appends() {
            self.report_misplaced(segment, || {
                // An append has each stream once, so what the index says is still true.
                out_of_place(&log.index, events.iter().map(in_place), LastStream(None))
            });
            log.index.insert(number, seed, events.iter().map(IndexEntry::from));
        }
    }

    fn report_misplaced(&mut self, segment: &Segment, misplaced: impl FnOnce() -> Option<Damage>) {
        // After damage revisions are expected to be missing.
        if self.report.damage.is_empty()
            && let Some(misplaced) = misplaced()
        {
            self.report.damage.push(Damage { file: segment.file.clone(), ..misplaced });
        }
    }

    fn report_end(&mut self, segment: &Segment, walked: &ScanResult, frames: &[(u64, Frame)]) {
        if walked.torn_bytes > 0 && walked.bad.is_empty() {
            self.report.torn = Some(Torn {
                file: segment.file.clone(),
                offset: walked.end,
                bytes: walked.torn_bytes,
            });
        }
        let sealed_or_closed = frames.last().is_some_and(|(_, frame)| {
            matches!(frame.header.kind, FrameKind::Seal | FrameKind::Close)
        });
        let mut after_mark = frames
            .iter()
            .filter(|(offset, _)| *offset >= walked.mark)
            .flat_map(|(_, frame)| frame.events.iter().map(|(_, event)| event.position));
        if let (false, Some(first)) = (sealed_or_closed, after_mark.next()) {
            let last = after_mark.last().unwrap_or(first);
            self.report.unmarked = Some(Unmarked {
                file: segment.file.clone(),
                offset: walked.mark,
                positions: first..=last,
            });
        }
    }

    /// A planted bug: an old segment is never written to.
    fn zero_torn_tail(&self, segment: &Segment, walked: &ScanResult) -> Result<(), OpenError> {
        if walked.torn_bytes == 0 {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(walked.torn_bytes).unwrap_or_default()];
        let (file, offset) = (segment.file.clone(), walked.end);
        let write = Operation::Write { file, offset, bytes: zeros.into() };
        self.disk.run(write).map_err(|source| failed("write zeros", source))
    }

    pub(super) fn report_damage(
        &mut self,
        segment: &Segment,
        walked: &ScanResult,
        successor: Option<&Segment>,
    ) {
        for bad in &walked.bad {
            let BadRange { offset, what, missing, resumes } = bad;
            let resumes = resumes.or(successor.map(|successor| successor.first));
            let last = resumes.and_then(|resumes| resumes.number().checked_sub(1));
            let positions =
                last.map(Position::new).filter(|last| last >= missing).map(|last| *missing..=last);
            self.report.damage.push(Damage {
                file: segment.file.clone(),
                offset: *offset,
                positions,
                what: what.to_string(),
            });
        }
    }

    /// Names the events from a position on that are missing before a segment, where damage to whole
    /// files took them: that of the nearest one, for those before the file that precedes it were
    /// named already.
    pub(super) fn took(&mut self, from: Position, segment: &Segment) {
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

/// Keeps what is surely durable: who only reads may meet a writer at work, and what no mark covers
/// may have been given up.
fn keep_marked(walked: &mut ScanResult, before: Option<Chain>, frames: &mut Vec<(u64, Frame)>) {
    let visible = frames.partition_point(|(offset, _)| *offset < walked.mark);
    let Some((offset, hidden)) = frames.get(visible) else { return };
    walked.end = *offset;
    walked.next = hidden.header.first_position;
    let last = visible.checked_sub(1).and_then(|last| frames.get(last));
    walked.chain = last.map_or(before, |(_, frame)| Some(frame.header.chain));
    frames.truncate(visible);
}

/// An event's place, its stream and its record's offset.
type InPlace<'a> = (Position, &'a StreamName, Revision, u64);

fn in_place((offset, event): &(u64, RecordedEvent)) -> InPlace<'_> {
    (event.position, &event.stream, event.revision, *offset)
}

fn misplaced_in_gap(index: &Index, gap: &Gap, frame: &Frame) -> Option<Damage> {
    let gone = gap.gone.iter().map(|gone| (gone.position, &gone.stream, gone.revision, 0));
    let mut all: Vec<_> = gone.chain(frame.events.iter().map(in_place)).collect();
    all.sort_unstable_by_key(|(position, ..)| *position);
    out_of_place(index, all.into_iter(), HashMap::default())
}

/// Remembers which revision a stream goes on with.
trait NextRevisions<'a> {
    fn of(&self, stream: &StreamName) -> Option<Revision>;
    fn set(&mut self, stream: &'a StreamName, next: Revision);
}

struct LastStream<'a>(Option<(&'a StreamName, Revision)>);

impl<'a> NextRevisions<'a> for LastStream<'a> {
    fn of(&self, stream: &StreamName) -> Option<Revision> {
        self.0.filter(|(same, _)| *same == stream).map(|(_, next)| next)
    }

    fn set(&mut self, stream: &'a StreamName, next: Revision) {
        self.0 = Some((stream, next));
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

/// An event whose revision does not follow its stream's, as far as what is in memory says: to ask the
/// index's files for each stream would take most of the time of an opening, and `verify` does.
fn out_of_place<'a>(
    index: &Index,
    events: impl Iterator<Item = InPlace<'a>>,
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
                    None if in_files > Position::START => revision,
                    None => Revision::FIRST,
                }
            }
        };
        if expected != revision {
            return Some(Damage {
                file: String::new(),
                offset,
                positions: Some(position..=position),
                what: format!("{stream} goes on with revision {revision} instead of {expected}"),
            });
        }
        known.set(stream, revision.next());
    }
    None
}
