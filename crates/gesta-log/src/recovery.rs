//! Opening: from the files of a directory to the adopted log and its index.
//!
//! Owns: which segments follow each other and how much of each belongs to the log. Always holds:
//! recovery writes nothing into an old segment, cuts nothing away and renames nothing; it may be
//! interrupted anywhere and begun again; what it adopts was synced first and read past the cache.
//! Not here: what is written afterwards ([`writer`](crate::writer)).

use std::io;

use bytes::Bytes;
use gesta_store::{Damage, Incarnation, Position, RecordedAt, RecordedEvent, Revision, StreamName};
use uuid::Uuid;

use crate::{
    clock::Rng,
    disk::{Access, Cache, Disk, Operation},
    format::{Chain, Frame, FrameKind, HEADER_BYTES, Malformed, Opening, Seed, SegmentHeader},
    index::{Entry, Index},
    options::{OpenError, OpenReport, Torn, Unmarked},
    restored,
    scan::{self, BadRange, Start, Walked},
};

const SEGMENT_SUFFIX: &str = ".seg";
/// Bytes of a segment that surely hold its header and opening frame.
const OPENING_REACH: usize = HEADER_BYTES as usize + 256;

/// The name of the segment with this number.
pub(crate) fn segment_file(number: u64) -> String {
    format!("{number:016}{SEGMENT_SUFFIX}")
}

fn segment_number(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(SEGMENT_SUFFIX)?;
    digits.parse().ok().filter(|number| segment_file(*number) == file)
}

/// The numbers of all files that are named like segments, in order.
pub(crate) fn segment_numbers(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = disk.list()?;
    let mut numbers: Vec<_> = names.iter().filter_map(|file| segment_number(file)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The end of the adopted log: what the next segment continues.
#[derive(Clone, Debug)]
pub(crate) struct LogEnd {
    pub(crate) store: [u8; 16],
    pub(crate) incarnation: Incarnation,
    /// The number that the next segment gets.
    pub(crate) next_segment: u64,
    pub(crate) predecessor: Opening,
    pub(crate) chain: Chain,
    pub(crate) next: Position,
    pub(crate) last_recorded_at: Option<RecordedAt>,
}

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) end: LogEnd,
    /// Each incarnation with the position of its first event, in order.
    pub(crate) lives: Vec<(Incarnation, Position)>,
    pub(crate) report: OpenReport,
}

/// A segment that has a valid header and opening frame.
#[derive(Debug)]
struct Segment {
    file: String,
    header: SegmentHeader,
    opening: Opening,
    first: Position,
}

impl Segment {
    fn seed(&self) -> Seed {
        Seed::new(self.header.salt, self.header.number)
    }
}

/// How far a look at the whole store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were looked at.
    pub bytes_done: u64,
    /// Bytes that there are to look at.
    pub bytes_total: u64,
}

/// Told of progress, after each segment.
pub(crate) type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// How a directory is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) access: Access,
    /// From where segments are read that a later one vouches for; the last is read past the cache.
    pub(crate) older_segments: Cache,
}

/// Reads the whole directory.
pub(crate) fn recover(
    disk: &dyn Disk,
    rng: &mut dyn Rng,
    look: Look,
    progress: OnProgress<'_>,
) -> Result<Recovered, OpenError> {
    let Look { access, older_segments } = look;
    let mut recovery = Recovery { disk, access, older_segments, report: OpenReport::default() };
    let files = recovery.files()?;
    let bytes_total = recovery.bytes(&files);
    let mut bytes_done = 0;
    let segments = recovery.segments(&files)?;
    let store = match segments.first() {
        Some(first) => first.header.store,
        None => rng.bytes(),
    };
    let borne = segments.iter().map(|segment| incarnation_of(&segment.header));
    let restored = restored::incarnation(disk, access, borne)?;
    let incarnation = match (restored, segments.last()) {
        (Some(restored), _) => restored,
        (None, Some(last)) => incarnation_of(&last.header),
        (None, None) => Incarnation::new(Uuid::from_bytes(rng.bytes())),
    };
    let mut log = Log {
        index: Index::default(),
        end: LogEnd {
            store,
            incarnation,
            next_segment: files.last().map_or(1, |(number, _)| number.saturating_add(1)),
            predecessor: Opening { predecessor: 0, adopted_length: 0, salt: [0; 16] },
            chain: Chain::genesis(store),
            next: Position::START.next(),
            last_recorded_at: None,
        },
        chain: Some(Chain::genesis(store)),
        lives: Vec::new(),
    };
    for (at, segment) in segments.iter().enumerate() {
        bytes_done += recovery.adopt(&mut log, segment, segments.get(at + 1))?;
        progress(Progress { bytes_done, bytes_total });
    }
    if log.lives.last().is_none_or(|(life, _)| *life != incarnation) {
        log.lives.push((incarnation, log.end.next));
    }
    recovery.report.segments = segments.len();
    log.end.last_recorded_at = log.index.last_recorded_at();
    Ok(Recovered { index: log.index, end: log.end, lives: log.lives, report: recovery.report })
}

pub(crate) fn incarnation_of(header: &SegmentHeader) -> Incarnation {
    Incarnation::new(Uuid::from_bytes(header.incarnation))
}

/// What one walk over a segment found.
struct Contents {
    walked: Walked,
    frames: Vec<(u64, Frame)>,
    /// How many bytes were read.
    bytes: u64,
}

impl Contents {
    fn first_bad(&self) -> Option<u64> {
        self.walked.bad.first().map(|bad| bad.offset)
    }
}

/// The log as far as it was adopted.
struct Log {
    index: Index,
    end: LogEnd,
    /// As `end.chain`, unknown right after damage.
    chain: Option<Chain>,
    lives: Vec<(Incarnation, Position)>,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    access: Access,
    older_segments: Cache,
    report: OpenReport,
}

impl Recovery<'_> {
    /// Files that are named like segments, by number.
    fn files(&self) -> Result<Vec<(u64, String)>, OpenError> {
        let numbers =
            segment_numbers(self.disk).map_err(|source| failed("list the directory", source))?;
        Ok(numbers.into_iter().map(|number| (number, segment_file(number))).collect())
    }

    /// How large the files are together, as far as they can be asked.
    fn bytes(&self, files: &[(u64, String)]) -> u64 {
        files.iter().map(|(_, file)| self.disk.length(file).unwrap_or(0)).sum()
    }

    /// Those that belong to the log: the last one that has an opening frame, the one that this
    /// frame names, and so on back to the first. What is not named was given up.
    fn segments(&mut self, files: &[(u64, String)]) -> Result<Vec<Segment>, OpenError> {
        let mut chain: Vec<Segment> = Vec::new();
        for (number, file) in files.iter().rev() {
            let named = chain.last().map(|later| later.opening);
            if named.is_some_and(|opening| *number > opening.predecessor) {
                continue;
            }
            let Some(segment) = self.segment(*number, file, named.is_none())? else { continue };
            if let Some(later) = chain.last() {
                if later.header.store != segment.header.store {
                    return Err(OpenError::AnotherStore { file: file.clone() });
                }
                let found = (segment.header.number, segment.header.salt);
                if found != (later.opening.predecessor, later.opening.salt) {
                    self.missing(later);
                }
            }
            chain.push(segment);
        }
        if let Some(first) = chain.last()
            && first.opening.predecessor != 0
        {
            self.missing(first);
        }
        chain.reverse();
        Ok(chain)
    }

    /// Notes that the predecessor of a segment cannot be had, unless it is known why.
    fn missing(&mut self, later: &Segment) {
        let file = segment_file(later.opening.predecessor);
        if !self.report.damage.iter().any(|damage| damage.file == file) {
            let what = format!("missing or unreadable, though {} follows it", later.file);
            self.damaged(file, 0, what);
        }
    }

    /// A file as a segment. One without an opening frame was prepared and not used, or its first
    /// write was cut short; unless something says that it held more.
    fn segment(
        &mut self,
        number: u64,
        file: &str,
        last: bool,
    ) -> Result<Option<Segment>, OpenError> {
        if last {
            self.sync(file)?;
        }
        let start = self.read(file, OPENING_REACH, Cache::Bypass)?;
        let Some(header) = self.header(number, file, &start)? else { return Ok(None) };
        let length = self.length(file)?;
        if length < header.bytes {
            let what = format!("the file is cut; it was made {} bytes long", header.bytes);
            self.damaged(file.to_owned(), length, what);
        }
        let seed = Seed::new(header.salt, number);
        let opened = |start: &Bytes| match scan::opening_frame(start, seed) {
            Ok(Frame { header: frame, opening: Some(opening), .. }) => {
                let first = frame.first_position;
                Some(Segment { file: file.to_owned(), header, opening, first })
            }
            Ok(_) | Err(_) => None,
        };
        if let Some(segment) = opened(&start) {
            return Ok(Some(segment));
        }
        let whole = self.read(file, usize::MAX, Cache::Bypass)?;
        if !scan::lost_opening(&whole, seed) {
            return Ok(None);
        }
        // A writer at work may have written it since; it came before those later frames.
        let segment = opened(&self.read(file, OPENING_REACH, Cache::Bypass)?);
        if segment.is_none() {
            let what = "the opening frame is gone, later frames are there".to_owned();
            self.damaged(file.to_owned(), HEADER_BYTES, what);
        }
        Ok(segment)
    }

    /// The header of a segment, if it has one.
    fn header(
        &mut self,
        number: u64,
        file: &str,
        start: &Bytes,
    ) -> Result<Option<SegmentHeader>, OpenError> {
        let what = match SegmentHeader::decode(start) {
            Ok(header) if header.number == number => return Ok(Some(header)),
            Ok(_) => "the header names another segment".to_owned(),
            Err(Malformed::Newer) => return Err(OpenError::Newer { file: file.to_owned() }),
            Err(malformed) => format!("segment header: {malformed}"),
        };
        self.damaged(file.to_owned(), 0, what);
        Ok(None)
    }

    /// Walks one segment and adds what it holds to the log. Returns its size in bytes.
    fn adopt(
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
            self.took(log.end.next, segment.first);
            log.chain = None;
            log.end.next = segment.first.max(log.end.next);
        }
        let incarnation = incarnation_of(&segment.header);
        if log.lives.last().is_none_or(|(life, _)| *life != incarnation) {
            log.lives.push((incarnation, segment.first));
        }
        let start =
            Start { seed: segment.seed(), chain: log.chain, next: log.end.next, adopted_length };
        let Contents { mut walked, mut frames, bytes } = self.contents(segment, start, last)?;
        if last {
            self.report_end(segment, &walked, &frames);
            self.keep_visible(&mut walked, start.chain, &mut frames);
        }
        self.report_damage(segment, &walked, successor);
        for (_, frame) in frames {
            self.index(log, segment, frame);
        }
        log.chain = walked.chain;
        log.end.chain = walked.chain.unwrap_or(log.end.chain);
        log.end.next = walked.next;
        log.end.predecessor = Opening {
            predecessor: segment.header.number,
            adopted_length: walked.end,
            salt: segment.header.salt,
        };
        Ok(bytes)
    }

    /// What a segment holds.
    fn contents(&self, segment: &Segment, start: Start, last: bool) -> Result<Contents, OpenError> {
        let cache = if last { Cache::Bypass } else { self.older_segments };
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

    fn walk(&self, segment: &Segment, start: Start, cache: Cache) -> Result<Contents, OpenError> {
        let bytes = self.read(&segment.file, usize::MAX, cache)?;
        let mut frames = Vec::new();
        let walked = scan::walk(&bytes, start, |offset, frame| frames.push((offset, frame)));
        Ok(Contents { walked, frames, bytes: bytes.len() as u64 })
    }

    /// Who only reads may meet a writer at work, and sees no more than what is surely durable.
    fn keep_visible(
        &self,
        walked: &mut Walked,
        before: Option<Chain>,
        frames: &mut Vec<(u64, Frame)>,
    ) {
        if self.access == Access::ReadWrite || !walked.bad.is_empty() || walked.sealed {
            return;
        }
        let visible = frames.partition_point(|(offset, _)| *offset < walked.mark);
        let Some((offset, hidden)) = frames.get(visible) else { return };
        walked.end = *offset;
        walked.next = hidden.header.first_position;
        let last = visible.checked_sub(1).and_then(|last| frames.get(last));
        walked.chain = last.map_or(before, |(_, frame)| Some(frame.header.chain));
        frames.truncate(visible);
    }

    fn index(&mut self, log: &mut Log, segment: &Segment, frame: Frame) {
        self.report.events += frame.events.len() as u64;
        // After damage revisions are expected to be missing.
        if self.report.damage.is_empty()
            && let Some(misplaced) = misplaced(&log.index, &frame.events)
        {
            self.report.damage.push(Damage { file: segment.file.clone(), ..misplaced });
        }
        let entries = frame.events.iter().map(entry);
        log.index.insert(segment.header.number, segment.seed(), entries);
    }

    fn report_end(&mut self, segment: &Segment, walked: &Walked, frames: &[(u64, Frame)]) {
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

    fn report_damage(&mut self, segment: &Segment, walked: &Walked, successor: Option<&Segment>) {
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

    fn damaged(&mut self, file: String, offset: u64, what: String) {
        self.report.damage.push(Damage { file, offset, positions: None, what });
    }

    /// Names the events that are missing before a segment, where damage to whole files took them.
    fn took(&mut self, from: Position, before: Position) {
        let last = Position::new(before.number().saturating_sub(1));
        if let Some(damage) = self.report.damage.last_mut()
            && damage.positions.is_none()
            && from <= last
        {
            damage.positions = Some(from..=last);
        }
    }

    fn sync(&self, file: &str) -> Result<(), OpenError> {
        match self.access {
            Access::ReadOnly => Ok(()),
            Access::ReadWrite => self
                .disk
                .run(Operation::Sync { file: file.to_owned() })
                .map_err(|source| failed(&format!("sync {file}"), source)),
        }
    }

    fn read(&self, file: &str, bytes_max: usize, cache: Cache) -> Result<Bytes, OpenError> {
        let length = usize::try_from(self.length(file)?).unwrap_or(usize::MAX).min(bytes_max);
        let read = self.disk.read(file, 0, length, cache);
        read.map_err(|source| failed(&format!("read {file}"), source))
    }

    fn length(&self, file: &str) -> Result<u64, OpenError> {
        let length = self.disk.length(file);
        length.map_err(|source| failed(&format!("read {file}"), source))
    }
}

/// An event whose revision does not follow its stream's.
fn misplaced(index: &Index, events: &[(u64, RecordedEvent)]) -> Option<Damage> {
    let mut next: Option<(&StreamName, Revision)> = None;
    for (offset, event) in events {
        let RecordedEvent { stream, revision, position, .. } = event;
        let expected = match next {
            Some((same, next)) if same == stream => next,
            Some(_) | None => {
                // An append has each stream once, so what the index says is still true.
                let head = index.stream_head(stream, Position::START).ok()?;
                head.map_or(Revision::FIRST, Revision::next)
            }
        };
        if expected != *revision {
            return Some(Damage {
                file: String::new(),
                offset: *offset,
                positions: Some(*position..=*position),
                what: format!("{stream} goes on with revision {revision} instead of {expected}"),
            });
        }
        next = Some((stream, revision.next()));
    }
    None
}

fn failed(doing: &str, source: io::Error) -> OpenError {
    OpenError::Io { doing: doing.to_owned(), source }
}

/// What the index takes from an event whose record is at this offset.
pub(crate) fn entry((offset, event): &(u64, RecordedEvent)) -> Entry<'_> {
    Entry {
        id: event.id,
        stream: &event.stream,
        revision: event.revision,
        position: event.position,
        recorded_at: event.recorded_at,
        offset: *offset,
        event_type: &event.event_type,
        tags: &event.tags,
        metadata: event.stream.is_system().then_some(&*event.data),
    }
}
