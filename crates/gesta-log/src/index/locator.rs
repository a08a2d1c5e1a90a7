//! Where records are, for who asks for one after the other.
//!
//! Always holds: it answers as the index did when it was made, whatever was asked before; neighbours
//! are cheap, since what was found last is looked at first. Not here: which positions are asked for
//! ([`plan`](super::query_plan)).

use std::sync::Arc;

use gesta_store::{Position, StoreError};

use super::{
    Location,
    part::{IndexPart, part_before},
    run::LookupHint,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Locator {
    parts: Arc<Vec<IndexPart>>,
    /// The part that was asked last.
    part: usize,
    near: LookupHint,
}

impl Locator {
    pub(super) fn new(parts: Arc<Vec<IndexPart>>) -> Self {
        Self { parts, part: 0, near: LookupHint::default() }
    }

    /// Where the record of a position is; none if there is none, or it was scavenged.
    pub(crate) fn locate(&mut self, position: Position) -> Result<Option<Location>, StoreError> {
        let number = position.number();
        let is_there =
            |part: &IndexPart| part.is_a_file() && part.first() <= number && number < part.end();
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
