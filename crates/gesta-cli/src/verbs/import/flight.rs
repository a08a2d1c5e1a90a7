//! Appends in flight.
//!
//! Owns: the limits on their number and size. Invariants: appends reach the store in order; known
//! heads include appends in flight. A dry run appends nothing and tracks heads as if every append
//! had succeeded.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use anyhow::{Context as _, Result};
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    Append, Appended, EventStore as _, ExpectedRevision, Limits, NewEvent, Position, Revision,
    StoreError, StoreFuture, StreamName, StreamState, TombstoneStream,
};

use super::mapping::Mapping;

/// Limit on the number of appends in flight, enough for large commit groups.
const APPENDS_MAX: usize = 1_024;
/// Limit on the bytes in flight, except for a single larger append. Far below the store's queue
/// limit.
const BYTES_MAX: usize = 16 << 20;

/// An append to import.
#[derive(Debug)]
pub(super) struct ImportAppend {
    pub(super) append: Append,
    /// Heads of its streams after the append.
    pub(super) heads: Vec<(StreamName, Revision)>,
    /// Positions of its events in the exported store.
    pub(super) positions: Vec<Position>,
    pub(super) line: u64,
}

/// An append in flight.
struct InFlight<'store> {
    answer: StoreFuture<'store, Appended>,
    streams: Vec<StreamName>,
    positions: Vec<Position>,
    bytes: usize,
    line: u64,
}

/// A stream with appends in flight.
struct Busy {
    head: Revision,
    appends: usize,
}

/// A pipeline of appends to the store.
pub(super) struct Flight<'store> {
    store: &'store LogStore,
    sent: VecDeque<InFlight<'store>>,
    bytes: usize,
    busy: HashMap<StreamName, Busy>,
    /// A stream of the latest append, with its head after it.
    before: Option<(StreamName, Revision)>,
    /// Dry run: the heads of all streams appended to so far, `None` for a tombstoned stream.
    trial: Option<HashMap<StreamName, Option<Revision>>>,
    /// Old and new positions of the events appended so far.
    pub(super) mapping: Mapping,
    /// Last appended position.
    pub(super) last: Option<Position>,
}

impl<'store> Flight<'store> {
    pub(super) fn new(store: &'store LogStore) -> Self {
        Self {
            store,
            sent: VecDeque::new(),
            bytes: 0,
            busy: HashMap::new(),
            before: None,
            trial: None,
            mapping: Mapping::default(),
            last: None,
        }
    }

    /// Creates a pipeline for a dry run, which rejects whatever the store would reject.
    pub(super) fn on_trial(store: &'store LogStore) -> Self {
        Self { trial: Some(HashMap::new()), ..Self::new(store) }
    }

    pub(super) const fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Returns the head of a stream once all appends in flight are done.
    ///
    /// # Errors
    ///
    /// [`StoreError::Deleted`] for a tombstoned stream.
    pub(super) fn head(&self, stream: &StreamName) -> Result<Option<Revision>> {
        let forbidden = || StoreError::Deleted { stream: stream.clone() };
        if let Some(head) = self.trial.as_ref().and_then(|heads| heads.get(stream)) {
            return Ok(Some(head.ok_or_else(forbidden)?));
        }
        if let Some(busy) = self.busy.get(stream) {
            return Ok(Some(busy.head));
        }
        let known = block_on(self.store.describe_stream(stream))?;
        if known.state == StreamState::Tombstoned {
            return Err(forbidden().into());
        }
        Ok(known.head)
    }

    /// Sends an append to the store. Waits for earlier ones while a limit is reached.
    pub(super) fn send(&mut self, offer: ImportAppend) -> Result<()> {
        if let Some(heads) = &mut self.trial {
            return pretend(offer, heads);
        }
        while self.sent.len() >= APPENDS_MAX || self.bytes >= BYTES_MAX {
            self.land_one()?;
        }
        let ImportAppend { append, heads, positions, line } = offer;
        let append = self.after_the_one_before(append);
        let tombstones = append.events().any(is_tombstone);
        self.before = heads.first().filter(|_| !tombstones).cloned();
        let bytes = append.events().map(NewEvent::content_bytes).sum();
        let mut streams = Vec::with_capacity(heads.len());
        for (stream, head) in heads {
            let busy = self.busy.entry(stream.clone()).or_insert(Busy { head, appends: 0 });
            busy.head = head;
            busy.appends += 1;
            streams.push(stream);
        }
        self.bytes += bytes;
        debug_assert_eq!(append.events().count(), positions.len());
        let answer = self.store.append(append);
        self.sent.push_back(InFlight { answer, streams, positions, bytes, line });
        // Nothing can be expected of a tombstoned stream, so the next append waits for this one.
        if tombstones { self.land() } else { Ok(()) }
    }

    /// Makes an append depend on the previous one. Otherwise an append that is rejected, for
    /// example for lack of space, could be retried after appends that were sent later.
    fn after_the_one_before(&self, append: Append) -> Append {
        match &self.before {
            Some((stream, head)) if append.streams.iter().all(|part| part.stream != *stream) => {
                append.expecting(stream.clone(), ExpectedRevision::Exact(*head))
            }
            Some(_) | None => append,
        }
    }

    /// Waits until no append is in flight.
    pub(super) fn land(&mut self) -> Result<()> {
        while !self.sent.is_empty() {
            self.land_one()?;
        }
        Ok(())
    }

    fn land_one(&mut self) -> Result<()> {
        let Some(sent) = self.sent.pop_front() else { return Ok(()) };
        self.bytes -= sent.bytes;
        for stream in sent.streams {
            if let Entry::Occupied(mut busy) = self.busy.entry(stream) {
                busy.get_mut().appends -= 1;
                if busy.get().appends == 0 {
                    busy.remove();
                }
            }
        }
        let appended = block_on(sent.answer).with_context(|| format!("line {}", sent.line))?;
        let last = appended.position;
        let first = last.number() + 1 - sent.positions.len() as u64;
        for (was, now) in sent.positions.iter().zip(first..) {
            self.mapping.add(*was, Position::new(now));
        }
        self.last = Some(last);
        Ok(())
    }
}

/// Checks an append as the store would, and updates the known heads.
fn pretend(offer: ImportAppend, known: &mut HashMap<StreamName, Option<Revision>>) -> Result<()> {
    let ImportAppend { append, heads, line, .. } = offer;
    append.check(&Limits::DEFAULT).with_context(|| format!("line {line}"))?;
    known.extend(heads.into_iter().map(|(stream, head)| (stream, Some(head))));
    let forbidding = append.streams.iter().filter(|part| part.events.iter().any(is_tombstone));
    known.extend(forbidding.filter_map(|part| Some((part.stream.described_stream()?, None))));
    Ok(())
}

fn is_tombstone(event: &NewEvent) -> bool {
    event.event_type.as_str() == TombstoneStream::EVENT_TYPE
}
