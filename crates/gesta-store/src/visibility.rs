//! Whether reads of the whole store show what the reads of its streams hide.
//!
//! Owns: [`Visibility`] and the definition of *visible*. Always holds: visible events are the same
//! before and after scavenging, which takes only hidden ones. Not here: the values that hide events
//! ([`StreamMetadata`](crate::StreamMetadata)).

use crate::Filter;

/// Whether a read or a subscription of the whole store shows hidden events.
///
/// An event is *visible* as long as a read of its stream shows it: the stream is neither deleted
/// nor tombstoned since, and truncation, max count and max age do not hide the event. Event queries
/// ([`Filter::Query`]) and append conditions are about visible events only.
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
/// store.delete_stream(DeleteStream { stream, expected: ExpectedRevision::Any }).await?;
///
/// let count = async |visibility| {
///     let users = ReadAll::forwards().showing(visibility);
///     let events = store.read_all(users).collect_events().await?;
///     let users = events.iter().filter(|event| !event.stream.is_system()).count();
///     Ok::<_, gesta_store::StoreError>(users)
/// };
/// assert_eq!(count(Visibility::Raw).await?, 1, "it is there until it is scavenged");
/// assert_eq!(count(Visibility::Visible).await?, 0);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends and reads");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Every event that was not scavenged. The default, which clients of KurrentDB expect of
    /// `$all`.
    #[default]
    Raw,
    /// Only visible events. The answer is the same before and after scavenging, so this is what
    /// projections and processes ask for.
    Visible,
}

impl Filter {
    /// The visibility of a read with this filter that asked for another: an event query is about
    /// visible events only.
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
            | Self::EventTypes(_) => asked,
        }
    }
}
