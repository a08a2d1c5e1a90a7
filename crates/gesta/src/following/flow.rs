//! The position of a follower that handles events concurrently.
//!
//! Invariant: all events up to the position are handled or set aside. Events finish in any order;
//! the position passes an event once all earlier ones have finished.

use std::collections::VecDeque;

use gesta_store::{EventId, Position};

use super::Place;

/// The low watermark of the events being handled.
#[derive(Debug)]
pub(crate) struct Flow {
    done: Place,
    /// Last event that was accepted.
    delivered: Position,
    /// Events after the watermark, in order, and whether each has finished.
    open: VecDeque<Open>,
    /// Events that the watermark has passed since the last checkpoint.
    passed: usize,
}

#[derive(Debug)]
struct Open {
    place: Place,
    is_done: bool,
}

impl Flow {
    pub(crate) const fn from(place: Place) -> Self {
        let delivered = place.position;
        Self { done: place, delivered, open: VecDeque::new(), passed: 0 }
    }

    /// Position up to which all events have finished.
    pub(crate) const fn done(&self) -> &Place {
        &self.done
    }

    pub(crate) const fn delivered(&self) -> Position {
        self.delivered
    }

    /// Number of events that were accepted and that the watermark has not passed yet.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    pub(crate) const fn passed(&self) -> usize {
        self.passed
    }

    /// Records that a checkpoint covers the watermark.
    pub(crate) const fn keep(&mut self) {
        self.passed = 0;
    }

    /// Events that have finished although an earlier one has not.
    pub(crate) fn done_ahead(&self) -> impl Iterator<Item = &Place> {
        let done = self.open.iter().filter(|open| open.is_done && open.place.event.is_some());
        done.map(|open| &open.place)
    }

    /// Takes up an event.
    pub(crate) fn begin(&mut self, position: Position, event: EventId) {
        debug_assert!(position > self.delivered, "events are delivered in order");
        self.delivered = position;
        let place = Place { position, event: Some(event) };
        self.open.push_back(Open { place, is_done: false });
    }

    /// Marks an event as handled or set aside.
    pub(crate) fn end(&mut self, position: Position) {
        let found = self.open.binary_search_by_key(&position, |open| open.place.position);
        if let Some(open) = found.ok().and_then(|index| self.open.get_mut(index)) {
            open.is_done = true;
        }
        self.move_up();
    }

    /// Records that no further event of interest precedes this position.
    pub(crate) fn reach(&mut self, position: Position) {
        // The events themselves have passed this position already.
        if position <= self.delivered {
            return;
        }
        self.delivered = position;
        let place = Place { position, event: None };
        // Queued behind the open events, so that the watermark does not pass them.
        self.open.push_back(Open { place, is_done: true });
        self.move_up();
    }

    fn move_up(&mut self) {
        while self.open.front().is_some_and(|open| open.is_done) {
            let Some(Open { place, .. }) = self.open.pop_front() else { return };
            self.passed += usize::from(place.event.is_some());
            self.done.position = place.position;
            // A reached position has no event of its own. The last event before it still identifies
            // the place in a restored store.
            self.done.event = place.event.or(self.done.event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_passes_an_event_when_all_before_it_are_done() {
        let mut flow = Flow::from(Place { position: Position::START, event: None });
        let id = |number| EventId::derived_from("event", number);
        for number in [3, 5, 8] {
            flow.begin(Position::new(number), id(number));
        }
        flow.reach(Position::new(9));
        flow.end(Position::new(5));
        assert_eq!(flow.done().position, Position::START);
        let ahead: Vec<&Place> = flow.done_ahead().collect();
        assert_eq!(ahead, [&Place { position: Position::new(5), event: Some(id(5)) }]);
        flow.end(Position::new(3));
        assert_eq!(flow.done_ahead().next(), None);
        assert_eq!(flow.done(), &Place { position: Position::new(5), event: Some(id(5)) });
        flow.end(Position::new(8));
        assert_eq!(flow.done(), &Place { position: Position::new(9), event: Some(id(8)) });
    }
}
