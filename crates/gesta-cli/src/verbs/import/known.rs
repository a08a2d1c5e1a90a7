//! What the store has already of what is imported.
//!
//! Always holds: an append is known if the store has one with the same first id; then all of it has
//! to be the same. Appends that are known in the order of the input are read on from one to the next.

use std::collections::VecDeque;

use anyhow::Result;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{EventStore as _, Pages, Position, ReadAll, RecordedEvent};

/// An append that the store has.
pub(super) struct There {
    /// Where its first event is, if it has as many as the one that is imported.
    pub(super) begin: Position,
    pub(super) events: Vec<RecordedEvent>,
}

impl There {
    /// Whether it is this one: what is left of it is the same, in the same streams.
    pub(super) fn is(&self, events: &[RecordedEvent]) -> bool {
        self.pairs(events).count() == self.events.len()
            && self.pairs(events).all(|(there, offered)| {
                (there.id, &there.stream, &there.event_type)
                    == (offered.id, &offered.stream, &offered.event_type)
                    // What metadata say of revisions may have been moved.
                    && (there.data == offered.data || there.stream.is_system())
                    && (there.metadata == offered.metadata || there.stream.is_system())
            })
    }

    /// Each event that is left, with the one that is imported in its place.
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

/// See the module.
pub(super) struct Known<'store> {
    store: &'store LogStore,
    /// The events after the last one that was looked at.
    pages: Option<Pages>,
    ahead: VecDeque<RecordedEvent>,
}

impl<'store> Known<'store> {
    pub(super) fn new(store: &'store LogStore) -> Self {
        Self { store, pages: None, ahead: VecDeque::new() }
    }

    /// The append whose first event has the id of the first of these, as far as it has not been
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

    /// Moves on to a position: by reading on where that is near.
    fn skip_to(&mut self, begin: Position) {
        while self.ahead.pop_front_if(|event| event.position < begin).is_some() {}
        let near = self.ahead.front().is_some_and(|event| event.position == begin);
        if !near {
            self.ahead.clear();
            self.pages = Some(self.store.read_all(ReadAll::forwards().from(begin)));
        }
    }

    /// The next event, if it is not after `last`.
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
