//! Reads of a stream and of the whole store, page by page.
//!
//! The range of a read is fixed when its first page is polled. Not here: subscriptions.

use std::{collections::VecDeque, future::Future, sync::Arc};

use futures_util::stream;
use gesta_store::{
    Direction, Page, Pages, Position, ReadAll, ReadFrom, ReadStream, RecordedAt, RecordedEvent,
    Revision, StoreError, StreamName, Visibility,
};

use super::{
    described::StreamInfo,
    layout::{Placed, stream_partition},
    lookups, parts,
    scan::{self, Cursor},
    shared::Shared,
    times::{self, Until},
};
use crate::{
    clock,
    errors::CallError,
    item::sorted,
    table::{Query, Range},
};

/// Events of a page.
pub(super) const PAGE_EVENTS_MAX: usize = 512;

/// A read that makes pages.
trait Walk: Send + Sized + 'static {
    fn shared(&self) -> Arc<Shared>;

    /// Returns the next page, or `None` at the end.
    fn page(&mut self) -> impl Future<Output = Result<Option<Page>, StoreError>> + Send;
}

fn pages(walk: impl Walk) -> Pages {
    Pages::new(stream::try_unfold(walk, |mut walk| async move {
        let shared = walk.shared();
        let step = async move { Ok((walk.page().await?, walk)) };
        let (page, walk) = shared.answer(step).await?;
        Ok(page.map(|page| (page, walk)))
    }))
}

/// Takes a page from the front of what was read, and reduces the limit of the read.
fn take_page(read: &mut VecDeque<RecordedEvent>, left: &mut u64) -> Page {
    let room = usize::try_from(*left).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
    let page: Page = read.drain(..room.min(read.len())).collect();
    *left -= page.len() as u64;
    page
}

pub(super) fn all(shared: Arc<Shared>, read: ReadAll) -> Pages {
    let left = read.limit;
    pages(AllWalk { shared, read, left, place: None, events: VecDeque::new() })
}

struct AllWalk {
    shared: Arc<Shared>,
    read: ReadAll,
    left: u64,
    place: Option<AllPlace>,
    /// Selected events that are not in a page yet.
    events: VecDeque<RecordedEvent>,
}

#[derive(Clone, Copy)]
struct AllPlace {
    cursor: Cursor,
    mark: Position,
    now: RecordedAt,
}

impl Walk for AllWalk {
    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    async fn page(&mut self) -> Result<Option<Page>, StoreError> {
        let failed = |error: CallError| error.of_read().into_store();
        let mut place = match self.place {
            Some(place) => place,
            None => self.begin().await.map_err(failed)?,
        };
        while self.left > 0 && self.events.is_empty() {
            let found = match self.read.direction {
                Direction::Forwards => place.cursor.forwards(&self.shared, place.mark).await,
                Direction::Backwards => place.cursor.backwards(&self.shared, self.limit()).await,
            };
            self.place = Some(place);
            let Some(found) = found.map_err(failed)? else { return Ok(None) };
            let asked = self.read.filter.visibility(self.read.visibility);
            for event in found {
                if self.read.filter.matches(&event)?
                    && (asked == Visibility::Raw
                        || scan::is_visible(&self.shared, &event, place.mark, place.now)
                            .await
                            .map_err(failed)?)
                {
                    self.events.push_back(event);
                }
            }
        }
        let page = take_page(&mut self.events, &mut self.left);
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

impl AllWalk {
    /// Limit of a request: that of the read, if every event is selected.
    fn limit(&self) -> u64 {
        let is_whole = matches!(self.read.filter, gesta_store::Filter::Everything);
        if is_whole && self.read.visibility == Visibility::Raw { self.left } else { u64::MAX }
    }

    async fn begin(&self) -> Result<AllPlace, CallError> {
        let mark = self.shared.moment().await?;
        let table = &self.shared.table;
        let before = |position: Position| Position::new(position.number().saturating_sub(1));
        let cursor = match (self.read.direction, self.read.from) {
            (Direction::Forwards, ReadFrom::Start) => Cursor::after(Position::START),
            (Direction::Forwards, ReadFrom::At(position)) => Cursor::after(before(position)),
            (Direction::Forwards, ReadFrom::Time(time)) => {
                Cursor::after(times::position(table, Until::Before(time), mark).await?)
            }
            (Direction::Backwards, ReadFrom::End) => Cursor::back_from(mark),
            (Direction::Backwards, ReadFrom::At(position)) => Cursor::back_from(position.min(mark)),
            (Direction::Backwards, ReadFrom::Time(time)) => {
                Cursor::back_from(times::position(table, Until::At(time), mark).await?)
            }
            // A read that starts at its end is empty.
            (Direction::Forwards, _) => Cursor::after(Position::MAX),
            (Direction::Backwards, _) => Cursor::back_from(Position::START),
        };
        Ok(AllPlace { cursor, mark, now: clock::now() })
    }
}

pub(super) fn stream_of(shared: Arc<Shared>, read: ReadStream) -> Pages {
    let left = read.limit;
    pages(StreamWalk { shared, read, left, place: None, events: VecDeque::new() })
}

struct StreamWalk {
    shared: Arc<Shared>,
    read: ReadStream,
    left: u64,
    place: Option<StreamPlace>,
    events: VecDeque<RecordedEvent>,
}

#[derive(Clone)]
struct StreamPlace {
    range: StreamRange,
    /// Revisions that are left, both ends included. `None` at the end.
    revisions: Option<(u64, u64)>,
}

/// The range of a stream that a read shows.
#[derive(Clone)]
pub(super) struct StreamRange {
    pub(super) mark: Position,
    pub(super) info: StreamInfo,
    pub(super) head: Option<Revision>,
    pub(super) now: RecordedAt,
}

impl StreamRange {
    /// Finds the visible range of a stream now.
    pub(super) async fn now(
        shared: &Shared,
        stream: &StreamName,
        mark: Position,
    ) -> Result<Self, StoreError> {
        let failed = |error: CallError| error.of_read().into_store();
        let info = shared.described.of(stream).await;
        if info.is_tombstoned {
            return Err(StoreError::Deleted { stream: stream.clone() });
        }
        let head = match info.needs_head() {
            true => lookups::head(&shared.table, stream, mark).await.map_err(failed)?,
            false => None,
        };
        Ok(Self { mark, info, head, now: clock::now() })
    }

    fn shows(&self, placed: &Placed) -> bool {
        let at = (self.head, self.now);
        placed.position <= self.mark && !self.info.hides(placed.revision, placed.recorded_at, at)
    }

    /// Reads visible events between two revisions, both included, in a direction. Returns them with
    /// the revision up to which it has looked, or `None` if nothing is left.
    pub(super) async fn read(
        &self,
        shared: &Shared,
        stream: &StreamName,
        (first, last): (u64, u64),
        (direction, limit): (Direction, u64),
    ) -> Result<(Vec<RecordedEvent>, Option<u64>), CallError> {
        let (from, to) = (sorted(first), sorted(last));
        let partition = stream_partition(stream);
        let limit = usize::try_from(limit).unwrap_or(PAGE_EVENTS_MAX).clamp(1, PAGE_EVENTS_MAX);
        let page = shared
            .table
            .query(Query {
                range: Range::Between(&from, &to),
                is_backwards: direction == Direction::Backwards,
                limit: Some(limit),
                ..Query::of(&partition)
            })
            .await?;
        let placed = page.items.iter().map(|entry| Placed::parse(stream, entry));
        let placed = placed.collect::<Result<Vec<_>, _>>()?;
        let last = placed.last().map(|placed| placed.revision.number());
        let is_over = page.next.is_none()
            || direction == Direction::Forwards
                && placed.last().is_some_and(|placed| placed.position > self.mark);
        let shown = placed.into_iter().filter(|placed| self.shows(placed)).collect();
        Ok((parts::complete(&shared.table, shown).await?, last.filter(|_| !is_over)))
    }
}

impl Walk for StreamWalk {
    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    async fn page(&mut self) -> Result<Option<Page>, StoreError> {
        let mut place = match self.place.take() {
            Some(place) => place,
            None => self.begin().await?,
        };
        while self.left > 0 && self.events.is_empty() {
            let Some((first, last)) = place.revisions else { break };
            let order = (self.read.direction, self.left);
            let read = place.range.read(&self.shared, &self.read.stream, (first, last), order);
            let (found, seen) = read.await.map_err(|error| error.of_read().into_store())?;
            place.revisions = seen.and_then(|seen| match self.read.direction {
                Direction::Forwards => Some((seen.checked_add(1)?, last)),
                Direction::Backwards => Some((first, seen.checked_sub(1)?)),
            });
            place.revisions = place.revisions.filter(|(first, last)| first <= last);
            self.events.extend(found);
        }
        self.place = Some(place);
        let page = take_page(&mut self.events, &mut self.left);
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}

impl StreamWalk {
    async fn begin(&self) -> Result<StreamPlace, StoreError> {
        let failed = |error: CallError| error.of_read().into_store();
        let mark = self.shared.moment().await.map_err(failed)?;
        let range = StreamRange::now(&self.shared, &self.read.stream, mark).await?;
        let revisions = match (self.read.direction, self.read.from) {
            (Direction::Forwards, ReadFrom::Start) | (Direction::Backwards, ReadFrom::End) => {
                Some((0, u64::MAX))
            }
            (Direction::Forwards, ReadFrom::At(revision)) => Some((revision.number(), u64::MAX)),
            (Direction::Backwards, ReadFrom::At(revision)) => Some((0, revision.number())),
            (Direction::Forwards, ReadFrom::Time(time)) => {
                let counted = self.counted(Until::Before(time), mark).await.map_err(failed)?;
                Some((counted, u64::MAX))
            }
            (Direction::Backwards, ReadFrom::Time(time)) => {
                let counted = self.counted(Until::At(time), mark).await.map_err(failed)?;
                counted.checked_sub(1).map(|last| (0, last))
            }
            // A read that starts at its end is empty.
            (Direction::Forwards | Direction::Backwards, _) => None,
        };
        Ok(StreamPlace { range, revisions })
    }

    async fn counted(&self, until: Until, mark: Position) -> Result<u64, CallError> {
        let (table, stream) = (&self.shared.table, &self.read.stream);
        let head = lookups::head(table, stream, mark).await?;
        times::revisions(table, stream, until, head).await
    }
}
