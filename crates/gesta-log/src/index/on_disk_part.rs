//! A part of the index that is a file: a run, asked in the terms of the index.
//!
//! Always holds: damage to a run is an error that names its file, never another answer. Not here:
//! the run's bytes ([`run`](super::run)).

use std::{cell::Cell, sync::Arc};

use gesta_store::{
    Category, Damage, Direction, EventId, Position, Revision, StoreError, StreamMetadata,
    StreamName,
};

use super::{
    AppendSpan, Location, OwnedTerm, Revisions,
    offset_overrides::OffsetOverrides,
    run::{Covered, LookupHint, PostingsCursor, Run, RunError, Term, TermHash, TermKey, TermMatch},
    stream_meta::StreamMetaChange,
};
use crate::{disk::Disk, format::Seed};

/// What all runs of a store are asked with.
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

    /// What a run says of the lives of streams.
    pub(super) fn lifecycles(
        &self,
        run: &Run,
    ) -> Result<Vec<(StreamName, StreamMetaChange)>, RunError> {
        let mut changes = Vec::new();
        let mut lifecycles = run.lifecycles();
        while let Some((stream, lifecycle)) = lifecycles.next(run, &*self.disk)? {
            // Metadata were checked when they were offered.
            let metadata = lifecycle.metadata.as_deref();
            if let Some(Ok(metadata)) = metadata.map(StreamMetadata::from_json) {
                changes.push((stream.clone(), StreamMetaChange::Metadata(metadata)));
            }
            if lifecycle.tombstoned {
                changes.push((stream, StreamMetaChange::Tombstone));
            }
        }
        Ok(changes)
    }
}

/// The hash of a term, once a file was asked for it: the same in all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyHash(Cell<Option<TermHash>>);

impl LazyHash {
    pub(super) fn of(&self, key: &TermKey, term: &Term<'_>) -> TermHash {
        let hash = self.0.get().unwrap_or_else(|| key.hash(term));
        self.0.set(Some(hash));
        hash
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct OnDiskPart {
    context: Arc<RunContext>,
    run: Arc<Run>,
    /// Of segments that were rewritten since the run was made, in order.
    patches: Vec<Arc<OffsetOverrides>>,
}

impl OnDiskPart {
    pub(super) fn new(context: Arc<RunContext>, run: Arc<Run>) -> Self {
        Self { context, run, patches: Vec::new() }
    }

    /// The same with one more patch, in the place of an earlier one of the same segment.
    pub(super) fn patched(&self, patch: Arc<OffsetOverrides>) -> Self {
        let number = |patch: &Arc<OffsetOverrides>| patch.covered.number;
        let others = self.patches.iter().filter(|other| number(other) != number(&patch));
        let mut patches: Vec<_> = others.cloned().collect();
        patches.push(patch);
        patches.sort_unstable_by_key(number);
        Self { context: Arc::clone(&self.context), run: Arc::clone(&self.run), patches }
    }

    pub(super) fn patches(&self) -> &[Arc<OffsetOverrides>] {
        &self.patches
    }

    /// The segments that it covers, as they are now.
    pub(super) fn covered(&self) -> impl Iterator<Item = Covered> {
        self.run.covered().iter().map(|covered| {
            let same = |patch: &&Arc<OffsetOverrides>| patch.covered.number == covered.number;
            self.patches.iter().find(same).map_or(*covered, |patch| patch.covered)
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
        if let Some(patch) = self.patches.iter().find(|patch| patch.has(position)) {
            return Ok(patch.locate(position));
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

    /// The nearest position from `at` on that has a record.
    pub(super) fn nearest(&self, at: u64, direction: Direction) -> Result<Option<u64>, StoreError> {
        let Some(last) = self.run.end().checked_sub(1) else { return Ok(None) };
        let mut at = match direction {
            Direction::Forwards => at.max(self.run.first()),
            Direction::Backwards => at.min(last),
        };
        // From one rewritten segment to the next; between them the run knows.
        while at >= self.run.first() && at <= last {
            if let Some(patch) = self.patches.iter().find(|patch| patch.has(at)) {
                if let Some(found) = patch.nearest(at, direction) {
                    return Ok(Some(found));
                }
                at = match (direction, patch.covered.first.checked_sub(1)) {
                    (Direction::Forwards, _) => patch.covered.end,
                    (Direction::Backwards, Some(before)) => before,
                    (Direction::Backwards, None) => return Ok(None),
                };
                continue;
            }
            let found = self.run.nearest(self.disk(), at, direction).map_err(store_error)?;
            let Some(found) = found else {
                return Ok(self.patched_from(at, direction));
            };
            match self.first_patched(at, found, direction) {
                None => return Ok(Some(found)),
                Some(patched) => at = patched,
            }
        }
        Ok(None)
    }

    /// The nearest record in a rewritten segment, of which the run knows nothing.
    fn patched_from(&self, at: u64, direction: Direction) -> Option<u64> {
        let mut found = self.patches.iter().filter_map(|patch| patch.nearest(at, direction));
        match direction {
            Direction::Forwards => found.next(),
            Direction::Backwards => found.next_back(),
        }
    }

    /// The first position on the way that a patch has.
    fn first_patched(&self, from: u64, to: u64, direction: Direction) -> Option<u64> {
        let on_the_way = |patch: &&Arc<OffsetOverrides>| match direction {
            Direction::Forwards => patch.covered.end > from && patch.covered.first <= to,
            Direction::Backwards => patch.covered.first <= from && patch.covered.end > to,
        };
        let mut met = self
            .patches
            .iter()
            .filter(on_the_way)
            .filter(|patch| patch.covered.first < patch.covered.end);
        match direction {
            Direction::Forwards => met.next().map(|patch| patch.covered.first.max(from)),
            Direction::Backwards => met.next_back().map(|patch| (patch.covered.end - 1).min(from)),
        }
    }

    pub(super) fn revisions(
        &self,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<Revisions>, StoreError> {
        Ok(self.find(&Term::Stream(stream), hash)?.as_ref().map(revisions))
    }

    /// The revisions of a stream with their postings.
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

    pub(super) fn find_append(
        &self,
        first_event: EventId,
        hash: &LazyHash,
    ) -> Result<Option<AppendSpan>, StoreError> {
        let Some(found) = self.find(&Term::Append(first_event), hash)? else { return Ok(None) };
        let first = self.run.posting(self.disk(), &found, 0).map_err(store_error)?;
        let events = u32::try_from(found.first_ordinal()).unwrap_or(u32::MAX);
        Ok(first.map(|first| AppendSpan { first: Position::new(first), events }))
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
        while found.len() < limit
            && let Some(name) = names.next(&self.run, self.disk()).map_err(store_error)?
        {
            found.push(name);
        }
        Ok(found)
    }

    /// All categories.
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
        let term = match term {
            OwnedTerm::Stream(name) => Term::Stream(name),
            OwnedTerm::Category(category) => Term::Category(category),
            OwnedTerm::EventType(event_type) => Term::EventType(event_type),
            OwnedTerm::Tag(tag) => Term::Tag(tag),
        };
        Ok(self.find(&term, hash)?.map(|found| self.postings_of(found)))
    }
}

/// What a stream's term says of its revisions.
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
        self.cursor.seek(&self.run, &*self.context.disk, at, direction).map_err(store_error)
    }

    pub(super) fn nth(&mut self, n: u64) -> Result<Option<u64>, StoreError> {
        self.cursor.go_to(&self.run, &*self.context.disk, n).map_err(store_error)
    }
}

/// What whoever reads is store_error.
pub(crate) fn store_error(error: RunError) -> StoreError {
    match error {
        RunError::Damaged { file, offset, what } => StoreError::Corrupt(Damage {
            file,
            offset,
            positions: None,
            what: format!(
                "the index: {what}; remove the file INDEX, and the next opening builds it anew"
            ),
        }),
        RunError::Io { file, source } => StoreError::Unavailable {
            reason: format!("cannot read {file}"),
            source: Some(Arc::new(source)),
        },
        RunError::Newer { .. } | RunError::Stopped => StoreError::unavailable(error.to_string()),
    }
}
