//! Finite reads of a memory store, page by page.
//!
//! Always holds: what a read covers is fixed when it begins, so later appends change nothing of it,
//! nor do later deletions and metadata where it reads one stream; what a read of the whole store
//! hides is judged page by page. The lock is held for one page at a time.

use std::{ops::Range, sync::Arc};

use super::{PAGE_EVENTS_MAX, Shared};
use crate::{
    Direction, Filter, Page, Pages, Position, ReadAll, ReadFrom, ReadStream, RecordedAt,
    RecordedEvent, Revision, StreamName, Visibility,
};

pub(super) fn stream(shared: &Arc<Shared>, read: ReadStream) -> Pages {
    let now = shared.now();
    let shown = match shared.log().shown(&read.stream, now) {
        Ok(shown) => shown,
        Err(error) => return Pages::failed(error),
    };
    let walk = Walk::new(shown, read.direction, from_number(read.from, Revision::number));
    let ReadStream { stream, limit, .. } = read;
    Pages::of(StreamPages { shared: Arc::clone(shared), stream, walk, left: limit }.map(Ok))
}

pub(super) fn all(shared: &Arc<Shared>, read: ReadAll) -> Pages {
    let head = shared.log().head();
    let all = Position::START.next().number()..head.next().number();
    let walk = Walk::new(all, read.direction, from_number(read.from, Position::number));
    let ReadAll { filter, visibility, limit, .. } = read;
    let hiding = match filter.visibility(visibility) {
        Visibility::Raw => None,
        Visibility::Visible => Some(shared.now()),
    };
    Pages::of(AllPages { shared: Arc::clone(shared), filter, hiding, walk, left: limit }.map(Ok))
}

fn from_number<Place>(from: ReadFrom<Place>, number: fn(Place) -> u64) -> ReadFrom<u64> {
    match from {
        ReadFrom::Start => ReadFrom::Start,
        ReadFrom::End => ReadFrom::End,
        ReadFrom::Place(place) => ReadFrom::Place(number(place)),
    }
}

/// Numbers of places, one way or the other.
struct Walk {
    places: Range<u64>,
    direction: Direction,
}

impl Walk {
    fn new(all: Range<u64>, direction: Direction, from: ReadFrom<u64>) -> Self {
        let Range { start, end } = all;
        let places = match (direction, from) {
            (Direction::Forwards, ReadFrom::Start) | (Direction::Backwards, ReadFrom::End) => all,
            (Direction::Forwards, ReadFrom::End) | (Direction::Backwards, ReadFrom::Start) => 0..0,
            (Direction::Forwards, ReadFrom::Place(place)) => place.max(start)..end,
            (Direction::Backwards, ReadFrom::Place(place)) => {
                start..place.saturating_add(1).min(end)
            }
        };
        Self { places, direction }
    }
}

impl Iterator for Walk {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self.direction {
            Direction::Forwards => self.places.next(),
            Direction::Backwards => self.places.next_back(),
        }
    }
}

struct StreamPages {
    shared: Arc<Shared>,
    stream: StreamName,
    walk: Walk,
    left: u64,
}

impl Iterator for StreamPages {
    type Item = Page;

    fn next(&mut self) -> Option<Page> {
        let log = self.shared.log();
        let events = self
            .walk
            .by_ref()
            .filter_map(|number| log.event_of(&self.stream, Revision::new(number)));
        page_of(events, &mut self.left)
    }
}

struct AllPages {
    shared: Arc<Shared>,
    filter: Filter,
    /// Leaves out what is hidden at this time.
    hiding: Option<RecordedAt>,
    walk: Walk,
    left: u64,
}

impl Iterator for AllPages {
    type Item = Page;

    fn next(&mut self) -> Option<Page> {
        let log = self.shared.log();
        let events = self.walk.by_ref().filter_map(|number| log.event(Position::new(number)));
        let shown = events.filter(|event| {
            self.filter.matches(event) && self.hiding.is_none_or(|now| log.is_visible(event, now))
        });
        page_of(shown, &mut self.left)
    }
}

/// The next page, within what is left of the read's limit; none where nothing is.
fn page_of<'a>(events: impl Iterator<Item = &'a RecordedEvent>, left: &mut u64) -> Option<Page> {
    let room = usize::try_from(*left).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
    let page: Page = events.take(room).cloned().collect();
    *left -= page.len() as u64;
    if page.is_empty() { None } else { Some(page) }
}
