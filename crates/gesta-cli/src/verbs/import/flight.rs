//! Appends that were offered to the store and not answered yet.
//!
//! Owns: how many there are at a time. Always holds: they are offered in order, so the store takes
//! them in order; what is known of a stream includes what is on its way. On trial nothing is
//! offered, and what is known of a stream is as if all of it had been appended.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use anyhow::{Context as _, Result};
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    Append, Appended, EventStore as _, ExpectedRevision, Limits, NewEvent, Position, Revision,
    StoreError, StoreFuture, StreamName, StreamState, TombstoneStream,
};

use super::mapping::Mapping;

/// Appends on their way at most: enough for the store to write many at once.
const APPENDS_MAX: usize = 1_024;
/// Bytes on their way at most, a single append aside; far below what the store lets queue up.
const BYTES_MAX: usize = 16 << 20;

/// One append to be made.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) append: Append,
    /// The last revision of each of its streams, once it is appended.
    pub(super) heads: Vec<(StreamName, Revision)>,
    /// Where its events were in the store that they come from.
    pub(super) positions: Vec<Position>,
    /// Where it stands in the input.
    pub(super) line: u64,
}

/// One append on its way.
struct Sent<'store> {
    answer: StoreFuture<'store, Appended>,
    streams: Vec<StreamName>,
    positions: Vec<Position>,
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
    /// A stream of the append that was sent last, and its head after it.
    before: Option<(StreamName, Revision)>,
    /// On trial, the head of each stream that would have been appended to; none where it would be
    /// forbidden for ever.
    trial: Option<HashMap<StreamName, Option<Revision>>>,
    /// Where the events are that the store has.
    pub(super) mapping: Mapping,
    /// The last one that was appended.
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

    /// One that appends nothing and refuses what the store would refuse.
    pub(super) fn on_trial(store: &'store LogStore) -> Self {
        Self { trial: Some(HashMap::new()), ..Self::new(store) }
    }

    pub(super) const fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// The last revision of a stream once everything has landed.
    ///
    /// # Errors
    /// [`StoreError::Deleted`] for a stream that is forbidden for ever.
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

    /// Offers an append to the store; waits for earlier ones where there are too many.
    pub(super) fn send(&mut self, offer: Offer) -> Result<()> {
        if let Some(heads) = &mut self.trial {
            return pretend(offer, heads);
        }
        while self.sent.len() >= APPENDS_MAX || self.bytes >= BYTES_MAX {
            self.land_one()?;
        }
        let Offer { append, heads, positions, line } = offer;
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
        self.sent.push_back(Sent { answer, streams, positions, bytes, line });
        // Nothing can be checked of a stream that is forbidden, so the next one waits.
        if tombstones { self.land() } else { Ok(()) }
    }

    /// The append on the condition that the one before it happened. Without it, one that is refused
    /// while others are on their way, for want of space perhaps, would end up after them.
    fn after_the_one_before(&self, append: Append) -> Append {
        match &self.before {
            Some((stream, head)) if append.streams.iter().all(|part| part.stream != *stream) => {
                append.expecting(stream.clone(), ExpectedRevision::Exact(*head))
            }
            Some(_) | None => append,
        }
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

/// Refuses what the store would refuse of an append, and takes the rest as appended.
fn pretend(offer: Offer, known: &mut HashMap<StreamName, Option<Revision>>) -> Result<()> {
    let Offer { append, heads, line, .. } = offer;
    append.check(&Limits::DEFAULT).with_context(|| format!("line {line}"))?;
    known.extend(heads.into_iter().map(|(stream, head)| (stream, Some(head))));
    let forbidding = append.streams.iter().filter(|part| part.events.iter().any(is_tombstone));
    known.extend(forbidding.filter_map(|part| Some((part.stream.described_stream()?, None))));
    Ok(())
}

fn is_tombstone(event: &NewEvent) -> bool {
    event.event_type.as_str() == TombstoneStream::EVENT_TYPE
}
