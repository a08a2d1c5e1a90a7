//! A part of the index: a memtable or a sorted run.
//!
//! Invariants: parts cover disjoint, ascending ranges of positions; a part never loses entries.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use gesta_store::{Category, Direction, EventId, StoreError, StreamName};

use super::{
    entry::{AppendSpan, Location, OwnedTerm},
    memtable::{Memtable, Revisions},
    on_disk_part::{self, LazyHash, OnDiskPart},
    run::LookupHint,
};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) enum IndexPart {
    /// With its first position, so that the search for a part takes no lock.
    Memtable(u64, Arc<RwLock<Memtable>>),
    File(Arc<OnDiskPart>),
}

pub(super) fn read(memtable: &RwLock<Memtable>) -> RwLockReadGuard<'_, Memtable> {
    memtable.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(memtable: &RwLock<Memtable>) -> RwLockWriteGuard<'_, Memtable> {
    memtable.write().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the index of the last part that begins at or before a position.
pub(super) fn part_before(parts: &[IndexPart], position: u64) -> Option<usize> {
    // The parts are few and ascending: a binary search over their first positions.
    parts.partition_point(|part| part.first() <= position).checked_sub(1)
}

impl IndexPart {
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Memtable(first, _) => *first,
            Self::File(file) => file.run().first(),
        }
    }

    /// The number of the first segment.
    pub(super) fn segment(&self) -> u64 {
        match self {
            Self::Memtable(_, memtable) => read(memtable).position_range().segment,
            Self::File(file) => file.run().name().first,
        }
    }

    /// Returns whether a lookup may read from disk.
    pub(super) fn is_on_disk(&self) -> bool {
        match self {
            Self::Memtable(..) => false,
            Self::File(_) => true,
        }
    }

    /// The first position after the part.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Memtable(_, memtable) => read(memtable).end(),
            Self::File(file) => file.run().end(),
        }
    }

    pub(super) fn locate(
        &self,
        position: u64,
        near: &mut LookupHint,
    ) -> Result<Option<Location>, StoreError> {
        match self {
            Self::Memtable(_, memtable) => Ok(read(memtable).locate(position)),
            Self::File(file) => file.locate(position, near),
        }
    }

    /// Returns the nearest position at or after `at` in `direction` that has a record here.
    pub(super) fn nearest(&self, at: u64, direction: Direction) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Memtable(_, memtable) => Ok(read(memtable).nearest(at, direction)),
            Self::File(file) => file.nearest(at, direction),
        }
    }

    pub(super) fn revisions(
        &self,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<Revisions>, StoreError> {
        match self {
            Self::Memtable(_, memtable) => Ok(read(memtable).revisions(stream)),
            Self::File(file) => file.revisions(stream, hash),
        }
    }

    /// Returns the revisions of a stream with their postings.
    pub(super) fn stream(
        &self,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<(Revisions, PartPostings)>, StoreError> {
        match self {
            Self::Memtable(_, memtable) => {
                let revisions = read(memtable).revisions(stream);
                Ok(revisions.map(|revisions| {
                    let term = OwnedTerm::Stream(stream.clone());
                    (revisions, PartPostings::Memtable(Arc::clone(memtable), term))
                }))
            }
            Self::File(file) => {
                let found = file.stream(stream, hash)?;
                Ok(found.map(|(revisions, postings)| {
                    (revisions, PartPostings::File(Box::new(postings)))
                }))
            }
        }
    }

    /// Returns the appends here whose first event has this id, latest first: of those in one
    /// segment, only the first one.
    pub(super) fn find_appends(
        &self,
        first_event: EventId,
        hash: &LazyHash,
    ) -> Result<Vec<AppendSpan>, StoreError> {
        match self {
            Self::Memtable(_, memtable) => {
                Ok(read(memtable).find_append(first_event).into_iter().collect())
            }
            Self::File(file) => file.find_appends(first_event, hash),
        }
    }

    /// Returns the append whose first event has this id and is in this stream, unless
    /// [`find_appends`](Self::find_appends) returns it.
    pub(super) fn find_append_in(
        &self,
        first_event: EventId,
        stream: &StreamName,
        hash: &LazyHash,
    ) -> Result<Option<AppendSpan>, StoreError> {
        match self {
            Self::Memtable(_, memtable) => Ok(read(memtable).find_append_in(first_event, stream)),
            Self::File(file) => file.find_append_in(first_event, stream, hash),
        }
    }

    pub(super) fn names(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamName>, StoreError> {
        match self {
            // A write lock, because the memtable sorts its names on demand.
            Self::Memtable(_, memtable) => Ok(write(memtable).names(prefix, after, limit)),
            Self::File(file) => file.names(prefix, after, limit),
        }
    }

    pub(super) fn add_categories(
        &self,
        categories: &mut BTreeSet<Category>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Memtable(_, memtable) => categories.extend(read(memtable).categories().cloned()),
            Self::File(file) => categories.extend(file.categories()?),
        }
        Ok(())
    }

    /// Returns the postings of one term.
    pub(super) fn postings(
        &self,
        term: &OwnedTerm,
        hash: &LazyHash,
    ) -> Result<PartPostings, StoreError> {
        Ok(match self {
            Self::Memtable(_, memtable) => {
                PartPostings::Memtable(Arc::clone(memtable), term.clone())
            }
            Self::File(file) => match file.postings(term, hash)? {
                Some(postings) => PartPostings::File(Box::new(postings)),
                // Remembered as well, so that a scan does not probe the part's filter again.
                None => PartPostings::None,
            },
        })
    }
}

impl IndexPart {
    /// Returns the postings of one term with their number, or `None` without postings.
    pub(super) fn counted(
        &self,
        term: &OwnedTerm,
        hash: &LazyHash,
    ) -> Result<Option<(u64, PartPostings)>, StoreError> {
        match self {
            Self::Memtable(_, memtable) => {
                let count = read(memtable).count(term);
                let postings = || PartPostings::Memtable(Arc::clone(memtable), term.clone());
                Ok((count > 0).then(|| (count, postings())))
            }
            Self::File(file) => {
                let found = file.counted(term, hash)?;
                Ok(found.map(|(count, postings)| (count, PartPostings::File(Box::new(postings)))))
            }
        }
    }
}

/// The postings of one term in one part.
#[derive(Debug)]
pub(super) enum PartPostings {
    None,
    Memtable(Arc<RwLock<Memtable>>, OwnedTerm),
    File(Box<on_disk_part::RunPostings>),
}

impl PartPostings {
    /// Returns the nearest posting at or after `at` in `direction`.
    pub(super) fn seek(
        &mut self,
        at: u64,
        direction: Direction,
    ) -> Result<Option<u64>, StoreError> {
        match self {
            Self::None => Ok(None),
            // Looked up again at each step: the posting list may have grown since.
            Self::Memtable(memtable, term) => Ok(read(memtable).seek(term, at, direction)),
            Self::File(postings) => postings.seek(at, direction),
        }
    }

    /// Returns the position of the n-th event of the term in the part.
    pub(super) fn nth(&mut self, n: u64) -> Result<Option<u64>, StoreError> {
        match self {
            Self::None => Ok(None),
            Self::Memtable(memtable, term) => Ok(read(memtable).nth(term, n)),
            Self::File(postings) => postings.nth(n),
        }
    }

    /// Returns the number of the term's postings in the part before a position.
    pub(super) fn before(&mut self, position: u64) -> Result<u64, StoreError> {
        match self {
            Self::None => Ok(0),
            Self::Memtable(memtable, term) => Ok(read(memtable).count_before(term, position)),
            Self::File(postings) => postings.before(position),
        }
    }
}
