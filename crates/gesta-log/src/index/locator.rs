//! Lookup of record locations, cheap for neighbouring positions.
//!
//! Answers from the parts that the index had when the locator was made. Remembers the last part and
//! the last offset group. The positions to look up come from [`query_plan`](super::query_plan).

use std::sync::Arc;

use gesta_store::{Position, StoreError};

use super::{
    entry::Location,
    part::{IndexPart, part_before},
    run::LookupHint,
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Locator {
    parts: Arc<Vec<IndexPart>>,
    /// Index of the part that was probed last.
    part: usize,
    near: LookupHint,
}

impl Locator {
    pub(super) fn new(parts: Arc<Vec<IndexPart>>) -> Self {
        Self { parts, part: 0, near: LookupHint::default() }
    }

    /// Returns the location of a record, or `None` if it does not exist or was scavenged.
    pub(crate) fn locate(&mut self, position: Position) -> Result<Option<Location>, StoreError> {
        let number = position.number();
        // A memtable's end moves, so only runs are remembered.
        let is_there =
            |part: &IndexPart| part.is_on_disk() && part.first() <= number && number < part.end();
        if !self.parts.get(self.part).is_some_and(is_there) {
            let Some(part) = part_before(&self.parts, number) else { return Ok(None) };
            self.part = part;
        }
        match self.parts.get(self.part) {
            Some(part) => part.locate(number, &mut self.near),
            None => Ok(None),
        }
    }
}
