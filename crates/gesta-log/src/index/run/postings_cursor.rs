//! Term matches, and cursors over their postings.
//!
//! A cursor yields the postings of one run in order, in either direction. It keeps the last decoded
//! leaf, so most steps decode nothing.

use gesta_store::Direction;

use super::{
    block_reader::CachedBlocks,
    error::RunError,
    posting_tree::FANOUT,
    run_file::RunFile,
    term_block::{StoredPostings, TermEntry},
};
use crate::disk::Disk;

/// A run's entry of a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TermMatch(pub(super) TermEntry);

impl TermMatch {
    /// For a stream, the revision of the first posting; for an append, its number of events.
    pub(crate) fn first_ordinal(&self) -> u64 {
        self.0.first_ordinal
    }

    /// Number of postings; at least one.
    pub(crate) fn count(&self) -> u64 {
        self.0.postings.count()
    }

    pub(super) fn posting(
        &self,
        file: &RunFile,
        disk: &dyn Disk,
        ordinal: u64,
    ) -> Result<Option<u64>, RunError> {
        let at = usize::try_from(ordinal).ok();
        match &self.0.postings {
            StoredPostings::One(position) => Ok(Some(*position).filter(|_| ordinal == 0)),
            StoredPostings::Few(positions) => Ok(at.and_then(|at| positions.get(at)).copied()),
            StoredPostings::Many(_) => {
                PostingsCursor::new(self.clone()).seek_ordinal(file, disk, ordinal)
            }
        }
    }
}

/// A cursor over the postings of a term in one run.
#[derive(Clone, Debug)]
pub(crate) struct PostingsCursor {
    found: TermMatch,
    /// The decoded leaf and the ordinal of its first posting. Empty before a posting tree is first
    /// read.
    leaf: Vec<u64>,
    leaf_start: u64,
    /// Index in the leaf, or `None` before the first step.
    at: Option<usize>,
}

impl PostingsCursor {
    /// Creates an unplaced cursor.
    pub(crate) fn new(found: TermMatch) -> Self {
        let leaf = match &found.0.postings {
            StoredPostings::One(position) => vec![*position],
            StoredPostings::Few(positions) => positions.clone(),
            StoredPostings::Many(_) => Vec::new(),
        };
        Self { found, leaf, leaf_start: 0, at: None }
    }

    /// Number of postings.
    pub(crate) fn count(&self) -> u64 {
        self.found.count()
    }

    /// The ordinal of the current posting, or `None` before the first step.
    pub(crate) fn ordinal(&self) -> Option<u64> {
        self.at.map(|at| self.leaf_start + at as u64)
    }

    /// Moves to the nearest posting at or after `position` in `direction`. If there is none, the
    /// cursor stays.
    pub(crate) fn seek(
        &mut self,
        file: &RunFile,
        disk: &dyn Disk,
        position: u64,
        direction: Direction,
    ) -> Result<Option<u64>, RunError> {
        // The new leaf replaces the current one only if the seek succeeds.
        let loaded = match self.found.0.postings {
            StoredPostings::Many(list) if !self.leaf_covers(position, direction) => {
                let mut leaf = Vec::new();
                let number =
                    list.leaf_containing(&mut CachedBlocks { file, disk }, position, &mut leaf)?;
                Some((leaf, number * FANOUT))
            }
            StoredPostings::One(_) | StoredPostings::Few(_) | StoredPostings::Many(_) => None,
        };
        let (leaf, start) = match &loaded {
            Some((leaf, start)) => (leaf, *start),
            None => (&self.leaf, self.leaf_start),
        };
        // Search the leaf that was loaded, or the current one.
        let at = match direction {
            Direction::Forwards if loaded.is_none() => self.index_at_or_after(position),
            Direction::Forwards => Some(leaf.partition_point(|posting| *posting < position)),
            Direction::Backwards => {
                leaf.partition_point(|posting| *posting <= position).checked_sub(1)
            }
        };
        let Some((at, posting)) = at.and_then(|at| Some((at, *leaf.get(at)?))) else {
            // The leaf ends before `position`: the answer, if any, begins the next leaf.
            let after = start + leaf.len() as u64;
            return match direction {
                Direction::Forwards => self.seek_ordinal(file, disk, after),
                Direction::Backwards => Ok(None),
            };
        };
        if let Some((leaf, start)) = loaded {
            (self.leaf, self.leaf_start) = (leaf, start);
        }
        self.at = Some(at);
        Ok(Some(posting))
    }

    /// Returns the index of the leaf's first posting at or after a position. Tries the next one
    /// first.
    fn index_at_or_after(&self, position: u64) -> Option<usize> {
        if let Some(at) = self.at
            && self.leaf.get(at)? < &position
            && self.leaf.get(at + 1).is_some_and(|next| *next >= position)
        {
            return Some(at + 1);
        }
        Some(self.leaf.partition_point(|posting| *posting < position))
    }

    /// Returns whether the decoded leaf is known to contain the answer.
    fn leaf_covers(&self, position: u64, direction: Direction) -> bool {
        let Some((first, last)) = self.leaf.first().zip(self.leaf.last()) else { return false };
        match direction {
            Direction::Forwards => {
                // If the leaf begins after `position`, a leaf before it may have a nearer posting.
                *last >= position && (*first <= position || self.leaf_start == 0)
            }
            Direction::Backwards => {
                // A backward seek from beyond the last posting ends in the last leaf.
                let ends = self.leaf_start + self.leaf.len() as u64 == self.found.count();
                *first <= position && (*last >= position || ends)
            }
        }
    }

    /// Moves to the posting with this ordinal, if there is one.
    pub(crate) fn seek_ordinal(
        &mut self,
        file: &RunFile,
        disk: &dyn Disk,
        ordinal: u64,
    ) -> Result<Option<u64>, RunError> {
        if ordinal >= self.found.count() {
            return Ok(None);
        }
        // Within the decoded leaf: nothing to read.
        let here = ordinal.checked_sub(self.leaf_start).filter(|at| *at < self.leaf.len() as u64);
        let at = match (here, &self.found.0.postings) {
            (Some(at), _) => at as usize,
            (None, StoredPostings::Many(list)) => {
                // All leaves but the last are full, so the ordinal gives the leaf.
                let (number, mut leaf) = (ordinal / FANOUT, Vec::new());
                list.leaf(&mut CachedBlocks { file, disk }, number, &mut leaf)?;
                (self.leaf, self.leaf_start) = (leaf, number * FANOUT);
                (ordinal % FANOUT) as usize
            }
            (None, StoredPostings::One(_) | StoredPostings::Few(_)) => return Ok(None),
        };
        self.at = Some(at);
        Ok(self.leaf.get(at).copied())
    }
}
