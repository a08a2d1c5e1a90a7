//! Visibility of events in reads of the whole store.
//!
//! Owns: [`Visibility`], and the definition of *visible*. The set of visible events is the same
//! before and after scavenging, which removes hidden events only. Not here: the metadata that hide
//! events ([`StreamMetadata`](crate::StreamMetadata)).

use crate::Filter;

/// Selects whether a read or a subscription of the whole store includes hidden events.
///
/// An event is *visible* if a read of its stream returns it: the stream is neither tombstoned nor
/// was deleted after the event, and truncation, max count and max age do not hide the event. Event
/// queries ([`Filter::Query`]) and append conditions match visible events only.
///
/// ```
/// use gesta_store::{
///     Append, DeleteStream, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll,
///     StreamName, Visibility, memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let stream = StreamName::new("user-1")?;
/// let event = NewEvent::json(EventId::random(), EventType::new("user-created")?, "{}");
/// store.append(Append::to(stream.clone(), ExpectedRevision::NoStream, [event])).await?;
/// store.delete_stream(DeleteStream::new(stream, ExpectedRevision::Any)).await?;
///
/// let count = async |visibility| {
///     let users = ReadAll::forwards().visibility(visibility);
///     let events = store.read_all(users).collect_events().await?;
///     let users = events.iter().filter(|event| !event.stream.is_system()).count();
///     Ok::<_, gesta_store::StoreError>(users)
/// };
/// assert_eq!(count(Visibility::Raw).await?, 1, "it exists until it is scavenged");
/// assert_eq!(count(Visibility::Visible).await?, 0);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends and reads");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// All events that are not scavenged yet, hidden ones included. The default, as in KurrentDB's
    /// `$all`.
    #[default]
    Raw,
    /// Visible events only. The result does not depend on scavenging, so projections and process
    /// managers read this way.
    Visible,
}

impl Filter {
    /// Returns the effective visibility of a read with this filter: [`Filter::Query`] implies
    /// [`Visibility::Visible`], every other filter keeps the requested one.
    ///
    /// ```
    /// use gesta_store::{EventQuery, Filter, QueryItem, Visibility};
    ///
    /// let query = Filter::Query(EventQuery::of(QueryItem::every()));
    /// assert_eq!(query.visibility(Visibility::Raw), Visibility::Visible);
    /// assert_eq!(Filter::Everything.visibility(Visibility::Raw), Visibility::Raw);
    /// ```
    #[must_use]
    pub const fn visibility(&self, asked: Visibility) -> Visibility {
        match self {
            Self::Query(_) => Visibility::Visible,
            Self::Everything
            | Self::Streams(_)
            | Self::StreamPrefixes(_)
            | Self::Categories(_)
            | Self::EventTypes(_)
            | Self::EventTypePrefixes(_)
            | Self::Regex(_)
            | Self::Correlation(_)
            | Self::Causation(_)
            | Self::EventId(_) => asked,
        }
    }
}
