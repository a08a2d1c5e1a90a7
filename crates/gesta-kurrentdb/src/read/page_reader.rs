//! A finite read, page by page.
//!
//! Invariant: after a broken connection the read continues behind the last event that it returned
//! or left out, so none is missing or doubled.

use std::{sync::Arc, time::Duration};

use gesta_store::{
    Direction, Filter, Page, Position, ReadAll, ReadStream, RecordedEvent, StoreError,
};

use super::{
    call::Messages,
    look::event_at,
    request::{Place, ReadTarget, finite},
};
use crate::{
    core::Core,
    failure::{Failure, Subject},
    proto::streams::read_resp::Content,
    wire::recorded,
};

/// Longest wait for the next message of a read: a server may look through many events for one that
/// a filter selects.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Attempts to continue without a message in between.
const ATTEMPTS_MAX: u32 = 3;

/// The progress of a read.
pub(crate) struct PageReader {
    core: Arc<Core>,
    target: ReadTarget,
    direction: Direction,
    start: Place,
    /// Number of events that the reader still wants.
    remaining: u64,
    messages: Option<Messages>,
    attempts: u32,
    /// The place of the last event, returned or not.
    last: Option<u64>,
    /// A backward read of the whole store begins with the event at its start, which the protocol
    /// leaves out.
    includes: Option<Position>,
    is_over: bool,
}

impl PageReader {
    pub(crate) fn of_stream(core: Arc<Core>, read: ReadStream) -> Self {
        let ReadStream { stream, direction, from, limit, .. } = read;
        Self {
            core,
            target: ReadTarget::Stream(stream),
            direction,
            start: Place::of_revision(from, direction),
            remaining: limit,
            messages: None,
            attempts: 0,
            last: None,
            includes: None,
            is_over: limit == 0,
        }
    }

    /// Reads events that are hidden, too.
    pub(crate) fn of_all(core: Arc<Core>, read: ReadAll) -> Self {
        let ReadAll { direction, from, filter, limit, .. } = read;
        let start = Place::of_position(from, direction);
        let includes = match (direction, start) {
            (Direction::Backwards, Place::At(position)) => Some(Position::new(position)),
            _ => None,
        };
        Self {
            core,
            target: ReadTarget::All(filter),
            direction,
            start,
            remaining: limit,
            messages: None,
            attempts: 0,
            last: None,
            includes,
            is_over: limit == 0,
        }
    }

    /// Reads the next page, or returns `None` at the end. A page is never empty.
    pub(crate) async fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        while !self.is_over {
            let mut page = match self.includes.take() {
                Some(position) => event_at(&self.core, position).await?.into_iter().collect(),
                None => self.receive().await?,
            };
            if let ReadTarget::All(filter) = &self.target {
                page = selected(page, filter)?;
            }
            let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX);
            page.truncate(wanted);
            self.remaining -= page.len() as u64;
            if self.remaining == 0 {
                self.is_over = true;
                self.messages = None;
            }
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// Receives events. None have come if the read is over, or is going on.
    async fn receive(&mut self) -> Result<Vec<RecordedEvent>, StoreError> {
        let messages = match &mut self.messages {
            Some(messages) => messages,
            None => {
                let request = finite(&self.target, self.direction, self.start, self.count());
                match Messages::open(&self.core, request).await {
                    Ok(messages) => self.messages.insert(messages),
                    Err(failure) => return self.interrupted(failure).map(|()| Vec::new()),
                }
            }
        };
        let batch = messages.next(&self.core, Some(SILENCE_MAX)).await;
        let is_silent = batch.contents.is_empty() && batch.ended.is_none();
        let mut events = Vec::with_capacity(batch.contents.len());
        for content in batch.contents {
            match content {
                Content::Event(read) => events.extend(self.take(recorded(read)?)),
                Content::StreamNotFound(_) => self.is_over = true,
                _ => {}
            }
        }
        match batch.ended {
            None if is_silent => self.interrupted(Failure::TimedOut(SILENCE_MAX))?,
            None => {}
            Some(Ok(())) => self.is_over = true,
            Some(Err(failure)) => self.interrupted(failure)?,
        }
        Ok(events)
    }

    /// Takes an event in, unless it was there before an interruption.
    fn take(&mut self, event: RecordedEvent) -> Option<RecordedEvent> {
        let place = match self.target {
            ReadTarget::Stream(_) => event.revision.number(),
            ReadTarget::All(_) => event.position.number(),
        };
        let is_new = self.last.is_none_or(|last| match self.direction {
            Direction::Forwards => place > last,
            Direction::Backwards => place < last,
        });
        self.core.see(event.position);
        is_new.then(|| {
            self.attempts = 0;
            self.last = Some(place);
            event
        })
    }

    /// Prepares to continue after a failure, or returns its error.
    fn interrupted(&mut self, failure: Failure) -> Result<(), StoreError> {
        self.messages = None;
        if !failure.is_passing() || self.attempts >= ATTEMPTS_MAX {
            self.is_over = true;
            let subject = match &self.target {
                ReadTarget::Stream(stream) => Subject::of_stream(stream),
                ReadTarget::All(filter) => Subject::of_filter(filter),
            };
            return Err(failure.of_read(&subject));
        }
        self.attempts += 1;
        // The event at the start is received once more, and left out.
        self.start = self.last.map_or(self.start, Place::At);
        Ok(())
    }

    /// Returns the number of events to ask for: all, if some of them may be left out here.
    fn count(&self) -> u64 {
        let is_as_asked = match &self.target {
            ReadTarget::Stream(_) => true,
            ReadTarget::All(filter) => *filter == Filter::Everything,
        };
        // One more after an interruption, for the event that is left out.
        let again = u64::from(self.last.is_some());
        if is_as_asked { self.remaining.saturating_add(again) } else { u64::MAX }
    }
}

/// Leaves out what the server's filter let through and the contract's does not select.
pub(crate) fn selected(
    events: Vec<RecordedEvent>,
    filter: &Filter,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut selected = Vec::with_capacity(events.len());
    for event in events {
        if filter.matches(&event)? {
            selected.push(event);
        }
    }
    Ok(selected)
}
