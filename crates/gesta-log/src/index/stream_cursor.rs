//! A cursor over one stream's revisions, across the parts of the index.
//!
//! Searches parts from the latest to the earliest, and only as far as needed: most reads want
//! recent revisions.

use std::sync::Arc;

use gesta_store::{Position, Revision, StoreError, StreamName};

use super::{
    memtable::Revisions,
    on_disk_part::LazyHash,
    part::{IndexPart, PartPostings},
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct StreamCursor {
    name: StreamName,
    hash: LazyHash,
    parts: Arc<Vec<IndexPart>>,
    /// Number of parts that are not searched yet; these come before the others.
    unprobed: usize,
    /// The parts that have events of the stream, latest first.
    found: Vec<(Revisions, PartPostings)>,
}

impl StreamCursor {
    pub(super) fn new(name: StreamName, parts: Arc<Vec<IndexPart>>) -> Self {
        let unprobed = parts.len();
        Self { name, hash: LazyHash::default(), parts, unprobed, found: Vec::new() }
    }

    /// Returns the last revision, whether hidden or not.
    pub(crate) fn head(&mut self) -> Result<Option<Revision>, StoreError> {
        if self.found.is_empty() {
            self.probe_earlier_part()?;
        }
        Ok(self.found.first().map(|(revisions, _)| revisions.last()))
    }

    /// Returns the position of a revision, or `None` if the stream does not have it or damage
    /// destroyed it.
    pub(crate) fn position(&mut self, revision: Revision) -> Result<Option<Position>, StoreError> {
        // Extend towards the past until the revision is covered.
        while self.found.last().is_none_or(|(earliest, _)| earliest.first > revision) {
            if !self.probe_earlier_part()? {
                break;
            }
        }
        let holds =
            |revisions: &Revisions| revisions.first <= revision && revision <= revisions.last();
        // Damage may have left a hole between parts, so the earliest one found need not contain it.
        let Some((revisions, postings)) =
            self.found.iter_mut().rev().find(|(revisions, _)| holds(revisions))
        else {
            return Ok(None);
        };
        let nth = revision.number() - revisions.first.number();
        Ok(postings.nth(nth)?.map(Position::new))
    }

    /// Searches further parts until one has events of the stream. Returns false if none has.
    fn probe_earlier_part(&mut self) -> Result<bool, StoreError> {
        while let Some(part_index) = self.unprobed.checked_sub(1) {
            self.unprobed = part_index;
            let Some(part) = self.parts.get(part_index) else { continue };
            if let Some(found) = part.stream(&self.name, &self.hash)? {
                self.found.push(found);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
