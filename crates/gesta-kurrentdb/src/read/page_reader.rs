//! A finite read, page by page.
//!
//! Invariant: after a broken connection the read continues behind the last event that it returned
//! or left out, so none is missing or doubled. It continues only in a store that has this event:
//! the first event of a call that continues is compared.

use std::{sync::Arc, time::Duration};

use gesta_store::{
    Direction, Filter, Page, Position, ReadAll, ReadStream, RecordedEvent, StoreError,
};

use super::{
    call::Messages,
    last_event::LastEvent,
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
    /// The last event, returned or not.
    last: Option<LastEvent>,
    /// The call continues another one, and was not seen to be of the same store yet.
    is_unverified: bool,
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
            is_unverified: false,
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
            is_unverified: false,
            includes,
            is_over: limit == 0,
        }
    }

    /// Reads the next page, or returns `None` at the end. A page is never empty.
    pub(crate) async fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        while !self.is_over {
            let mut page = match self.includes.take() {
                Some(position) => {
                    let found = event_at(&self.core, position).await?;
                    self.last = found.as_ref().map(LastEvent::of);
                    found.into_iter().collect()
                }
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
                if let Err(failure) = self.look_before_call().await? {
                    return self.interrupted(failure).map(|()| Vec::new());
                }
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
                Content::Event(read) => {
                    let event = recorded(read)?;
                    self.verify(Some(&event))?;
                    events.extend(self.take(event));
                }
                Content::StreamNotFound(_) => self.is_over = true,
                _ => {}
            }
        }
        if self.is_over || matches!(batch.ended, Some(Ok(()))) {
            self.verify(None)?;
        }
        match batch.ended {
            None if is_silent => self.interrupted(Failure::TimedOut(SILENCE_MAX))?,
            None => {}
            Some(Ok(())) => self.is_over = true,
            Some(Err(failure)) => self.interrupted(failure)?,
        }
        Ok(events)
    }

    /// Compares the last event, where the call that continues will not return it.
    async fn look_before_call(&mut self) -> Result<Result<(), Failure>, StoreError> {
        let (true, Some(last)) = (self.is_unverified, self.last) else { return Ok(Ok(())) };
        if !matches!((&self.target, self.direction), (ReadTarget::All(_), Direction::Backwards)) {
            return Ok(Ok(()));
        }
        match event_at(&self.core, last.position).await {
            Ok(found) => self.verify(found.as_ref()).map(Ok),
            Err(error) if error.is_transient() => {
                let reason = error.to_string();
                Ok(Err(Failure::NotReached { reason, source: Some(Arc::new(error)) }))
            }
            Err(error) => Err(error),
        }
    }

    /// Compares the first event of a call that continues with the last one of the call before.
    fn verify(&mut self, first: Option<&RecordedEvent>) -> Result<(), StoreError> {
        match (std::mem::take(&mut self.is_unverified), self.last, &self.target) {
            (true, Some(last), ReadTarget::Stream(_)) => last.check_in_stream(first),
            (true, Some(last), ReadTarget::All(_)) => last.check_in_all(first),
            _ => Ok(()),
        }
    }

    /// Takes an event in, unless it was there before an interruption.
    fn take(&mut self, event: RecordedEvent) -> Option<RecordedEvent> {
        if let (Direction::Backwards, Place::Start) = (self.direction, self.start) {
            // The contract has nothing there. The protocol begins with the first event.
            return None;
        }
        let event_place = LastEvent::of(&event);
        let place = self.place(&event_place);
        let is_new = self.last.is_none_or(|last| match self.direction {
            Direction::Forwards => place > self.place(&last),
            Direction::Backwards => place < self.place(&last),
        });
        self.core.see(event.position);
        is_new.then(|| {
            self.attempts = 0;
            self.last = Some(event_place);
            event
        })
    }

    const fn place(&self, event: &LastEvent) -> u64 {
        match self.target {
            ReadTarget::Stream(_) => event.revision.number(),
            ReadTarget::All(_) => event.position.number(),
        }
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
        // The event at the start is received once more, compared, and left out.
        if let Some(last) = self.last {
            self.start = Place::At(self.place(&last));
            self.is_unverified = true;
        }
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
