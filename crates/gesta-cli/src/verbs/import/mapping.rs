//! Where imported events were and where they are, as the store keeps it.

use anyhow::Result;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    Append, EventStore as _, ExpectedRevision, ImportedPositions, Incarnation, NewEvent, Position,
    PositionRange,
};

use crate::transfer::Header;

/// The positions of the events that were taken so far.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    ranges: Vec<PositionRange>,
    events: u64,
}

impl Mapping {
    pub(super) fn add(&mut self, was: Position, now: Position) {
        self.events += 1;
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

    /// How many events there are.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }
}

/// Says that an import begins, before any of its events.
pub(super) fn begin(store: &LogStore, source: Incarnation, header: &Header) -> Result<()> {
    append(
        store,
        source,
        vec![ImportedPositions::started_event(&header.incarnations, header.head)?],
    )
}

/// Says where everything is, once all of it is there.
pub(super) fn end(
    store: &LogStore,
    source: Incarnation,
    header: &Header,
    ranges: &[PositionRange],
) -> Result<()> {
    ImportedPositions::finished_events(source, header.head, ranges)?
        .into_iter()
        .try_for_each(|event| append(store, source, vec![event]))
}

/// Appends what was not appended before: the same import says the same.
fn append(store: &LogStore, source: Incarnation, events: Vec<NewEvent>) -> Result<()> {
    if let Some(first) = events.first()
        && block_on(store.find_append(first.id))?.is_some()
    {
        return Ok(());
    }
    let stream = ImportedPositions::stream(source)?;
    block_on(store.append(Append::to(stream, ExpectedRevision::Any, events)))?;
    Ok(())
}
