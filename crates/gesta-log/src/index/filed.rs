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
    Location, OwnedTerm, Revisions, Span,
    lives::Change,
    run::{Cursor, Run, RunError, Term, TermHash, TermKey},
};
use crate::{disk::Disk, format::Seed};

/// What all runs of a store are asked with.
#[derive(Debug)]
pub(crate) struct FileContext {
    disk: Arc<dyn Disk>,
    key: TermKey,
}

impl FileContext {
    pub(crate) fn new(disk: Arc<dyn Disk>, store: [u8; 16]) -> Self {
        Self { disk, key: TermKey::new(store) }
    }

    pub(crate) fn key(&self) -> &TermKey {
        &self.key
    }

    /// What a run says of the lives of streams.
    pub(super) fn lifecycles(&self, run: &Run) -> Result<Vec<(StreamName, Change)>, RunError> {
        let mut changes = Vec::new();
        let mut lifecycles = run.lifecycles();
        while let Some((stream, lifecycle)) = lifecycles.next(run, &*self.disk)? {
            // Metadata were checked when they were offered.
            let metadata = lifecycle.metadata.as_deref();
            if let Some(Ok(metadata)) = metadata.map(StreamMetadata::from_json) {
                changes.push((stream.clone(), Change::Metadata(metadata)));
            }
            if lifecycle.tombstoned {
                changes.push((stream, Change::Tombstone));
            }
        }
        Ok(changes)
    }
}

/// The hash of a term, once a file was asked for it: the same in all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyHash(Cell<Option<TermHash>>);

impl LazyHash {
    fn of(&self, key: &TermKey, term: &Term<'_>) -> TermHash {
        let hash = self.0.get().unwrap_or_else(|| key.hash(term));
        self.0.set(Some(hash));
        hash
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Filed {
    context: Arc<FileContext>,
    run: Arc<Run>,
}

impl Filed {
    pub(super) fn new(context: Arc<FileContext>, run: Arc<Run>) -> Self {
        Self { context, run }
    }

    pub(super) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    fn disk(&self) -> &dyn Disk {
        &*self.context.disk
    }

    pub(super) fn locate(&self, position: u64) -> Result<Option<Location>, StoreError> {
        let place = self.run.place(self.disk(), position).map_err(told)?;
        Ok(place.map(|place| Location {
            position: Position::new(position),
            segment: place.segment,
            seed: Seed::new(place.salt, place.segment),
            offset: u64::from(place.offset),
            next: place.next.map(u64::from),
        }))
    }

    pub(super) fn revisions(
        &self,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<Revisions>, StoreError> {
        let hash = hash.of(&self.context.key, &Term::Stream(stream));
        let found = self.run.find(self.disk(), hash).map_err(told)?;
        Ok(found.map(|found| Revisions {
            first: Revision::new(found.first_ordinal()),
            count: found.count(),
        }))
    }

    pub(super) fn find_append(
        &self,
        first_event: EventId,
        hash: &LazyHash,
    ) -> Result<Option<Span>, StoreError> {
        let hash = hash.of(&self.context.key, &Term::Append(first_event));
        let Some(found) = self.run.find(self.disk(), hash).map_err(told)? else { return Ok(None) };
        let first = self.run.posting(self.disk(), &found, 0).map_err(told)?;
        let events = u32::try_from(found.first_ordinal()).unwrap_or(u32::MAX);
        Ok(first.map(|first| Span { first: Position::new(first), events }))
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
            && let Some(name) = names.next(&self.run, self.disk()).map_err(told)?
        {
            found.push(name);
        }
        Ok(found)
    }

    /// All categories.
    pub(super) fn categories(&self) -> Result<Vec<Category>, StoreError> {
        let mut categories = self.run.categories(None);
        let mut found = Vec::new();
        while let Some(category) = categories.next(&self.run, self.disk()).map_err(told)? {
            found.push(category);
        }
        Ok(found)
    }

    pub(super) fn postings(
        &self,
        term: &OwnedTerm,
        hash: &LazyHash,
    ) -> Result<Option<Postings>, StoreError> {
        let term = match term {
            OwnedTerm::Stream(name) => Term::Stream(name),
            OwnedTerm::Category(category) => Term::Category(category),
            OwnedTerm::EventType(event_type) => Term::EventType(event_type),
            OwnedTerm::Tag(tag) => Term::Tag(tag),
        };
        let hash = hash.of(&self.context.key, &term);
        let found = self.run.find(self.disk(), hash).map_err(told)?;
        Ok(found.map(|found| Postings {
            context: Arc::clone(&self.context),
            run: Arc::clone(&self.run),
            cursor: Cursor::new(found),
        }))
    }
}

/// The postings of one term in one run.
#[derive(Debug)]
pub(super) struct Postings {
    context: Arc<FileContext>,
    run: Arc<Run>,
    cursor: Cursor,
}

impl Postings {
    pub(super) fn seek(
        &mut self,
        at: u64,
        direction: Direction,
    ) -> Result<Option<u64>, StoreError> {
        self.cursor.seek(&self.run, &*self.context.disk, at, direction).map_err(told)
    }

    pub(super) fn nth(&mut self, n: u64) -> Result<Option<u64>, StoreError> {
        self.cursor.go_to(&self.run, &*self.context.disk, n).map_err(told)
    }
}

/// What whoever reads is told.
fn told(error: RunError) -> StoreError {
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
