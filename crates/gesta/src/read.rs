//! Reading the events of a boundary.
//!
//! Owns: the paged read of one [`BoundaryRead`], up to a moment. Invariants: a read covers at least
//! the events that existed when it began, and its end is known exactly, so that an append can be
//! conditional on it; a stream whose first events are hidden is an error, unless all its events
//! were hidden once and it restarted. Not here: the meaning of the events.

use gesta_store::{
    EventStore, Filter, Pages, Position, ReadAll, ReadStream, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamMetadata, StreamName, StreamState, Visibility,
};

use crate::{BoundaryRead, EventMetadata, UndecodableEvent};

/// The moment as of which a state is loaded.
///
/// ```
/// use gesta::{AsOf, Revision};
///
/// assert_eq!(AsOf::from(Revision::new(3)), AsOf::Revision(Revision::new(3)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AsOf {
    /// The current state.
    #[default]
    Now,
    /// After the event at this revision of its stream.
    Revision(Revision),
    /// After every event up to this position.
    Position(Position),
    /// After every event recorded up to this time.
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

/// The extent of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadProgress {
    /// The last event read, if any.
    pub(crate) last: Option<(Revision, Position)>,
    /// The head of a live stream without visible events: all of them have expired.
    pub(crate) hidden: Option<Revision>,
    /// Every matching event up to this position was read.
    pub(crate) up_to: Position,
}

/// An error that ended a read.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    Undecodable(UndecodableEvent),
    Truncated(TruncatedHistory),
    Store(StoreError),
}

/// A stream whose first events are hidden or removed (truncated, past their maximum age or count)
/// without a snapshot that covers them. Its state cannot be folded.
///
/// A stream without any visible event, as after a deletion, restarts with its next event and is not
/// affected. Make the events visible again before they are scavenged (set the stream's metadata),
/// restore the snapshots, or delete the stream to restart it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{stream} starts at revision {first}: its events from revision {missing} up to there are \
     truncated or expired, no snapshot covers them, and the state cannot be folded from the rest"
)]
#[non_exhaustive]
pub struct TruncatedHistory {
    /// The stream.
    pub stream: StreamName,
    /// The first revision that is needed and hidden.
    pub missing: Revision,
    /// The first visible revision after it.
    pub first: Revision,
}

/// Reads events in order and passes each to `each`, up to the first one after the moment.
///
/// `after` is the last event already folded; reading starts after it.
pub(crate) async fn read(
    store: &dyn EventStore,
    read: &BoundaryRead,
    as_of: AsOf,
    after: Option<(Revision, Position)>,
    mut each: impl FnMut(&RecordedEvent) -> Result<(), UndecodableEvent> + Send,
) -> Result<ReadProgress, ReadFailure> {
    let seen = read_once(store, read, as_of, after, &mut each).await?;
    if seen.last.is_some() || read.query.is_some() || as_of != AsOf::Now {
        return Ok(seen);
    }
    // No event was read: the stream is new, or all of its events are hidden. An append expects no
    // stream in the first case, and the head in the second.
    let known = store.describe_stream(&read.stream).await?;
    let (StreamState::Live, Some(head)) = (known.state, known.head) else { return Ok(seen) };
    // Read again: an event may have been appended between the read and the lookup of the head.
    let again = read_once(store, read, as_of, after, &mut each).await?;
    let hidden = again.last.is_none().then_some(head);
    Ok(ReadProgress { hidden, ..again })
}

async fn read_once(
    store: &dyn EventStore,
    read: &BoundaryRead,
    as_of: AsOf,
    after: Option<(Revision, Position)>,
    each: &mut (impl FnMut(&RecordedEvent) -> Result<(), UndecodableEvent> + Send),
) -> Result<ReadProgress, ReadFailure> {
    let (mut pages, head) = begin(store, read, after).await?;
    let mut last = after;
    'pages: while let Some(page) = pages.next().await {
        for event in &page? {
            // A query by tags spans streams, so a missing beginning cannot be detected.
            if read.query.is_none() && last == after {
                check_beginning(store, event, after.map(|(revision, _)| revision)).await?;
            }
            if !as_of.includes(event) {
                break 'pages;
            }
            each(event).map_err(ReadFailure::Undecodable)?;
            last = Some((event.revision, event.position));
        }
    }
    // Events read beyond the head count as seen, too.
    let up_to = last.map_or(head, |(_, position)| position.max(head));
    Ok(ReadProgress { last, hidden: None, up_to })
}

/// Rejects an event that is neither the first of its stream or of the stream's restart, nor the
/// next after the events folded before.
pub(crate) async fn check_beginning(
    store: &dyn EventStore,
    event: &RecordedEvent,
    folded: Option<Revision>,
) -> Result<(), ReadFailure> {
    // The event after a snapshot, or the first one of the stream.
    let missing = folded.map_or(Revision::FIRST, Revision::next);
    if event.revision == missing || folded.is_none() && begins_anew(store, event).await? {
        return Ok(());
    }
    let (stream, first) = (event.stream.clone(), event.revision);
    Err(ReadFailure::Truncated(TruncatedHistory { stream, missing, first }))
}

/// Returns whether the first visible event of a stream restarted it after everything before was
/// hidden.
///
/// The decision that appended the event recorded that in its metadata. For events of other writers,
/// the history of the stream's metadata decides: a truncation up to this revision that precedes the
/// event hid everything, so it was a deletion.
pub(crate) async fn begins_anew(
    store: &dyn EventStore,
    first: &RecordedEvent,
) -> Result<bool, StoreError> {
    if first.revision == Revision::FIRST || EventMetadata::from_json(&first.metadata).begins_anew {
        return Ok(true);
    }
    // A stream name without room for `$$` has no metadata stream.
    let Ok(described) = first.stream.metadata_stream() else { return Ok(false) };
    let mut pages = store.read_stream(ReadStream::backwards(described));
    while let Some(page) = pages.next().await {
        for set in &page? {
            let truncated = StreamMetadata::from_json(&set.data).ok();
            let before = truncated.and_then(|metadata| metadata.truncate_before);
            // A truncation set after the event hid events that its decision was based on: then the
            // stream is truncated and has not restarted.
            if set.position < first.position && before.is_some_and(|at| at >= first.revision) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Starts the pages of a read, and returns the head before a query.
///
/// The head is read before the query: later events may be read, but are not relied upon. A stream
/// needs no head, since its own last event marks the extent.
async fn begin(
    store: &dyn EventStore,
    read: &BoundaryRead,
    after: Option<(Revision, Position)>,
) -> Result<(Pages, Position), StoreError> {
    let Some(query) = &read.query else {
        // Continue after the snapshot's last event, if there is one.
        let forwards = ReadStream::forwards(read.stream.clone());
        let from = after.map_or(forwards.clone(), |(seen, _)| forwards.from(seen.next()));
        return Ok((store.read_stream(from), Position::START));
    };
    let head = store.head().await?.position;
    // Visible events only, like the append condition.
    let matching = ReadAll::forwards().filter(Filter::Query(query.clone()));
    let matching = after.map_or(matching.clone(), |(_, seen)| matching.from(seen.next()));
    let pages = store.read_all(matching.visibility(Visibility::Visible));
    Ok((pages, head))
}

impl From<StoreError> for ReadFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
