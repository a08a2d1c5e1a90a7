//! One stream's revisions, across the parts of the index.
//!
//! Always holds: parts are asked from the latest backwards, and none more than is needed.

use std::sync::Arc;

use gesta_store::{Position, Revision, StoreError, StreamName};

use super::{
    memtable::Revisions,
    on_disk_part::LazyHash,
    part::{IndexPart, PartPostings},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct StreamCursor {
    name: StreamName,
    hash: LazyHash,
    parts: Arc<Vec<IndexPart>>,
    /// Parts before this one were not asked yet.
    unasked: usize,
    /// What was found, latest first.
    found: Vec<(Revisions, PartPostings)>,
}

impl StreamCursor {
    pub(super) fn new(name: StreamName, parts: Arc<Vec<IndexPart>>) -> Self {
        let unasked = parts.len();
        Self { name, hash: LazyHash::default(), parts, unasked, found: Vec::new() }
    }

    /// The last revision, hidden or not.
    pub(crate) fn head(&mut self) -> Result<Option<Revision>, StoreError> {
        if self.found.is_empty() {
            self.ask_earlier()?;
        }
        Ok(self.found.first().map(|(revisions, _)| revisions.last()))
    }

    /// Where an event is. None: the stream does not have it, or damage took it.
    pub(crate) fn position(&mut self, revision: Revision) -> Result<Option<Position>, StoreError> {
        while self.found.last().is_none_or(|(earliest, _)| earliest.first > revision) {
            if !self.ask_earlier()? {
                break;
            }
        }
        let holds =
            |revisions: &Revisions| revisions.first <= revision && revision <= revisions.last();
        let Some((revisions, postings)) =
            self.found.iter_mut().rev().find(|(revisions, _)| holds(revisions))
        else {
            return Ok(None);
        };
        let nth = revision.number() - revisions.first.number();
        Ok(postings.nth(nth)?.map(Position::new))
    }

    /// Asks parts until one has events of the stream; says whether one had.
    fn ask_earlier(&mut self) -> Result<bool, StoreError> {
        while let Some(place) = self.unasked.checked_sub(1) {
            self.unasked = place;
            let Some(part) = self.parts.get(place) else { continue };
            if let Some(found) = part.stream(&self.name, &self.hash)? {
                self.found.push(found);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
