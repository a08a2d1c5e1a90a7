//! What the store has already of what is imported.
//!
//! Always holds: an event is known if the store has it in the same stream, at the same revision,
//! under the same id; whether reads of its stream still show it makes no difference. Events that
//! are known in the order of the input are found by reading on, without looking each of them up.

use std::collections::VecDeque;

use anyhow::Result;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    EventId, EventStore as _, Filter, Pages, Position, ReadAll, ReadStream, RecordedEvent,
    StoreError,
};

use crate::events::Offered;

/// See the module.
pub(super) struct Known<'store> {
    store: &'store LogStore,
    /// The events after the last one that was found; none once they are at an end.
    pages: Option<Pages>,
    ahead: VecDeque<RecordedEvent>,
}

impl<'store> Known<'store> {
    pub(super) fn new(store: &'store LogStore) -> Self {
        let pages = Some(store.read_all(ReadAll::forwards()));
        Self { store, pages, ahead: VecDeque::new() }
    }

    /// Whether the next event of the store is this one; if so, moves on to the one after it.
    pub(super) fn is_next(&mut self, offered: &Offered) -> Result<bool> {
        while self.ahead.is_empty()
            && let Some(pages) = &mut self.pages
        {
            match block_on(pages.next()) {
                Some(page) => self.ahead.extend(page?),
                None => self.pages = None,
            }
        }
        let next = self.ahead.front().is_some_and(|event| at_its_place(event, offered));
        if next && self.ahead.front().map(|event| event.id) == Some(offered.id()) {
            self.ahead.pop_front();
            return Ok(true);
        }
        Ok(false)
    }

    /// The event that the store has in the place of this one; reading goes on after it.
    pub(super) fn in_place_of(&mut self, offered: &Offered) -> Result<Option<EventId>> {
        let Offered { stream, revision, .. } = offered;
        let read = ReadStream::forwards(stream.clone()).from(*revision).limit(1);
        let shown = match block_on(self.store.read_stream(read).collect_events()) {
            Err(StoreError::Deleted { .. }) => Vec::new(),
            shown => shown?,
        };
        let shown = shown.into_iter().find(|event| event.revision == *revision);
        let found = match shown {
            Some(event) => Some(event),
            None => self.hidden(offered)?,
        };
        let Some(event) = found else { return Ok(None) };
        self.go_on_after(event.position);
        Ok(Some(event.id))
    }

    fn go_on_after(&mut self, position: Position) {
        self.ahead.clear();
        self.pages = Some(self.store.read_all(ReadAll::forwards().from(position.next())));
    }

    /// An event that reads of its stream do not show any more. Hidden events are found in the order
    /// of the input, too, where they were imported in that order; so the search begins where the
    /// last one ended.
    fn hidden(&self, offered: &Offered) -> Result<Option<RecordedEvent>> {
        let here = self.ahead.front().map_or(Position::START, |event| event.position);
        let after = self.search(offered, here)?;
        if after.is_some() || here == Position::START {
            return Ok(after);
        }
        self.search(offered, Position::START)
    }

    fn search(&self, offered: &Offered, from: Position) -> Result<Option<RecordedEvent>> {
        let filter = match offered.stream.category() {
            Some(category) => Filter::Categories(vec![category]),
            None => Filter::Everything,
        };
        let mut pages = self.store.read_all(ReadAll::forwards().only(filter).from(from));
        while let Some(page) = block_on(pages.next()) {
            let found = page?.into_iter().find(|event| at_its_place(event, offered));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn at_its_place(event: &RecordedEvent, offered: &Offered) -> bool {
    event.revision == offered.revision && event.stream == offered.stream
}
