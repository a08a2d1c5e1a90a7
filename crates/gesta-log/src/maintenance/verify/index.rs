//! Compares the index files with the log.
//!
//! Invariants:
//! - Every block is read past the page cache.
//! - Each segment's entry and the offset of each record are compared; terms by a sample of events.
//! - Each file is reported at most once. Its damage is not damage of the store: the log alone is
//!   the truth.

use std::{cmp::Ordering, collections::BTreeMap, ops::ControlFlow, sync::Arc};

use gesta_store::StreamName;

use super::compared_event::ComparedEvent;
use crate::{
    disk::Disk,
    format::SegmentHeader,
    index::{
        BlockCache, CoveredSegment, IndexManifest, LookupHint, ManifestEntry, Run, RunError, Term,
        TermKey,
    },
    segment::segment_file,
};

/// Interval of events that are looked up by their stream.
const SAMPLE_INTERVAL: u64 = 64;
const CACHE_BYTES: usize = 8 << 20;

/// All index files of a store.
pub(super) struct IndexCheck {
    disk: Arc<dyn Disk>,
    key: Option<TermKey>,
    runs: Vec<CheckedRun>,
    /// Complaints about files that could not be opened.
    wrong: Vec<String>,
    /// Segments of which a run covers more than the durable marks do, each with the complaint.
    longer: Vec<(String, String)>,
    /// The entry of each segment: its run and its index there.
    segments: BTreeMap<String, (usize, usize)>,
}

/// A run with the first complaint about it.
struct CheckedRun {
    run: Run,
    wrong: Option<String>,
}

impl IndexCheck {
    /// Opens all runs and reads all of their blocks.
    pub(super) fn open(disk: &Arc<dyn Disk>) -> Self {
        let mut files = Self {
            disk: Arc::clone(disk),
            key: None,
            runs: Vec::new(),
            wrong: Vec::new(),
            longer: Vec::new(),
            segments: BTreeMap::new(),
        };
        let manifest = match IndexManifest::read(&**disk) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return files,
            Err(error) => {
                files.wrong.push(error.to_string());
                return files;
            }
        };
        files.key = Some(TermKey::new(manifest.store));
        let cache = Arc::new(BlockCache::new(CACHE_BYTES));
        for entry in manifest.runs {
            match open(&**disk, entry, manifest.store, &cache) {
                Ok(run) => files.add(run),
                Err(error) => files.wrong.push(error),
            }
        }
        files
    }

    fn add(&mut self, run: Run) {
        for (at, covered) in run.covered().iter().enumerate() {
            self.segments.insert(segment_file(covered.number), (self.runs.len(), at));
        }
        self.runs.push(CheckedRun { run, wrong: None });
    }

    /// Returns the run that covers a segment, or none if the segment has been rewritten since.
    pub(super) fn covering_run(&mut self, segment: &SegmentHeader) -> CoveringRun<'_> {
        let described = self.segments.get(&segment_file(segment.number));
        let Some((run, at)) = described.copied() else { return CoveringRun(None) };
        let Some(CheckedRun { run, wrong }) = self.runs.get_mut(run) else {
            return CoveringRun(None);
        };
        // After a rewrite the offsets of the run are stale by design.
        if run.covered().get(at).is_none_or(|covered| covered.salt != segment.salt) {
            return CoveringRun(None);
        }
        let key = self.key.as_ref();
        CoveringRun(Some(RunComparison {
            hint: LookupHint::default(),
            disk: &*self.disk,
            run,
            key,
            wrong,
        }))
    }

    /// Compares a segment's entry with the segment. If the segment has been rewritten since, its
    /// salt and length may differ.
    pub(super) fn ended(&mut self, segment: &CoveredSegment) {
        let file = segment_file(segment.number);
        let Some((run, at)) = self.segments.remove(&file) else { return };
        let Some(CheckedRun { run, wrong }) = self.runs.get_mut(run) else { return };
        let as_it_was = |entry: &CoveredSegment| match entry.salt == segment.salt {
            true => *segment,
            false => CoveredSegment {
                salt: entry.salt,
                adopted_length: entry.adopted_length,
                ..*segment
            },
        };
        let entry = run.covered().get(at);
        if entry.is_none_or(|entry| *entry != as_it_was(entry)) {
            let complaint = format!("{} disagrees with {file}", run.name().file());
            let is_longer = entry.is_some_and(|entry| {
                entry.is_same_segment(segment) && entry.adopted_length > segment.adopted_length
            });
            match entry.map(|entry| entry.end.cmp(&segment.end)) {
                // Recovery after a kill adopts events that no durable mark covers yet, and its run
                // has them. Whether that is damage is decided once the whole log is read.
                Some(Ordering::Greater) if is_longer => self.longer.push((file, complaint)),
                // It adopts the last mark as well, which covers everything but itself.
                Some(Ordering::Equal) if is_longer => {}
                _ => {
                    wrong.get_or_insert(complaint);
                }
            }
        }
    }

    /// Returns all complaints, once the whole log is read. A file that covers a damaged segment
    /// is not reported: it may be the one that is right.
    pub(super) fn wrong(
        self,
        is_damaged: impl Fn(&str) -> bool,
        is_unconfirmed: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let Self { runs, mut wrong, longer, segments, .. } = self;
        let longer =
            longer.into_iter().filter(|(file, _)| !is_damaged(file) && !is_unconfirmed(file));
        wrong.extend(longer.map(|(_, complaint)| complaint));
        wrong.extend(runs.into_iter().filter_map(|CheckedRun { run, wrong }| {
            let right =
                run.covered().iter().any(|covered| is_damaged(&segment_file(covered.number)));
            wrong.filter(|_| !right)
        }));
        // Entries that no segment has claimed.
        let left = segments.into_keys().filter(|file| !is_damaged(file));
        wrong.extend(left.map(|file| format!("{file} is in the index, but not in the log")));
        wrong
    }
}

/// Opens a run and verifies all of its blocks.
fn open(
    disk: &dyn Disk,
    entry: ManifestEntry,
    store: [u8; 16],
    cache: &Arc<BlockCache>,
) -> Result<Run, String> {
    let text = |error: RunError| error.to_string();
    let run = Run::open(disk, entry.name, Arc::clone(cache)).map_err(text)?;
    if run.manifest_entry() != entry || run.store() != store {
        return Err(format!("{} is not the file that the manifest names", entry.name.file()));
    }
    run.verify(disk, &mut |_| ControlFlow::Continue(())).map_err(text)?;
    Ok(run)
}

/// The run that covers a segment, if one does.
pub(super) struct CoveringRun<'a>(Option<RunComparison<'a>>);

struct RunComparison<'a> {
    hint: LookupHint,
    disk: &'a dyn Disk,
    run: &'a Run,
    key: Option<&'a TermKey>,
    wrong: &'a mut Option<String>,
}

impl CoveringRun<'_> {
    /// Compares the run's entry of an event, whose record is at this offset, with the event.
    pub(super) fn event(&mut self, offset: u64, event: &ComparedEvent<'_>) {
        let Some(compared) = self.0.as_mut().filter(|compared| compared.wrong.is_none()) else {
            return;
        };
        match compared.agrees(offset, event) {
            Ok(true) => {}
            Ok(false) => {
                let (file, position) = (compared.run.name().file(), event.position);
                *compared.wrong =
                    Some(format!("{file} disagrees with the log about position {position}"));
            }
            Err(error) => *compared.wrong = Some(error.to_string()),
        }
    }
}

impl RunComparison<'_> {
    fn agrees(&mut self, offset: u64, event: &ComparedEvent<'_>) -> Result<bool, RunError> {
        let found = self.run.locate(self.disk, event.position.number(), &mut self.hint)?;
        if found.map(|place| u64::from(place.offset)) != Some(offset) {
            return Ok(false);
        }
        // A term lookup is much slower than an offset: only a sample.
        if !event.position.number().is_multiple_of(SAMPLE_INTERVAL) {
            return Ok(true);
        }
        let (Some(key), Ok(stream)) = (self.key, StreamName::stored(event.stream)) else {
            return Ok(true);
        };
        let Some(found) = self.run.find(self.disk, key.hash(&Term::Stream(&stream)))? else {
            return Ok(false);
        };
        // The run's posting list begins at an ordinal of the stream; the revision selects the
        // posting.
        let Some(nth) = event.revision.number().checked_sub(found.first_ordinal()) else {
            return Ok(false);
        };
        let posting = self.run.posting(self.disk, &found, nth)?;
        Ok(posting == Some(event.position.number()))
    }
}
