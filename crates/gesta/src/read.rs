//! Reading what a boundary depends on.
//!
//! Owns: one read of a [`BoundaryRead`], page by page, up to a moment. Always holds: what was seen
//! is at least what existed when the read began, and its end is known exactly, so that an append
//! can be made to depend on it; a stream whose beginning is hidden is never taken for one that
//! begins there, unless all was hidden once and it began anew. Not here: what the events mean.

use gesta_store::{
    EventStore, Filter, Pages, Position, ReadAll, ReadStream, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamMetadata, StreamName, StreamState, Visibility,
};

use crate::{BoundaryRead, EventMetadata, UndecodableEvent};

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
    Truncated(TruncatedHistory),
    Store(StoreError),
}

/// A state that cannot be folded, since the first events of its stream are hidden or gone
/// (truncated, past their maximal age or count) and no snapshot covers them.
///
/// A stream of which nothing was left, as after a deletion, begins anew with its next event and is
/// not meant. Show the events again while they are not scavenged (set the stream's metadata), put
/// back the snapshots, or delete the stream to begin anew.
///
/// ```
/// use gesta::{Revision, StreamName, TruncatedHistory};
///
/// let stream = StreamName::new("door-1")?;
/// let truncated = TruncatedHistory { stream, missing: Revision::FIRST, first: Revision::new(10) };
/// assert!(truncated.to_string().starts_with("door-1 shows its events from revision 10 on only"));
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{stream} shows its events from revision {first} on only: those from {missing} on before it \
     are truncated or expired, no snapshot covers them, and a state cannot be folded from the rest"
)]
pub struct TruncatedHistory {
    /// The stream.
    pub stream: StreamName,
    /// The first revision that is needed and not shown.
    pub missing: Revision,
    /// The first revision that is shown after it.
    pub first: Revision,
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
            // Of the whole store, by tags, nobody knows what is missing.
            if read.tagged.is_none() && last == after {
                check_beginning(store, event, after.map(|(revision, _)| revision)).await?;
            }
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

/// Refuses an event that is not the first of its stream, or of its stream's present life, or the
/// next after what was folded before.
pub(crate) async fn check_beginning(
    store: &dyn EventStore,
    event: &RecordedEvent,
    folded: Option<Revision>,
) -> Result<(), ReadFailure> {
    let missing = folded.map_or(Revision::FIRST, Revision::next);
    if event.revision == missing || folded.is_none() && begins_anew(store, event).await? {
        return Ok(());
    }
    let (stream, first) = (event.stream.clone(), event.revision);
    Err(ReadFailure::Truncated(TruncatedHistory { stream, missing, first }))
}

/// Whether the first event that a stream shows began it anew, after everything before was hidden.
///
/// The decision that appended it has seen that, and says so in the metadata. Of events that others
/// wrote, the stream's metadata tell: a truncation up to here that came before the event found
/// nothing but hidden events, so it was a deletion.
pub(crate) async fn begins_anew(
    store: &dyn EventStore,
    first: &RecordedEvent,
) -> Result<bool, StoreError> {
    if first.revision == Revision::FIRST || EventMetadata::from_json(&first.metadata).begins_anew {
        return Ok(true);
    }
    // A name without room for `$$` has no metadata.
    let Ok(described) = first.stream.metadata_stream() else { return Ok(false) };
    let mut pages = store.read_stream(ReadStream::backwards(described));
    while let Some(page) = pages.next().await {
        for set in &page? {
            let truncated = StreamMetadata::from_json(&set.data).ok();
            let before = truncated.and_then(|metadata| metadata.truncate_before);
            if set.position < first.position && before.is_some_and(|at| at >= first.revision) {
                return Ok(true);
            }
        }
    }
    Ok(false)
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
    // As the append condition: about visible events only.
    let matching = ReadAll::forwards().filter(Filter::Query(query.clone()));
    let pages = store.read_all(matching.visibility(Visibility::Visible));
    Ok((pages, head))
}

impl From<StoreError> for ReadFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
