//! Lookup of imported appends in the store.
//!
//! An append is known if the store has an append with the same first id; the rest must then be
//! equal. Known appends in the order of the input are read sequentially.

use std::collections::VecDeque;

use anyhow::Result;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{EventStore as _, Pages, Position, ReadAll, RecordedEvent};

/// An append found in the store.
pub(super) struct There {
    /// Position of the first event, if the append has the same number of events as the imported
    /// one.
    pub(super) begin: Position,
    pub(super) events: Vec<RecordedEvent>,
}

impl There {
    /// Returns whether the remaining events equal the imported ones.
    pub(super) fn is(&self, events: &[RecordedEvent]) -> bool {
        self.pairs(events).count() == self.events.len()
            && self.pairs(events).all(|(there, offered)| {
                (there.id, &there.stream, &there.event_type)
                    == (offered.id, &offered.stream, &offered.event_type)
                    // An import may have changed revisions in stream metadata.
                    && (there.data == offered.data || there.stream.is_system())
                    && (there.metadata == offered.metadata || there.stream.is_system())
            })
    }

    /// Pairs each remaining event with the imported event at its index.
    pub(super) fn pairs<'a>(
        &'a self,
        events: &'a [RecordedEvent],
    ) -> impl Iterator<Item = (&'a RecordedEvent, &'a RecordedEvent)> {
        self.events.iter().filter_map(|there| {
            let nth = there.position.number().checked_sub(self.begin.number())?;
            Some((there, events.get(usize::try_from(nth).ok()?)?))
        })
    }
}

/// Sequential reader of appends in the store.
pub(super) struct Known<'store> {
    store: &'store LogStore,
    /// Pages after the last event read.
    pages: Option<Pages>,
    ahead: VecDeque<RecordedEvent>,
}

impl<'store> Known<'store> {
    pub(super) fn new(store: &'store LogStore) -> Self {
        Self { store, pages: None, ahead: VecDeque::new() }
    }

    /// Returns the append whose first event has the same id, with the events that are not
    /// scavenged.
    pub(super) fn append(&mut self, events: &[RecordedEvent]) -> Result<Option<There>> {
        let Some(first) = events.first() else { return Ok(None) };
        let Some(found) = block_on(self.store.find_append(first.id))? else { return Ok(None) };
        let last = found.position;
        let begin = Position::new(last.number().saturating_sub(events.len() as u64 - 1));
        Ok(Some(There { begin, events: self.between(begin, last)? }))
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
