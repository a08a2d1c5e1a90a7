//! Mapping of original to new positions, stored as events.

use anyhow::Result;
use futures_executor::block_on;
use gesta_store::{
    Append, EventStore, ExpectedRevision, ImportedPositions, Incarnation, NewEvent, Position,
    PositionRange,
};

use crate::transfer::Header;

/// Position mapping of the events imported so far.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    ranges: Vec<PositionRange>,
    events: u64,
}

impl Mapping {
    pub(super) fn add(&mut self, was: Position, now: Position) {
        self.events += 1;
        // Appends keep their order, so most events extend the last range and the mapping stays
        // small: a new range starts only where events were left out or existed before.
        if let Some(last) = self.ranges.last_mut()
            && (last.source.number() + last.events, last.target.number() + last.events)
                == (was.number(), now.number())
        {
            last.events += 1;
            return;
        }
        self.ranges.push(PositionRange { source: was, target: now, events: 1 });
    }

    pub(super) fn ranges(&self) -> &[PositionRange] {
        &self.ranges
    }

    pub(super) const fn events(&self) -> u64 {
        self.events
    }
}

/// Appends the event that marks the start of an import.
pub(super) fn begin(store: &dyn EventStore, source: Incarnation, header: &Header) -> Result<()> {
    append(
        store,
        source,
        vec![ImportedPositions::started_event(&header.incarnations, header.head)?],
    )
}

/// Appends the mapping after the last imported event.
pub(super) fn end(
    store: &dyn EventStore,
    source: Incarnation,
    header: &Header,
    ranges: &[PositionRange],
) -> Result<()> {
    ImportedPositions::finished_events(source, header.head, ranges)?
        .into_iter()
        .try_for_each(|event| append(store, source, vec![event]))
}

/// Appends an event unless the store has it already. A repeated import produces the same ids.
fn append(store: &dyn EventStore, source: Incarnation, events: Vec<NewEvent>) -> Result<()> {
    if let Some(first) = events.first()
        && block_on(store.find_append(first.id))?.is_some()
    {
        return Ok(());
    }
    let stream = ImportedPositions::stream(source)?;
    block_on(store.append(Append::to(stream, ExpectedRevision::Any, events)))?;
    Ok(())
}
