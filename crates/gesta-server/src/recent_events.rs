//! The places of the events that were appended last.
//!
//! Owns: [`RecentEvents`]. The protocol takes an append with `Any` or `StreamExists` for a repeat
//! if its events are known, also if they are a part of an earlier append, which stores recognize as
//! a whole only. Invariants: memory is bounded by [`EVENTS_MAX`]; a place is a hint, which the
//! caller compares with the stream. Not here: the comparison ([`streams`](crate::streams)).

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use gesta_store::{EventId, Revision, StreamName};

/// Number of events whose places are known, about 6 MB.
const EVENTS_MAX: usize = 1 << 16;

/// An event id with a hash of its stream, whose name may be long.
type RecentKey = (EventId, u64);

/// The last events by their ids.
#[derive(Debug, Default)]
pub(crate) struct RecentEvents {
    streams: RandomState,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    revisions: HashMap<RecentKey, Revision>,
    /// The oldest first.
    order: VecDeque<RecentKey>,
}

impl RecentEvents {
    /// Adds the events of an append, of which the last got the revision `head`.
    pub(crate) fn add(&self, stream: &StreamName, head: Revision, ids: &[EventId]) {
        let stream = self.streams.hash_one(stream);
        let mut window = self.window();
        for (revision, id) in (0..=head.number()).rev().zip(ids.iter().rev()) {
            window.add((*id, stream), Revision::new(revision));
        }
    }

    /// Returns the revision that an event with this id has in the stream, if it is a recent one.
    pub(crate) fn revision_of(&self, stream: &StreamName, id: EventId) -> Option<Revision> {
        let key = (id, self.streams.hash_one(stream));
        self.window().revisions.get(&key).copied()
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // A panic could leave a key without a place, which is no more than a hint that is missing.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn add(&mut self, key: RecentKey, revision: Revision) {
        if self.revisions.insert(key, revision).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > EVENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.revisions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    #[test]
    fn events_of_an_append_have_the_revisions_up_to_its_head() {
        let recent = RecentEvents::default();
        let ids: Vec<_> = (0..3).map(|_| EventId::random()).collect();
        recent.add(&stream("order-1"), Revision::new(6), &ids);
        let known = ids.iter().map(|id| recent.revision_of(&stream("order-1"), *id).unwrap());
        assert_eq!(known.map(Revision::number).collect::<Vec<_>>(), [4, 5, 6]);
        assert_eq!(recent.revision_of(&stream("order-2"), ids[0]), None);
    }

    #[test]
    fn the_oldest_events_are_forgotten() {
        let recent = RecentEvents::default();
        let first = EventId::random();
        recent.add(&stream("order-1"), Revision::FIRST, &[first]);
        let later: Vec<_> = (0..EVENTS_MAX).map(|_| EventId::random()).collect();
        recent.add(&stream("order-1"), Revision::new(EVENTS_MAX as u64), &later);
        assert_eq!(recent.revision_of(&stream("order-1"), first), None);
        let window = recent.window();
        assert_eq!((window.revisions.len(), window.order.len()), (EVENTS_MAX, EVENTS_MAX));
    }
}
