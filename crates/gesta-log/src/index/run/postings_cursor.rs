//! What was found of a term, and walking its postings either way.
//!
//! Always holds: a cursor yields the postings of one run in order, each once, whichever way it
//! goes; what it has decoded it keeps, so the next step costs next to nothing.

use gesta_store::Direction;

use super::{
    Run, RunError,
    block_reader::CachedBlocks,
    posting_tree::FANOUT,
    term_block::{StoredPostings, TermEntry},
};
use crate::disk::Disk;

/// What a run knows of a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TermMatch(pub(super) TermEntry);

impl TermMatch {
    /// Of a stream: the revision of the first posting. Of an append: how many events it has.
    pub(crate) fn first_ordinal(&self) -> u64 {
        self.0.first_ordinal
    }

    /// How many postings there are; one at least.
    pub(crate) fn count(&self) -> u64 {
        self.0.postings.count()
    }

    pub(super) fn posting(
        &self,
        run: &Run,
        disk: &dyn Disk,
        ordinal: u64,
    ) -> Result<Option<u64>, RunError> {
        let at = usize::try_from(ordinal).ok();
        match &self.0.postings {
            StoredPostings::One(position) => Ok(Some(*position).filter(|_| ordinal == 0)),
            StoredPostings::Few(positions) => Ok(at.and_then(|at| positions.get(at)).copied()),
            StoredPostings::Many(_) => PostingsCursor::new(self.clone()).go_to(run, disk, ordinal),
        }
    }
}

/// A place among the postings of a term in one run.
#[derive(Clone, Debug)]
pub(crate) struct PostingsCursor {
    found: TermMatch,
    /// The decoded part, and the ordinal of its first posting; empty until there is need.
    leaf: Vec<u64>,
    leaf_start: u64,
    /// Where in the leaf it stands; none before the first step.
    at: Option<usize>,
}

impl PostingsCursor {
    /// Stands nowhere yet.
    pub(crate) fn new(found: TermMatch) -> Self {
        let leaf = match &found.0.postings {
            StoredPostings::One(position) => vec![*position],
            StoredPostings::Few(positions) => positions.clone(),
            StoredPostings::Many(_) => Vec::new(),
        };
        Self { found, leaf, leaf_start: 0, at: None }
    }

    /// Goes to the nearest posting from `position` on, in this direction, itself included. If
    /// there is none, it stays where it was.
    pub(crate) fn seek(
        &mut self,
        run: &Run,
        disk: &dyn Disk,
        position: u64,
        direction: Direction,
    ) -> Result<Option<u64>, RunError> {
        let loaded = match self.found.0.postings {
            StoredPostings::Many(list) if !self.reaches(position, direction) => {
                let mut leaf = Vec::new();
                let number = list.leaf_for(&mut CachedBlocks { run, disk }, position, &mut leaf)?;
                Some((leaf, number * FANOUT))
            }
            StoredPostings::One(_) | StoredPostings::Few(_) | StoredPostings::Many(_) => None,
        };
        let (leaf, start) = match &loaded {
            Some((leaf, start)) => (leaf, *start),
            None => (&self.leaf, self.leaf_start),
        };
        let at = match direction {
            Direction::Forwards if loaded.is_none() => self.at_or_after(position),
            Direction::Forwards => Some(leaf.partition_point(|posting| *posting < position)),
            Direction::Backwards => {
                leaf.partition_point(|posting| *posting <= position).checked_sub(1)
            }
        };
        let Some((at, posting)) = at.and_then(|at| Some((at, *leaf.get(at)?))) else {
            let after = start + leaf.len() as u64;
            return match direction {
                Direction::Forwards => self.go_to(run, disk, after),
                Direction::Backwards => Ok(None),
            };
        };
        if let Some((leaf, start)) = loaded {
            (self.leaf, self.leaf_start) = (leaf, start);
        }
        self.at = Some(at);
        Ok(Some(posting))
    }

    /// The first posting of the leaf at or after a position: mostly the next one.
    fn at_or_after(&self, position: u64) -> Option<usize> {
        if let Some(at) = self.at
            && self.leaf.get(at)? < &position
            && self.leaf.get(at + 1).is_some_and(|next| *next >= position)
        {
            return Some(at + 1);
        }
        Some(self.leaf.partition_point(|posting| *posting < position))
    }

    /// Whether the decoded leaf surely has the answer.
    fn reaches(&self, position: u64, direction: Direction) -> bool {
        let Some((first, last)) = self.leaf.first().zip(self.leaf.last()) else { return false };
        match direction {
            Direction::Forwards => {
                *last >= position && (*first <= position || self.leaf_start == 0)
            }
            Direction::Backwards => {
                let ends = self.leaf_start + self.leaf.len() as u64 == self.found.count();
                *first <= position && (*last >= position || ends)
            }
        }
    }

    /// Goes to the posting with this ordinal, if there is one.
    pub(crate) fn go_to(
        &mut self,
        run: &Run,
        disk: &dyn Disk,
        ordinal: u64,
    ) -> Result<Option<u64>, RunError> {
        if ordinal >= self.found.count() {
            return Ok(None);
        }
        let here = ordinal.checked_sub(self.leaf_start).filter(|at| *at < self.leaf.len() as u64);
        let at = match (here, &self.found.0.postings) {
            (Some(at), _) => at as usize,
            (None, StoredPostings::Many(list)) => {
                let (number, mut leaf) = (ordinal / FANOUT, Vec::new());
                list.leaf(&mut CachedBlocks { run, disk }, number, &mut leaf)?;
                (self.leaf, self.leaf_start) = (leaf, number * FANOUT);
                (ordinal % FANOUT) as usize
            }
            (None, StoredPostings::One(_) | StoredPostings::Few(_)) => return Ok(None),
        };
        self.at = Some(at);
        Ok(self.leaf.get(at).copied())
    }
}
