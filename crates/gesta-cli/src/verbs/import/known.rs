//! Lookup of imported appends in the store.
//!
//! An append is known if the store has an append with the same first id; the rest must then be
//! equal. Known appends in the order of the input are read sequentially.

use std::collections::VecDeque;

use anyhow::Result;
use futures_executor::block_on;
use gesta_store::{EventStore, Pages, Position, ReadAll, RecordedEvent};

/// An append found in the store.
pub(super) struct KnownAppend {
    /// Position of the first event, if the append has the same number of events as the imported
    /// one.
    pub(super) begin: Position,
    pub(super) events: Vec<RecordedEvent>,
}

impl KnownAppend {
    /// Returns whether the remaining events equal the imported ones.
    pub(super) fn matches(&self, events: &[RecordedEvent]) -> bool {
        self.pairs(events).count() == self.events.len()
            && self.pairs(events).all(|(existing, imported)| {
                (existing.id, &existing.stream, &existing.event_type)
                    == (imported.id, &imported.stream, &imported.event_type)
                    // An import may have changed revisions in stream metadata.
                    && (existing.data == imported.data || existing.stream.is_system())
                    && (existing.metadata == imported.metadata || existing.stream.is_system())
            })
    }

    /// Pairs each remaining event with the imported event at its index.
    pub(super) fn pairs<'a>(
        &'a self,
        events: &'a [RecordedEvent],
    ) -> impl Iterator<Item = (&'a RecordedEvent, &'a RecordedEvent)> {
        self.events.iter().filter_map(|existing| {
            let nth = existing.position.number().checked_sub(self.begin.number())?;
            Some((existing, events.get(usize::try_from(nth).ok()?)?))
        })
    }
}

/// Sequential reader of appends in the store.
pub(super) struct KnownAppends<'store> {
    store: &'store dyn EventStore,
    /// Pages after the last event read.
    pages: Option<Pages>,
    ahead: VecDeque<RecordedEvent>,
}

impl<'store> KnownAppends<'store> {
    pub(super) fn new(store: &'store dyn EventStore) -> Self {
        Self { store, pages: None, ahead: VecDeque::new() }
    }

    /// Returns the append whose first event has the same id, with the events that are not
    /// scavenged.
    pub(super) fn append(&mut self, events: &[RecordedEvent]) -> Result<Option<KnownAppend>> {
        let Some(first) = events.first() else { return Ok(None) };
        let Some(found) = block_on(self.store.find_append(first.id))? else { return Ok(None) };
        // `find_append` returns the last position. The append starts as far before it as the
        // imported one is long; if the lengths differ, the comparison of the events fails.
        let last = found.position;
        let begin = Position::new(last.number().saturating_sub(events.len() as u64 - 1));
        Ok(Some(KnownAppend { begin, events: self.between(begin, last)? }))
    }

    fn between(&mut self, begin: Position, last: Position) -> Result<Vec<RecordedEvent>> {
        let mut found = Vec::new();
        self.skip_to(begin);
        while let Some(event) = self.next(last)? {
            found.push(event);
        }
        Ok(found)
    }

    /// Skips to a position, by reading on if it is the next one.
    fn skip_to(&mut self, begin: Position) {
        // A repeated import asks for one append after the other. A new read for each would look up
        // its position in the index and read a page for a single append.
        while self.ahead.pop_front_if(|event| event.position < begin).is_some() {}
        let near = self.ahead.front().is_some_and(|event| event.position == begin);
        if !near {
            self.ahead.clear();
            self.pages = Some(self.store.read_all(ReadAll::forwards().from(begin)));
        }
    }

    /// Returns the next event up to `last`.
    fn next(&mut self, last: Position) -> Result<Option<RecordedEvent>> {
        while self.ahead.is_empty()
            && let Some(pages) = &mut self.pages
        {
            match block_on(pages.next()) {
                Some(page) => self.ahead.extend(page?),
                None => self.pages = None,
            }
        }
        Ok(self.ahead.pop_front_if(|event| event.position <= last))
    }
}
