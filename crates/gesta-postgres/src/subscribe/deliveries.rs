//! One subscription: its progress, and its next delivery.

use std::sync::Arc;

use futures_util::stream::unfold;
use gesta_store::{
    Delivery, Direction, Filter, Incarnation, Invalid, Page, Position, RecordedAt, StoreError,
    StreamName, Subscribe, SubscribeFrom, SubscribeTo, Subscription, Visibility,
};

use super::{
    announcements::look,
    at_head::{batch_after, selected},
};
use crate::{
    head::SeenHead,
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
        incarnation: None,
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
    /// The incarnation of what was delivered.
    incarnation: Option<Incarnation>,
}

/// The progress of a subscription.
enum Cursor {
    All { source: Source, visible_only: bool, place: Place, not_before: Option<RecordedAt> },
    Stream { stream: StreamName, next: u64, place: Place, not_before: Option<RecordedAt> },
}

/// The position up to which everything is looked through.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// 0 until the end of a stream was reached.
    scanned: u64,
    /// The start of the subscription.
    start: u64,
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
            self.follow_history(cursor)?;
            let (advanced, progress) = cursor.advance(&self.core, head).await?;
            // The page may be of another server than the head.
            if !self.core.head.get().is_of_history(head) {
                continue;
            }
            cursor.go_on(progress);
            let Advanced { page, more, scanned } = advanced;
            // More than a page behind: report the head again when it is reached.
            self.caught_up &= !more;
            if let Some(last) = page.last() {
                self.reported = last.position.number();
                return Ok(Delivery::Events(page));
            }
            if !more && !self.caught_up {
                self.caught_up = true;
                self.reported = head.position;
                return Ok(Delivery::CaughtUp(Position::new(head.position)));
            }
            // Step is reported only if it is new.
            if let Some(position) = scanned.filter(|position| *position > self.reported) {
                self.reported = position;
                return Ok(Delivery::Checkpoint(Position::new(position)));
            }
            if !more {
                self.core.head.beyond(head).await;
            }
        }
    }

    /// Refuses to continue if delivered events are lost, because another server took over.
    fn follow_history(&mut self, cursor: &mut Cursor) -> Result<(), StoreError> {
        let incarnations = self.core.incarnations();
        let current = incarnations.current();
        let Some(before) = self.incarnation.filter(|before| *before != current) else {
            self.incarnation = Some(current);
            return Ok(());
        };
        let reported = self.reported.max(cursor.place().start);
        incarnations.check(before, Position::new(reported))?;
        // Events that were looked through and not reported may be lost.
        cursor.place_mut().scanned = reported.min(cursor.place().scanned);
        self.incarnation = Some(current);
        Ok(())
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
                let place = Place { scanned: 0, start: 0 };
                Ok(Cursor::Stream { stream, next, place, not_before: start_time(from) })
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
        let place = Place { scanned, start: scanned };
        Ok(Cursor::All { source, visible_only, place, not_before })
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

/// The progress that a step of a cursor makes.
struct Step {
    scanned: u64,
    /// The next revision of a stream.
    next: u64,
}

impl Cursor {
    fn place(&self) -> Place {
        match self {
            Self::All { place, .. } | Self::Stream { place, .. } => *place,
        }
    }

    fn place_mut(&mut self) -> &mut Place {
        match self {
            Self::All { place, .. } | Self::Stream { place, .. } => place,
        }
    }

    fn go_on(&mut self, progress: Step) {
        self.place_mut().scanned = progress.scanned;
        if let Self::Stream { next, .. } = self {
            *next = progress.next;
        }
    }

    /// Reads on. The cursor stays where it is until [`go_on`](Self::go_on).
    async fn advance(&self, core: &Core, head: SeenHead) -> Result<(Advanced, Step), StoreError> {
        match self {
            Self::All { source, visible_only, place, not_before } => {
                let after = place.scanned;
                let (mut page, scanned) =
                    page_of_all(core, source, *visible_only, after, head).await?;
                page.retain(|event| not_before.is_none_or(|at| event.recorded_at >= at));
                let more = scanned < head.position;
                let advanced = Advanced { page, more, scanned: Some(scanned) };
                Ok((advanced, Step { scanned, next: 0 }))
            }
            Self::Stream { stream, next, place, not_before } => {
                if place.scanned > 0 && !concerns(core, stream, place.scanned, head).await? {
                    let advanced = Advanced { page: Page::new(), more: false, scanned: None };
                    return Ok((advanced, Step { scanned: head.position, next: *next }));
                }
                let start_place = StreamPlace {
                    direction: Direction::Forwards,
                    revision: to_sql(*next),
                    time: *not_before,
                    limit: PAGE_EVENTS_MAX,
                };
                let start = start(core, stream, start_place).await?;
                // Hidden events are skipped for good, even if other metadata show them again.
                let first = start.range.map_or(0, |range| range.first_shown());
                let last = start.page.events.last().map(|event| event.revision.next().number());
                let end = start.range.map_or(0, |range| range.end());
                let next = last.unwrap_or(first.min(end)).max(*next);
                let (page, more) = (start.page.events, start.page.cut);
                let scanned = if more { 0 } else { head.position };
                Ok((Advanced { page, more, scanned: None }, Step { scanned, next }))
            }
        }
    }
}

/// Returns the next events of the whole store, and how far it is looked through then.
async fn page_of_all(
    core: &Core,
    source: &Source,
    visible_only: bool,
    after: u64,
    head: SeenHead,
) -> Result<(Page, u64), StoreError> {
    let range = PositionRange { first: after + 1, last: head.position };
    if range.first > range.last {
        return Ok((Page::new(), after));
    }
    if let Some(batch) = batch_after(core, after, head).await?
        && let Some(page) = selected(&batch, after, source.filter(), visible_only)?
    {
        return Ok((page, batch.last));
    }
    let (direction, limit) = (Direction::Forwards, PAGE_EVENTS_MAX);
    let request = PageRequest { range, direction, visible_only, limit };
    let page = source.fetch(core, request).await?;
    let scanned = page.reached.filter(|_| page.cut).unwrap_or(head.position);
    Ok((page.events, scanned))
}

/// Returns `false` if nothing happened to a stream or its metadata after a position.
async fn concerns(
    core: &Core,
    stream: &StreamName,
    mut after: u64,
    head: SeenHead,
) -> Result<bool, StoreError> {
    while after < head.position {
        let Some(batch) = batch_after(core, after, head).await? else { return Ok(true) };
        let is_of_stream = |name: &StreamName| {
            name == stream || name.described_stream().is_some_and(|described| described == *stream)
        };
        if batch.has_hidden() || batch.events.iter().any(|event| is_of_stream(&event.stream)) {
            return Ok(true);
        }
        after = batch.last;
    }
    Ok(false)
}
