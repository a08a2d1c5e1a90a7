//! The heads of all streams in bounded memory, to check that revisions are contiguous.
//!
//! Invariants:
//! - An event whose revision does not continue its stream is reported.
//! - If there are more streams than fit, only a share of them is tracked, each from its first
//!   event. The share is halved as often as necessary.

use std::collections::{HashMap, hash_map::Entry};

use foldhash::fast::FixedState;
use gesta_store::{Position, Revision};

use super::compared_event::ComparedEvent;

/// Maximum number of tracked streams, at 17 bytes each in a table that is at least half full.
const STREAMS_MAX: usize = 3_600_000;
/// Hash of a stream name. In a store with [`STREAMS_MAX`] streams, the probability that any two
/// names collide is one in three million.
type NameHash = u64;

/// Number of events per batch of lookups, whose misses in the processor's caches overlap.
const BATCH_EVENTS: usize = 64;

/// The heads of the tracked streams.
#[derive(Debug)]
pub(super) struct StreamHeads {
    next: HashMap<NameHash, u64, FixedState>,
    names: FixedState,
    /// A stream is tracked if this many low bits of its hash are zero.
    share_bits: u32,
    streams_max: usize,
    /// True once events may have been skipped or repeated; then nothing more is reported.
    lost: bool,
    /// Events that are not checked yet. `texts` holds their stream names, one after the other.
    pending: Vec<UncheckedEvent>,
    texts: String,
}

#[derive(Clone, Copy, Debug)]
struct UncheckedEvent {
    name: NameHash,
    revision: Revision,
    position: Position,
    offset: u64,
    /// End of the stream's name in `texts`.
    text_end: usize,
}

/// An event whose revision does not continue its stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    pub(super) offset: u64,
    pub(super) position: Position,
    pub(super) what: String,
}

impl Default for StreamHeads {
    fn default() -> Self {
        Self {
            next: HashMap::default(),
            // "gesta!". A fixed seed, so that each verification of a store tracks the same streams.
            names: FixedState::with_seed(0x6765_7374_6121),
            share_bits: 0,
            streams_max: STREAMS_MAX,
            lost: false,
            pending: Vec::with_capacity(BATCH_EVENTS),
            texts: String::new(),
        }
    }
}

impl StreamHeads {
    /// Stops the check: heads are unknown from here on.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.next = HashMap::default();
        self.pending.clear();
        self.texts.clear();
    }

    /// Adds the next event of the log, whose record is at this offset. If that completes a batch,
    /// returns the first misplaced event in it.
    pub(super) fn take(&mut self, offset: u64, event: &ComparedEvent<'_>) -> Option<Misplaced> {
        use std::hash::BuildHasher as _;
        let name = self.names.hash_one(event.stream);
        if self.lost || !self.is_tracked(name) {
            return None;
        }
        // Copied, because the event's bytes may be gone when the batch is checked.
        self.texts.push_str(event.stream);
        let ComparedEvent { position, revision, .. } = *event;
        let text_end = self.texts.len();
        self.pending.push(UncheckedEvent { name, revision, position, offset, text_end });
        if self.pending.len() < BATCH_EVENTS { None } else { self.check_pending() }
    }

    /// Checks all pending events. Returns the first misplaced one.
    pub(super) fn check_pending(&mut self) -> Option<Misplaced> {
        // Lookups without a dependency between them overlap their cache misses; the loop below then
        // finds the entries in the cache.
        let known = self.pending.iter().filter(|event| self.next.contains_key(&event.name));
        std::hint::black_box(known.count());
        // Names were collected one after the other, so each begins where the last one ended.
        let mut misplaced = None;
        let mut text_start = 0;
        let mut pending = std::mem::take(&mut self.pending);
        for event in pending.drain(..) {
            let expected = self.advance(event.name, event.revision);
            if expected != event.revision && misplaced.is_none() {
                let stream = self.texts.get(text_start..event.text_end).unwrap_or_default();
                let revision = event.revision;
                misplaced = Some(Misplaced {
                    offset: event.offset,
                    position: event.position,
                    what: format!(
                        "{stream} continues with revision {revision} instead of {expected}"
                    ),
                });
            }
            text_start = event.text_end;
        }
        self.pending = pending;
        self.texts.clear();
        misplaced
    }

    fn is_tracked(&self, name: NameHash) -> bool {
        name.trailing_zeros() >= self.share_bits
    }

    /// Records a stream's revision. Returns the expected one.
    fn advance(&mut self, name: NameHash, revision: Revision) -> Revision {
        if !self.is_tracked(name) {
            return revision; // Not tracked since the share was halved.
        }
        match self.next.entry(name) {
            Entry::Occupied(mut next) => Revision::new(next.insert(revision.number() + 1)),
            // Tracked streams are tracked from their first event, so an unknown one must begin
            // here.
            Entry::Vacant(vacant) => {
                vacant.insert(revision.number() + 1);
                if self.next.len() > self.streams_max {
                    self.halve();
                }
                Revision::FIRST
            }
        }
    }

    /// Halves the share of tracked streams.
    fn halve(&mut self) {
        self.share_bits += 1;
        let bits = self.share_bits;
        self.next.retain(|name, _| name.trailing_zeros() >= bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stream: &str, revision: u64) -> ComparedEvent<'_> {
        ComparedEvent { position: Position::START, revision: Revision::new(revision), stream }
    }

    /// Checks events and returns the first complaint.
    fn misplaced<'a>(
        heads: &mut StreamHeads,
        events: impl IntoIterator<Item = ComparedEvent<'a>>,
    ) -> Option<String> {
        let mut found = None;
        for event in events {
            found = found.or(heads.take(8, &event));
        }
        found.or(heads.check_pending()).map(|misplaced| misplaced.what)
    }

    #[test]
    fn a_revision_that_does_not_follow_is_told() {
        let mut heads = StreamHeads::default();
        assert_eq!(misplaced(&mut heads, (0..3).map(|revision| event("order-1", revision))), None);
        let what = misplaced(&mut heads, [event("größe", 0), event("order-1", 4)]).unwrap();
        assert_eq!(what, "order-1 continues with revision 4 instead of 3");
        assert!(misplaced(&mut heads, [event("order-2", 1)]).is_some(), "it never began");
    }

    #[test]
    fn the_first_of_those_that_are_looked_at_together_is_told() {
        let mut heads = StreamHeads::default();
        let events = (0..500).map(|number| event("order-1", number + number / 100));
        let what = misplaced(&mut heads, events).unwrap();
        assert_eq!(what, "order-1 continues with revision 101 instead of 100");
    }

    #[test]
    fn of_too_many_streams_a_share_is_followed() {
        let mut heads = StreamHeads { streams_max: 100, ..StreamHeads::default() };
        let names: Vec<_> = (0..5_000).map(|number| format!("order-{number}")).collect();
        for revision in 0..3 {
            for name in &names {
                assert_eq!(misplaced(&mut heads, [event(name, revision)]), None);
                assert!(heads.next.len() <= 100);
            }
        }
        let reported =
            names.iter().filter(|name| misplaced(&mut heads, [event(name, 7)]).is_some());
        assert!(reported.count() > 20, "some are followed");
    }
}
