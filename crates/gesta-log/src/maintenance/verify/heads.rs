//! How far each stream has come, in bounded memory.
//!
//! Always holds: an event whose revision does not follow its stream's is told; of more streams than
//! there is room for, only a share is followed, halved as often as need be, and each of these from
//! its beginning.

use std::collections::{HashMap, hash_map::Entry};

use foldhash::fast::FixedState;
use gesta_store::{Position, Revision};

use super::Event;

/// Streams that are followed at most, each with 17 bytes in a table that is half empty at worst.
const STREAMS_MAX: usize = 3_600_000;
/// Two names that share all 64 bits of their hash would be taken for one; with this many streams
/// that is met in one store of three million.
type Name = u64;

/// How many events are looked up at once: so many misses of the processor's caches overlap.
const TOGETHER: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Heads {
    next: HashMap<Name, u64, FixedState>,
    names: FixedState,
    /// Names whose lowest so many bits are zeros are followed.
    share_bits: u32,
    streams_max: usize,
    /// Whether events may have been missed, or met twice.
    lost: bool,
    /// Events that were taken and are not looked at yet, with their streams' names one after the
    /// other.
    waiting: Vec<Waiting>,
    texts: String,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    name: Name,
    revision: Revision,
    position: Position,
    offset: u64,
    /// Where the stream's name ends among the texts.
    text_end: usize,
}

/// An event whose revision does not follow its stream's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    pub(super) offset: u64,
    pub(super) position: Position,
    pub(super) what: String,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            next: HashMap::default(),
            names: FixedState::with_seed(0x6765_7374_6121),
            share_bits: 0,
            streams_max: STREAMS_MAX,
            lost: false,
            waiting: Vec::with_capacity(TOGETHER),
            texts: String::new(),
        }
    }
}

impl Heads {
    /// From here on nothing is known any more.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.next = HashMap::default();
        self.waiting.clear();
        self.texts.clear();
    }

    /// Takes the next event of the log, whose record is at this offset; the first one that is
    /// misplaced of those that were looked at meanwhile.
    pub(super) fn take(&mut self, offset: u64, event: &Event<'_>) -> Option<Misplaced> {
        use std::hash::BuildHasher as _;
        let name = self.names.hash_one(event.stream);
        if self.lost || !self.follows(name) {
            return None;
        }
        self.texts.push_str(event.stream);
        let Event { position, revision, .. } = *event;
        let text_end = self.texts.len();
        self.waiting.push(Waiting { name, revision, position, offset, text_end });
        if self.waiting.len() < TOGETHER { None } else { self.settle() }
    }

    /// Looks at all that were taken.
    pub(super) fn settle(&mut self) -> Option<Misplaced> {
        // Asked for one after the other with nothing in between, they come into the caches together.
        let known = self.waiting.iter().filter(|event| self.next.contains_key(&event.name));
        std::hint::black_box(known.count());
        let mut misplaced = None;
        let mut text_start = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        for event in waiting.drain(..) {
            let expected = self.advance(event.name, event.revision);
            if expected != event.revision && misplaced.is_none() {
                let stream = self.texts.get(text_start..event.text_end).unwrap_or_default();
                let revision = event.revision;
                misplaced = Some(Misplaced {
                    offset: event.offset,
                    position: event.position,
                    what: format!(
                        "{stream} goes on with revision {revision} instead of {expected}"
                    ),
                });
            }
            text_start = event.text_end;
        }
        self.waiting = waiting;
        self.texts.clear();
        misplaced
    }

    fn follows(&self, name: Name) -> bool {
        name.trailing_zeros() >= self.share_bits
    }

    /// Notes that a stream has this revision; the one that it should have.
    fn advance(&mut self, name: Name, revision: Revision) -> Revision {
        if !self.follows(name) {
            return revision; // since they were halved
        }
        match self.next.entry(name) {
            Entry::Occupied(mut next) => Revision::new(next.insert(revision.number() + 1)),
            Entry::Vacant(vacant) => {
                vacant.insert(revision.number() + 1);
                if self.next.len() > self.streams_max {
                    self.halve();
                }
                Revision::FIRST
            }
        }
    }

    fn halve(&mut self) {
        self.share_bits += 1;
        let bits = self.share_bits;
        self.next.retain(|name, _| name.trailing_zeros() >= bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stream: &str, revision: u64) -> Event<'_> {
        Event { position: Position::START, revision: Revision::new(revision), stream }
    }

    /// What is wrong with the next events.
    fn misplaced<'a>(
        heads: &mut Heads,
        events: impl IntoIterator<Item = Event<'a>>,
    ) -> Option<String> {
        let mut found = None;
        for event in events {
            found = found.or(heads.take(8, &event));
        }
        found.or(heads.settle()).map(|misplaced| misplaced.what)
    }

    #[test]
    fn a_revision_that_does_not_follow_is_told() {
        let mut heads = Heads::default();
        assert_eq!(misplaced(&mut heads, (0..3).map(|revision| event("order-1", revision))), None);
        let what = misplaced(&mut heads, [event("größe", 0), event("order-1", 4)]).unwrap();
        assert_eq!(what, "order-1 goes on with revision 4 instead of 3");
        assert!(misplaced(&mut heads, [event("order-2", 1)]).is_some(), "it never began");
    }

    #[test]
    fn the_first_of_those_that_are_looked_at_together_is_told() {
        let mut heads = Heads::default();
        let events = (0..500).map(|number| event("order-1", number + number / 100));
        let what = misplaced(&mut heads, events).unwrap();
        assert_eq!(what, "order-1 goes on with revision 101 instead of 100");
    }

    #[test]
    fn of_too_many_streams_a_share_is_followed() {
        let mut heads = Heads { streams_max: 100, ..Heads::default() };
        let names: Vec<_> = (0..5_000).map(|number| format!("order-{number}")).collect();
        for revision in 0..3 {
            for name in &names {
                assert_eq!(misplaced(&mut heads, [event(name, revision)]), None);
                assert!(heads.next.len() <= 100);
            }
        }
        let store_error =
            names.iter().filter(|name| misplaced(&mut heads, [event(name, 7)]).is_some());
        assert!(store_error.count() > 20, "some are followed");
    }
}
