//! Subscriptions: a cursor that follows the visible end of the store.
//!
//! No event is buffered beyond a page of the log. The end rises with this process's own appends at
//! once, and with those of others when the mark is looked at. Not here: the looks (`store.rs`).

use std::{collections::VecDeque, pin::pin, sync::Arc};

use futures_util::{future::select, stream};
use gesta_store::{
    Delivery, Direction, Filter, Invalid, Position, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamName, Subscribe, SubscribeFrom, SubscribeTo, Subscription, Visibility,
};
use tokio::sync::watch;

use super::{
    lookups,
    read::{PAGE_EVENTS_MAX, StreamRange},
    scan::{self, Cursor},
    shared::Shared,
    times::{self, Until},
};
use crate::{clock, errors::CallError};

pub(super) fn open(shared: &Arc<Shared>, subscribe: Subscribe) -> Subscription {
    let deliveries = Deliveries {
        following: shared.following(),
        closing: shared.closing(),
        shared: Arc::clone(shared),
        subscribe: Some(subscribe),
        place: Place::None,
        events: VecDeque::new(),
        reported: Position::START,
        is_caught_up: false,
    };
    Subscription::new(stream::unfold(Some(deliveries), |deliveries| async {
        // An error ends the subscription.
        match deliveries?.next().await {
            Ok((delivery, deliveries)) => Some((Ok(delivery), Some(deliveries))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Deliveries {
    shared: Arc<Shared>,
    following: watch::Receiver<Position>,
    closing: watch::Receiver<bool>,
    /// The request, until its start is found.
    subscribe: Option<Subscribe>,
    place: Place,
    events: VecDeque<RecordedEvent>,
    /// The last position that was delivered, in whichever kind of delivery.
    reported: Position,
    is_caught_up: bool,
}

enum Place {
    None,
    All { cursor: Cursor, filter: Filter, visibility: Visibility, not_before: Option<RecordedAt> },
    Stream { stream: StreamName, next: u64, seen: Position, not_before: Option<RecordedAt> },
}

impl Deliveries {
    async fn next(mut self) -> Result<(Delivery, Self), StoreError> {
        loop {
            self.shared.check_open()?;
            if let Some(delivery) = self.page() {
                return Ok((delivery, self));
            }
            if let Some(subscribe) = self.subscribe.take() {
                let shared = Arc::clone(&self.shared);
                self.place = self.shared.answer(begin(shared, subscribe)).await?;
                continue;
            }
            let visible = *self.following.borrow_and_update();
            if self.scanned() < visible {
                self = self.read(visible).await?;
                continue;
            }
            if !self.is_caught_up {
                self.is_caught_up = true;
                self.reported = self.reported.max(visible);
                return Ok((Delivery::CaughtUp(visible), self));
            }
            if matches!(self.place, Place::All { .. }) && self.scanned() > self.reported {
                self.reported = self.scanned();
                return Ok((Delivery::Checkpoint(self.reported), self));
            }
            self.wait().await;
        }
    }

    fn page(&mut self) -> Option<Delivery> {
        let count = self.events.len().min(PAGE_EVENTS_MAX);
        let page: Vec<_> = self.events.drain(..count).collect();
        self.reported = page.last()?.position;
        Some(Delivery::Events(page))
    }

    /// The position up to which everything is delivered or left out.
    const fn scanned(&self) -> Position {
        match &self.place {
            Place::None => Position::START,
            Place::All { cursor, .. } => cursor.scanned(),
            Place::Stream { seen, .. } => *seen,
        }
    }

    /// Waits until the end rises, or the store is closed.
    async fn wait(&mut self) {
        let rises = pin!(self.following.changed());
        let closes = pin!(self.closing.wait_for(|is_closed| *is_closed));
        drop(select(rises, closes).await);
    }

    /// Reads a portion up to a visible position.
    async fn read(mut self, visible: Position) -> Result<Self, StoreError> {
        let shared = Arc::clone(&self.shared);
        let step = async move {
            let failed = |error: CallError| error.of_read().into_store();
            let described = &self.shared.described;
            described.follow(&self.shared.table, visible).await.map_err(failed)?;
            match &mut self.place {
                Place::None => {}
                Place::All { cursor, filter, visibility, not_before } => {
                    let found = cursor.forwards(&self.shared, visible).await.map_err(failed)?;
                    let now = clock::now();
                    for event in found.unwrap_or_default() {
                        let is_late = not_before.is_none_or(|time| event.recorded_at >= time);
                        if is_late
                            && filter.matches(&event)?
                            && (*visibility == Visibility::Raw
                                || scan::is_visible(&self.shared, &event, visible, now)
                                    .await
                                    .map_err(failed)?)
                        {
                            self.events.push_back(event);
                        }
                    }
                    // More than a portion behind: the end is reported again when it is reached.
                    self.is_caught_up &= cursor.scanned() >= visible;
                }
                Place::Stream { stream, next, seen, not_before } => {
                    let range = StreamRange::now(&self.shared, stream, visible).await?;
                    let order = (Direction::Forwards, u64::MAX);
                    let read = range.read(&self.shared, stream, (*next, u64::MAX), order);
                    let (found, looked) = read.await.map_err(failed)?;
                    match looked {
                        Some(looked) => {
                            *next = looked + 1;
                            self.is_caught_up = false;
                        }
                        None => {
                            // Hidden events are skipped for good, even if they are shown again.
                            let head = lookups::head(&self.shared.table, stream, visible).await;
                            let head = head.map_err(failed)?.map_or(0, |head| head.number() + 1);
                            *next = (*next).max(head);
                            *seen = visible;
                        }
                    }
                    let is_late = |event: &RecordedEvent| {
                        not_before.is_none_or(|time| event.recorded_at >= time)
                    };
                    self.events.extend(found.into_iter().filter(is_late));
                }
            }
            Ok(self)
        };
        shared.answer(step).await
    }
}

/// Finds the start of a subscription.
async fn begin(shared: Arc<Shared>, subscribe: Subscribe) -> Result<Place, StoreError> {
    let failed = |error: CallError| error.of_read().into_store();
    let mark = shared.moment().await.map_err(failed)?;
    let known = subscribe.incarnation.filter(|known| *known != shared.incarnation);
    match subscribe.to {
        SubscribeTo::All { from, filter, visibility } => {
            let after = match (from, known) {
                // The start is common to all incarnations.
                (SubscribeFrom::After(position), Some(incarnation))
                    if position > Position::START =>
                {
                    return Err(Invalid::OtherIncarnation { position, incarnation }.into());
                }
                (SubscribeFrom::After(position), _) => position,
                (SubscribeFrom::Time(time), _) => {
                    let until = Until::Before(time);
                    times::position(&shared.table, until, mark).await.map_err(failed)?
                }
                (_, _) => Position::START,
            };
            if after > mark {
                return Err(Invalid::BeyondHead { position: after, head: mark }.into());
            }
            let visibility = filter.visibility(visibility);
            let (cursor, not_before) = (Cursor::after(after), start_time(from));
            Ok(Place::All { cursor, filter, visibility, not_before })
        }
        SubscribeTo::Stream { stream, from } => {
            // A revision beyond the head is valid: the stream may grow.
            let next = match from {
                SubscribeFrom::After(revision) => revision.next().number(),
                SubscribeFrom::Time(time) => {
                    let head = lookups::head(&shared.table, &stream, mark).await.map_err(failed)?;
                    let until = Until::Before(time);
                    let counted = times::revisions(&shared.table, &stream, until, head).await;
                    counted.map_err(failed)?
                }
                _ => Revision::FIRST.number(),
            };
            let not_before = start_time(from);
            Ok(Place::Stream { stream, next, seen: Position::START, not_before })
        }
        _ => Err(StoreError::unavailable("this kind of subscription is not known")),
    }
}

/// Returns the time before which no event is delivered, even if it is recorded later: the start may
/// lie ahead of the clock.
const fn start_time<Place>(from: SubscribeFrom<Place>) -> Option<RecordedAt>
where
    Place: Copy,
{
    match from {
        SubscribeFrom::Time(time) => Some(time),
        _ => None,
    }
}
