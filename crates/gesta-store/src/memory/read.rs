//! Finite reads of a memory store, page by page.
//!
//! The range of a read is fixed when it begins: later appends do not change it, nor do later
//! deletions and metadata for a read of one stream. A visible read of the whole store evaluates
//! visibility page by page. The lock is held for one page at a time.

use std::{ops::Range, sync::Arc};

use super::shared::{PAGE_EVENTS_MAX, Shared};
use crate::{
    Direction, Filter, Page, Pages, Position, ReadAll, ReadFrom, ReadStream, RecordedAt,
    RecordedEvent, Revision, StreamName, Visibility,
};

pub(super) fn stream(shared: &Arc<Shared>, read: ReadStream) -> Pages {
    // Max age is evaluated once, at the beginning of the read.
    let now = shared.now();
    let visible = match shared.log().visible_revisions(&read.stream, now) {
        Ok(visible) => visible,
        Err(error) => return Pages::failed(error),
    };
    let walk = RangeWalk::new(visible, read.direction, from_number(read.from, Revision::number));
    let ReadStream { stream, limit, .. } = read;
    Pages::of(StreamPages { shared: Arc::clone(shared), stream, walk, left: limit }.map(Ok))
}

pub(super) fn all(shared: &Arc<Shared>, read: ReadAll) -> Pages {
    let head = shared.log().head();
    // The range ends at the current head, so that the read ends too.
    let all = Position::START.next().number()..head.next().number();
    let walk = RangeWalk::new(all, read.direction, from_number(read.from, Position::number));
    let ReadAll { filter, visibility, limit, .. } = read;
    let visible_at = match filter.visibility(visibility) {
        Visibility::Raw => None,
        Visibility::Visible => Some(shared.now()),
    };
    Pages::of(
        AllPages { shared: Arc::clone(shared), filter, visible_at, walk, left: limit }.map(Ok),
    )
}

fn from_number<Place>(from: ReadFrom<Place>, number: fn(Place) -> u64) -> ReadFrom<u64> {
    match from {
        ReadFrom::Start => ReadFrom::Start,
        ReadFrom::End => ReadFrom::End,
        ReadFrom::At(place) => ReadFrom::At(number(place)),
    }
}

/// Revisions or positions in the direction of a read.
struct RangeWalk {
    places: Range<u64>,
    direction: Direction,
}

impl RangeWalk {
    fn new(all: Range<u64>, direction: Direction, from: ReadFrom<u64>) -> Self {
        let Range { start, end } = all;
        let places = match (direction, from) {
            (Direction::Forwards, ReadFrom::Start) | (Direction::Backwards, ReadFrom::End) => all,
            // A read that starts at its end is empty.
            (Direction::Forwards, ReadFrom::End) | (Direction::Backwards, ReadFrom::Start) => 0..0,
            (Direction::Forwards, ReadFrom::At(place)) => place.max(start)..end,
            (Direction::Backwards, ReadFrom::At(place)) => start..place.saturating_add(1).min(end),
        };
        Self { places, direction }
    }
}

impl Iterator for RangeWalk {
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
    walk: RangeWalk,
    left: u64,
}

impl Iterator for StreamPages {
    type Item = Page;

    fn next(&mut self) -> Option<Page> {
        let log = self.shared.log();
        let events = self
            .walk
            .by_ref()
            // All of them exist: the range was taken from the log.
            .filter_map(|number| log.event_of(&self.stream, Revision::new(number)));
        page_of(events, &mut self.left)
    }
}

struct AllPages {
    shared: Arc<Shared>,
    filter: Filter,
    /// Leaves out events that are hidden at this time. `None` for a raw read.
    visible_at: Option<RecordedAt>,
    walk: RangeWalk,
    left: u64,
}

impl Iterator for AllPages {
    type Item = Page;

    fn next(&mut self) -> Option<Page> {
        let log = self.shared.log();
        let events = self.walk.by_ref().filter_map(|number| log.event(Position::new(number)));
        // The limit counts selected events, so filter before it.
        let selected = events.filter(|event| {
            self.filter.matches(event)
                && self.visible_at.is_none_or(|now| log.is_visible(event, now))
        });
        page_of(selected, &mut self.left)
    }
}

/// Takes the next page and reduces the remaining limit. `None` at the end of the read.
fn page_of<'a>(events: impl Iterator<Item = &'a RecordedEvent>, left: &mut u64) -> Option<Page> {
    // The limit of the read, but at most a page.
    let room = usize::try_from(*left).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
    let page: Page = events.take(room).cloned().collect();
    *left -= page.len() as u64;
    if page.is_empty() { None } else { Some(page) }
}
