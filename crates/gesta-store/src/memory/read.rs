//! Finite reads of a memory store, page by page.
//!
//! The range of a read is fixed when it begins: later appends do not change it, nor do later
//! deletions and metadata for a read of one stream. A visible read of the whole store evaluates
//! visibility page by page. The lock is held for one page at a time.

use std::{ops::Range, sync::Arc};

use super::{
    log::Log,
    shared::{PAGE_EVENTS_MAX, Shared},
};
use crate::{
    Direction, Filter, Ordinal, OrdinalEvent, OrdinalIndex, OrdinalPages, Page, Pages, Position,
    ReadAll, ReadFrom, ReadOrdinals, ReadStream, RecordedAt, RecordedEvent, Revision, StoreError,
    StreamName, Visibility,
};

pub(super) fn stream(shared: &Arc<Shared>, read: ReadStream) -> Pages {
    // Max age is evaluated once, at the beginning of the read.
    let now = shared.now();
    let ReadStream { stream, direction, from, limit } = read;
    let log = shared.log();
    let visible = match log.check_open().and_then(|()| log.visible_revisions(&stream, now)) {
        Ok(visible) => visible,
        Err(error) => return Pages::failed(error),
    };
    let from =
        StartNumber { number: Revision::number, offset: 0 }
            .resolve(from, direction, |before| log.revisions_while(&stream, before));
    drop(log);
    let walk = RangeWalk::new(visible, direction, from);
    Pages::of(StreamPages { shared: Arc::clone(shared), stream, walk, left: limit })
}

pub(super) fn all(shared: &Arc<Shared>, read: ReadAll) -> Pages {
    let ReadAll { direction, from, filter, visibility, limit } = read;
    let log = shared.log();
    if let Err(error) = log.check_open() {
        return Pages::failed(error);
    }
    // The range ends at the current head, so that the read ends too.
    let all = Position::START.next().number()..log.head().next().number();
    let from =
        StartNumber { number: Position::number, offset: 1 }
            .resolve(from, direction, |before| log.events_while(before));
    drop(log);
    let walk = RangeWalk::new(all, direction, from);
    let visible_at = match filter.visibility(visibility) {
        Visibility::Raw => None,
        Visibility::Visible => Some(shared.now()),
    };
    Pages::of(AllPages { shared: Arc::clone(shared), filter, visible_at, walk, left: limit })
}

pub(super) fn ordinals(shared: &Arc<Shared>, read: ReadOrdinals) -> OrdinalPages {
    let ReadOrdinals { of, direction, from, limit } = read;
    let log = shared.log();
    if let Err(error) = log.check_open() {
        return OrdinalPages::failed(error);
    }
    let all = Ordinal::FIRST.number()..log.counted(&of);
    let from =
        StartNumber { number: Ordinal::number, offset: 0 }
            .resolve(from, direction, |before| log.ordinals_while(&of, before));
    drop(log);
    let walk = RangeWalk::new(all, direction, from);
    Pages::of(OrdinalWalk { shared: Arc::clone(shared), of, walk, left: limit })
}

/// Conversion of a starting point to a number of the range that is read.
struct StartNumber<Place> {
    number: fn(Place) -> u64,
    /// Number of the first event.
    offset: u64,
}

impl<Place> StartNumber<Place> {
    /// `count_while` returns the number of events up to the first one that is not accepted.
    fn resolve(
        self,
        from: ReadFrom<Place>,
        direction: Direction,
        count_while: impl FnOnce(&dyn Fn(&RecordedEvent) -> bool) -> u64,
    ) -> ReadFrom<u64> {
        match (from, direction) {
            (ReadFrom::Start, _) => ReadFrom::Start,
            (ReadFrom::End, _) => ReadFrom::End,
            (ReadFrom::At(place), _) => ReadFrom::At((self.number)(place)),
            (ReadFrom::Time(time), Direction::Forwards) => {
                ReadFrom::At(count_while(&|event| event.recorded_at < time) + self.offset)
            }
            (ReadFrom::Time(time), Direction::Backwards) => {
                match count_while(&|event| event.recorded_at <= time).checked_sub(1) {
                    Some(last) => ReadFrom::At(last + self.offset),
                    // Every event is later.
                    None => ReadFrom::Start,
                }
            }
        }
    }
}

/// Numbers of events in the direction of a read.
struct RangeWalk {
    places: Range<u64>,
    direction: Direction,
}

impl RangeWalk {
    fn new(all: Range<u64>, direction: Direction, from: ReadFrom<u64>) -> Self {
        let Range { start, end } = all;
        let places = match (direction, from) {
            (Direction::Forwards, ReadFrom::Start) | (Direction::Backwards, ReadFrom::End) => all,
            (Direction::Forwards, ReadFrom::At(place)) => place.max(start)..end,
            (Direction::Backwards, ReadFrom::At(place)) => start..place.saturating_add(1).min(end),
            // A read that starts at its end is empty. Times are resolved to numbers before.
            (Direction::Forwards, ReadFrom::End)
            | (Direction::Backwards, ReadFrom::Start)
            | (_, ReadFrom::Time(_)) => 0..0,
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
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let log = self.shared.log();
        let revision = |number| log.event_of(&self.stream, Revision::new(number));
        // All of them exist: the range was taken from the log.
        let events = self.walk.by_ref().filter_map(revision).cloned().map(Ok);
        page_of(&log, events, &mut self.left)
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
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let log = self.shared.log();
        let events = self.walk.by_ref().filter_map(|number| log.event(Position::new(number)));
        // The limit counts selected events, so filter before it.
        let selected = events.filter_map(|event| match self.filter.matches(event) {
            Ok(matches) => {
                let shown = self.visible_at.is_none_or(|now| log.is_visible(event, now));
                (matches && shown).then(|| Ok(event.clone()))
            }
            Err(error) => Some(Err(error)),
        });
        page_of(&log, selected, &mut self.left)
    }
}

struct OrdinalWalk {
    shared: Arc<Shared>,
    of: OrdinalIndex,
    walk: RangeWalk,
    left: u64,
}

impl Iterator for OrdinalWalk {
    type Item = Result<Vec<OrdinalEvent>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let log = self.shared.log();
        let counted = |number| {
            let ordinal = Ordinal::new(number);
            let event = log.nth(&self.of, ordinal)?.clone();
            Some(Ok(OrdinalEvent { ordinal, event }))
        };
        page_of(&log, self.walk.by_ref().filter_map(counted), &mut self.left)
    }
}

/// Takes the next page and reduces the remaining limit. `None` at the end of the read, and after an
/// error.
fn page_of<Item>(
    log: &Log,
    events: impl Iterator<Item = Result<Item, StoreError>>,
    left: &mut u64,
) -> Option<Result<Vec<Item>, StoreError>> {
    // The limit of the read, but at most a page.
    let room = usize::try_from(*left).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
    let page: Result<Vec<Item>, StoreError> =
        log.check_open().and_then(|()| events.take(room).collect());
    match page {
        Ok(page) if page.is_empty() => None,
        Ok(page) => {
            *left -= page.len() as u64;
            Some(Ok(page))
        }
        Err(error) if *left > 0 => {
            *left = 0;
            Some(Err(error))
        }
        // The error was returned before.
        Err(_) => None,
    }
}
