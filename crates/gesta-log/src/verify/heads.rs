//! How far each stream has come, in bounded memory.
//!
//! Always holds: an event whose revision does not follow its stream's is told; of more streams than
//! there is room for, only a share is followed, halved as often as need be, and each of these from
//! its beginning.

use std::collections::{HashMap, hash_map::Entry};

use foldhash::fast::FixedState;
use gesta_store::Revision;

use super::Event;

/// Streams that are followed at most, each with 17 bytes in a table that is half empty at worst.
const STREAMS_MAX: usize = 3_600_000;
/// Two names that share all 64 bits of their hash would be taken for one; with this many streams
/// that is met in one store of three million.
type Name = u64;

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
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            next: HashMap::default(),
            names: FixedState::with_seed(0x6765_7374_6121),
            share_bits: 0,
            streams_max: STREAMS_MAX,
            lost: false,
        }
    }
}

impl Heads {
    /// From here on nothing is known any more.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.next = HashMap::default();
    }

    /// Takes the next event of the log; what is wrong with its revision, if anything is.
    pub(super) fn misplaced(&mut self, event: &Event<'_>) -> Option<String> {
        use std::hash::BuildHasher as _;
        let name = self.names.hash_one(event.stream);
        if self.lost || name.trailing_zeros() < self.share_bits {
            return None;
        }
        let expected = match self.next.entry(name) {
            Entry::Occupied(mut next) => next.insert(event.revision.number() + 1),
            Entry::Vacant(vacant) => {
                vacant.insert(event.revision.number() + 1);
                if self.next.len() > self.streams_max {
                    self.halve();
                }
                Revision::FIRST.number()
            }
        };
        (expected != event.revision.number()).then(|| {
            let (stream, revision) = (event.stream, event.revision);
            format!("{stream} goes on with revision {revision} instead of {expected}")
        })
    }

    fn halve(&mut self) {
        self.share_bits += 1;
        let bits = self.share_bits;
        self.next.retain(|name, _| name.trailing_zeros() >= bits);
    }
}

#[cfg(test)]
mod tests {
    use gesta_store::Position;

    use super::*;

    fn event(stream: &str, revision: u64) -> Event<'_> {
        Event { position: Position::START, revision: Revision::new(revision), stream }
    }

    #[test]
    fn a_revision_that_does_not_follow_is_told() {
        let mut heads = Heads::default();
        for revision in 0..3 {
            assert_eq!(heads.misplaced(&event("order-1", revision)), None);
        }
        let what = heads.misplaced(&event("order-1", 4)).unwrap();
        assert_eq!(what, "order-1 goes on with revision 4 instead of 3");
        assert!(heads.misplaced(&event("order-2", 1)).is_some(), "it never began");
    }

    #[test]
    fn of_too_many_streams_a_share_is_followed() {
        let mut heads = Heads { streams_max: 100, ..Heads::default() };
        let names: Vec<_> = (0..5_000).map(|number| format!("order-{number}")).collect();
        for revision in 0..3 {
            for name in &names {
                assert_eq!(heads.misplaced(&event(name, revision)), None);
                assert!(heads.next.len() <= 100);
            }
        }
        let told = names.iter().filter(|name| heads.misplaced(&event(name, 7)).is_some());
        assert!(told.count() > 20, "some are followed");
    }
}
