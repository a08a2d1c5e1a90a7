//! Finite reads: of a stream, or of the whole store.
//!
//! Owns: [`ReadStream`], [`ReadAll`], and [`Pages`], what both return. Always holds: a read sees
//! the store as far as it was when the read began, and maybe later events, but never a gap; it
//! never holds more than a page in memory. Not here: reads that stay live ([`Subscribe`]).
//!
//! [`Subscribe`]: crate::Subscribe

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{Filter, Position, RecordedEvent, Revision, StoreError, StreamName, Visibility};

/// Which way a read goes.
///
/// ```
/// use gesta_store::{Direction, ReadAll};
///
/// assert_eq!(ReadAll::backwards().direction, Direction::Backwards);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards later events.
    Forwards,
    /// Towards earlier events.
    Backwards,
}

/// Where a read begins.
///
/// ```
/// use gesta_store::{Position, ReadAll, ReadFrom};
///
/// let read = ReadAll::forwards().from(Position::new(7));
/// assert_eq!(read.from, ReadFrom::Place(Position::new(7)));
/// assert_eq!(ReadAll::backwards().from, ReadFrom::End);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom<Place> {
    /// Before the first event: where a forward read begins unless told otherwise.
    Start,
    /// After the last event: where a backward read begins unless told otherwise.
    End,
    /// At this place, the event there included. Where there is none, at the next one on the way.
    Place(Place),
}

/// A read of one stream. A stream that does not exist, or was deleted, has no events.
///
/// ```
/// use gesta_store::{Direction, ReadStream, Revision, StreamName};
///
/// let last_ten = ReadStream::backwards(StreamName::new("order-1")?).limit(10);
/// assert_eq!(last_ten.direction, Direction::Backwards);
/// let rest = ReadStream::forwards(StreamName::new("order-1")?).from(Revision::new(5));
/// assert_eq!(rest.limit, u64::MAX, "to the end, unless told otherwise");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadStream {
    /// Which stream.
    pub stream: StreamName,
    /// Which way.
    pub direction: Direction,
    /// From where.
    pub from: ReadFrom<Revision>,
    /// How many events at most.
    pub limit: u64,
}

impl ReadStream {
    /// From the first event on.
    #[must_use]
    pub fn forwards(stream: StreamName) -> Self {
        Self { stream, direction: Direction::Forwards, from: ReadFrom::Start, limit: u64::MAX }
    }

    /// From the last event back.
    #[must_use]
    pub fn backwards(stream: StreamName) -> Self {
        Self { stream, direction: Direction::Backwards, from: ReadFrom::End, limit: u64::MAX }
    }

    /// From this revision, the event there included.
    #[must_use]
    pub fn from(self, revision: Revision) -> Self {
        Self { from: ReadFrom::Place(revision), ..self }
    }

    /// At most so many events.
    #[must_use]
    pub fn limit(self, events: u64) -> Self {
        Self { limit: events, ..self }
    }
}

/// A read of the whole store, or of what a filter lets through.
///
/// Raw unless told otherwise: deletion, tombstones, truncation, max age and max count hide nothing,
/// as they do in a stream's reads. With [`Visibility::Visible`] they do here too, as they stand when
/// a page is made. An event query is about visible events in any case.
///
/// ```
/// use gesta_store::{Category, Filter, Position, ReadAll};
///
/// let orders = ReadAll::forwards()
///     .from(Position::new(100))
///     .only(Filter::Categories(vec![Category::new("order")?]));
/// assert_eq!(orders.limit, u64::MAX);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAll {
    /// Which way.
    pub direction: Direction,
    /// From where.
    pub from: ReadFrom<Position>,
    /// Which events.
    pub filter: Filter,
    /// Whether hidden events are shown.
    pub visibility: Visibility,
    /// How many events at most, of those that are shown.
    pub limit: u64,
}

impl ReadAll {
    /// From the first event on.
    #[must_use]
    pub const fn forwards() -> Self {
        Self {
            direction: Direction::Forwards,
            from: ReadFrom::Start,
            filter: Filter::Everything,
            visibility: Visibility::Raw,
            limit: u64::MAX,
        }
    }

    /// From the last event back.
    #[must_use]
    pub const fn backwards() -> Self {
        Self {
            direction: Direction::Backwards,
            from: ReadFrom::End,
            filter: Filter::Everything,
            visibility: Visibility::Raw,
            limit: u64::MAX,
        }
    }

    /// From this position, the event there included.
    #[must_use]
    pub fn from(self, position: Position) -> Self {
        Self { from: ReadFrom::Place(position), ..self }
    }

    /// Only events that the filter lets through.
    #[must_use]
    pub fn only(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// With or without hidden events.
    #[must_use]
    pub fn showing(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }

    /// At most so many events.
    #[must_use]
    pub fn limit(self, events: u64) -> Self {
        Self { limit: events, ..self }
    }
}

/// Some events of a read, in the read's order; never none.
pub type Page = Vec<RecordedEvent>;

/// What a read returns: a stream of pages that ends where the read ends.
///
/// An error ends it. Dropping it ends the read.
///
/// ```
/// use gesta_store::Pages;
///
/// # gesta_store::conformance::block_on(async {
/// let mut pages = Pages::of(std::iter::empty());
/// assert!(pages.next().await.is_none());
/// # });
/// ```
pub struct Pages(Pin<Box<dyn Stream<Item = Result<Page, StoreError>> + Send>>);

impl Pages {
    /// Pages from any stream of them.
    pub fn new(pages: impl Stream<Item = Result<Page, StoreError>> + Send + 'static) -> Self {
        Self(Box::pin(pages))
    }

    /// Pages that are made when they are asked for, without waiting.
    pub fn of<I>(pages: I) -> Self
    where
        I: Iterator<Item = Result<Page, StoreError>> + Send + 'static,
    {
        Self::new(Ready(Box::new(pages)))
    }

    /// A read that fails at once.
    #[must_use]
    pub fn failed(error: StoreError) -> Self {
        Self::of(std::iter::once(Err(error)))
    }

    /// The next page; none after the last.
    ///
    /// Cancel-safe: dropping the future loses no page.
    pub async fn next(&mut self) -> Option<Result<Page, StoreError>> {
        poll_fn(|context| self.0.as_mut().poll_next(context)).await
    }

    /// All events in one `Vec`: for reads that are known to be small.
    ///
    /// # Errors
    /// Whatever ended the read; the events before it are dropped.
    pub async fn collect_events(mut self) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::new();
        while let Some(page) = self.next().await {
            events.extend(page?);
        }
        Ok(events)
    }
}

impl Stream for Pages {
    type Item = Result<Page, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

/// An iterator as a stream that is always ready.
struct Ready(Box<dyn Iterator<Item = Result<Page, StoreError>> + Send>);

impl Stream for Ready {
    type Item = Result<Page, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}
