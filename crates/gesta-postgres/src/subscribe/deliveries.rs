//! One subscription: its progress, and its next delivery.

use std::sync::Arc;

use futures_util::stream::unfold;
use gesta_store::{
    Delivery, Direction, Filter, Incarnation, Invalid, Page, Position, RecordedAt, StoreError,
    StreamName, Subscribe, SubscribeFrom, SubscribeTo, Subscription, Visibility,
};

use super::announcements::look;
use crate::{
    number::to_sql,
    read::{
        all_pages::bounds,
        event_rows::PAGE_EVENTS_MAX,
        source::{PageRequest, PositionRange, Source},
        stream_pages::{StreamPlace, start},
    },
    shared::{Core, Shared},
};

/// Makes a subscription.
pub(crate) fn subscription(shared: Arc<Shared>, subscribe: Subscribe) -> Subscription {
    let deliveries = Deliveries {
        core: Arc::clone(&shared.core),
        subscribe,
        cursor: None,
        reported: 0,
        caught_up: false,
    };
    Subscription::new(unfold(Some((shared, deliveries)), |state| async move {
        let (shared, deliveries) = state?;
        match next_of(&shared, deliveries).await {
            Ok((delivery, deliveries)) => Some((Ok(delivery), Some((shared, deliveries)))),
            // An error ends the subscription.
            Err(error) => Some((Err(error), None)),
        }
    }))
}

async fn next_of(
    shared: &Shared,
    mut deliveries: Deliveries,
) -> Result<(Delivery, Deliveries), StoreError> {
    shared.check_open()?;
    let next = shared.worker.run(async move { (deliveries.next().await, deliveries) });
    let (delivery, deliveries) = next.await?;
    Ok((delivery?, deliveries))
}

struct Deliveries {
    core: Arc<Core>,
    subscribe: Subscribe,
    /// `None` before the first delivery.
    cursor: Option<Cursor>,
    /// The last position that was delivered, in whichever kind of delivery.
    reported: u64,
    caught_up: bool,
}

/// The progress of a subscription.
enum Cursor {
    All {
        source: Source,
        visible_only: bool,
        /// The position up to which everything is looked through.
        scanned: u64,
        not_before: Option<RecordedAt>,
    },
    Stream {
        stream: StreamName,
        next: u64,
        not_before: Option<RecordedAt>,
    },
}

/// Events, and whether there are more now.
struct Advanced {
    page: Page,
    more: bool,
    /// The position up to which everything is looked through. `None` for a stream, because its
    /// revisions do not determine a position.
    scanned: Option<u64>,
}

impl Deliveries {
    async fn next(&mut self) -> Result<Delivery, StoreError> {
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.begin().await?,
        };
        let delivery = self.next_from(&mut cursor).await;
        self.cursor = Some(cursor);
        delivery
    }

    async fn next_from(&mut self, cursor: &mut Cursor) -> Result<Delivery, StoreError> {
        loop {
            let head = self.core.head.get();
            let Advanced { page, more, scanned } = cursor.advance(&self.core, head).await?;
            // More than a page behind: report the head again when it is reached.
            self.caught_up &= !more;
            if let Some(last) = page.last() {
                self.reported = last.position.number();
                return Ok(Delivery::Events(page));
            }
            if !more && !self.caught_up {
                self.caught_up = true;
                self.reported = head;
                return Ok(Delivery::CaughtUp(Position::new(head)));
            }
            // Progress is reported only if it is new.
            if let Some(position) = scanned.filter(|position| *position > self.reported) {
                self.reported = position;
                return Ok(Delivery::Checkpoint(Position::new(position)));
            }
            if !more {
                self.core.head.beyond(head).await;
            }
        }
    }

    async fn begin(&self) -> Result<Cursor, StoreError> {
        // The head of the other processes' appends, too.
        look(&self.core).await?;
        match self.subscribe.to.clone() {
            SubscribeTo::All { from, filter, visibility } => {
                self.begin_all(from, filter, visibility).await
            }
            SubscribeTo::Stream { stream, from } => {
                // A revision beyond the head is valid: the stream may grow.
                let next = match from {
                    SubscribeFrom::After(revision) => revision.next().number(),
                    _ => 0,
                };
                Ok(Cursor::Stream { stream, next, not_before: start_time(from) })
            }
            _ => Err(StoreError::unreachable("a kind of subscription that is not known")),
        }
    }

    async fn begin_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Filter,
        visibility: Visibility,
    ) -> Result<Cursor, StoreError> {
        let not_before = start_time(from);
        let (head, start) = bounds(&self.core, not_before).await?;
        let scanned = match from {
            SubscribeFrom::After(position) => {
                self.check_start(position, self.subscribe.incarnation, head)?;
                position.number()
            }
            SubscribeFrom::Time(_) => start.saturating_sub(1),
            _ => 0,
        };
        let visible_only = filter.visibility(visibility) == Visibility::Visible;
        let source = Source::of(&self.core, filter).await?;
        Ok(Cursor::All { source, visible_only, scanned, not_before })
    }

    fn check_start(
        &self,
        position: Position,
        incarnation: Option<Incarnation>,
        head: u64,
    ) -> Result<(), StoreError> {
        if let Some(incarnation) = incarnation {
            self.core.incarnations().check(incarnation, position)?;
        }
        if position.number() > head {
            return Err(Invalid::BeyondHead { position, head: Position::new(head) }.into());
        }
        Ok(())
    }
}

/// Returns the time before which no event is delivered, even if it is recorded later: the start may
/// lie ahead of the clock.
fn start_time<Place>(from: SubscribeFrom<Place>) -> Option<RecordedAt> {
    match from {
        SubscribeFrom::Time(time) => Some(time),
        _ => None,
    }
}

impl Cursor {
    async fn advance(&mut self, core: &Core, head: u64) -> Result<Advanced, StoreError> {
        match self {
            Self::All { source, visible_only, scanned, not_before } => {
                let range = PositionRange { first: *scanned + 1, last: head };
                if range.first > range.last {
                    let page = Page::new();
                    return Ok(Advanced { page, more: false, scanned: Some(*scanned) });
                }
                let (visible_only, limit) = (*visible_only, PAGE_EVENTS_MAX);
                let direction = Direction::Forwards;
                let request = PageRequest { range, direction, visible_only, limit };
                let mut page = source.fetch(core, request).await?;
                *scanned = page.reached.filter(|_| page.cut).unwrap_or(head);
                page.events.retain(|event| not_before.is_none_or(|at| event.recorded_at >= at));
                let more = *scanned < head;
                Ok(Advanced { page: page.events, more, scanned: Some(*scanned) })
            }
            Self::Stream { stream, next, not_before } => {
                let place = StreamPlace {
                    direction: Direction::Forwards,
                    revision: to_sql(*next),
                    time: *not_before,
                    limit: PAGE_EVENTS_MAX,
                };
                let start = start(core, stream, place).await?;
                // Hidden events are skipped for good, even if other metadata show them again.
                let first = start.range.map_or(0, |range| range.first_shown());
                let last = start.page.events.last().map(|event| event.revision.next().number());
                let end = start.range.map_or(0, |range| range.end());
                *next = last.unwrap_or(first.min(end)).max(*next);
                let (page, more) = (start.page.events, start.page.cut);
                Ok(Advanced { page, more, scanned: None })
            }
        }
    }
}
