//! Finite reads of a stream or of the whole store.
//!
//! Owns: [`ReadStream`], [`ReadAll`], and their result, [`Pages`]. A read covers at least the
//! events that existed when it began, without a gap; it may include later ones. It holds one
//! page in memory at a time. Not here: reads that stay live ([`Subscribe`]).
//!
//! [`Subscribe`]: crate::Subscribe

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    Capability, CapabilitySet, Filter, Position, RecordedAt, RecordedEvent, Revision, StoreError,
    StreamName, Visibility,
};

/// Direction of a read.
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

/// Starting point of a read.
///
/// ```
/// use gesta_store::{Position, ReadAll, ReadFrom};
///
/// let read = ReadAll::forwards().from(Position::new(7));
/// assert_eq!(read.from, ReadFrom::At(Position::new(7)));
/// assert_eq!(ReadAll::backwards().from, ReadFrom::End);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom<Place> {
    /// Before the first event: the default of a forward read.
    Start,
    /// After the last event: the default of a backward read.
    End,
    /// At this revision or position, inclusive. If there is no event at it, the read starts at the
    /// next one in its direction.
    At(Place),
    /// At a time: forwards at the first event recorded at or after it, backwards at the last event
    /// recorded at or before it. Needs [`Capability::TimeStarts`](crate::Capability::TimeStarts).
    Time(RecordedAt),
}

/// Parameters of a read of one stream.
///
/// ```
/// use gesta_store::{Direction, ReadStream, Revision, StreamName};
///
/// let last_ten = ReadStream::backwards(StreamName::new("order-1")?).limit(10);
/// assert_eq!(last_ten.direction, Direction::Backwards);
/// let rest = ReadStream::forwards(StreamName::new("order-1")?).from(Revision::new(5));
/// assert_eq!(rest.limit, u64::MAX, "the default is no limit");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadStream {
    /// The stream's name.
    pub stream: StreamName,
    /// Direction of the read.
    pub direction: Direction,
    /// Starting point.
    pub from: ReadFrom<Revision>,
    /// Maximum number of events.
    pub limit: u64,
}

impl ReadStream {
    /// Reads from the first event to the last.
    #[must_use]
    pub fn forwards(stream: StreamName) -> Self {
        Self { stream, direction: Direction::Forwards, from: ReadFrom::Start, limit: u64::MAX }
    }

    /// Reads from the last event to the first.
    #[must_use]
    pub fn backwards(stream: StreamName) -> Self {
        Self { stream, direction: Direction::Backwards, from: ReadFrom::End, limit: u64::MAX }
    }

    /// Reads in this direction, from the end that lies behind it.
    #[must_use]
    pub fn towards(direction: Direction, stream: StreamName) -> Self {
        match direction {
            Direction::Forwards => Self::forwards(stream),
            Direction::Backwards => Self::backwards(stream),
        }
    }

    /// Starts at this place.
    #[must_use]
    pub fn starting(self, from: ReadFrom<Revision>) -> Self {
        Self { from, ..self }
    }

    /// Starts at this revision, inclusive.
    #[must_use]
    pub fn from(self, revision: Revision) -> Self {
        Self { from: ReadFrom::At(revision), ..self }
    }

    /// Starts at this time; see [`ReadFrom::Time`].
    #[must_use]
    pub fn from_time(self, time: RecordedAt) -> Self {
        Self { from: ReadFrom::Time(time), ..self }
    }

    /// Limits the number of events.
    #[must_use]
    pub fn limit(self, events: u64) -> Self {
        Self { limit: events, ..self }
    }
}

/// Parameters of a read of the whole store.
///
/// By default the read includes hidden events; see [`Visibility`]. A visible read evaluates
/// visibility when it makes a page, not when it begins.
///
/// ```
/// use gesta_store::{Category, Filter, Position, ReadAll};
///
/// let orders = ReadAll::forwards()
///     .from(Position::new(100))
///     .filter(Filter::Categories(vec![Category::new("order")?]));
/// assert_eq!(orders.limit, u64::MAX);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadAll {
    /// Direction of the read.
    pub direction: Direction,
    /// Starting point.
    pub from: ReadFrom<Position>,
    /// Selection of events.
    pub filter: Filter,
    /// Inclusion of hidden events.
    pub visibility: Visibility,
    /// Maximum number of events returned, after the filter.
    pub limit: u64,
}

impl ReadAll {
    /// Reads from the first event to the last.
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

    /// Reads from the last event to the first.
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

    /// Reads in this direction, from the end that lies behind it.
    #[must_use]
    pub const fn towards(direction: Direction) -> Self {
        match direction {
            Direction::Forwards => Self::forwards(),
            Direction::Backwards => Self::backwards(),
        }
    }

    /// Starts at this place.
    #[must_use]
    pub fn starting(self, from: ReadFrom<Position>) -> Self {
        Self { from, ..self }
    }

    /// Starts at this position, inclusive.
    #[must_use]
    pub fn from(self, position: Position) -> Self {
        Self { from: ReadFrom::At(position), ..self }
    }

    /// Starts at this time; see [`ReadFrom::Time`].
    #[must_use]
    pub fn from_time(self, time: RecordedAt) -> Self {
        Self { from: ReadFrom::Time(time), ..self }
    }

    /// Returns only the events that match the filter.
    #[must_use]
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Includes or excludes hidden events.
    #[must_use]
    pub fn visibility(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }

    /// Limits the number of events returned.
    #[must_use]
    pub fn limit(self, events: u64) -> Self {
        Self { limit: events, ..self }
    }
}

impl<Place> ReadFrom<Place> {
    pub(crate) const fn capabilities(&self) -> CapabilitySet {
        match self {
            Self::Time(_) => CapabilitySet::of(&[Capability::TimeStarts]),
            Self::Start | Self::End | Self::At(_) => CapabilitySet::EMPTY,
        }
    }
}

impl ReadStream {
    /// Returns the features that a store needs for this read.
    #[must_use]
    pub const fn capabilities(&self) -> CapabilitySet {
        self.from.capabilities()
    }
}

impl ReadAll {
    /// Returns the features that a store needs for this read.
    #[must_use]
    pub fn capabilities(&self) -> CapabilitySet {
        self.filter.capabilities().union(self.from.capabilities())
    }
}

/// Consecutive events of a read, in its order. Never empty.
pub type Page = Vec<RecordedEvent>;

/// The result of a read: a stream of pages, each a `Vec` of events that is never empty.
///
/// Ends after the last event or after the first error. Lazy: a page is read when it is polled.
/// Dropping the value ends the read.
///
/// ```
/// use gesta_store::Pages;
///
/// # gesta_store::conformance::block_on(async {
/// let mut pages: Pages = Pages::of(std::iter::empty());
/// assert!(pages.next().await.is_none());
/// # });
/// ```
pub struct Pages<Item = RecordedEvent>(PageStream<Item>);

type PageStream<Item> = Pin<Box<dyn Stream<Item = Result<Vec<Item>, StoreError>> + Send>>;

impl<Item: 'static> Pages<Item> {
    /// Wraps a stream of pages.
    pub fn new(pages: impl Stream<Item = Result<Vec<Item>, StoreError>> + Send + 'static) -> Self {
        Self(Box::pin(pages))
    }

    /// Wraps an iterator of pages. Each page is produced when it is polled, on the polling thread,
    /// so the iterator must not block.
    pub fn of<I>(pages: I) -> Self
    where
        I: Iterator<Item = Result<Vec<Item>, StoreError>> + Send + 'static,
    {
        Self::new(Ready(Box::new(pages)))
    }

    /// Creates a read that returns this error and ends.
    #[must_use]
    pub fn failed(error: StoreError) -> Self {
        let mut error = Some(error);
        // An iterator of the page's type would ask for `Item: Send`.
        Self::of(std::iter::from_fn(move || error.take().map(Err)))
    }

    /// Returns the next page, or `None` after the last one or after an error.
    ///
    /// Cancel-safe: no page is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Vec<Item>, StoreError>> {
        poll_fn(|context| self.0.as_mut().poll_next(context)).await
    }

    /// Collects all events into one `Vec`. Memory is not bounded, so use it for reads that are
    /// known to be small.
    ///
    /// # Errors
    ///
    /// The error that ended the read. Events read before it are dropped.
    pub async fn collect_events(mut self) -> Result<Vec<Item>, StoreError> {
        let mut events = Vec::new();
        while let Some(page) = self.next().await {
            events.extend(page?);
        }
        Ok(events)
    }
}

impl<Item> Stream for Pages<Item> {
    type Item = Result<Vec<Item>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<Item> fmt::Debug for Pages<Item> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

/// An iterator as a stream that is always ready.
struct Ready<Item>(Box<dyn Iterator<Item = Result<Vec<Item>, StoreError>> + Send>);

impl<Item> Stream for Ready<Item> {
    type Item = Result<Vec<Item>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}
