//! Reading what a boundary depends on.
//!
//! Owns: one read of a [`BoundaryRead`], page by page, up to a moment. Always holds: what was seen
//! is at least what existed when the read began, and its end is known exactly, so that an append
//! can be made to depend on it. Not here: what the events mean.

use gesta_store::{
    EventStore, Filter, Pages, Position, ReadAll, ReadStream, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamState,
};

use crate::{BoundaryRead, UndecodableEvent};

/// Up to which moment something is loaded.
///
/// ```
/// use gesta::{AsOf, Revision};
///
/// assert_eq!(AsOf::from(Revision::new(3)), AsOf::Revision(Revision::new(3)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AsOf {
    /// As it is.
    #[default]
    Now,
    /// After the event at this revision of its stream.
    Revision(Revision),
    /// After everything up to this position.
    Position(Position),
    /// After everything that was recorded up to this time.
    Time(RecordedAt),
}

impl AsOf {
    pub(crate) fn includes(self, event: &RecordedEvent) -> bool {
        match self {
            Self::Now => true,
            Self::Revision(last) => event.revision <= last,
            Self::Position(last) => event.position <= last,
            Self::Time(last) => event.recorded_at <= last,
        }
    }
}

impl From<Revision> for AsOf {
    fn from(revision: Revision) -> Self {
        Self::Revision(revision)
    }
}

impl From<Position> for AsOf {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

impl From<RecordedAt> for AsOf {
    fn from(time: RecordedAt) -> Self {
        Self::Time(time)
    }
}

/// How far a read came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The last event, if there was any.
    pub(crate) last: Option<(Revision, Position)>,
    /// The head of a stream that exists and shows nothing: all its events have expired.
    pub(crate) hidden: Option<Revision>,
    /// Every event up to here that was meant was seen.
    pub(crate) up_to: Position,
}

/// Why a read ended early.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    Undecodable(UndecodableEvent),
    Store(StoreError),
}

/// Reads events in order and gives each to `each`, up to the first that comes after the moment.
///
/// Of a stream, only those after an event that was seen before, where there is one.
pub(crate) async fn read(
    store: &dyn EventStore,
    read: &BoundaryRead,
    as_of: AsOf,
    after: Option<(Revision, Position)>,
    mut each: impl FnMut(&RecordedEvent) -> Result<(), UndecodableEvent> + Send,
) -> Result<Seen, ReadFailure> {
    let seen = read_once(store, read, as_of, after, &mut each).await?;
    if seen.last.is_some() || read.tagged.is_some() || as_of != AsOf::Now {
        return Ok(seen);
    }
    let known = store.describe_stream(&read.stream).await?;
    let (StreamState::Live, Some(head)) = (known.state, known.head) else { return Ok(seen) };
    // Looked at again, since an event may have come before the head was told.
    let again = read_once(store, read, as_of, after, &mut each).await?;
    let hidden = again.last.is_none().then_some(head);
    Ok(Seen { hidden, ..again })
}

async fn read_once(
    store: &dyn EventStore,
    read: &BoundaryRead,
    as_of: AsOf,
    after: Option<(Revision, Position)>,
    each: &mut (impl FnMut(&RecordedEvent) -> Result<(), UndecodableEvent> + Send),
) -> Result<Seen, ReadFailure> {
    let (mut pages, head) = begin(store, read, after).await?;
    let mut last = after;
    'pages: while let Some(page) = pages.next().await {
        for event in &page? {
            if !as_of.includes(event) {
                break 'pages;
            }
            each(event).map_err(ReadFailure::Undecodable)?;
            last = Some((event.revision, event.position));
        }
    }
    let up_to = last.map_or(head, |(_, position)| position.max(head));
    Ok(Seen { last, hidden: None, up_to })
}

/// The head is asked for before the query: events after it may be seen, but are not relied upon.
/// A stream needs none, for its own head says how far it was seen.
async fn begin(
    store: &dyn EventStore,
    read: &BoundaryRead,
    after: Option<(Revision, Position)>,
) -> Result<(Pages, Position), StoreError> {
    let Some(query) = &read.tagged else {
        let forwards = ReadStream::forwards(read.stream.clone());
        let from = after.map_or(forwards.clone(), |(seen, _)| forwards.from(seen.next()));
        return Ok((store.read_stream(from), Position::START));
    };
    let head = store.head().await?.position;
    let pages = store.read_all(ReadAll::forwards().only(Filter::Query(query.clone())));
    Ok((pages, head))
}

impl From<StoreError> for ReadFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
