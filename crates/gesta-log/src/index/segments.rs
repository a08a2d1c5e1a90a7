//! From a position to its record's place.
//!
//! Always holds: positions ascend; within a run they follow each other without gaps.

use gesta_store::Position;

use crate::format::Seed;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) position: Position,
    pub(crate) segment: u64,
    pub(crate) seed: Seed,
    pub(crate) offset: u64,
}

/// Records of one segment whose positions follow each other.
#[derive(Debug)]
struct Run {
    first: u64,
    segment: u64,
    seed: Seed,
    offsets: Vec<u32>,
}

impl Run {
    fn end(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }
}

/// All runs, by position.
#[derive(Debug, Default)]
pub(super) struct Segments {
    runs: Vec<Run>,
}

impl Segments {
    pub(super) fn push(&mut self, segment: u64, seed: Seed, position: u64, offset: u64) {
        let offset = u32::try_from(offset).expect("a segment is smaller than 4 GiB");
        match self.runs.last_mut() {
            Some(run) if run.segment == segment && run.end() == position => {
                run.offsets.push(offset);
            }
            Some(_) | None => {
                self.runs.push(Run { first: position, segment, seed, offsets: vec![offset] });
            }
        }
    }

    pub(super) fn locate(&self, position: u64) -> Option<Location> {
        let run = self.runs.get(self.run_before(position)?)?;
        let ordinal = usize::try_from(position - run.first).ok()?;
        let offset = *run.offsets.get(ordinal)?;
        Some(Location {
            position: Position::new(position),
            segment: run.segment,
            seed: run.seed,
            offset: u64::from(offset),
        })
    }

    /// The last run that begins at or before a position.
    fn run_before(&self, position: u64) -> Option<usize> {
        self.runs.partition_point(|run| run.first <= position).checked_sub(1)
    }

    /// The first position at or after this one that has a record.
    pub(super) fn at_or_after(&self, position: u64) -> Option<u64> {
        let next = match self.run_before(position) {
            Some(at) if self.runs.get(at)?.end() > position => return Some(position),
            Some(at) => at + 1,
            None => 0,
        };
        self.runs.get(next).map(|run| run.first)
    }

    /// The last position at or before this one that has a record.
    pub(super) fn at_or_before(&self, position: u64) -> Option<u64> {
        let run = self.runs.get(self.run_before(position)?)?;
        Some(position.min(run.end() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_across_gaps() {
        let mut segments = Segments::default();
        let seed = Seed::new([0; 16], 1);
        for (segment, position, offset) in [(1, 5, 100), (1, 6, 200), (1, 9, 300), (2, 10, 50)] {
            segments.push(segment, seed, position, offset);
        }
        assert_eq!(segments.locate(6).unwrap().offset, 200);
        assert_eq!(segments.locate(10).unwrap().segment, 2);
        assert_eq!((segments.locate(7), segments.locate(4)), (None, None));
        assert_eq!(segments.at_or_after(1), Some(5));
        assert_eq!(segments.at_or_after(7), Some(9));
        assert_eq!(segments.at_or_after(11), None);
        assert_eq!(segments.at_or_before(8), Some(6));
        assert_eq!(segments.at_or_before(u64::MAX), Some(10));
        assert_eq!(segments.at_or_before(4), None);
    }
}
