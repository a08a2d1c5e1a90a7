//! The posting list of one term in a memtable.
//!
//! Invariant: postings ascend, each once.

use std::{iter::once, ops::Range};

use gesta_store::Direction;

/// An ascending posting list of offsets from the memtable's first position. Most terms occur once
/// and need no allocation.
#[derive(Clone, Debug)]
pub(super) enum MemtablePostings {
    One(u32),
    Many(Vec<u32>),
}

impl MemtablePostings {
    /// Builds a posting list from a non-empty contiguous range.
    pub(super) fn of(positions: Range<u32>) -> Self {
        if positions.len() == 1 {
            Self::One(positions.start)
        } else {
            Self::Many(positions.collect())
        }
    }

    /// Appends the part of a contiguous range that follows the last posting. An event with a
    /// repeated tag offers the same range twice.
    pub(super) fn extend(&mut self, positions: Range<u32>) {
        // Skip postings that are already there.
        let last = self.as_slice().last().copied();
        let start = last.map_or(positions.start, |last| positions.start.max(last + 1));
        match self {
            _ if start >= positions.end => {}
            Self::One(first) => {
                *self = Self::Many(once(*first).chain(start..positions.end).collect())
            }
            Self::Many(all) => all.extend(start..positions.end),
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(first) => std::slice::from_ref(first),
            Self::Many(all) => all,
        }
    }

    /// Returns the number of postings before `place`.
    pub(super) fn before(&self, place: u32) -> usize {
        let all = self.as_slice();
        match all.last() {
            // The common case, as nothing is staged.
            Some(last) if *last < place => all.len(),
            Some(_) | None => all.partition_point(|posting| *posting < place),
        }
    }

    pub(super) fn seek(&self, at: u32, direction: Direction) -> Option<u32> {
        let all = self.as_slice();
        match direction {
            Direction::Forwards => all.get(all.partition_point(|posting| *posting < at)).copied(),
            Direction::Backwards => {
                let after = all.partition_point(|posting| *posting <= at);
                all.get(after.checked_sub(1)?).copied()
            }
        }
    }
}
