//! Opening: from the files of a directory to the adopted log and its index.
//!
//! Owns: the order of an opening: what the index's files cover ([`filed`]), which segments follow
//! ([`chain`]), what of them belongs to the log ([`adopt`]). Always holds: recovery writes nothing
//! into an old segment, cuts nothing away and renames nothing; it may be interrupted anywhere and
//! begun again; what it adopts was synced first and read past the cache; what the index's files say
//! of segments is believed only where it fits the log.
//! Not here: what is written afterwards ([`writer`](crate::writer)).

mod adopt;
mod chain;
mod filed;
mod whole;

use std::{io, sync::Arc};

use bytes::Bytes;
use gesta_store::{Damage, Incarnation, Position, RecordedAt};
use uuid::Uuid;

use crate::{
    clock::Rng,
    disk::{Access, Cache, Disk, Operation},
    format::{Chain, HEADER_BYTES, Opening, Seed, SegmentHeader},
    index::{BlockCache, Covered, Index},
    options::{OpenError, OpenReport, Options},
    planted::{self, Bug},
    restored,
};
use filed::Filed;
pub(crate) use whole::{Eyes, look_through};

const SEGMENT_SUFFIX: &str = ".seg";
/// Digits of the number in a segment's name: so many at least, and as many as the largest has.
const DIGITS_MIN: usize = 16;
const DIGITS_MAX: usize = 20;
const SEGMENT_NAME_MAX: usize = DIGITS_MAX + SEGMENT_SUFFIX.len();
/// Bytes of a segment that surely hold its header and opening frame.
const OPENING_REACH: usize = HEADER_BYTES as usize + 256;
/// Bytes of the index's files that are kept while segments are compared with them.
const COMPARED_BLOCKS_BYTES: usize = 8 << 20;

/// The name of the segment with this number.
pub(crate) fn segment_file(number: u64) -> String {
    SegmentName::of(number).as_str().to_owned()
}

/// The name of a segment's file, for who needs many of them: it takes no memory of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentName {
    /// It stands at the end.
    text: [u8; SEGMENT_NAME_MAX],
    length: usize,
}

impl SegmentName {
    /// Written by hand, for every record that is read by itself needs one.
    pub(crate) fn of(number: u64) -> Self {
        let mut text = [b'0'; SEGMENT_NAME_MAX];
        let (digits, suffix) = text.split_at_mut(DIGITS_MAX);
        suffix.copy_from_slice(SEGMENT_SUFFIX.as_bytes());
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        Self { text, length: SEGMENT_NAME_MAX - zeros.min(DIGITS_MAX - DIGITS_MIN) }
    }

    pub(crate) fn as_str(&self) -> &str {
        let name = self.text.get(SEGMENT_NAME_MAX - self.length..).unwrap_or_default();
        str::from_utf8(name).expect("digits and the suffix are text")
    }
}

fn segment_number(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(SEGMENT_SUFFIX)?;
    digits.parse().ok().filter(|number| SegmentName::of(*number).as_str() == file)
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
    /// Segments that no file of the index covers yet, in order.
    pub(crate) unfiled: Vec<Covered>,
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
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) access: Access,
    /// From where segments are read that a later one vouches for; the last is read past the cache.
    pub(crate) older_segments: Cache,
    /// Where blocks of the index's files go; without it, all segments are read instead.
    pub(crate) index_files: Option<Arc<BlockCache>>,
    /// Bytes of the latest covered segments that are checked all the same.
    pub(crate) checked_bytes_max: u64,
}

/// Finds the log in a directory.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    rng: &mut dyn Rng,
    look: &Look,
    progress: OnProgress<'_>,
) -> Result<Recovered, OpenError> {
    let mut recovery = Recovery {
        disk: &**disk,
        access: look.access,
        older_segments: look.older_segments,
        report: OpenReport::default(),
        unfiled: Vec::new(),
        swapped: false,
    };
    let files = recovery.files()?;
    let filed = match &look.index_files {
        Some(cache) => Filed::open(disk, cache)?,
        None => Filed::default(),
    };
    let Some(segments) = recovery.segments(&files, filed.named)? else {
        // The index's files are of another history than the segments.
        let look = Look { index_files: None, ..look.clone() };
        return recover(disk, rng, &look, progress);
    };
    let mut steps = Steps { done: 0, total: recovery.bytes(&files), progress };
    let borne = filed.lives().into_iter().map(|(life, _)| life);
    let borne = borne.chain(segments.iter().map(|segment| incarnation_of(&segment.header)));
    let restored = restored::incarnation(&**disk, look.access, borne)?;
    let mut log = Log::after(&filed, &segments, restored, rng);
    log.end.next_segment = files.last().map_or(1, |(number, _)| number.saturating_add(1));
    recovery.check(&filed, segments.is_empty(), look.checked_bytes_max, &mut steps)?;
    for (at, segment) in segments.iter().enumerate() {
        let bytes = recovery.adopt(&mut log, segment, segments.get(at + 1))?;
        steps.advance(bytes);
    }
    recovery.swapped |= filed.swapped;
    recovery.sync_names()?;
    if log.lives.last().is_none_or(|(life, _)| *life != log.end.incarnation) {
        log.lives.push((log.end.incarnation, log.end.next));
    }
    recovery.report.segments = filed.covered.len() + segments.len();
    recovery.report.events += filed.events();
    log.end.last_recorded_at = log.index.last_recorded_at();
    let Recovery { report, unfiled, .. } = recovery;
    Ok(Recovered { index: log.index, end: log.end, lives: log.lives, unfiled, report })
}

/// Finds the damage that an opening finds by comparing the segments with the index's files. Where
/// these are of another history than the segments, an opening does not believe them, and there is
/// none.
pub(crate) fn damage_by_index(disk: &Arc<dyn Disk>) -> Result<Vec<Damage>, OpenError> {
    let mut recovery = Recovery {
        disk: &**disk,
        access: Access::ReadOnly,
        older_segments: Cache::Bypass,
        report: OpenReport::default(),
        unfiled: Vec::new(),
        swapped: false,
    };
    let files = recovery.files()?;
    let filed = Filed::open(disk, &Arc::new(BlockCache::new(COMPARED_BLOCKS_BYTES)))?;
    let Some(segments) = recovery.segments(&files, filed.named)? else { return Ok(Vec::new()) };
    let mut steps = Steps { done: 0, total: 0, progress: &mut |_| {} };
    let checked_bytes_max = Options::default().checked_bytes_max;
    recovery.check(&filed, segments.is_empty(), checked_bytes_max, &mut steps)?;
    Ok(recovery.report.damage)
}

/// Progress, as it is told.
struct Steps<'a> {
    done: u64,
    total: u64,
    progress: OnProgress<'a>,
}

impl Steps<'_> {
    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(Progress { bytes_done: self.done, bytes_total: self.total });
    }
}

pub(crate) fn incarnation_of(header: &SegmentHeader) -> Incarnation {
    Incarnation::new(Uuid::from_bytes(header.incarnation))
}

/// The log as far as it was adopted.
struct Log {
    index: Index,
    end: LogEnd,
    /// As `end.chain`, unknown right after damage.
    chain: Option<Chain>,
    lives: Vec<(Incarnation, Position)>,
}

impl Log {
    /// The log as far as the index's files cover it; nothing is adopted yet of these segments.
    fn after(
        filed: &Filed,
        segments: &[Segment],
        restored: Option<Incarnation>,
        rng: &mut dyn Rng,
    ) -> Self {
        let store = match (filed.store, segments.first()) {
            (Some(store), _) => store,
            (None, Some(first)) => first.header.store,
            (None, None) => rng.bytes(),
        };
        let last = filed.covered.last();
        let incarnation = match (restored, segments.last(), last) {
            (Some(restored), ..) => restored,
            _ if planted::is(Bug::NewIncarnationEachTime) => {
                Incarnation::new(Uuid::from_bytes(rng.bytes()))
            }
            (None, Some(last), _) => incarnation_of(&last.header),
            (None, None, Some(last)) => Incarnation::new(Uuid::from_bytes(last.incarnation)),
            (None, None, None) => Incarnation::new(Uuid::from_bytes(rng.bytes())),
        };
        let chain = last.map_or(Chain::genesis(store), |last| Chain(last.chain));
        let end = LogEnd {
            store,
            incarnation,
            next_segment: 1,
            predecessor: filed.named.unwrap_or(Opening {
                predecessor: 0,
                adopted_length: 0,
                salt: [0; 16],
            }),
            chain,
            next: last.map_or(Position::START.next(), |last| Position::new(last.end)),
            last_recorded_at: None,
        };
        Self { index: filed.index.clone(), end, chain: Some(chain), lives: filed.lives() }
    }
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    access: Access,
    older_segments: Cache,
    report: OpenReport,
    unfiled: Vec<Covered>,
    /// Whether a segment was rewritten and no run says so yet.
    swapped: bool,
}

impl Recovery<'_> {
    /// Makes durable that rewritten segments have their names: a kill may have come between the two.
    /// What is gone for readers from now on must not come back.
    fn sync_names(&self) -> Result<(), OpenError> {
        if self.access == Access::ReadOnly || !self.swapped {
            return Ok(());
        }
        let synced = self.disk.run(Operation::SyncDirectory);
        synced.map_err(|source| failed("sync the directory", source))
    }

    fn damaged(&mut self, file: String, offset: u64, what: String) {
        self.report.damage.push(Damage { file, offset, positions: None, what });
    }

    fn sync(&self, file: &str) -> Result<(), OpenError> {
        match self.access {
            Access::ReadOnly => Ok(()),
            Access::ReadWrite if planted::is(Bug::AdoptWithoutSync) => Ok(()),
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

fn failed(doing: &str, source: io::Error) -> OpenError {
    OpenError::Io { doing: doing.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_is_its_number_in_sixteen_digits_or_as_many_as_it_takes() {
        for number in [0, 1, 9, 10, 42, 999, 1_000, 10_u64.pow(16) - 1, 10_u64.pow(16), u64::MAX] {
            assert_eq!(segment_file(number), format!("{number:016}.seg"));
            assert_eq!(segment_number(&segment_file(number)), Some(number));
        }
    }
}
