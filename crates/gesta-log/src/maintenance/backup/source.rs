//! Takes a consistent snapshot of a store that another process may be writing.
//!
//! Invariants:
//! - A snapshot holds durable events only: a crash of the store cannot take them back.
//! - It holds all events that were acknowledged before it was taken.
//! - No segment is changed. The store's lock is taken only if it is free, to sync what a crash may
//!   have left in the page cache.

use std::{io, ops::RangeInclusive, path::Path, path::PathBuf, thread, time::Duration};

use bytes::Bytes;
use gesta_store::{Damage, Incarnation, Position};

use super::error::BackupError;
use crate::{
    clock::{Clock, SystemClock},
    disk::{Access, Cache, Disk, FileDisk, LockError, Operation},
    format::{Chain, Frame, FrameHeader, HEADER_BYTES, Malformed, Opening, Seed, SegmentHeader},
    options::OpenError,
    recovery::incarnation_file,
    recovery::incarnation_of,
    segment::scan::{self, ScanStart},
    segment::{segment_file, segment_numbers},
};

/// Interval at which the durable mark is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Maximum time to wait for the durable mark. A writer advances the mark with its next group, or
/// with a close frame shortly after its last group.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);
/// Upper bound of the end of a segment's opening frame.
const OPENING_REACH: usize = HEADER_BYTES as usize + 256;

/// The part of a segment that belongs to the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentPart {
    pub(crate) number: u64,
    pub(crate) salt: [u8; 16],
    /// The segment's preallocated length, in bytes.
    pub(super) length: u64,
    /// The first event's position, and the chain before it.
    first: Position,
    before: Chain,
    /// Number of bytes that belong to the log.
    pub(crate) bytes: u64,
    /// The position after the last event, and the chain there.
    pub(crate) next: Position,
    pub(crate) after: Chain,
}

impl SegmentPart {
    fn start(&self) -> ScanStart {
        ScanStart {
            seed: Seed::new(self.salt, self.number),
            chain: Some(self.before),
            next: self.first,
            adopted_length: Some(self.bytes),
        }
    }

    /// Decodes the frames of verified bytes.
    pub(crate) fn frames(&self, bytes: &Bytes) -> Vec<Frame> {
        let mut frames = Vec::new();
        scan::walk(bytes, self.start(), |_, frame| frames.push(frame));
        frames
    }

    /// Verifies bytes against this part. Returns the first damage.
    pub(super) fn damage(&self, bytes: &Bytes) -> Option<Damage> {
        let damage = |offset, what: String| {
            let file = segment_file(self.number);
            Some(Damage::new(file, offset, what))
        };
        let header = match SegmentHeader::decode(bytes) {
            Ok(header) => header,
            Err(malformed) => return damage(0, format!("segment header: {malformed}")),
        };
        if (header.number, header.salt) != (self.number, self.salt) {
            return damage(0, "the header names another segment".to_owned());
        }
        let scanned = scan::walk(bytes, self.start(), |_, _| {});
        if let Some(bad) = scanned.bad.first() {
            return damage(bad.offset, bad.what.to_string());
        }
        // Intact frames must also lead exactly to the expected end.
        let ends = (scanned.end, scanned.next, scanned.chain);
        let expected = (self.bytes, self.next, Some(self.after));
        if ends == expected {
            return None;
        }
        damage(scanned.end, "the segment ends early".to_owned())
    }
}

/// A store at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) parts: Vec<SegmentPart>,
    /// `None` if the store has no segment yet.
    pub(crate) store: Option<[u8; 16]>,
    /// Each incarnation with the position of its first event, in order.
    pub(crate) incarnations: Vec<(Incarnation, Position)>,
    /// Events that were written before the snapshot, but not confirmed as durable.
    pub(crate) unconfirmed: Option<RangeInclusive<Position>>,
}

impl Snapshot {
    /// The last event's position.
    pub(crate) fn end(&self) -> Position {
        let next = self.parts.last().map_or(Position::START.next(), |part| part.next);
        Position::new(next.number().saturating_sub(1))
    }

    /// Returns the last position that the store has in common with another incarnation of it.
    pub(super) fn common_prefix_end(&self, incarnation: Incarnation) -> Option<Position> {
        let at = self.incarnations.iter().position(|(other, _)| *other == incarnation)?;
        let next = self.incarnations.get(at + 1).map(|(_, first)| first.number().saturating_sub(1));
        Some(next.map_or(self.end(), Position::new))
    }
}

/// A segment's header and opening frame.
#[derive(Clone, Copy, Debug)]
struct OpenedLink {
    header: SegmentHeader,
    opening: Opening,
    first: Position,
    before: Chain,
}

impl OpenedLink {
    fn of(header: SegmentHeader, start: &Bytes) -> Option<Self> {
        let frame = scan::opening_frame(start, Seed::new(header.salt, header.number)).ok()?;
        let Frame { header: frame, opening, .. } = frame;
        Some(Self { header, opening: opening?, first: frame.first_position, before: frame.chain })
    }

    fn up_to(&self, end: End) -> SegmentPart {
        let Self { header: SegmentHeader { number, salt, bytes: length, .. }, .. } = *self;
        let End { bytes, next, after } = end;
        SegmentPart {
            number,
            salt,
            length,
            first: self.first,
            before: self.before,
            bytes,
            next,
            after,
        }
    }
}

/// A possible end of a segment.
#[derive(Clone, Copy, Debug)]
struct End {
    bytes: u64,
    next: Position,
    after: Chain,
}

/// The ends of the last segment.
#[derive(Clone, Copy, Debug)]
struct SegmentEnds {
    /// The end that durable marks confirm.
    durable: End,
    /// The end of the last valid frame.
    written: End,
}

/// A store that is read while another process may write it.
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

    /// Takes a snapshot of the durable part of the store, which includes all events acknowledged so
    /// far. Waits until the writer confirms them, for at most [`CONFIRMED_WITHIN`].
    pub(crate) fn snapshot(&self) -> Result<Snapshot, BackupError> {
        let clock = SystemClock::new();
        let mut wanted = None;
        loop {
            let links = links(&self.disk)?;
            let Some(last) = links.last() else { return self.of(&links, None, None) };
            let SegmentEnds { durable, written } = ends(&self.disk, last, Cache::Use)?;
            // Acknowledged events were written, so they lie before the first `written` end.
            let wanted = *wanted.get_or_insert(written.next);
            if durable.next >= wanted {
                return self.of(&links, Some(durable), None);
            }
            // Without a writer the mark stays where it is: sync here instead.
            if let Some(snapshot) = self.snapshot_unlocked()? {
                return Ok(snapshot);
            }
            if clock.elapsed() > CONFIRMED_WITHIN {
                let unconfirmed = durable.next..=Position::new(wanted.number() - 1);
                return self.of(&links, Some(durable), Some(unconfirmed));
            }
            thread::park_timeout(POLL_INTERVAL);
        }
    }

    /// Syncs the store, then takes a snapshot of everything that recovery would adopt, bypassing
    /// the page cache. Returns `None` if another process holds the lock.
    fn snapshot_unlocked(&self) -> Result<Option<Snapshot>, BackupError> {
        let disk = match FileDisk::open(&self.directory, Access::ReadWrite) {
            Ok(disk) => disk,
            // Another process may be writing, so only its durable marks count.
            Err(LockError::InUse { .. } | LockError::Io { .. }) => return Ok(None),
        };
        let links = links(&disk)?;
        let Some(last) = links.last() else { return self.of(&links, None, None).map(Some) };
        // A killed writer may have left its last group in the page cache only.
        let file = segment_file(last.header.number);
        let failed = |source| failed("sync", &file, source);
        disk.run(Operation::Sync { file: file.clone() }).map_err(failed)?;
        let SegmentEnds { written, .. } = ends(&disk, last, Cache::Bypass)?;
        self.of(&links, Some(written), None).map(Some)
    }

    /// Takes a snapshot of an unfinished import, which has its directory for itself.
    pub(crate) fn unfinished(&self) -> Result<Snapshot, BackupError> {
        let links = links(&self.disk)?;
        let end = links.last().map(|last| ends(&self.disk, last, Cache::Bypass)).transpose()?;
        Ok(snapshot_of(&links, end.map(|ends| ends.written), None))
    }

    fn of(
        &self,
        links: &[OpenedLink],
        end: Option<End>,
        unconfirmed: Option<RangeInclusive<Position>>,
    ) -> Result<Snapshot, BackupError> {
        let mut snapshot = snapshot_of(links, end, unconfirmed);
        // A restored store without later appends has its incarnation in a file only.
        let incarnations = links.iter().map(|link| incarnation_of(&link.header));
        if let Some(incarnation) =
            incarnation_file::incarnation(&self.disk, Access::ReadOnly, incarnations)?
        {
            snapshot.incarnations.push((incarnation, snapshot.end().next()));
        }
        Ok(snapshot)
    }

    /// Reads and verifies a part. Returns the whole segment instead if it has been rewritten
    /// since the snapshot.
    pub(crate) fn read(&self, part: &SegmentPart) -> Result<(SegmentPart, Bytes), BackupError> {
        let file = segment_file(part.number);
        let bytes = read(&self.disk, &file, part.bytes, Cache::Use)?;
        let Some(damage) = part.damage(&bytes) else { return Ok((*part, bytes)) };
        // Scavenging may have replaced the file. The rewritten one ends with the same position and
        // chain, so it takes the part's place if it verifies.
        let whole = read(&self.disk, &file, u64::MAX, Cache::Use)?;
        let header = SegmentHeader::decode(&whole).ok().filter(|header| header.rewritten.is_some());
        let rewritten = header.map(|SegmentHeader { salt, bytes, .. }| SegmentPart {
            salt,
            length: bytes,
            bytes,
            ..*part
        });
        match rewritten {
            Some(rewritten) if rewritten.damage(&whole).is_none() => Ok((rewritten, whole)),
            Some(_) | None => Err(BackupError::Damaged(damage)),
        }
    }
}

/// Builds a snapshot from the segments of a log.
fn snapshot_of(
    links: &[OpenedLink],
    end: Option<End>,
    unconfirmed: Option<RangeInclusive<Position>>,
) -> Snapshot {
    let mut incarnations: Vec<(Incarnation, Position)> = Vec::new();
    for link in links {
        let incarnation = incarnation_of(&link.header);
        if incarnations.last().is_none_or(|(other, _)| *other != incarnation) {
            incarnations.push((incarnation, link.first));
        }
    }
    let store = links.first().map(|link| link.header.store);
    Snapshot { parts: parts(links, end), store, incarnations, unconfirmed }
}

/// Returns each segment up to the end that its successor names, and the last one up to `end`. A
/// last segment whose opening frame is not durable does not belong to the log yet.
fn parts(links: &[OpenedLink], end: Option<End>) -> Vec<SegmentPart> {
    let ends = links.iter().zip(links.iter().skip(1)).map(|(link, successor)| End {
        // The successor names the length before a rewrite; the header has the current one.
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

/// Returns the segments of the log in order, up to the last one that has an opening frame.
fn links(disk: &dyn Disk) -> Result<Vec<OpenedLink>, BackupError> {
    let numbers = segment_numbers(disk).map_err(|source| BackupError::Io {
        doing: "list the store's directory".to_owned(),
        source,
    })?;
    let mut links = Vec::new();
    // The latest files may be preallocated and unused.
    for number in numbers.into_iter().rev() {
        if let Some(last) = last_link(disk, number)? {
            links.push(last);
            break;
        }
    }
    // Backwards, as in recovery: only a successor's opening frame says which file continues the
    // log.
    while let Some(later) = links.last().copied()
        && later.opening.predecessor != 0
    {
        links.push(predecessor(disk, &later)?);
    }
    links.reverse();
    Ok(links)
}

/// Opens a segment that may be the last one. Returns `None` if it is preallocated and unused.
fn last_link(disk: &dyn Disk, number: u64) -> Result<Option<OpenedLink>, BackupError> {
    let file = segment_file(number);
    let start = read(disk, &file, OPENING_REACH as u64, Cache::Use)?;
    let header = header(number, &file, &start)?;
    if let Some(link) = OpenedLink::of(header, &start) {
        return Ok(Some(link));
    }
    let whole = read(disk, &file, header.bytes, Cache::Use)?;
    // As in recovery: without durable frames after it, nothing here was ever acknowledged.
    if !scan::lost_opening(&whole, Seed::new(header.salt, number)) {
        return Ok(None);
    }
    // A concurrent writer may have written the opening frame after the first read. It was written
    // before those later frames, so a second read sees it.
    let start = read(disk, &file, OPENING_REACH as u64, Cache::Use)?;
    let what = "the opening frame is lost, but later frames exist";
    OpenedLink::of(header, &start).map(Some).ok_or_else(|| damaged(file, HEADER_BYTES, what))
}

/// Opens the segment that a later one names as its predecessor.
fn predecessor(disk: &dyn Disk, later: &OpenedLink) -> Result<OpenedLink, BackupError> {
    let number = later.opening.predecessor;
    let file = segment_file(number);
    let start = match read(disk, &file, OPENING_REACH as u64, Cache::Use) {
        Err(BackupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(file, 0, "the file is missing, but a later segment names it"));
        }
        start => start?,
    };
    let header = header(number, &file, &start)?;
    let named = header.named_salt() == later.opening.salt && header.store == later.header.store;
    if !named || number >= later.header.number {
        return Err(damaged(file, 0, "the file is not the segment that its successor names"));
    }
    let what = "the opening frame is damaged";
    OpenedLink::of(header, &start).ok_or_else(|| damaged(file, HEADER_BYTES, what))
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

/// Scans the last segment for its ends.
fn ends(disk: &dyn Disk, last: &OpenedLink, cache: Cache) -> Result<SegmentEnds, BackupError> {
    let mut bad_before = None;
    loop {
        let file = segment_file(last.header.number);
        let bytes = read(disk, &file, last.header.bytes, cache)?;
        if (bytes.len() as u64) < last.header.bytes {
            return Err(damaged(file, bytes.len() as u64, "the file is truncated"));
        }
        let (ends, bad) = scan_ends(last, &bytes);
        match bad {
            None => return Ok(ends),
            // One read may return a durable mark together with older zeros in the range that it
            // covers. Only a range that is bad twice is damage.
            Some((offset, what)) if bad_before == Some(offset) => {
                return Err(damaged(file, offset, &what.to_string()));
            }
            Some((offset, _)) => bad_before = Some(offset),
        }
    }
}

fn scan_ends(last: &OpenedLink, bytes: &Bytes) -> (SegmentEnds, Option<(u64, Malformed)>) {
    let seed = Seed::new(last.header.salt, last.header.number);
    let start =
        ScanStart { seed, chain: Some(last.before), next: last.first, adopted_length: None };
    let mut frames: Vec<(u64, FrameHeader)> = Vec::new();
    let scanned = scan::walk(bytes, start, |offset, frame| frames.push((offset, frame.header)));
    let after = scanned.chain.unwrap_or(last.before);
    let written = End { bytes: scanned.end, next: scanned.next, after };
    // The first frame that no durable mark covers begins at or after the durable end.
    let covered = frames.partition_point(|(offset, _)| *offset < scanned.mark);
    let last_covered = covered.checked_sub(1).and_then(|at| frames.get(at));
    let durable = match frames.get(covered) {
        Some((_, hidden)) if !scanned.sealed => End {
            bytes: last_covered.map_or(HEADER_BYTES, |(offset, last)| offset + last.length as u64),
            next: hidden.first_position,
            after: last_covered.map_or(last.before, |(_, last)| last.chain),
        },
        Some(_) | None => written,
    };
    let bad = scanned.bad.first().map(|bad| (bad.offset, bad.what));
    (SegmentEnds { durable, written }, bad)
}

/// Reads up to `bytes` bytes from the start of a file.
pub(super) fn read(
    disk: &dyn Disk,
    file: &str,
    bytes: u64,
    cache: Cache,
) -> Result<Bytes, BackupError> {
    let file_length = disk.length(file).map_err(|source| failed("read", file, source))?;
    let length = usize::try_from(bytes.min(file_length)).unwrap_or(usize::MAX);
    disk.read(file, 0, length, cache).map_err(|source| failed("read", file, source))
}

fn failed(doing: &str, file: &str, source: io::Error) -> BackupError {
    BackupError::Io { doing: format!("{doing} {file}"), source }
}

fn damaged(file: String, offset: u64, what: &str) -> BackupError {
    BackupError::Damaged(Damage::new(file, offset, what.to_owned()))
}
