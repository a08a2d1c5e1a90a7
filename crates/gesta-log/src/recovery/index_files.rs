//! Opens the index files, as far as they agree with the segments.
//!
//! Invariants:
//! - Runs are accepted in the order of the manifest, as long as each continues the one before it.
//!   The rest of the log is indexed from its segments.
//! - If a segment was rewritten after its run was written, or a crash undid a rewrite, the offsets
//!   of its records come from the segment and everything else from the run.
//! - A run that lacks ids that the index must have, or may lack ordinals of scavenged events, is
//!   not accepted: what it covers is indexed anew.

use std::sync::Arc;

use foldhash::HashSet;
use gesta_store::{Incarnation, Position};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    disk::{Cache, Disk, is_shortage},
    format::{Chain, HEADER_BYTES, Malformed, Opening, Seed, SegmentHeader},
    index::{
        BlockCache, CoveredSegment, Index, IndexManifest, ManifestEntry, OffsetOverrides, Run,
        RunContext, RunError,
    },
    mutations::mutated,
    options::{IndexedIds, OpenError},
    segment::{
        SegmentName,
        scan::{self, ScanStart},
    },
};

/// The accepted runs.
#[derive(Debug, Default)]
pub(super) struct IndexFiles {
    pub(super) store: Option<[u8; 16]>,
    /// The segments that the runs cover, in order.
    pub(super) covered: Vec<CoveredSegment>,
    pub(super) index: Index,
    /// The last covered segment, as its successor names it.
    pub(super) named: Option<Opening>,
    /// True if a segment was rewritten after its run was written.
    pub(super) swapped: bool,
    /// Number of scavenged events in the covered segments.
    scavenged: u64,
}

impl IndexFiles {
    /// Opens the runs that the manifest names. Unreadable ones are ignored with a warning.
    ///
    /// # Errors
    /// Returns an error only on a shortage (memory, descriptors): rebuilding the index would need
    /// more of the same.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        cache: &Arc<BlockCache>,
        ids: Option<IndexedIds>,
    ) -> Result<Self, OpenError> {
        let manifest = match IndexManifest::read(&**disk) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(Self::empty(ids.unwrap_or_default())),
            Err(error) => {
                let error = unless_shortage(error)?;
                warn!(%error, "the index manifest is not readable; the index is rebuilt");
                return Ok(Self::empty(ids.unwrap_or_default()));
            }
        };
        let ids = ids.unwrap_or(manifest.ids);
        let context = Arc::new(RunContext::new(Arc::clone(disk), manifest.store));
        let mut index_files = Self { store: Some(manifest.store), ..Self::empty(ids) };
        for entry in &manifest.runs {
            let opened = Run::open(&**disk, entry.name, Arc::clone(cache));
            let accepted = opened.and_then(|run| index_files.accept(&**disk, &context, entry, run));
            match accepted {
                Ok(true) => {}
                // A later run would leave a hole. From here on, segments are read instead.
                Ok(false) => break,
                Err(error) => {
                    let error = unless_shortage(error)?;
                    warn!(
                        %error,
                        "an index file is not readable; its part of the index is rebuilt"
                    );
                    break;
                }
            }
        }
        // Without any run the manifest's store id counts for nothing: the segments state theirs.
        Ok(if index_files.covered.is_empty() { Self::empty(ids) } else { index_files })
    }

    /// No runs: the whole log is indexed from its segments, with these ids.
    pub(super) fn empty(ids: IndexedIds) -> Self {
        Self { index: Index::with_ids(ids), ..Self::default() }
    }

    /// Accepts a run if it belongs to this store, continues the run before it, and matches its
    /// segments. Its salt may differ from the manifest's: a crash came between the rewrite of a run
    /// and that of the manifest. Such a run is compared with the segments like any other.
    fn accept(
        &mut self,
        disk: &dyn Disk,
        context: &Arc<RunContext>,
        entry: &ManifestEntry,
        run: Run,
    ) -> Result<bool, RunError> {
        // First check the run's own fields, which needs no segment.
        let next = self.covered.last().map_or(Position::START.next().number(), |last| last.end);
        let store = run.store();
        if run.first() != next || run.name() != entry.name || Some(store) != self.store {
            return Ok(false);
        }
        let ids = self.index.ids();
        if !run.ids().contains(ids) {
            info!(run = %run.name(), %ids, "the index is built anew from here on, with more ids");
            return Ok(false);
        }
        let mut chain = self.covered.last().map_or(Chain::genesis(store), |last| Chain(last.chain));
        let (mut overrides, mut segments) = (Vec::new(), Vec::new());
        let (mut scavenged, mut named) = (0, None);
        // Then against each of its segments.
        for covered in run.covered() {
            // The run's own entry is kept only if the file still has the salt that it names.
            let (covered, header) = match compare_segment(disk, covered, chain) {
                SegmentMatch::Same(header) => (*covered, header),
                SegmentMatch::Relocated(relocated, header) => {
                    let covered = relocated.covered;
                    overrides.push(Arc::new(relocated));
                    (covered, Some(header))
                }
                SegmentMatch::Different => return Ok(false),
            };
            chain = Chain(covered.chain);
            let rewritten = header.and_then(|header| header.rewritten);
            scavenged += rewritten.map_or(0, |rewritten| rewritten.scavenged);
            named = Some(Opening {
                predecessor: covered.number,
                adopted_length: header.map_or(covered.adopted_length, |header| {
                    header.named_length(covered.adopted_length)
                }),
                salt: header.map_or(covered.salt, |header| header.named_salt()),
            });
            segments.push(covered);
        }
        // An earlier version dropped postings of scavenged events.
        if scavenged > 0 && !run.keeps_scavenged() {
            return Ok(false);
        }
        // All segments match: add the run, then correct the offsets of rewritten ones.
        self.index.add_run(context, Arc::new(run))?;
        for relocated in &overrides {
            self.index.override_offsets(relocated);
        }
        self.swapped |= !overrides.is_empty();
        self.covered.extend(segments);
        self.scavenged += scavenged;
        self.named = named.or(self.named);
        Ok(true)
    }

    /// Returns the number of events in the covered segments.
    pub(super) fn events(&self) -> u64 {
        // Each position has an event or had one that was scavenged; the segments' headers count
        // those.
        let positions: u64 = self.covered.iter().map(|covered| covered.end - covered.first).sum();
        positions.saturating_sub(self.scavenged)
    }

    /// Returns each incarnation with the position of its first event.
    pub(super) fn incarnations(&self) -> Vec<(Incarnation, Position)> {
        let mut incarnations: Vec<(Incarnation, Position)> = Vec::new();
        for covered in &self.covered {
            let incarnation = Incarnation::new(Uuid::from_bytes(covered.incarnation));
            if incarnations.last().is_none_or(|(last, _)| *last != incarnation) {
                incarnations.push((incarnation, Position::new(covered.first)));
            }
        }
        incarnations
    }
}

/// Returns the error back, unless the system ran out of a resource.
fn unless_shortage(error: RunError) -> Result<RunError, OpenError> {
    match error {
        RunError::Io { file, source } if is_shortage(&source) => {
            Err(OpenError::Io { doing: format!("read {file}"), source })
        }
        other => Ok(other),
    }
}

/// The result of comparing a segment with its entry in a run.
enum SegmentMatch {
    /// The same file, or an unreadable one, which the check of segments reports.
    Same(Option<SegmentHeader>),
    /// The same events, with records at other offsets.
    Relocated(OffsetOverrides, SegmentHeader),
    /// Other events, or damage.
    Different,
}

/// Compares a segment with its entry in a run; `before` is the chain before it.
fn compare_segment(disk: &dyn Disk, covered: &CoveredSegment, before: Chain) -> SegmentMatch {
    let file = SegmentName::of(covered.number);
    let read = |length| disk.read(file.as_str(), 0, length, Cache::Use).ok();
    let start = read(HEADER_BYTES as usize);
    let header = match start.as_deref().map(SegmentHeader::decode) {
        Some(Ok(header)) => header,
        Some(Err(Malformed::OtherVersion)) => return SegmentMatch::Different,
        Some(Err(_)) | None => return SegmentMatch::Same(None),
    };
    // Each rewrite has a new salt, so the same salt is the same file. The common case reads no more
    // than a header.
    if header.salt == covered.salt || mutated!(StaleRunTrusted) {
        return SegmentMatch::Same(Some(header));
    }
    let length = disk.length(file.as_str()).ok().and_then(|length| usize::try_from(length).ok());
    let Some(bytes) = length.and_then(read) else { return SegmentMatch::Same(Some(header)) };
    // Decode the header again, from the bytes that are scanned: another process may have replaced
    // the file in between.
    let Ok(header) = SegmentHeader::decode(&bytes) else { return SegmentMatch::Different };
    let start = ScanStart {
        seed: Seed::new(header.salt, covered.number),
        chain: Some(before),
        next: Position::new(covered.first),
        adopted_length: header.adopted_length(None),
    };
    // The file was rewritten. It matches if it ends at the same position with the same chain.
    let mut frames = Vec::new();
    let scanned = scan::walk(&bytes, start, |offset, frame| frames.push((offset, frame)));
    let same = header.number == covered.number
        && scanned.bad.is_empty()
        && scanned.next.number() == covered.end
        && scanned.chain.map(|chain| chain.0) == Some(covered.chain);
    if !same {
        return SegmentMatch::Different;
    }
    let covered = CoveredSegment { salt: header.salt, adopted_length: scanned.end, ..*covered };
    let frames = frames.iter().map(|(_, frame)| frame);
    SegmentMatch::Relocated(OffsetOverrides::new(covered, frames, HashSet::default()), header)
}
