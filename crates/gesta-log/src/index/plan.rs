//! Walking postings: one list, several lists merged, several lists intersected, either way.
//!
//! Always holds: a plan yields positions in order and each once, whichever way it is walked.

use gesta_store::{Direction, Position};

use super::segments::Segments;

/// How to find the positions that a filter lets through.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    steps: Steps<'a>,
    exact: bool,
}

#[derive(Debug)]
enum Steps<'a> {
    Every(&'a Segments),
    List(&'a [u64]),
    Any(Vec<Steps<'a>>),
    All(Vec<Steps<'a>>),
}

impl<'a> Plan<'a> {
    pub(super) fn every(segments: &'a Segments) -> Self {
        Self { steps: Steps::Every(segments), exact: true }
    }

    pub(super) fn list(postings: &'a [u64]) -> Self {
        Self { steps: Steps::List(postings), exact: true }
    }

    /// What any of the plans yields.
    pub(super) fn any(plans: impl Iterator<Item = Self>) -> Self {
        Self { steps: Steps::Any(plans.map(|plan| plan.steps).collect()), exact: true }
    }

    /// What all of the plans yield; every event where there is no plan.
    pub(super) fn all(plans: impl Iterator<Item = Self>, segments: &'a Segments) -> Self {
        let steps: Vec<_> = plans.map(|plan| plan.steps).collect();
        if steps.is_empty() {
            return Self::every(segments);
        }
        Self { steps: Steps::All(steps), exact: true }
    }

    /// The same plan, which also yields positions that are not meant.
    pub(super) fn inexact(self) -> Self {
        Self { exact: false, ..self }
    }

    /// Whether every position that it yields is meant.
    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// The nearest position from `at` on, in this direction, `at` included.
    pub(crate) fn seek(&self, at: Position, direction: Direction) -> Option<Position> {
        self.steps.seek(at.number(), direction).map(Position::new)
    }
}

impl Steps<'_> {
    fn seek(&self, at: u64, direction: Direction) -> Option<u64> {
        match (self, direction) {
            (Self::Every(segments), Direction::Forwards) => segments.at_or_after(at),
            (Self::Every(segments), Direction::Backwards) => segments.at_or_before(at),
            (Self::List(postings), Direction::Forwards) => {
                postings.get(postings.partition_point(|posting| *posting < at)).copied()
            }
            (Self::List(postings), Direction::Backwards) => {
                let after = postings.partition_point(|posting| *posting <= at);
                postings.get(after.checked_sub(1)?).copied()
            }
            (Self::Any(steps), Direction::Forwards) => {
                steps.iter().filter_map(|step| step.seek(at, direction)).min()
            }
            (Self::Any(steps), Direction::Backwards) => {
                steps.iter().filter_map(|step| step.seek(at, direction)).max()
            }
            (Self::All(steps), _) => seek_all(steps, at, direction),
        }
    }
}

/// Leaps from one list to the next until all agree on a position.
fn seek_all(steps: &[Steps<'_>], mut at: u64, direction: Direction) -> Option<u64> {
    loop {
        let start = at;
        for step in steps {
            at = step.seek(at, direction)?;
        }
        if at == start {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(plan: &Plan<'_>, direction: Direction) -> Vec<u64> {
        let mut found = Vec::new();
        let mut at = match direction {
            Direction::Forwards => Some(0),
            Direction::Backwards => Some(u64::MAX),
        };
        while let Some(position) = at.and_then(|at| plan.seek(Position::new(at), direction)) {
            found.push(position.number());
            at = match direction {
                Direction::Forwards => position.number().checked_add(1),
                Direction::Backwards => position.number().checked_sub(1),
            };
        }
        found
    }

    #[test]
    fn lists_are_merged_and_intersected_both_ways() {
        let segments = Segments::default();
        let (one, two) = ([1, 3, 5, 9], [3, 4, 9]);
        let lists = || [Plan::list(&one), Plan::list(&two)].into_iter();
        assert_eq!(walk(&Plan::any(lists()), Direction::Forwards), [1, 3, 4, 5, 9]);
        assert_eq!(walk(&Plan::any(lists()), Direction::Backwards), [9, 5, 4, 3, 1]);
        assert_eq!(walk(&Plan::all(lists(), &segments), Direction::Forwards), [3, 9]);
        assert_eq!(walk(&Plan::all(lists(), &segments), Direction::Backwards), [9, 3]);
    }
}
