//! How much of a store is durable at this moment, segment by segment.
//!
//! Owns: reading a store beside whoever writes it. Always holds: what is taken was durable before it
//! was taken, so no crash of the store can take it back; what was acknowledged before is in it.
//! Takes the store's lock only where nobody has it, to sync what a crash has left, and changes no
//! segment.

use std::{io, ops::RangeInclusive, path::Path, path::PathBuf, thread, time::Duration};

use bytes::Bytes;
use gesta_store::{Damage, Incarnation, Position};

use super::BackupError;
use crate::{
    clock::{Clock, SystemClock},
    disk::{Access, Cache, Disk, FileDisk, LockError, Operation},
    format::{Chain, Frame, FrameHeader, HEADER_BYTES, Malformed, Opening, Seed, SegmentHeader},
    options::OpenError,
    recovery::incarnation_of,
    recovery::restored,
    segment::scan::{self, ScanStart},
    segment::{segment_file, segment_numbers},
};

/// How often it is looked whether the writer has confirmed what it wrote.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long. A writer confirms with its next group, or when it has been idle for a moment.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of a segment that surely hold its header and opening frame.
const OPENING_REACH: usize = HEADER_BYTES as usize + 256;

/// A segment as far as it belongs to the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) number: u64,
    pub(crate) salt: [u8; 16],
    /// How long the segment was made.
    pub(super) length: u64,
    /// The first event's position, and the chain before it.
    first: Position,
    before: Chain,
    /// How many bytes belong.
    pub(crate) bytes: u64,
    /// The position after the last event, and the chain there.
    pub(crate) next: Position,
    pub(crate) after: Chain,
}

impl Part {
    fn start(&self) -> ScanStart {
        ScanStart {
            seed: Seed::new(self.salt, self.number),
            chain: Some(self.before),
            next: self.first,
            adopted_length: Some(self.bytes),
        }
    }

    /// The frames of its bytes, which were checked.
    pub(crate) fn frames(&self, bytes: &Bytes) -> Vec<Frame> {
        let mut frames = Vec::new();
        scan::walk(bytes, self.start(), |_, frame| frames.push(frame));
        frames
    }

    /// What is wrong with bytes that should be this part, if anything is.
    pub(super) fn damage(&self, bytes: &Bytes) -> Option<Damage> {
        let damage = |offset, what: String| {
            let file = segment_file(self.number);
            Some(Damage { file, offset, positions: None, what })
        };
        let header = match SegmentHeader::decode(bytes) {
            Ok(header) => header,
            Err(malformed) => return damage(0, format!("segment header: {malformed}")),
        };
        if (header.number, header.salt) != (self.number, self.salt) {
            return damage(0, "the header names another segment".to_owned());
        }
        let walked = scan::walk(bytes, self.start(), |_, _| {});
        if let Some(bad) = walked.bad.first() {
            return damage(bad.offset, bad.what.to_string());
        }
        let ends = (walked.end, walked.next, walked.chain);
        let expected = (self.bytes, self.next, Some(self.after));
        if ends == expected { None } else { damage(walked.end, "it ends early".to_owned()) }
    }
}

/// A store at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) parts: Vec<Part>,
    /// None of a store that never had an event.
    pub(crate) store: Option<[u8; 16]>,
    /// Each incarnation with the position of its first event, in order.
    pub(crate) lives: Vec<(Incarnation, Position)>,
    /// Written before, and not confirmed by whoever writes.
    pub(crate) unconfirmed: Option<RangeInclusive<Position>>,
}

impl Snapshot {
    /// The last event's position.
    pub(crate) fn end(&self) -> Position {
        let next = self.parts.last().map_or(Position::START.next(), |part| part.next);
        Position::new(next.number().saturating_sub(1))
    }

    /// The last position that the store has in common with another life of it.
    pub(super) fn common_prefix_end(&self, incarnation: Incarnation) -> Option<Position> {
        let at = self.lives.iter().position(|(life, _)| *life == incarnation)?;
        let next = self.lives.get(at + 1).map(|(_, first)| first.number().saturating_sub(1));
        Some(next.map_or(self.end(), Position::new))
    }
}

/// A segment of the log by its header and opening frame.
#[derive(Clone, Copy, Debug)]
struct ChainLink {
    header: SegmentHeader,
    opening: Opening,
    first: Position,
    before: Chain,
}

impl ChainLink {
    fn of(header: SegmentHeader, start: &Bytes) -> Option<Self> {
        let frame = scan::opening_frame(start, Seed::new(header.salt, header.number)).ok()?;
        let Frame { header: frame, opening, .. } = frame;
        Some(Self { header, opening: opening?, first: frame.first_position, before: frame.chain })
    }

    fn up_to(&self, end: End) -> Part {
        let Self { header: SegmentHeader { number, salt, bytes: length, .. }, .. } = *self;
        let End { bytes, next, after } = end;
        Part { number, salt, length, first: self.first, before: self.before, bytes, next, after }
    }
}

/// A place where a segment may end.
#[derive(Clone, Copy, Debug)]
struct End {
    bytes: u64,
    next: Position,
    after: Chain,
}

/// Where the last segment ends.
#[derive(Clone, Copy, Debug)]
struct Ends {
    /// As its marks say.
    durable: End,
    /// With every frame that can be read.
    written: End,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Source {
    directory: PathBuf,
    disk: FileDisk,
}

impl Source {
    pub(crate) fn open(directory: &Path) -> Result<Self, BackupError> {
        let disk = FileDisk::open(directory, Access::ReadOnly)?;
        Ok(Self { directory: directory.to_owned(), disk })
    }

    /// As much of the store as is durable, which is at least what is acknowledged by now. Waits
    /// for the writer to say so, as long as that may take.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, BackupError> {
        let clock = SystemClock::new();
        let mut wanted = None;
        loop {
            let links = links(&self.disk)?;
            let Some(last) = links.last() else { return self.of(&links, None, None) };
            let Ends { durable, written } = ends(&self.disk, last, Cache::Use)?;
            let wanted = *wanted.get_or_insert(written.next);
            if durable.next >= wanted {
                return self.of(&links, Some(durable), None);
            }
            if let Some(snapshot) = self.when_nobody_writes()? {
                return Ok(snapshot);
            }
            if clock.elapsed() > CONFIRMED_WITHIN {
                let unconfirmed = durable.next..=Position::new(wanted.number() - 1);
                return self.of(&links, Some(durable), Some(unconfirmed));
            }
            thread::park_timeout(LOOK_EVERY);
        }
    }

    /// All that can be read, synced first, as an opening of the store would take it.
    fn when_nobody_writes(&self) -> Result<Option<Snapshot>, BackupError> {
        let disk = match FileDisk::open(&self.directory, Access::ReadWrite) {
            Ok(disk) => disk,
            Err(LockError::InUse { .. } | LockError::Io { .. }) => return Ok(None),
        };
        let links = links(&disk)?;
        let Some(last) = links.last() else { return self.of(&links, None, None).map(Some) };
        let file = segment_file(last.header.number);
        let failed = |source| failed("sync", &file, source);
        disk.run(Operation::Sync { file: file.clone() }).map_err(failed)?;
        let Ends { written, .. } = ends(&disk, last, Cache::Bypass)?;
        self.of(&links, Some(written), None).map(Some)
    }

    /// A store that is still being made by an import, which has its directory for itself.
    pub(crate) fn unfinished(&self) -> Result<Snapshot, BackupError> {
        let links = links(&self.disk)?;
        let end = links.last().map(|last| ends(&self.disk, last, Cache::Bypass)).transpose()?;
        Ok(snapshot_of(&links, end.map(|ends| ends.written), None))
    }

    fn of(
        &self,
        links: &[ChainLink],
        end: Option<End>,
        unconfirmed: Option<RangeInclusive<Position>>,
    ) -> Result<Snapshot, BackupError> {
        let mut snapshot = snapshot_of(links, end, unconfirmed);
        let incarnations = links.iter().map(|link| incarnation_of(&link.header));
        if let Some(life) = restored::incarnation(&self.disk, Access::ReadOnly, incarnations)? {
            snapshot.lives.push((life, snapshot.end().next()));
        }
        Ok(snapshot)
    }

    /// The bytes of a part, checked. They may be those of the segment as it was rewritten meanwhile.
    pub(crate) fn read(&self, part: &Part) -> Result<(Part, Bytes), BackupError> {
        let file = segment_file(part.number);
        let bytes = read(&self.disk, &file, part.bytes, Cache::Use)?;
        let Some(damage) = part.damage(&bytes) else { return Ok((*part, bytes)) };
        let whole = read(&self.disk, &file, u64::MAX, Cache::Use)?;
        let header = SegmentHeader::decode(&whole).ok().filter(|header| header.rewritten.is_some());
        let rewritten = header.map(|SegmentHeader { salt, bytes, .. }| Part {
            salt,
            length: bytes,
            bytes,
            ..*part
        });
        match rewritten {
            Some(now) if now.damage(&whole).is_none() => Ok((now, whole)),
            Some(_) | None => Err(BackupError::Damaged(damage)),
        }
    }
}

/// What the segments of a log say.
fn snapshot_of(
    links: &[ChainLink],
    end: Option<End>,
    unconfirmed: Option<RangeInclusive<Position>>,
) -> Snapshot {
    let mut lives: Vec<(Incarnation, Position)> = Vec::new();
    for link in links {
        let incarnation = incarnation_of(&link.header);
        if lives.last().is_none_or(|(life, _)| *life != incarnation) {
            lives.push((incarnation, link.first));
        }
    }
    let store = links.first().map(|link| link.header.store);
    Snapshot { parts: parts(links, end), store, lives, unconfirmed }
}

/// Each segment up to where its successor says that it ends; the last one up to `end`. One of which
/// not even the opening frame is durable does not belong to the log yet.
fn parts(links: &[ChainLink], end: Option<End>) -> Vec<Part> {
    let ends = links.iter().zip(links.iter().skip(1)).map(|(link, successor)| End {
        bytes: if link.header.rewritten.is_some() {
            link.header.bytes
        } else {
            successor.opening.adopted_length
        },
        next: successor.first,
        after: successor.before,
    });
    let parts = links.iter().zip(ends.chain(end)).map(|(link, end)| link.up_to(end));
    parts.filter(|part| part.bytes > HEADER_BYTES).collect()
}

/// The segments of the log, from the first to the last one that has an opening frame.
fn links(disk: &dyn Disk) -> Result<Vec<ChainLink>, BackupError> {
    let numbers = segment_numbers(disk).map_err(|source| BackupError::Io {
        doing: "list the store's directory".to_owned(),
        source,
    })?;
    let mut links = Vec::new();
    for number in numbers.into_iter().rev() {
        if let Some(last) = last_link(disk, number)? {
            links.push(last);
            break;
        }
    }
    while let Some(later) = links.last().copied()
        && later.opening.predecessor != 0
    {
        links.push(predecessor(disk, &later)?);
    }
    links.reverse();
    Ok(links)
}

/// A segment that may be the last one; none if it was made and not used yet.
fn last_link(disk: &dyn Disk, number: u64) -> Result<Option<ChainLink>, BackupError> {
    let file = segment_file(number);
    let start = read(disk, &file, OPENING_REACH as u64, Cache::Use)?;
    let header = header(number, &file, &start)?;
    if let Some(link) = ChainLink::of(header, &start) {
        return Ok(Some(link));
    }
    let whole = read(disk, &file, header.bytes, Cache::Use)?;
    if !scan::lost_opening(&whole, Seed::new(header.salt, number)) {
        return Ok(None);
    }
    // A writer at work may have written it since; it came before those later frames.
    let start = read(disk, &file, OPENING_REACH as u64, Cache::Use)?;
    let what = "the opening frame is gone, later frames are there";
    ChainLink::of(header, &start).map(Some).ok_or_else(|| damaged(file, HEADER_BYTES, what))
}

/// The segment that a later one names.
fn predecessor(disk: &dyn Disk, later: &ChainLink) -> Result<ChainLink, BackupError> {
    let number = later.opening.predecessor;
    let file = segment_file(number);
    let start = match read(disk, &file, OPENING_REACH as u64, Cache::Use) {
        Err(BackupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(file, 0, "the file is missing, though a later one follows it"));
        }
        start => start?,
    };
    let header = header(number, &file, &start)?;
    let named = header.named_salt() == later.opening.salt && header.store == later.header.store;
    if !named || number >= later.header.number {
        return Err(damaged(file, 0, "it is not the segment that a later one follows"));
    }
    let what = "the opening frame is damaged";
    ChainLink::of(header, &start).ok_or_else(|| damaged(file, HEADER_BYTES, what))
}

fn header(number: u64, file: &str, start: &Bytes) -> Result<SegmentHeader, BackupError> {
    match SegmentHeader::decode(start) {
        Ok(header) if header.number == number => Ok(header),
        Ok(_) => Err(damaged(file.to_owned(), 0, "the header names another segment")),
        Err(Malformed::OtherVersion) => {
            Err(OpenError::OtherVersion { file: file.to_owned() }.into())
        }
        Err(malformed) => Err(damaged(file.to_owned(), 0, &format!("header: {malformed}"))),
    }
}

/// Where the last segment ends.
fn ends(disk: &dyn Disk, last: &ChainLink, cache: Cache) -> Result<Ends, BackupError> {
    let mut bad_before = None;
    loop {
        let file = segment_file(last.header.number);
        let bytes = read(disk, &file, last.header.bytes, cache)?;
        if (bytes.len() as u64) < last.header.bytes {
            return Err(damaged(file, bytes.len() as u64, "the file is cut"));
        }
        let (ends, bad) = walk(last, &bytes);
        match bad {
            None => return Ok(ends),
            // A mark may have been read after bytes that it covers; only what stays bad is damage.
            Some((offset, what)) if bad_before == Some(offset) => {
                return Err(damaged(file, offset, &what.to_string()));
            }
            Some((offset, _)) => bad_before = Some(offset),
        }
    }
}

fn walk(last: &ChainLink, bytes: &Bytes) -> (Ends, Option<(u64, Malformed)>) {
    let seed = Seed::new(last.header.salt, last.header.number);
    let start =
        ScanStart { seed, chain: Some(last.before), next: last.first, adopted_length: None };
    let mut frames: Vec<(u64, FrameHeader)> = Vec::new();
    let walked = scan::walk(bytes, start, |offset, frame| frames.push((offset, frame.header)));
    let after = walked.chain.unwrap_or(last.before);
    let written = End { bytes: walked.end, next: walked.next, after };
    let covered = frames.partition_point(|(offset, _)| *offset < walked.mark);
    let last_covered = covered.checked_sub(1).and_then(|at| frames.get(at));
    let durable = match frames.get(covered) {
        Some((_, hidden)) if !walked.sealed => End {
            bytes: last_covered.map_or(HEADER_BYTES, |(offset, last)| offset + last.length as u64),
            next: hidden.first_position,
            after: last_covered.map_or(last.before, |(_, last)| last.chain),
        },
        Some(_) | None => written,
    };
    let bad = walked.bad.first().map(|bad| (bad.offset, bad.what));
    (Ends { durable, written }, bad)
}

/// Up to so many bytes from the front of a file.
pub(super) fn read(
    disk: &dyn Disk,
    file: &str,
    bytes: u64,
    cache: Cache,
) -> Result<Bytes, BackupError> {
    let there = disk.length(file).map_err(|source| failed("read", file, source))?;
    let length = usize::try_from(bytes.min(there)).unwrap_or(usize::MAX);
    disk.read(file, 0, length, cache).map_err(|source| failed("read", file, source))
}

fn failed(doing: &str, file: &str, source: io::Error) -> BackupError {
    BackupError::Io { doing: format!("{doing} {file}"), source }
}

fn damaged(file: String, offset: u64, what: &str) -> BackupError {
    BackupError::Damaged(Damage { file, offset, positions: None, what: what.to_owned() })
}
