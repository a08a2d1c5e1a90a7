//! The pipeline of appends to the store.
//!
//! Owns: the limits on their number and size. Invariants: appends reach the store in order; known
//! heads include appends in flight. A dry run appends nothing and tracks heads as if every append
//! had succeeded.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use anyhow::{Context as _, Result};
use futures_executor::block_on;
use gesta_store::{
    Append, Appended, EventStore, ExpectedRevision, Limits, NewEvent, Position, Revision,
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
struct AppendInFlight<'store> {
    answer: StoreFuture<'store, Appended>,
    streams: Vec<StreamName>,
    positions: Vec<Position>,
    bytes: usize,
    line: u64,
}

/// A stream with appends in flight.
struct BusyStream {
    head: Revision,
    appends: usize,
}

/// A pipeline of appends to the store.
pub(super) struct AppendPipeline<'store> {
    store: &'store dyn EventStore,
    in_flight: VecDeque<AppendInFlight<'store>>,
    bytes: usize,
    busy: HashMap<StreamName, BusyStream>,
    /// A stream of the latest append, with its head after it.
    previous: Option<(StreamName, Revision)>,
    /// Dry run: the heads of all streams appended to so far, `None` for a tombstoned stream.
    dry_run: Option<HashMap<StreamName, Option<Revision>>>,
    /// Old and new positions of the events appended so far.
    pub(super) mapping: Mapping,
    /// Last appended position.
    pub(super) last: Option<Position>,
}

impl<'store> AppendPipeline<'store> {
    pub(super) fn new(store: &'store dyn EventStore) -> Self {
        Self {
            store,
            in_flight: VecDeque::new(),
            bytes: 0,
            busy: HashMap::new(),
            previous: None,
            dry_run: None,
            mapping: Mapping::default(),
            last: None,
        }
    }

    /// Creates a pipeline for a dry run, which rejects whatever the store would reject.
    pub(super) fn dry_run(store: &'store dyn EventStore) -> Self {
        Self { dry_run: Some(HashMap::new()), ..Self::new(store) }
    }

    pub(super) const fn is_dry_run(&self) -> bool {
        self.dry_run.is_some()
    }

    /// Returns the head of a stream once all appends in flight are done.
    ///
    /// # Errors
    ///
    /// [`StoreError::Deleted`] for a tombstoned stream.
    pub(super) fn head(&self, stream: &StreamName) -> Result<Option<Revision>> {
        let tombstoned = || StoreError::Deleted { stream: stream.clone() };
        if let Some(head) = self.dry_run.as_ref().and_then(|heads| heads.get(stream)) {
            return Ok(Some(head.ok_or_else(tombstoned)?));
        }
        // The store does not show an append in flight yet, so its own answer would be too old.
        if let Some(busy) = self.busy.get(stream) {
            return Ok(Some(busy.head));
        }
        let known = block_on(self.store.describe_stream(stream))?;
        if known.state == StreamState::Tombstoned {
            return Err(tombstoned().into());
        }
        Ok(known.head)
    }

    /// Sends an append to the store. Waits for earlier ones while a limit is reached.
    pub(super) fn send(&mut self, append: ImportAppend) -> Result<()> {
        if let Some(heads) = &mut self.dry_run {
            return check(append, heads);
        }
        while self.in_flight.len() >= APPENDS_MAX || self.bytes >= BYTES_MAX {
            self.wait_for_oldest()?;
        }
        let ImportAppend { append, heads, positions, line } = append;
        let append = self.after_previous(append);
        let tombstones = append.events().any(is_tombstone);
        self.previous = heads.first().filter(|_| !tombstones).cloned();
        let bytes = append.events().map(NewEvent::content_bytes).sum();
        let mut streams = Vec::with_capacity(heads.len());
        for (stream, head) in heads {
            let busy = self.busy.entry(stream.clone()).or_insert(BusyStream { head, appends: 0 });
            busy.head = head;
            busy.appends += 1;
            streams.push(stream);
        }
        self.bytes += bytes;
        // Positions are mapped by index when the append is done.
        debug_assert_eq!(append.events().count(), positions.len());
        let answer = self.store.append(append);
        self.in_flight.push_back(AppendInFlight { answer, streams, positions, bytes, line });
        // A tombstoned stream has no revision to expect, so the next append waits for this one.
        if tombstones { self.wait() } else { Ok(()) }
    }

    /// Makes an append depend on the previous one. Otherwise an append that is rejected, for
    /// example for lack of space, could be retried after appends that were sent later.
    fn after_previous(&self, append: Append) -> Append {
        match &self.previous {
            Some((stream, head)) if append.streams.iter().all(|part| part.stream != *stream) => {
                append.expecting(stream.clone(), ExpectedRevision::Exact(*head))
            }
            Some(_) | None => append,
        }
    }

    /// Waits until no append is in flight.
    pub(super) fn wait(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(())
    }

    fn wait_for_oldest(&mut self) -> Result<()> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        self.bytes -= oldest.bytes;
        for stream in oldest.streams {
            // Once nothing is in flight for a stream, the store itself knows its head. Dropping the
            // entry bounds memory use by the appends in flight.
            if let Entry::Occupied(mut busy) = self.busy.entry(stream) {
                busy.get_mut().appends -= 1;
                if busy.get().appends == 0 {
                    busy.remove();
                }
            }
        }
        let appended = block_on(oldest.answer).with_context(|| format!("line {}", oldest.line))?;
        // The events of one append have consecutive positions, and the receipt names the last.
        let last = appended.position;
        let first = last.number() + 1 - oldest.positions.len() as u64;
        for (was, now) in oldest.positions.iter().zip(first..) {
            self.mapping.add(*was, Position::new(now));
        }
        self.last = Some(last);
        Ok(())
    }
}

/// Checks an append as the store would, and updates the known heads.
fn check(append: ImportAppend, known: &mut HashMap<StreamName, Option<Revision>>) -> Result<()> {
    let ImportAppend { append, heads, line, .. } = append;
    // Limits first: an append that the store would reject must not count as done below.
    append.check(&Limits::DEFAULT).with_context(|| format!("line {line}"))?;
    known.extend(heads.into_iter().map(|(stream, head)| (stream, Some(head))));
    let tombstones = append.streams.iter().filter(|part| part.events.iter().any(is_tombstone));
    known.extend(tombstones.filter_map(|part| Some((part.stream.described_stream()?, None))));
    Ok(())
}

fn is_tombstone(event: &NewEvent) -> bool {
    event.event_type.as_str() == TombstoneStream::EVENT_TYPE
}
