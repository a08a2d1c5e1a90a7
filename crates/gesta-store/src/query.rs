//! Which events: queries over types and tags, and filters of reads and subscriptions.
//!
//! Owns: the meaning of a match, in [`EventQuery::matches`] and [`Filter::matches`]; stores may
//! find matches faster, but never other ones. There is no negation.

use crate::{Category, EventType, RecordedEvent, StreamName, Tag};

/// One alternative of a query: any of the types, and all of the tags.
///
/// No types means every type; no tags means whatever tags.
///
/// ```
/// use gesta_store::{EventType, QueryItem, Tag};
///
/// let item = QueryItem::every()
///     .of_types([EventType::new("user-registered")?])
///     .tagged([Tag::of("email", "a@example.org")?]);
/// assert!(item.matches(&EventType::new("user-registered")?, &[Tag::of("email", "a@example.org")?]));
/// assert!(!item.matches(&EventType::new("user-registered")?, &[]));
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryItem {
    types: Vec<EventType>,
    tags: Vec<Tag>,
}

impl QueryItem {
    /// Every event.
    #[must_use]
    pub const fn every() -> Self {
        Self { types: Vec::new(), tags: Vec::new() }
    }

    /// Narrowed to events of one of these types.
    #[must_use]
    pub fn of_types(self, types: impl IntoIterator<Item = EventType>) -> Self {
        Self { types: types.into_iter().collect(), ..self }
    }

    /// Narrowed to events with all of these tags.
    #[must_use]
    pub fn tagged(self, tags: impl IntoIterator<Item = Tag>) -> Self {
        Self { tags: tags.into_iter().collect(), ..self }
    }

    /// The types, any of which matches; none means every type.
    #[must_use]
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// The tags, all of which must be there.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Whether an event of this type with these tags is meant.
    #[must_use]
    pub fn matches(&self, event_type: &EventType, tags: &[Tag]) -> bool {
        (self.types.is_empty() || self.types.contains(event_type))
            && self.tags.iter().all(|tag| tags.contains(tag))
    }
}

/// Events that match any of its items; it always has one.
///
/// ```
/// use gesta_store::{EventQuery, EventType, QueryItem, Tag};
///
/// let query = EventQuery::of(QueryItem::every().tagged([Tag::of("order", "1")?]))
///     .or(QueryItem::every().of_types([EventType::new("shop-closed")?]));
/// assert!(query.matches(&EventType::new("shop-closed")?, &[]));
/// assert!(!query.matches(&EventType::new("order-placed")?, &[Tag::of("order", "2")?]));
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventQuery {
    items: Vec<QueryItem>,
}

impl EventQuery {
    /// Events that match this item.
    #[must_use]
    pub fn of(item: QueryItem) -> Self {
        Self { items: vec![item] }
    }

    /// Also events that match this other item.
    #[must_use]
    pub fn or(mut self, item: QueryItem) -> Self {
        self.items.push(item);
        self
    }

    /// The alternatives; at least one.
    #[must_use]
    pub fn items(&self) -> &[QueryItem] {
        &self.items
    }

    /// Whether an event of this type with these tags is meant.
    #[must_use]
    pub fn matches(&self, event_type: &EventType, tags: &[Tag]) -> bool {
        self.items.iter().any(|item| item.matches(event_type, tags))
    }
}

/// Which events of the whole store a read or a subscription is about.
///
/// ```
/// use gesta_store::{Category, Filter, StreamName};
///
/// let orders = Filter::Categories(vec![Category::new("order")?]);
/// assert!(orders.matches_stream(&StreamName::new("order-1")?));
/// assert!(!orders.matches_stream(&StreamName::new("account-1")?));
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Filter {
    /// All events, the system's included.
    #[default]
    Everything,
    /// Events of streams with one of these names.
    Streams(Vec<StreamName>),
    /// Events of streams whose name begins with one of these.
    StreamPrefixes(Vec<String>),
    /// Events of streams in one of these categories.
    Categories(Vec<Category>),
    /// Events of one of these types.
    EventTypes(Vec<EventType>),
    /// Events that match a query.
    Query(EventQuery),
}

impl Filter {
    /// Whether an event is meant.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        match self {
            Self::Everything | Self::Streams(_) | Self::StreamPrefixes(_) | Self::Categories(_) => {
                self.matches_stream(&event.stream)
            }
            Self::EventTypes(types) => types.contains(&event.event_type),
            Self::Query(query) => query.matches(&event.event_type, &event.tags),
        }
    }

    /// Whether events of a stream can be meant, as far as its name says.
    #[must_use]
    pub fn matches_stream(&self, stream: &StreamName) -> bool {
        match self {
            Self::Everything | Self::EventTypes(_) | Self::Query(_) => true,
            Self::Streams(names) => names.contains(stream),
            Self::StreamPrefixes(prefixes) => {
                prefixes.iter().any(|prefix| stream.as_str().starts_with(prefix.as_str()))
            }
            Self::Categories(categories) => {
                stream.category().is_some_and(|category| categories.contains(&category))
            }
        }
    }
}
