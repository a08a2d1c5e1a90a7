//! The ordinals of a term's events, across the parts of the index.
//!
//! The ordinal of an event is the number of the term's events before it. Only counts are added up:
//! a part knows the number of its postings without reading them.
//!
//! Invariant: scavenging moves no ordinal. Categories, event types, correlation ids and the order
//! of streams keep the postings of scavenged events, in memory by their gap frames and on disk
//! because runs never drop them.

use gesta_store::{Position, StoreError};

use super::{
    entry::OwnedTerm,
    on_disk_part::LazyHash,
    part::{IndexPart, PartPostings},
};

/// See the [module](self). As of the moment at which it was made.
#[derive(Debug)]
pub(crate) struct Ordinals {
    /// The parts that have events of the term, in order.
    parts: Vec<PartOrdinals>,
    /// Number of events, scavenged ones included.
    count: u64,
}

/// The ordinals of the events in one part.
#[derive(Debug)]
struct PartOrdinals {
    first: u64,
    /// The first position of the part.
    from: u64,
    postings: PartPostings,
}

impl Ordinals {
    pub(super) fn new(parts: &[IndexPart], term: &OwnedTerm) -> Result<Self, StoreError> {
        let hash = LazyHash::default();
        let mut ordinals = Self { parts: Vec::new(), count: 0 };
        for part in parts {
            if let Some((count, postings)) = part.counted(term, &hash)? {
                let (first, from) = (ordinals.count, part.first());
                ordinals.parts.push(PartOrdinals { first, from, postings });
                ordinals.count += count;
            }
        }
        Ok(ordinals)
    }

    /// Number of events, scavenged ones included.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the position of the event with an ordinal, which may have been scavenged.
    pub(crate) fn position(&mut self, ordinal: u64) -> Result<Option<Position>, StoreError> {
        if ordinal >= self.count {
            return Ok(None);
        }
        let after = self.parts.partition_point(|part| part.first <= ordinal);
        let part = after.checked_sub(1).and_then(|part| self.parts.get_mut(part));
        let Some(PartOrdinals { first, postings, .. }) = part else { return Ok(None) };
        Ok(postings.nth(ordinal - *first)?.map(Position::new))
    }

    /// Returns the number of events before a position, scavenged ones included.
    pub(crate) fn before(&mut self, position: Position) -> Result<u64, StoreError> {
        let after = self.parts.partition_point(|part| part.from <= position.number());
        let part = after.checked_sub(1).and_then(|part| self.parts.get_mut(part));
        let Some(PartOrdinals { first, postings, .. }) = part else { return Ok(0) };
        Ok(*first + postings.before(position.number())?)
    }
}
