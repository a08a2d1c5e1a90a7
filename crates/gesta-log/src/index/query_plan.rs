//! Query plans: postings of one term, merged or intersected, across the parts of the index.
//!
//! Invariant: a plan yields ascending positions, each once, in either direction.

use std::sync::Arc;

use gesta_store::{Direction, Position, StoreError};

use super::{
    entry::OwnedTerm,
    on_disk_part::LazyHash,
    part::{IndexPart, PartPostings, part_before},
};

/// A plan that finds the positions that a filter accepts.
#[derive(Debug)]
pub(crate) struct QueryPlan {
    steps: PlanNode,
    exact: bool,
}

#[derive(Debug)]
enum PlanNode {
    Every(Arc<Vec<IndexPart>>),
    Term(TermScan),
    Any(Vec<Member>),
    All(Vec<PlanNode>),
}

/// A scan of one term's postings across the parts. Parts are looked up when the scan reaches them.
#[derive(Debug)]
struct TermScan {
    parts: Arc<Vec<IndexPart>>,
    term: OwnedTerm,
    hash: LazyHash,
    /// Index of the last part, and its postings.
    current: Option<(usize, PartPostings)>,
}

impl QueryPlan {
    pub(super) fn every(parts: Arc<Vec<IndexPart>>) -> Self {
        Self { steps: PlanNode::Every(parts), exact: true }
    }

    pub(super) fn term(parts: Arc<Vec<IndexPart>>, term: OwnedTerm) -> Self {
        Self {
            steps: PlanNode::Term(TermScan {
                parts,
                term,
                hash: LazyHash::default(),
                current: None,
            }),
            exact: true,
        }
    }

    /// Returns the union of plans.
    pub(super) fn any(plans: impl Iterator<Item = Self>) -> Self {
        let union = |steps: Vec<PlanNode>| {
            let member = |list| Member { list, last_answer: None };
            PlanNode::Any(steps.into_iter().map(member).collect())
        };
        Self::of(plans, union)
    }

    /// Returns the intersection of plans, or `every` if there is none.
    pub(super) fn all(plans: impl Iterator<Item = Self>, every: impl FnOnce() -> Self) -> Self {
        let mut plans = plans.peekable();
        if plans.peek().is_none() {
            return every();
        }
        Self::of(plans, PlanNode::All)
    }

    fn of(
        plans: impl Iterator<Item = Self>,
        combine: impl FnOnce(Vec<PlanNode>) -> PlanNode,
    ) -> Self {
        let mut steps: Vec<_> = plans.map(|plan| plan.steps).collect();
        // A union or intersection of one is that plan.
        let only = if steps.len() == 1 { steps.pop() } else { None };
        Self { steps: only.unwrap_or_else(|| combine(steps)), exact: true }
    }

    /// Marks the plan as yielding positions that the filter may not accept.
    pub(super) fn inexact(self) -> Self {
        Self { exact: false, ..self }
    }

    /// Returns whether the filter accepts every position that the plan yields.
    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// Returns whether the plan yields every position.
    pub(super) fn is_every(&self) -> bool {
        matches!(self.steps, PlanNode::Every(_))
    }

    /// Returns the nearest position at or after `at` in `direction`. Positions of scavenged events
    /// may be among them.
    pub(super) fn seek(
        &mut self,
        at: Position,
        direction: Direction,
    ) -> Result<Option<Position>, StoreError> {
        Ok(self.steps.seek(at.number(), direction)?.map(Position::new))
    }
}

/// A list of a union.
#[derive(Debug)]
struct Member {
    list: PlanNode,
    last_answer: Option<Answer>,
}

/// The nearest position of a list from `at`, in a direction.
#[derive(Clone, Copy, Debug)]
struct Answer {
    at: u64,
    direction: Direction,
    found: Option<u64>,
}

impl Member {
    /// Seeks only if the union has passed the list's last answer. A list without postings, or with
    /// the next one far away, is then not searched for each position of the others.
    fn seek(&mut self, at: u64, direction: Direction) -> Result<Option<u64>, StoreError> {
        if let Some(answer) = self.last_answer.filter(|answer| answer.holds_at(at, direction)) {
            return Ok(answer.found);
        }
        let found = self.list.seek(at, direction)?;
        self.last_answer = Some(Answer { at, direction, found });
        Ok(found)
    }
}

impl Answer {
    /// Returns whether a search from `at` would find the same, but for postings that were added in
    /// the meantime. Those are after the head with which the read began, so it ends before them.
    fn holds_at(&self, at: u64, direction: Direction) -> bool {
        let (from, to) = match direction {
            Direction::Forwards => (self.at, self.found.unwrap_or(u64::MAX)),
            Direction::Backwards => (self.found.unwrap_or(0), self.at),
        };
        direction == self.direction && (from..=to).contains(&at)
    }
}

impl PlanNode {
    fn seek(&mut self, at: u64, direction: Direction) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Every(parts) => Ok(seek_every(parts, at, direction)),
            Self::Term(term) => term.seek(at, direction),
            Self::Any(members) => {
                let mut nearest = None;
                for member in members {
                    let found = member.seek(at, direction)?;
                    nearest = match direction {
                        // The union yields the nearest answer of any list.
                        Direction::Forwards => nearest.into_iter().chain(found).min(),
                        Direction::Backwards => nearest.into_iter().chain(found).max(),
                    };
                }
                Ok(nearest)
            }
            Self::All(steps) => seek_all(steps, at, direction),
        }
    }
}

/// Intersects by leapfrog: seeks in each list in turn until all agree on a position.
fn seek_all(
    steps: &mut [PlanNode],
    mut at: u64,
    direction: Direction,
) -> Result<Option<u64>, StoreError> {
    loop {
        // Each round moves `at` to the farthest answer; a round without movement is a match.
        let start = at;
        for step in &mut *steps {
            match step.seek(at, direction)? {
                Some(found) => at = found,
                None => return Ok(None),
            }
        }
        if at == start {
            return Ok(Some(at));
        }
    }
}

fn seek_every(parts: &[IndexPart], at: u64, direction: Direction) -> Option<u64> {
    let before = part_before(parts, at);
    let within = before.and_then(|part_index| parts.get(part_index)).map(IndexPart::end);
    // Damage may have left a hole between parts: then the nearest end of a part is the answer.
    match (direction, within) {
        (_, Some(end)) if at < end => Some(at),
        (Direction::Forwards, _) => {
            parts.get(before.map_or(0, |part_index| part_index + 1)).map(IndexPart::first)
        }
        (Direction::Backwards, end) => end?.checked_sub(1),
    }
}

impl TermScan {
    fn seek(&mut self, at: u64, direction: Direction) -> Result<Option<u64>, StoreError> {
        // Start in the part that has `at`, or the nearest one in the direction.
        let mut part_index = match (part_before(&self.parts, at), direction) {
            (Some(part_index), _) => part_index,
            (None, Direction::Forwards) => 0,
            (None, Direction::Backwards) => return Ok(None),
        };
        loop {
            let Some(postings) = self.postings(part_index)? else { return Ok(None) };
            if let Some(found) = postings.seek(at, direction)? {
                return Ok(Some(found));
            }
            part_index = match direction {
                Direction::Forwards => part_index + 1,
                Direction::Backwards => match part_index.checked_sub(1) {
                    Some(earlier) => earlier,
                    None => return Ok(None),
                },
            };
        }
    }

    /// Returns the postings in one part, or `None` if there is no such part.
    fn postings(&mut self, part_index: usize) -> Result<Option<&mut PartPostings>, StoreError> {
        // Consecutive seeks mostly stay in one part, whose cursor keeps its decoded leaf.
        if self.current.as_ref().is_none_or(|(current, _)| *current != part_index) {
            let Some(part) = self.parts.get(part_index) else { return Ok(None) };
            self.current = Some((part_index, part.postings(&self.term, &self.hash)?));
        }
        Ok(self.current.as_mut().map(|(_, postings)| postings))
    }
}
