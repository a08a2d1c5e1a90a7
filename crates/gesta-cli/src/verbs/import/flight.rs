//! Appends that were offered to the store and not answered yet.
//!
//! Owns: how many there are at a time. Always holds: they are offered in order, so the store takes
//! them in order; what is known of a stream includes what is on its way.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use anyhow::{Context as _, Result};
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    Answer, Append, Appended, EventStore as _, ExpectedRevision, NewEvent, Position, Revision,
    StreamName,
};

/// Appends on their way at most: enough for the store to write many at once.
const APPENDS_MAX: usize = 1_024;
/// Bytes on their way at most, a single append aside; far below what the store lets queue up.
const BYTES_MAX: usize = 16 << 20;
/// Events of one append at most.
const RUN_EVENTS_MAX: usize = 256;
/// Bytes of one append at most, a single event aside.
const RUN_BYTES_MAX: usize = 1 << 20;

/// Events that follow each other in the input and in one stream; never none.
#[derive(Debug)]
pub(super) struct Run {
    stream: StreamName,
    first: Revision,
    events: Vec<NewEvent>,
    bytes: usize,
    /// Where the first one stands.
    line: u64,
}

impl Run {
    pub(super) fn new(stream: StreamName, first: Revision, event: NewEvent, line: u64) -> Self {
        let bytes = event.content_bytes();
        Self { stream, first, events: vec![event], bytes, line }
    }

    /// Whether the next event may be this one.
    pub(super) fn goes_on_with(&self, stream: &StreamName, revision: Revision) -> bool {
        self.stream == *stream
            && self.last().next() == revision
            && self.events.len() < RUN_EVENTS_MAX
            && self.bytes < RUN_BYTES_MAX
    }

    pub(super) fn push(&mut self, event: NewEvent) {
        self.bytes += event.content_bytes();
        self.events.push(event);
    }

    fn last(&self) -> Revision {
        Revision::new(self.first.number() + self.events.len() as u64 - 1)
    }
}

/// One append on its way.
struct Sent<'store> {
    answer: Answer<'store, Appended>,
    stream: StreamName,
    events: u64,
    bytes: usize,
    line: u64,
}

/// A stream of which something is on its way.
struct Busy {
    head: Revision,
    appends: usize,
}

/// See the module.
pub(super) struct Flight<'store> {
    store: &'store LogStore,
    sent: VecDeque<Sent<'store>>,
    bytes: usize,
    busy: HashMap<StreamName, Busy>,
    /// Events that the store has acknowledged.
    pub(super) appended: u64,
    /// Where the last one of them is.
    pub(super) last: Option<Position>,
}

impl<'store> Flight<'store> {
    pub(super) fn new(store: &'store LogStore) -> Self {
        Self {
            store,
            sent: VecDeque::new(),
            bytes: 0,
            busy: HashMap::new(),
            appended: 0,
            last: None,
        }
    }

    /// The last revision of a stream once everything has landed.
    pub(super) fn head(&self, stream: &StreamName) -> Result<Option<Revision>> {
        if let Some(busy) = self.busy.get(stream) {
            return Ok(Some(busy.head));
        }
        Ok(block_on(self.store.describe_stream(stream))?.head)
    }

    /// Offers events to the store; waits for earlier ones where there are too many.
    pub(super) fn send(&mut self, run: Run) -> Result<()> {
        while self.sent.len() >= APPENDS_MAX || self.bytes >= BYTES_MAX {
            self.land_one()?;
        }
        let head = run.last();
        let Run { stream, first, events, bytes, line } = run;
        let expected = first.previous().map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let busy = self.busy.entry(stream.clone()).or_insert(Busy { head, appends: 0 });
        busy.head = head;
        busy.appends += 1;
        self.bytes += bytes;
        let count = events.len() as u64;
        let answer = self.store.append(Append::to(stream.clone(), expected, events));
        self.sent.push_back(Sent { answer, stream, events: count, bytes, line });
        Ok(())
    }

    /// Waits until nothing is on its way any more.
    pub(super) fn land(&mut self) -> Result<()> {
        while !self.sent.is_empty() {
            self.land_one()?;
        }
        Ok(())
    }

    fn land_one(&mut self) -> Result<()> {
        let Some(sent) = self.sent.pop_front() else { return Ok(()) };
        self.bytes -= sent.bytes;
        if let Entry::Occupied(mut busy) = self.busy.entry(sent.stream) {
            busy.get_mut().appends -= 1;
            if busy.get().appends == 0 {
                busy.remove();
            }
        }
        let appended = block_on(sent.answer).with_context(|| format!("line {}", sent.line))?;
        self.appended += sent.events;
        self.last = Some(appended.position);
        Ok(())
    }
}
