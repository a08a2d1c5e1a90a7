//! A part of the index that is a sorted run on disk, with the overrides of segments that were
//! rewritten since.
//!
//! Invariant: damage to a run is reported as an error that names the file, never as a wrong answer.
//!
//! The run's bytes are in [`run`](super::run).

use std::{cell::Cell, sync::Arc};

use gesta_store::{
    Category, Damage, Direction, EventId, Position, Revision, StoreError, StreamMetadata,
    StreamName,
};

use super::{
    Revisions,
    entry::{AppendSpan, Location, OwnedTerm},
    offset_overrides::OffsetOverrides,
    run::{
        CoveredSegment, LookupHint, PostingsCursor, Run, RunError, Term, TermHash, TermKey,
        TermMatch,
    },
    stream_meta::StreamMetaChange,
};
use crate::{disk::Disk, format::Seed};

/// The disk and the term hash key, shared by all runs of a store.
#[derive(Debug)]
pub(crate) struct RunContext {
    disk: Arc<dyn Disk>,
    key: TermKey,
}

impl RunContext {
    pub(crate) fn new(disk: Arc<dyn Disk>, store: [u8; 16]) -> Self {
        Self { disk, key: TermKey::new(store) }
    }

    pub(crate) fn key(&self) -> &TermKey {
        &self.key
    }

    /// Reads the changes of stream metadata that a run holds.
    pub(super) fn stream_meta(
        &self,
        run: &Run,
    ) -> Result<Vec<(StreamName, StreamMetaChange)>, RunError> {
        let mut changes = Vec::new();
        let mut stream_meta = run.stream_meta();
        while let Some((stream, delta)) = stream_meta.next(run, &*self.disk)? {
            // Metadata was validated when it was appended, so unreadable JSON is from a newer
            // version and changes nothing.
            let metadata = delta.metadata.as_deref();
            if let Some(Ok(metadata)) = metadata.map(StreamMetadata::from_json) {
                changes.push((stream.clone(), StreamMetaChange::Metadata(metadata)));
            }
            if delta.tombstoned {
                changes.push((stream, StreamMetaChange::Tombstone));
            }
        }
        Ok(changes)
    }
}

/// The hash of a term, computed on the first probe of a run and shared by all runs.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyHash(Cell<Option<TermHash>>);

impl LazyHash {
    pub(super) fn of(&self, key: &TermKey, term: &Term<'_>) -> TermHash {
        let hash = self.0.get().unwrap_or_else(|| key.hash(term));
        self.0.set(Some(hash));
        hash
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct OnDiskPart {
    context: Arc<RunContext>,
    run: Arc<Run>,
    /// Overrides of segments that were rewritten since the run was made, in the order of segments.
    overrides: Vec<Arc<OffsetOverrides>>,
}

impl OnDiskPart {
    pub(super) fn new(context: Arc<RunContext>, run: Arc<Run>) -> Self {
        Self { context, run, overrides: Vec::new() }
    }

    /// Returns the same part with the overrides of one more segment, replacing earlier ones.
    pub(super) fn with_overrides(&self, overridden: Arc<OffsetOverrides>) -> Self {
        let number = |overridden: &Arc<OffsetOverrides>| overridden.covered.number;
        // A segment can be rewritten again before its run is: the latest overrides win.
        let others = self.overrides.iter().filter(|other| number(other) != number(&overridden));
        let mut overrides: Vec<_> = others.cloned().collect();
        overrides.push(overridden);
        overrides.sort_unstable_by_key(number);
        Self { context: Arc::clone(&self.context), run: Arc::clone(&self.run), overrides }
    }

    pub(super) fn overrides(&self) -> &[Arc<OffsetOverrides>] {
        &self.overrides
    }

    /// The covered segments in their latest rewritten form.
    pub(super) fn covered(&self) -> impl Iterator<Item = CoveredSegment> {
        self.run.covered().iter().map(|covered| {
            let same =
                |overridden: &&Arc<OffsetOverrides>| overridden.covered.number == covered.number;
            self.overrides.iter().find(same).map_or(*covered, |overridden| overridden.covered)
        })
    }

    pub(super) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    pub(super) fn context(&self) -> &RunContext {
        &self.context
    }

    fn disk(&self) -> &dyn Disk {
        &*self.context.disk
    }

    pub(super) fn locate(
        &self,
        position: u64,
        near: &mut LookupHint,
    ) -> Result<Option<Location>, StoreError> {
        // The run's own offsets are stale for a rewritten segment.
        if let Some(overridden) = self.overrides.iter().find(|overridden| overridden.has(position))
        {
            return Ok(overridden.locate(position));
        }
        let place = self.run.locate(self.disk(), position, near).map_err(store_error)?;
        Ok(place.map(|place| Location {
            position: Position::new(position),
            segment: place.segment,
            seed: Seed::new(place.salt, place.segment),
            offset: u64::from(place.offset),
            next: place.next.map(u64::from),
        }))
    }

    /// Returns the nearest position at or after `at` in `direction` that has a record.
    pub(super) fn nearest(&self, at: u64, direction: Direction) -> Result<Option<u64>, StoreError> {
        let Some(last) = self.run.end().checked_sub(1) else { return Ok(None) };
        let mut at = match direction {
            Direction::Forwards => at.max(self.run.first()),
            Direction::Backwards => at.min(last),
        };
        // Alternates between overridden segments and the run, which is valid between them.
        while at >= self.run.first() && at <= last {
            if let Some(overridden) = self.overrides.iter().find(|overridden| overridden.has(at)) {
                if let Some(found) = overridden.nearest(at, direction) {
                    return Ok(Some(found));
                }
                // All of its records were scavenged: continue after the segment.
                at = match (direction, overridden.covered.first.checked_sub(1)) {
                    (Direction::Forwards, _) => overridden.covered.end,
                    (Direction::Backwards, Some(before)) => before,
                    (Direction::Backwards, None) => return Ok(None),
                };
                continue;
            }
            let found = self.run.nearest(self.disk(), at, direction).map_err(store_error)?;
            let Some(found) = found else {
                return Ok(self.overridden_from(at, direction));
            };
            // The run's answer counts only if no overridden segment comes first.
            match self.first_overridden(at, found, direction) {
                None => return Ok(Some(found)),
                Some(with_overrides) => at = with_overrides,
            }
        }
        Ok(None)
    }

    /// Returns the nearest record in an overridden segment, where the run has none.
    fn overridden_from(&self, at: u64, direction: Direction) -> Option<u64> {
        // Overrides are in the order of segments, and those on the other side of `at` have no
        // answer: the first hit is the nearest.
        let mut found =
            self.overrides.iter().filter_map(|overridden| overridden.nearest(at, direction));
        match direction {
            Direction::Forwards => found.next(),
            Direction::Backwards => found.next_back(),
        }
    }

    /// Returns the first overridden position between `from` and `to`.
    fn first_overridden(&self, from: u64, to: u64, direction: Direction) -> Option<u64> {
        let on_the_way = |overridden: &&Arc<OffsetOverrides>| match direction {
            Direction::Forwards => overridden.covered.end > from && overridden.covered.first <= to,
            Direction::Backwards => overridden.covered.first <= from && overridden.covered.end > to,
        };
        let mut met = self
            .overrides
            .iter()
            .filter(on_the_way)
            // A segment without events covers nothing; a stop at it would repeat the same step.
            .filter(|overridden| overridden.covered.first < overridden.covered.end);
        match direction {
            Direction::Forwards => met.next().map(|overridden| overridden.covered.first.max(from)),
            Direction::Backwards => {
                met.next_back().map(|overridden| (overridden.covered.end - 1).min(from))
            }
        }
    }

    pub(super) fn revisions(
        &self,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<Revisions>, StoreError> {
        Ok(self.find(&Term::Stream(stream), hash)?.as_ref().map(revisions))
    }

    /// Returns the revisions of a stream with their postings.
    pub(super) fn stream(
        &self,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<(Revisions, RunPostings)>, StoreError> {
        let found = self.find(&Term::Stream(stream), hash)?;
        Ok(found.map(|found| (revisions(&found), self.postings_of(found))))
    }

    fn find(&self, term: &Term<'_>, hash: &LazyHash) -> Result<Option<TermMatch>, StoreError> {
        self.run.find(self.disk(), hash.of(&self.context.key, term)).map_err(store_error)
    }

    fn postings_of(&self, found: TermMatch) -> RunPostings {
        RunPostings {
            context: Arc::clone(&self.context),
            run: Arc::clone(&self.run),
            cursor: PostingsCursor::new(found),
        }
    }

    /// Returns the appends of an entry of this id, latest first: one for each segment that has any.
    pub(super) fn find_appends(
        &self,
        first_event: EventId,
        hash: &LazyHash,
    ) -> Result<Vec<AppendSpan>, StoreError> {
        match self.find(&Term::Append(first_event), hash)? {
            Some(found) => self.appends_of(&found),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn find_append_in(
        &self,
        first_event: EventId,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<AppendSpan>, StoreError> {
        match self.find(&Term::AppendIn(first_event, stream), hash)? {
            Some(found) => Ok(self.appends_of(&found)?.into_iter().next()),
            None => Ok(None),
        }
    }

    fn appends_of(&self, found: &TermMatch) -> Result<Vec<AppendSpan>, StoreError> {
        // The entry of one append holds its number of events as the ordinal. Merged entries have
        // only that of the first.
        let events = u32::try_from(found.first_ordinal()).ok().filter(|_| found.count() == 1);
        let mut appends = Vec::new();
        for nth in (0..found.count()).rev() {
            let first = self.run.posting(self.disk(), found, nth).map_err(store_error)?;
            appends.extend(first.map(|first| AppendSpan { first: Position::new(first), events }));
        }
        Ok(appends)
    }

    pub(super) fn names(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamName>, StoreError> {
        let after = after.map(StreamName::as_str);
        let mut names = self.run.names(prefix, after);
        let mut found = Vec::new();
        // Reads no further than needed: a run may list millions of names.
        while found.len() < limit
            && let Some(name) = names.next(&self.run, self.disk()).map_err(store_error)?
        {
            found.push(name);
        }
        Ok(found)
    }

    /// Returns all categories of the run.
    pub(super) fn categories(&self) -> Result<Vec<Category>, StoreError> {
        let mut categories = self.run.categories(None);
        let mut found = Vec::new();
        while let Some(category) = categories.next(&self.run, self.disk()).map_err(store_error)? {
            found.push(category);
        }
        Ok(found)
    }

    pub(super) fn postings(
        &self,
        term: &OwnedTerm,
        hash: &LazyHash,
    ) -> Result<Option<RunPostings>, StoreError> {
        Ok(self.find(&term.as_term(), hash)?.map(|found| self.postings_of(found)))
    }

    /// Returns the postings of a term with their number.
    pub(super) fn counted(
        &self,
        term: &OwnedTerm,
        hash: &LazyHash,
    ) -> Result<Option<(u64, RunPostings)>, StoreError> {
        let found = self.find(&term.as_term(), hash)?;
        Ok(found.map(|found| (found.count(), self.postings_of(found))))
    }
}

/// Returns the revisions of a stream from its term entry.
fn revisions(found: &TermMatch) -> Revisions {
    Revisions { first: Revision::new(found.first_ordinal()), count: found.count() }
}

/// The postings of one term in one run.
#[derive(Debug)]
pub(super) struct RunPostings {
    context: Arc<RunContext>,
    run: Arc<Run>,
    cursor: PostingsCursor,
}

impl RunPostings {
    pub(super) fn seek(
        &mut self,
        at: u64,
        direction: Direction,
    ) -> Result<Option<u64>, StoreError> {
        self.cursor.seek(self.run.file(), &*self.context.disk, at, direction).map_err(store_error)
    }

    pub(super) fn nth(&mut self, n: u64) -> Result<Option<u64>, StoreError> {
        self.cursor.seek_ordinal(self.run.file(), &*self.context.disk, n).map_err(store_error)
    }

    /// Returns the number of postings before a position.
    pub(super) fn before(&mut self, position: u64) -> Result<u64, StoreError> {
        let found = self.seek(position, Direction::Forwards)?;
        // Without a posting at or after the position, all are before it.
        Ok(found.and_then(|_| self.cursor.ordinal()).unwrap_or_else(|| self.cursor.count()))
    }
}

/// Converts an error of the index's files for readers.
pub(crate) fn store_error(error: RunError) -> StoreError {
    match error {
        RunError::Damaged { file, offset, what } => StoreError::Corrupt(Damage::new(
            file,
            offset,
            format!(
                "the index: {what}; remove the file INDEX; the index is then rebuilt the next time \
                 the store is opened"
            ),
        )),
        RunError::Io { file, source } => StoreError::Unavailable {
            reason: format!("cannot read {file}"),
            source: Some(Arc::new(source)),
        },
        RunError::Newer { .. } | RunError::Stopped => StoreError::unavailable(error.to_string()),
    }
}
