//! What the index's files say of the log.
//!
//! Always holds: runs are taken in the order of the manifest, as far as each goes on where the one
//! before it ends; what cannot be read any more is left to the segments. Of a segment that was
//! rewritten since its run was made, or of which a crash undid that, the places of records are taken
//! from the segment and the rest from the run.

use std::sync::Arc;

use foldhash::HashSet;
use gesta_store::{Incarnation, Position};
use tracing::warn;
use uuid::Uuid;

use crate::{
    disk::{Cache, Disk, is_shortage},
    format::{Chain, HEADER_BYTES, Malformed, Opening, Seed, SegmentHeader},
    index::{
        BlockCache, Covered, Index, IndexManifest, ManifestEntry, OffsetOverrides, Run, RunContext,
        RunError,
    },
    mutations::mutated,
    options::OpenError,
    segment::{
        SegmentName,
        scan::{self, ScanStart},
    },
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Filed {
    pub(super) store: Option<[u8; 16]>,
    /// The segments that the runs cover, in order.
    pub(super) covered: Vec<Covered>,
    pub(super) index: Index,
    /// How the segment after the last one that is covered names it.
    pub(super) named: Option<Opening>,
    /// Whether a segment has another file than when its run was made.
    pub(super) swapped: bool,
    /// How many events of theirs were scavenged.
    gone: u64,
}

impl Filed {
    /// # Errors
    /// Only for want of something that may be had again: to build the index anew takes more of it.
    pub(super) fn open(disk: &Arc<dyn Disk>, cache: &Arc<BlockCache>) -> Result<Self, OpenError> {
        let manifest = match IndexManifest::read(&**disk) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(Self::default()),
            Err(error) => {
                let error = unless_short(error)?;
                warn!(%error, "the index's manifest is not readable; the index is built again");
                return Ok(Self::default());
            }
        };
        let context = Arc::new(RunContext::new(Arc::clone(disk), manifest.store));
        let mut filed = Self { store: Some(manifest.store), ..Self::default() };
        for listed in &manifest.runs {
            let opened = Run::open(&**disk, listed.name, Arc::clone(cache));
            let taken = opened.and_then(|run| filed.take(&**disk, &context, listed, run));
            match taken {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let error = unless_short(error)?;
                    warn!(%error, "a file of the index is not readable; it is built again");
                    break;
                }
            }
        }
        Ok(if filed.covered.is_empty() { Self::default() } else { filed })
    }

    /// Takes a run, if it is of this store, goes on where the one before it ends, and is of the
    /// segments that there are. Another salt than the manifest's is that of a run which was made anew
    /// when a crash came: it fits the segments or it is not taken.
    fn take(
        &mut self,
        disk: &dyn Disk,
        context: &Arc<RunContext>,
        listed: &ManifestEntry,
        run: Run,
    ) -> Result<bool, RunError> {
        let next = self.covered.last().map_or(Position::START.next().number(), |last| last.end);
        let store = run.store();
        if run.first() != next || run.name() != listed.name || Some(store) != self.store {
            return Ok(false);
        }
        let mut chain = self.covered.last().map_or(Chain::genesis(store), |last| Chain(last.chain));
        let (mut patches, mut segments) = (Vec::new(), Vec::new());
        let (mut gone, mut named) = (0, None);
        for covered in run.covered() {
            let (covered, header) = match fit(disk, covered, chain) {
                Fit::AsCovered(header) => (*covered, header),
                Fit::Otherwise(patch, header) => {
                    let covered = patch.covered;
                    patches.push(Arc::new(patch));
                    (covered, Some(header))
                }
                Fit::OfAnotherHistory => return Ok(false),
            };
            chain = Chain(covered.chain);
            let rewritten = header.and_then(|header| header.rewritten);
            gone += rewritten.map_or(0, |rewritten| rewritten.gone);
            named = Some(Opening {
                predecessor: covered.number,
                adopted_length: header.map_or(covered.adopted_length, |header| {
                    header.named_length(covered.adopted_length)
                }),
                salt: header.map_or(covered.salt, |header| header.named_salt()),
            });
            segments.push(covered);
        }
        self.index.add_run(context, Arc::new(run))?;
        for patch in &patches {
            self.index.override_offsets(patch);
        }
        self.swapped |= !patches.is_empty();
        self.covered.extend(segments);
        self.gone += gone;
        self.named = named.or(self.named);
        Ok(true)
    }

    /// How many events the runs cover.
    pub(super) fn events(&self) -> u64 {
        let positions: u64 = self.covered.iter().map(|covered| covered.end - covered.first).sum();
        positions.saturating_sub(self.gone)
    }

    /// Each incarnation with the position of its first event.
    pub(super) fn lives(&self) -> Vec<(Incarnation, Position)> {
        let mut lives: Vec<(Incarnation, Position)> = Vec::new();
        for covered in &self.covered {
            let life = Incarnation::new(Uuid::from_bytes(covered.incarnation));
            if lives.last().is_none_or(|(last, _)| *last != life) {
                lives.push((life, Position::new(covered.first)));
            }
        }
        lives
    }
}

/// The error, unless the system was short of something.
fn unless_short(error: RunError) -> Result<RunError, OpenError> {
    match error {
        RunError::Io { file, source } if is_shortage(&source) => {
            Err(OpenError::Io { doing: format!("read {file}"), source })
        }
        other => Ok(other),
    }
}

/// What a segment's file is to what a run says of it.
enum Fit {
    /// What is meant, or not readable, which is told of later.
    AsCovered(Option<SegmentHeader>),
    /// The same stretch of the log, with records at other places.
    Otherwise(OffsetOverrides, SegmentHeader),
    /// Something else, or damaged.
    OfAnotherHistory,
}

/// Compares a segment with what a run says of it; `before` is the chain before it.
fn fit(disk: &dyn Disk, covered: &Covered, before: Chain) -> Fit {
    let file = SegmentName::of(covered.number);
    let read = |length| disk.read(file.as_str(), 0, length, Cache::Use).ok();
    let start = read(HEADER_BYTES as usize);
    let header = match start.as_deref().map(SegmentHeader::decode) {
        Some(Ok(header)) => header,
        Some(Err(Malformed::OtherVersion)) => return Fit::OfAnotherHistory,
        Some(Err(_)) | None => return Fit::AsCovered(None),
    };
    if header.salt == covered.salt || mutated!(StaleRunTrusted) {
        return Fit::AsCovered(Some(header));
    }
    let length = disk.length(file.as_str()).ok().and_then(|length| usize::try_from(length).ok());
    let Some(bytes) = length.and_then(read) else { return Fit::AsCovered(Some(header)) };
    // Of the very bytes: it may just be replaced by another process.
    let Ok(header) = SegmentHeader::decode(&bytes) else { return Fit::OfAnotherHistory };
    let start = ScanStart {
        seed: Seed::new(header.salt, covered.number),
        chain: Some(before),
        next: Position::new(covered.first),
        adopted_length: header.adopted_length(None),
    };
    let mut frames = Vec::new();
    let walked = scan::walk(&bytes, start, |offset, frame| frames.push((offset, frame)));
    let same = header.number == covered.number
        && walked.bad.is_empty()
        && walked.next.number() == covered.end
        && walked.chain.map(|chain| chain.0) == Some(covered.chain);
    if !same {
        return Fit::OfAnotherHistory;
    }
    let covered = Covered { salt: header.salt, adopted_length: walked.end, ..*covered };
    let frames = frames.iter().map(|(_, frame)| frame);
    Fit::Otherwise(OffsetOverrides::new(covered, frames, HashSet::default()), header)
}
