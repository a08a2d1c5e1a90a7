//! Subscriptions to a memory store: a cursor, and a waker while it is at the head.
//!
//! No event is buffered for a subscriber, so an idle one costs nothing. A poll holds the lock for a
//! bounded number of events.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{
    log::Log,
    shared::{PAGE_EVENTS_MAX, Shared},
};
use crate::{
    Delivery, Filter, Incarnation, Invalid, Page, Position, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamName, Subscribe, SubscribeFrom, SubscribeTo, Subscription, Visibility,
};

/// Maximum number of events that one poll scans before it reports a checkpoint.
const SCAN_EVENTS_MAX: usize = 4_096;

pub(super) fn open(shared: &Arc<Shared>, subscribe: Subscribe) -> Subscription {
    let mut log = shared.log();
    let cursor = match Cursor::new(&log, shared.incarnation, subscribe) {
        Ok(cursor) => cursor,
        Err(error) => return Subscription::failed(error),
    };
    let number = log.next_subscription_id();
    let shared = Arc::clone(shared);
    let reported = Position::START;
    Subscription::new(Deliveries {
        shared,
        number,
        cursor,
        reported,
        caught_up: false,
        ended: false,
    })
}

struct Deliveries {
    shared: Arc<Shared>,
    number: u64,
    cursor: Cursor,
    /// The last position that was delivered, in whichever kind of delivery.
    reported: Position,
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
        // Register while the lock is held: an append cannot slip in between.
        if let Ok(None) = delivery {
            let replaced = log.register_waker(this.number, context.waker());
            // Dropping a waker runs foreign code, which may call the store.
            drop(log);
            drop(replaced);
            return Poll::Pending;
        }
        this.ended = delivery.is_err();
        Poll::Ready(delivery.transpose())
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        // The lock is free again when the waker is dropped.
        let waker = self.shared.log().remove_waker(self.number);
        drop(waker);
    }
}

impl Deliveries {
    /// Returns the next delivery, or `None` at the head.
    fn deliver(&mut self, log: &Log, now: RecordedAt) -> Result<Option<Delivery>, StoreError> {
        log.check_open()?;
        let Scan { page, more } = self.cursor.advance(log, now)?;
        // More than a page behind: report the head again when it is reached.
        self.caught_up &= !more;
        if let Some(last) = page.last() {
            self.reported = last.position;
            return Ok(Some(Delivery::Events(page)));
        }
        if !more && !self.caught_up {
            self.caught_up = true;
            self.reported = log.head();
            return Ok(Some(Delivery::CaughtUp(self.reported)));
        }
        // Report progress only if it is new.
        let Some(position) = self.cursor.position().filter(|position| *position > self.reported)
        else {
            return Ok(None);
        };
        self.reported = position;
        Ok(Some(Delivery::Checkpoint(position)))
    }
}

/// The progress of a subscription.
enum Cursor {
    All {
        scanned: Position,
        not_before: Option<RecordedAt>,
        filter: Filter,
        visibility: Visibility,
    },
    Stream {
        stream: StreamName,
        next: Revision,
        not_before: Option<RecordedAt>,
    },
}

/// Returns the time before which no event is delivered, even if it is recorded later: the start
/// may lie ahead of the clock.
fn start_time<Place>(from: SubscribeFrom<Place>) -> Option<RecordedAt> {
    match from {
        SubscribeFrom::Time(time) => Some(time),
        SubscribeFrom::Start | SubscribeFrom::After(_) => None,
    }
}

/// Scanned events, and whether there are more to scan now.
struct Scan {
    page: Page,
    more: bool,
}

impl Cursor {
    fn new(log: &Log, incarnation: Incarnation, subscribe: Subscribe) -> Result<Self, StoreError> {
        log.check_open()?;
        let known = subscribe.incarnation.filter(|known| *known != incarnation);
        match subscribe.to {
            SubscribeTo::All { from, filter, visibility } => {
                let scanned = match (from, known) {
                    // The start is common to all incarnations.
                    (SubscribeFrom::After(position), Some(incarnation))
                        if position > Position::START =>
                    {
                        return Err(Invalid::OtherIncarnation { position, incarnation }.into());
                    }
                    (SubscribeFrom::After(position), _) => position,
                    (SubscribeFrom::Start, _) => Position::START,
                    (SubscribeFrom::Time(time), _) => {
                        Position::new(log.events_while(|event| event.recorded_at < time))
                    }
                };
                log.check_reached(scanned)?;
                let visibility = filter.visibility(visibility);
                let not_before = start_time(from);
                Ok(Self::All { scanned, not_before, filter, visibility })
            }
            SubscribeTo::Stream { stream, from } => {
                // A revision beyond the head is valid: the stream may grow.
                let next = match from {
                    SubscribeFrom::Start => Revision::FIRST,
                    SubscribeFrom::After(revision) => revision.next(),
                    SubscribeFrom::Time(time) => Revision::new(
                        log.revisions_while(&stream, |event| event.recorded_at < time),
                    ),
                };
                Ok(Self::Stream { stream, next, not_before: start_time(from) })
            }
        }
    }

    /// Returns the position up to which everything is scanned, or `None` for a stream, because its
    /// revisions do not determine a position.
    fn position(&self) -> Option<Position> {
        match self {
            Self::All { scanned, .. } => Some(*scanned),
            Self::Stream { .. } => None,
        }
    }

    fn advance(&mut self, log: &Log, now: RecordedAt) -> Result<Scan, StoreError> {
        match self {
            Self::All { scanned, not_before, filter, visibility } => {
                let shows = |event: &RecordedEvent| {
                    Ok(not_before.is_none_or(|time| event.recorded_at >= time)
                        && filter.matches(event)?
                        && (*visibility == Visibility::Raw || log.is_visible(event, now)))
                };
                advance_all(log, scanned, shows)
            }
            Self::Stream { stream, next, not_before } => {
                if let Some(time) = *not_before {
                    let before = log.revisions_while(stream, |event| event.recorded_at < time);
                    *next = Revision::new(next.number().max(before));
                }
                advance_stream(log, stream, next, now)
            }
        }
    }
}

fn advance_all(
    log: &Log,
    scanned: &mut Position,
    shows: impl Fn(&RecordedEvent) -> Result<bool, StoreError>,
) -> Result<Scan, StoreError> {
    let mut page = Page::new();
    for event in log.after(*scanned).take(SCAN_EVENTS_MAX) {
        // Before `scanned` moves: the next poll starts at this event.
        if page.len() == PAGE_EVENTS_MAX {
            break;
        }
        *scanned = event.position;
        if shows(event)? {
            page.push(event.clone());
        }
    }
    Ok(Scan { page, more: *scanned < log.head() })
}

fn advance_stream(
    log: &Log,
    stream: &StreamName,
    next: &mut Revision,
    now: RecordedAt,
) -> Result<Scan, StoreError> {
    let shown = log.visible_revisions(stream, now)?;
    // Skip events that were hidden since the last poll.
    let numbers = next.number().max(shown.start)..shown.end;
    let events = numbers.filter_map(|number| log.event_of(stream, Revision::new(number)));
    let page: Page = events.take(PAGE_EVENTS_MAX).cloned().collect();
    if let Some(last) = page.last() {
        *next = last.revision.next();
    }
    // Hidden events are skipped permanently, even if other metadata show them again.
    *next = Revision::new(next.number().max(shown.start));
    Ok(Scan { page, more: next.number() < shown.end })
}
