//! Recovery: from the files of a directory to the adopted log and its index.
//!
//! Steps: the index files and the segments they cover ([`index_files`]), the segments that follow
//! ([`chain`]), and the part of each that belongs to the log ([`adopt`]).
//!
//! Invariants:
//! - Recovery writes nothing into an old segment, truncates nothing and renames nothing. It may be
//!   interrupted anywhere and started again.
//! - Everything it adopts was synced first and read past the page cache.
//! - Index files are trusted only where they agree with the log.
//!
//! Elsewhere: writing after recovery ([`commit`](crate::commit)).

mod adopt;
mod chain;
pub(crate) mod incarnation_file;
mod index_files;
mod verify_all;

use std::{io, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use gesta_store::{Damage, Incarnation, Position, RecordedAt};
use uuid::Uuid;

use crate::{
    clock::Rng,
    disk::{Access, Cache, Disk, Operation},
    format::{Chain, HEADER_BYTES, Opening, Seed, SegmentHeader},
    index::{BlockCache, CoveredSegment, Index},
    mutations::mutated,
    options::{IndexedIds, OpenError, OpenReport, Options},
};
use index_files::IndexFiles;
pub(crate) use verify_all::{SegmentVisitor, verify_all};

/// Upper bound of the end of a segment's opening frame.
const OPENING_REACH: usize = HEADER_BYTES as usize + 256;
/// Cache size for index blocks while segments are compared with them, in bytes.
const COMPARED_BLOCKS_BYTES: usize = 8 << 20;

/// The end of the adopted log, which the next segment continues.
#[derive(Clone, Debug)]
pub(crate) struct LogEnd {
    pub(crate) store: [u8; 16],
    pub(crate) incarnation: Incarnation,
    /// Number of the next segment.
    pub(crate) next_segment: u64,
    pub(crate) predecessor: Opening,
    pub(crate) chain: Chain,
    pub(crate) next: Position,
    pub(crate) last_recorded_at: Option<RecordedAt>,
}

/// Result of [`recover`].
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) end: LogEnd,
    /// Each incarnation with the position of its first event, in order.
    pub(crate) incarnations: Vec<(Incarnation, Position)>,
    /// Segments that no index file covers yet, in order.
    pub(crate) unflushed: Vec<CoveredSegment>,
    pub(crate) report: OpenReport,
}

/// A segment that has a valid header and opening frame.
#[derive(Debug)]
struct OpenedSegment {
    file: String,
    header: SegmentHeader,
    opening: Opening,
    first: Position,
}

impl OpenedSegment {
    fn seed(&self) -> Seed {
        Seed::new(self.header.salt, self.header.number)
    }

    /// Returns how many bytes of this segment belong to the log, as the next segment states it.
    /// `None` if that names a segment in between, which is lost.
    fn length_stated_by(&self, successor: Option<&Self>) -> Option<u64> {
        let opening = successor?.opening;
        (opening.predecessor == self.header.number).then_some(opening.adopted_length)
    }
}

/// Progress of an operation that reads the whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes read so far.
    pub bytes_done: u64,
    /// Total bytes to read.
    pub bytes_total: u64,
}

/// Called after each segment.
pub(crate) type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// Called before or after each segment. A break ends the work.
pub(crate) type WhileProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Options of [`recover`].
#[derive(Clone, Debug)]
pub(crate) struct RecoveryOptions {
    pub(crate) access: Access,
    /// Cache mode for all segments but the last, which is always read past the page cache.
    pub(crate) older_segments: Cache,
    /// Cache for blocks of index files; with `None` they are ignored and all segments are read.
    pub(crate) index_cache: Option<Arc<BlockCache>>,
    /// The ids that the index must have; `None`: those that the manifest names.
    pub(crate) ids: Option<IndexedIds>,
    /// Bytes of the latest segments that are checked although index files cover them.
    pub(crate) checked_bytes_max: u64,
}

/// Recovers the log of a directory.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    rng: &mut dyn Rng,
    options: &RecoveryOptions,
    progress: OnProgress<'_>,
) -> Result<Recovered, OpenError> {
    let mut recovery = Recovery {
        disk: &**disk,
        access: options.access,
        older_segments: options.older_segments,
        report: OpenReport::default(),
        unflushed: Vec::new(),
        swapped: false,
    };
    let files = recovery.files()?;
    let index_files = match &options.index_cache {
        Some(cache) => IndexFiles::open(disk, cache, options.ids)?,
        None => IndexFiles::empty(options.ids.unwrap_or_default()),
    };
    // Segments that runs cover need not be read; the others are selected and adopted.
    let Some(segments) = recovery.segments(&files, index_files.named)? else {
        // The index files and the segments belong to different histories: ignore the index files.
        let ids = Some(index_files.index.ids());
        let options = RecoveryOptions { index_cache: None, ids, ..options.clone() };
        return recover(disk, rng, &options, progress);
    };
    let total = recovery.bytes(files.iter().map(|(_, file)| file));
    let mut steps = ProgressCounter { done: 0, total, progress };
    let incarnations = index_files.incarnations().into_iter().map(|(incarnation, _)| incarnation);
    let incarnations =
        incarnations.chain(segments.iter().map(|segment| incarnation_of(&segment.header)));
    // A restored store continues the log in an incarnation of its own.
    let restored = incarnation_file::incarnation(&**disk, options.access, incarnations)?;
    let mut log = AdoptedLog::after(&index_files, &segments, restored, rng);
    // Above all files, including abandoned ones: a number is never reused.
    log.end.next_segment = files.last().map_or(1, |(number, _)| number.saturating_add(1));
    // Covered segments first, so that damage is reported in the order of the log.
    recovery.check(&index_files, segments.is_empty(), options.checked_bytes_max, &mut steps)?;
    for (at, segment) in segments.iter().enumerate() {
        let bytes = recovery.adopt(&mut log, segment, segments.get(at + 1))?;
        steps.advance(bytes);
    }
    // Last, when all rewritten segments are known, and before anything is built on them.
    recovery.swapped |= index_files.swapped;
    recovery.sync_names()?;
    // An incarnation begins with its first opening, even before it has an event.
    if log.incarnations.last().is_none_or(|(incarnation, _)| *incarnation != log.end.incarnation) {
        log.incarnations.push((log.end.incarnation, log.end.next));
    }
    recovery.report.segments = index_files.covered.len() + segments.len();
    recovery.report.events += index_files.events();
    // Later events are not recorded before this time, unless the options restart it.
    log.end.last_recorded_at = log.index.last_recorded_at();
    let Recovery { report, unflushed, .. } = recovery;
    Ok(Recovered {
        index: log.index,
        end: log.end,
        incarnations: log.incarnations,
        unflushed,
        report,
    })
}

/// Returns the damage that recovery finds by comparing segments with index files. Index files of
/// another history are ignored, as in recovery.
pub(crate) fn damage_by_index(disk: &Arc<dyn Disk>) -> Result<Vec<Damage>, OpenError> {
    let mut recovery = Recovery {
        disk: &**disk,
        access: Access::ReadOnly,
        older_segments: Cache::Bypass,
        report: OpenReport::default(),
        unflushed: Vec::new(),
        swapped: false,
    };
    let files = recovery.files()?;
    let cache = Arc::new(BlockCache::new(COMPARED_BLOCKS_BYTES));
    let index_files = IndexFiles::open(disk, &cache, None)?;
    let Some(segments) = recovery.segments(&files, index_files.named)? else {
        return Ok(Vec::new());
    };
    let mut steps = ProgressCounter { done: 0, total: 0, progress: &mut |_| {} };
    let checked_bytes_max = Options::default().checked_bytes_max;
    recovery.check(&index_files, segments.is_empty(), checked_bytes_max, &mut steps)?;
    Ok(recovery.report.damage)
}

/// The progress of one recovery.
struct ProgressCounter<'a> {
    done: u64,
    total: u64,
    progress: OnProgress<'a>,
}

impl ProgressCounter<'_> {
    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(Progress { bytes_done: self.done, bytes_total: self.total });
    }
}

pub(crate) fn incarnation_of(header: &SegmentHeader) -> Incarnation {
    Incarnation::new(Uuid::from_bytes(header.incarnation))
}

/// The adopted part of the log.
struct AdoptedLog {
    index: Index,
    end: LogEnd,
    /// As `end.chain`, or `None` right after damage.
    chain: Option<Chain>,
    incarnations: Vec<(Incarnation, Position)>,
}

impl AdoptedLog {
    /// The log as far as index files cover it, before any of `segments` is adopted.
    fn after(
        index_files: &IndexFiles,
        segments: &[OpenedSegment],
        restored: Option<Incarnation>,
        rng: &mut dyn Rng,
    ) -> Self {
        // A store's id is fixed by its first segment; an empty directory gets a new one.
        let store = match (index_files.store, segments.first()) {
            (Some(store), _) => store,
            (None, Some(first)) => first.header.store,
            (None, None) => rng.bytes(),
        };
        let last = index_files.covered.last();
        // In order of precedence: a restore, the last segment, the last covered one, a new store.
        let incarnation = match (restored, segments.last(), last) {
            (Some(restored), ..) => restored,
            _ if mutated!(NewIncarnationEachOpen) => {
                Incarnation::new(Uuid::from_bytes(rng.bytes()))
            }
            (None, Some(last), _) => incarnation_of(&last.header),
            (None, None, Some(last)) => Incarnation::new(Uuid::from_bytes(last.incarnation)),
            (None, None, None) => Incarnation::new(Uuid::from_bytes(rng.bytes())),
        };
        // The end of the covered part, or the beginning of a log. Adopted segments move it.
        let chain = last.map_or(Chain::genesis(store), |last| Chain(last.chain));
        let end = LogEnd {
            store,
            incarnation,
            next_segment: 1,
            predecessor: index_files.named.unwrap_or(Opening {
                predecessor: 0,
                adopted_length: 0,
                salt: [0; 16],
            }),
            chain,
            next: last.map_or(Position::START.next(), |last| Position::new(last.end)),
            last_recorded_at: None,
        };
        Self {
            index: index_files.index.clone(),
            end,
            chain: Some(chain),
            incarnations: index_files.incarnations(),
        }
    }
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    access: Access,
    older_segments: Cache,
    report: OpenReport,
    unflushed: Vec<CoveredSegment>,
    /// True if a segment was rewritten whose rename may not be durable.
    swapped: bool,
}

impl Recovery<'_> {
    /// Makes the renames of rewritten segments durable: a kill may have come between rename and
    /// sync, and scavenged events must not reappear after a later crash.
    fn sync_names(&self) -> Result<(), OpenError> {
        if self.access == Access::ReadOnly || !self.swapped {
            return Ok(());
        }
        let synced = self.disk.run(Operation::SyncDirectory);
        synced.map_err(|source| failed("sync the directory", source))
    }

    fn damaged(&mut self, file: String, offset: u64, what: String) {
        self.report.damage.push(Damage::new(file, offset, what));
    }

    fn sync(&self, file: &str) -> Result<(), OpenError> {
        match self.access {
            Access::ReadOnly => Ok(()),
            Access::ReadWrite if mutated!(AdoptWithoutSync) => Ok(()),
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
