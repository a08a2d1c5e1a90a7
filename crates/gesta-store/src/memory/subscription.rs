//! Subscriptions to a memory store: a cursor, and a waker for when there is nothing to deliver.
//!
//! Always holds: no event is queued for a subscriber, so one that never reads costs nothing; each
//! poll holds the lock for a bounded number of events.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{PAGE_EVENTS_MAX, Shared, log::Log};
use crate::{
    Delivery, Filter, Incarnation, Invalid, Page, Position, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamName, Subscribe, SubscribeTo, Subscription, Visibility,
};

/// How many events one poll looks at before it reports how far it came.
const SCAN_EVENTS_MAX: usize = 4_096;

pub(super) fn open(shared: &Arc<Shared>, subscribe: Subscribe) -> Subscription {
    let mut log = shared.log();
    let cursor = match Cursor::new(&log, shared.incarnation, subscribe) {
        Ok(cursor) => cursor,
        Err(error) => return Subscription::failed(error),
    };
    let number = log.subscription();
    let shared = Arc::clone(shared);
    let told = Position::START;
    Subscription::new(Deliveries { shared, number, cursor, told, caught_up: false, ended: false })
}

struct Deliveries {
    shared: Arc<Shared>,
    number: u64,
    cursor: Cursor,
    /// The last position that a delivery spoke of.
    told: Position,
    caught_up: bool,
    ended: bool,
}

impl Stream for Deliveries {
    type Item = Result<Delivery, StoreError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let shared = Arc::clone(&this.shared);
        let now = shared.now();
        let mut log = shared.log();
        let delivery = this.deliver(&log, now);
        if let Ok(None) = delivery {
            log.wake(this.number, context.waker());
            return Poll::Pending;
        }
        this.ended = delivery.is_err();
        Poll::Ready(delivery.transpose())
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.shared.log().forget(self.number);
    }
}

impl Deliveries {
    /// What there is to say; nothing when everything is said.
    fn deliver(&mut self, log: &Log, now: RecordedAt) -> Result<Option<Delivery>, StoreError> {
        let Stretch { page, more } = self.cursor.advance(log, now)?;
        self.caught_up &= !more;
        if let Some(last) = page.last() {
            self.told = last.position;
            return Ok(Some(Delivery::Events(page)));
        }
        if !more && !self.caught_up {
            self.caught_up = true;
            self.told = log.head();
            return Ok(Some(Delivery::CaughtUp(self.told)));
        }
        let Some(place) = self.cursor.place().filter(|place| *place > self.told) else {
            return Ok(None);
        };
        self.told = place;
        Ok(Some(Delivery::Checkpoint(place)))
    }
}

/// How far a subscription has looked.
enum Cursor {
    All { looked: Position, filter: Filter, visibility: Visibility },
    Stream { stream: StreamName, next: Revision },
}

/// Events from one look, and whether there is more to look at right now.
struct Stretch {
    page: Page,
    more: bool,
}

impl Cursor {
    fn new(log: &Log, incarnation: Incarnation, subscribe: Subscribe) -> Result<Self, StoreError> {
        let known = subscribe.incarnation.filter(|known| *known != incarnation);
        match (subscribe.to, known) {
            (SubscribeTo::All { after, .. }, Some(other)) if after > Position::START => {
                Err(Invalid::OtherIncarnation { position: after, incarnation: other }.into())
            }
            (SubscribeTo::All { after, filter, visibility }, _) => {
                log.reached(after)?;
                let visibility = filter.visibility(visibility);
                Ok(Self::All { looked: after, filter, visibility })
            }
            (SubscribeTo::Stream { stream, after }, _) => {
                let next = after.map_or(Revision::FIRST, Revision::next);
                Ok(Self::Stream { stream, next })
            }
        }
    }

    /// Up to where nothing is left to deliver, where a position can say that.
    fn place(&self) -> Option<Position> {
        match self {
            Self::All { looked, .. } => Some(*looked),
            Self::Stream { .. } => None,
        }
    }

    fn advance(&mut self, log: &Log, now: RecordedAt) -> Result<Stretch, StoreError> {
        match self {
            Self::All { looked, filter, visibility } => {
                let shows = |event: &RecordedEvent| {
                    filter.matches(event)
                        && (*visibility == Visibility::Raw || log.is_visible(event, now))
                };
                Ok(advance_all(log, looked, shows))
            }
            Self::Stream { stream, next } => advance_stream(log, stream, next, now),
        }
    }
}

fn advance_all(
    log: &Log,
    looked: &mut Position,
    shows: impl Fn(&RecordedEvent) -> bool,
) -> Stretch {
    let mut page = Page::new();
    for event in log.after(*looked).take(SCAN_EVENTS_MAX) {
        if page.len() == PAGE_EVENTS_MAX {
            break;
        }
        *looked = event.position;
        if shows(event) {
            page.push(event.clone());
        }
    }
    Stretch { page, more: *looked < log.head() }
}

fn advance_stream(
    log: &Log,
    stream: &StreamName,
    next: &mut Revision,
    now: RecordedAt,
) -> Result<Stretch, StoreError> {
    let shown = log.shown(stream, now)?;
    let numbers = next.number().max(shown.start)..shown.end;
    let events = numbers.filter_map(|number| log.event_of(stream, Revision::new(number)));
    let page: Page = events.take(PAGE_EVENTS_MAX).cloned().collect();
    if let Some(last) = page.last() {
        *next = last.revision.next();
    }
    // What is hidden is passed for good.
    *next = Revision::new(next.number().max(shown.start));
    Ok(Stretch { page, more: next.number() < shown.end })
}
