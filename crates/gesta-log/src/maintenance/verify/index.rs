//! The index's files, held against the log.
//!
//! Always holds: every block is read past the cache; each segment's description and the place of
//! each of its records is compared; of the terms, those of one event in so many. Whatever is wrong
//! is told once for each file, and damages no event: the log alone is the truth.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use gesta_store::StreamName;

use super::Event;
use crate::{
    disk::Disk,
    format::SegmentHeader,
    index::{
        BlockCache, Covered, IndexManifest, LookupHint, ManifestEntry, Run, RunError, Term, TermKey,
    },
    segment::segment_file,
};

/// Of so many events one is looked up by its stream.
const LOOKED_UP_ONE_IN: u64 = 64;
const CACHE_BYTES: usize = 8 << 20;

/// All files of the index.
pub(super) struct Files {
    disk: Arc<dyn Disk>,
    key: Option<TermKey>,
    runs: Vec<Checked>,
    /// What is wrong with others.
    wrong: Vec<String>,
    /// Runs that know more of a segment than its durable marks cover: the segment, and the complaint.
    longer: Vec<(String, String)>,
    /// Where each segment's description is: its run and its number there.
    segments: BTreeMap<String, (usize, usize)>,
}

/// A run, and what is wrong with it.
struct Checked {
    run: Run,
    wrong: Option<String>,
}

impl Files {
    /// Opens and reads all of them.
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
        for listed in manifest.runs {
            match open(&**disk, listed, manifest.store, &cache) {
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
        self.runs.push(Checked { run, wrong: None });
    }

    /// What says where the records of a segment are; nothing does of one that was rewritten since.
    pub(super) fn of_segment(&mut self, segment: &SegmentHeader) -> Filed<'_> {
        let described = self.segments.get(&segment_file(segment.number));
        let Some((run, at)) = described.copied() else { return Filed(None) };
        let Some(Checked { run, wrong }) = self.runs.get_mut(run) else { return Filed(None) };
        if run.covered().get(at).is_none_or(|covered| covered.salt != segment.salt) {
            return Filed(None);
        }
        let key = self.key.as_ref();
        Filed(Some(Compared { near: LookupHint::default(), disk: &*self.disk, run, key, wrong }))
    }

    /// Compares what is said of a segment as a whole. One that was rewritten since has another salt
    /// and length.
    pub(super) fn ended(&mut self, segment: &Covered) {
        let file = segment_file(segment.number);
        let Some((run, at)) = self.segments.remove(&file) else { return };
        let Some(Checked { run, wrong }) = self.runs.get_mut(run) else { return };
        let as_it_was = |said: &Covered| match said.salt == segment.salt {
            true => *segment,
            false => Covered { salt: said.salt, adopted_length: said.adopted_length, ..*segment },
        };
        let said = run.covered().get(at);
        if said.is_none_or(|said| *said != as_it_was(said)) {
            let complaint =
                format!("{} says other things of {file} than it does", run.name().file());
            // An opening after a kill adopts events that no later mark covers yet, and its run has them.
            if said.is_some_and(|said| said.is_same_segment(segment) && said.end > segment.end) {
                self.longer.push((file, complaint));
            } else {
                wrong.get_or_insert(complaint);
            }
        }
    }

    /// What is wrong with files, once all of the log was looked at. Where a segment is damaged that a
    /// file speaks of, the file may be right.
    pub(super) fn wrong(
        self,
        is_damaged: impl Fn(&str) -> bool,
        is_unconfirmed: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let Self { runs, mut wrong, longer, segments, .. } = self;
        let longer =
            longer.into_iter().filter(|(file, _)| !is_damaged(file) && !is_unconfirmed(file));
        wrong.extend(longer.map(|(_, complaint)| complaint));
        wrong.extend(runs.into_iter().filter_map(|Checked { run, wrong }| {
            let right =
                run.covered().iter().any(|covered| is_damaged(&segment_file(covered.number)));
            wrong.filter(|_| !right)
        }));
        let left = segments.into_keys().filter(|file| !is_damaged(file));
        wrong.extend(left.map(|file| format!("{file} is in the index, but not in the log")));
        wrong
    }
}

/// A run all of whose blocks are sound.
fn open(
    disk: &dyn Disk,
    listed: ManifestEntry,
    store: [u8; 16],
    cache: &Arc<BlockCache>,
) -> Result<Run, String> {
    let store_error = |error: RunError| error.to_string();
    let run = Run::open(disk, listed.name, Arc::clone(cache)).map_err(store_error)?;
    if run.manifest_entry() != listed || run.store() != store {
        return Err(format!("{} is not the one that the index names", listed.name.file()));
    }
    run.verify(disk, &mut |_| ControlFlow::Continue(())).map_err(store_error)?;
    Ok(run)
}

/// The run that covers a segment, if one does.
pub(super) struct Filed<'a>(Option<Compared<'a>>);

struct Compared<'a> {
    near: LookupHint,
    disk: &'a dyn Disk,
    run: &'a Run,
    key: Option<&'a TermKey>,
    wrong: &'a mut Option<String>,
}

impl Filed<'_> {
    /// Compares what the run says of an event whose record is at this offset.
    pub(super) fn event(&mut self, offset: u64, event: &Event<'_>) {
        let Some(compared) = self.0.as_mut().filter(|compared| compared.wrong.is_none()) else {
            return;
        };
        match compared.agrees(offset, event) {
            Ok(true) => {}
            Ok(false) => {
                let (file, position) = (compared.run.name().file(), event.position);
                *compared.wrong =
                    Some(format!("{file} says other things of position {position} than the log"));
            }
            Err(error) => *compared.wrong = Some(error.to_string()),
        }
    }
}

impl Compared<'_> {
    fn agrees(&mut self, offset: u64, event: &Event<'_>) -> Result<bool, RunError> {
        let found = self.run.locate(self.disk, event.position.number(), &mut self.near)?;
        if found.map(|place| u64::from(place.offset)) != Some(offset) {
            return Ok(false);
        }
        if !event.position.number().is_multiple_of(LOOKED_UP_ONE_IN) {
            return Ok(true);
        }
        let (Some(key), Ok(stream)) = (self.key, StreamName::stored(event.stream)) else {
            return Ok(true);
        };
        let Some(found) = self.run.find(self.disk, key.hash(&Term::Stream(&stream)))? else {
            return Ok(false);
        };
        let Some(nth) = event.revision.number().checked_sub(found.first_ordinal()) else {
            return Ok(false);
        };
        let posting = self.run.posting(self.disk, &found, nth)?;
        Ok(posting == Some(event.position.number()))
    }
}
