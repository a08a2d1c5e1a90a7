//! A part of the index: a stretch of positions, in memory.
//!
//! Always holds: parts do not overlap; what a part once had stays in it.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use gesta_store::{Category, Direction, EventId, StoreError, StreamName};

use super::{
    Location, OwnedTerm, Span,
    memory::{Memory, Revisions},
};

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// With its first position.
    Memory(u64, Arc<RwLock<Memory>>),
}

pub(super) fn read(memory: &RwLock<Memory>) -> RwLockReadGuard<'_, Memory> {
    memory.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(memory: &RwLock<Memory>) -> RwLockWriteGuard<'_, Memory> {
    memory.write().unwrap_or_else(PoisonError::into_inner)
}

/// The last part that begins at or before a position.
pub(super) fn part_before(parts: &[Part], position: u64) -> Option<usize> {
    parts.partition_point(|part| part.first() <= position).checked_sub(1)
}

impl Part {
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Memory(first, _) => *first,
        }
    }

    /// Whether looking something up may read from the disk.
    pub(super) fn is_a_file(&self) -> bool {
        match self {
            Self::Memory(..) => false,
        }
    }

    /// The first position after it.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Memory(_, memory) => read(memory).end(),
        }
    }

    pub(super) fn locate(&self, position: u64) -> Result<Option<Location>, StoreError> {
        match self {
            Self::Memory(_, memory) => Ok(read(memory).locate(position)),
        }
    }

    pub(super) fn revisions(&self, stream: &StreamName) -> Result<Option<Revisions>, StoreError> {
        match self {
            Self::Memory(_, memory) => Ok(read(memory).revisions(stream)),
        }
    }

    pub(super) fn find_append(&self, first_event: EventId) -> Result<Option<Span>, StoreError> {
        match self {
            Self::Memory(_, memory) => Ok(read(memory).find_append(first_event)),
        }
    }

    pub(super) fn names(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamName>, StoreError> {
        match self {
            Self::Memory(_, memory) => Ok(write(memory).names(prefix, after, limit)),
        }
    }

    pub(super) fn add_categories(&self, categories: &mut BTreeSet<Category>) {
        match self {
            Self::Memory(_, memory) => categories.extend(read(memory).categories().cloned()),
        }
    }

    /// For looking up the postings of one term.
    pub(super) fn postings(&self, term: &OwnedTerm) -> Result<PartPostings, StoreError> {
        match self {
            Self::Memory(_, memory) => Ok(PartPostings::Memory(Arc::clone(memory), term.clone())),
        }
    }
}

/// The postings of one term in one part.
#[derive(Debug)]
pub(super) enum PartPostings {
    Memory(Arc<RwLock<Memory>>, OwnedTerm),
}

impl PartPostings {
    /// The nearest position from `at` on, `at` included.
    pub(super) fn seek(
        &mut self,
        at: u64,
        direction: Direction,
    ) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Memory(memory, term) => Ok(read(memory).seek(term, at, direction)),
        }
    }

    /// Of a stream's term: the position of its n-th event in this part.
    pub(super) fn nth(&mut self, n: u64) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Memory(memory, OwnedTerm::Stream(stream)) => Ok(read(memory).nth(stream, n)),
            Self::Memory(..) => Ok(None),
        }
    }
}
