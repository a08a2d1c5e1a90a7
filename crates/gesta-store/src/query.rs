//! Event queries over types and tags, and filters of reads and subscriptions.
//!
//! Owns: the definition of a match ([`EventQuery::matches`], [`Filter::matches`]). A store may
//! evaluate it differently but must select the same events. There is no negation.

use crate::{
    Capability, CapabilitySet, Category, CausationId, CorrelationId, EventId, EventType,
    RecordedEvent, RegexFilter, StoreError, StreamName, Tag,
};

/// One alternative of an [`EventQuery`]: any of the types, and all of the tags.
///
/// An empty list of types matches every type; an empty list of tags matches any tags.
///
/// ```
/// use gesta_store::{EventType, QueryItem, Tag};
///
/// let item = QueryItem::every()
///     .of_types([EventType::new("user-registered")?])
///     .tagged([Tag::of("email", "a@example.org")?]);
/// let registered = EventType::new("user-registered")?;
/// assert!(item.matches(&registered, &[Tag::of("email", "a@example.org")?]));
/// assert!(!item.matches(&registered, &[]));
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryItem {
    types: Vec<EventType>,
    tags: Vec<Tag>,
}

impl QueryItem {
    /// Matches every event.
    #[must_use]
    pub const fn every() -> Self {
        Self { types: Vec::new(), tags: Vec::new() }
    }

    /// Restricts the match to events of any of these types.
    #[must_use]
    pub fn of_types(self, types: impl IntoIterator<Item = EventType>) -> Self {
        Self { types: types.into_iter().collect(), ..self }
    }

    /// Restricts the match to events with all of these tags.
    #[must_use]
    pub fn tagged(self, tags: impl IntoIterator<Item = Tag>) -> Self {
        Self { tags: tags.into_iter().collect(), ..self }
    }

    /// Returns the types, any of which matches. Empty: every type.
    #[must_use]
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// Returns the tags, all of which are required.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Returns `true` if an event of this type with these tags matches.
    #[must_use]
    pub fn matches(&self, event_type: &EventType, tags: &[Tag]) -> bool {
        (self.types.is_empty() || self.types.contains(event_type))
            && self.tags.iter().all(|tag| tags.contains(tag))
    }
}

/// A query that matches an event if any of its items does. Never empty.
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
    /// Creates a query with one item.
    #[must_use]
    pub fn of(item: QueryItem) -> Self {
        Self { items: vec![item] }
    }

    /// Adds an alternative.
    #[must_use]
    pub fn or(mut self, item: QueryItem) -> Self {
        self.items.push(item);
        self
    }

    /// Returns the features that a store needs to evaluate the query: tags, if it asks for any.
    pub(crate) fn capabilities(&self) -> CapabilitySet {
        let tags = self.items.iter().any(|item| !item.tags.is_empty());
        if tags { CapabilitySet::of(&[Capability::Tags]) } else { CapabilitySet::EMPTY }
    }

    /// Returns the alternatives; at least one.
    #[must_use]
    pub fn items(&self) -> &[QueryItem] {
        &self.items
    }

    /// Returns `true` if an event of this type with these tags matches any item.
    #[must_use]
    pub fn matches(&self, event_type: &EventType, tags: &[Tag]) -> bool {
        self.items.iter().any(|item| item.matches(event_type, tags))
    }
}

/// Server-side filter for reads and subscriptions of the whole store.
///
/// Look-ups by id are filters too, so they work in both directions, with a limit, and live. A store
/// refuses a kind of filter that it lacks; [`Filter::capability`] names it.
///
/// ```
/// use gesta_store::{Category, Filter, StreamName};
///
/// let orders = Filter::Categories(vec![Category::new("order")?]);
/// assert!(orders.matches_stream(&StreamName::new("order-1")?));
/// assert!(!orders.matches_stream(&StreamName::new("account-1")?));
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Filter {
    /// All events, those of system streams included.
    #[default]
    Everything,
    /// Events of the streams with these names.
    Streams(Vec<StreamName>),
    /// Events of the streams whose name begins with any of these texts.
    StreamPrefixes(Vec<String>),
    /// Events of the streams in any of these categories.
    Categories(Vec<Category>),
    /// Events of any of these types.
    EventTypes(Vec<EventType>),
    /// Events whose type begins with any of these texts.
    EventTypePrefixes(Vec<String>),
    /// Events whose stream or type matches a regular expression.
    Regex(RegexFilter),
    /// Visible events that match a query.
    Query(EventQuery),
    /// Events of one conversation.
    Correlation(CorrelationId),
    /// Events that this command or event caused.
    Causation(CausationId),
    /// The event with this id: one event in each stream that has it.
    EventId(EventId),
}

impl Filter {
    /// Returns the feature that a store needs for this filter, or `None` for
    /// [`Filter::Everything`].
    #[must_use]
    pub const fn capability(&self) -> Option<Capability> {
        Some(match self {
            Self::Everything => return None,
            Self::Streams(_) => Capability::StreamFilter,
            Self::StreamPrefixes(_) => Capability::StreamPrefixFilter,
            Self::Categories(_) => Capability::CategoryFilter,
            Self::EventTypes(_) => Capability::EventTypeFilter,
            Self::EventTypePrefixes(_) => Capability::EventTypePrefixFilter,
            Self::Regex(_) => Capability::RegexFilter,
            Self::Query(_) => Capability::QueryFilter,
            Self::Correlation(_) => Capability::CorrelationFilter,
            Self::Causation(_) => Capability::CausationFilter,
            Self::EventId(_) => Capability::EventIdFilter,
        })
    }

    /// Returns the features that a read of the whole store with this filter needs.
    pub(crate) fn capabilities(&self) -> CapabilitySet {
        let mut needed = CapabilitySet::of(&[Capability::GlobalOrder]);
        needed = self.capability().map_or(needed, |capability| needed.with(capability));
        match self {
            Self::Query(query) => needed.union(query.capabilities()),
            _ => needed,
        }
    }

    /// Returns `true` if the filter selects the event. Does not evaluate visibility.
    ///
    /// # Errors
    ///
    /// [`Invalid::Pattern`](crate::Invalid::Pattern) if a regular expression needs too many steps;
    /// other filters have no error.
    pub fn matches(&self, event: &RecordedEvent) -> Result<bool, StoreError> {
        Ok(match self {
            Self::Everything | Self::Streams(_) | Self::StreamPrefixes(_) | Self::Categories(_) => {
                self.matches_stream(&event.stream)
            }
            Self::EventTypes(types) => types.contains(&event.event_type),
            Self::EventTypePrefixes(prefixes) => begins(event.event_type.as_str(), prefixes),
            Self::Regex(regex) => return regex.matches(&event.stream, &event.event_type),
            Self::Query(query) => query.matches(&event.event_type, &event.tags),
            Self::Correlation(id) => event.correlation_id.as_ref() == Some(id),
            Self::Causation(id) => event.causation_id.as_ref() == Some(id),
            Self::EventId(id) => event.id == *id,
        })
    }

    /// Returns `false` if the stream's name alone rules its events out.
    #[must_use]
    pub fn matches_stream(&self, stream: &StreamName) -> bool {
        match self {
            Self::Streams(names) => names.contains(stream),
            Self::StreamPrefixes(prefixes) => begins(stream.as_str(), prefixes),
            Self::Categories(categories) => {
                // Compare the parsed category: a prefix would match `orders-1`.
                stream.category().is_some_and(|category| categories.contains(&category))
            }
            Self::Everything
            | Self::EventTypes(_)
            | Self::EventTypePrefixes(_)
            | Self::Regex(_)
            | Self::Query(_)
            | Self::Correlation(_)
            | Self::Causation(_)
            | Self::EventId(_) => true,
        }
    }
}

fn begins(text: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()))
}
