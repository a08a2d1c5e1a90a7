//! Optional features and limits of a store.
//!
//! Owns: [`Capability`], one name for each optional feature; [`CapabilitySet`]; the answer of a
//! store about itself ([`Capabilities`]) and its [`Limits`]. A store that lacks a feature refuses
//! its use with [`StoreError::Unsupported`](crate::StoreError::Unsupported), which names the
//! feature. It never approximates. Not here: the features that every store has, such as reads of a
//! stream and expected revisions.

use std::fmt;

macro_rules! capability_enum {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// An optional feature of an event store.
        ///
        /// ```
        /// use gesta_store::{Capability, EventStore, memory::MemoryStore};
        ///
        /// let store = MemoryStore::new();
        /// assert!(store.capabilities().has(Capability::Tags));
        /// assert_eq!(Capability::Tags.to_string(), "tags");
        /// ```
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Capability {
            $($(#[$doc])* $name,)*
        }

        impl Capability {
            /// All features that this version of the contract knows.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the feature in words, as error texts name it.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

capability_enum! {
    /// One append may have events for several streams, and check streams that get none.
    MultiStreamAppend = "appends to several streams",
    /// One append may have several parts of one stream: expectations that hold together, and events
    /// with those of other streams between them.
    StreamParts = "several parts of one stream in an append",
    /// An append may have an [`AppendCondition`](crate::AppendCondition).
    AppendCondition = "append conditions",
    /// Events have tags. Without it an event with tags is refused.
    Tags = "tags",
    /// Any [`ContentType`](crate::ContentType). Without it JSON and octet streams only.
    ContentTypes = "content types other than JSON and octet-stream",
    /// Positions of all streams are in commit order, so the whole store can be read and subscribed
    /// to. Without it `read_all`, subscriptions to the whole store and `head` are refused.
    GlobalOrder = "reads of the whole store",
    /// Positions have no gaps, so the difference of two positions is a number of events.
    DensePositions = "positions without gaps",
    /// [`Filter::Streams`](crate::Filter::Streams).
    StreamFilter = "filters by stream name",
    /// [`Filter::StreamPrefixes`](crate::Filter::StreamPrefixes).
    StreamPrefixFilter = "filters by prefix of the stream name",
    /// [`Filter::Categories`](crate::Filter::Categories).
    CategoryFilter = "filters by category",
    /// [`Filter::EventTypes`](crate::Filter::EventTypes).
    EventTypeFilter = "filters by event type",
    /// [`Filter::EventTypePrefixes`](crate::Filter::EventTypePrefixes).
    EventTypePrefixFilter = "filters by prefix of the event type",
    /// [`Filter::Regex`](crate::Filter::Regex).
    RegexFilter = "filters by regular expression",
    /// [`Filter::Query`](crate::Filter::Query).
    QueryFilter = "event queries",
    /// [`Filter::Correlation`](crate::Filter::Correlation).
    CorrelationFilter = "look-ups by correlation id",
    /// [`Filter::Causation`](crate::Filter::Causation).
    CausationFilter = "look-ups by causation id",
    /// [`Filter::EventId`](crate::Filter::EventId).
    EventIdFilter = "look-ups by event id",
    /// [`OrdinalIndex::Category`](crate::OrdinalIndex::Category).
    CategoryOrdinals = "ordinals within a category",
    /// [`OrdinalIndex::EventType`](crate::OrdinalIndex::EventType).
    EventTypeOrdinals = "ordinals within an event type",
    /// [`OrdinalIndex::Correlation`](crate::OrdinalIndex::Correlation).
    CorrelationOrdinals = "ordinals within a correlation id",
    /// [`OrdinalIndex::Streams`](crate::OrdinalIndex::Streams) and
    /// [`OrdinalIndex::StreamsOf`](crate::OrdinalIndex::StreamsOf).
    StreamOrdinals = "ordinals of streams",
    /// Reads and subscriptions may start at a time.
    TimeStarts = "starts at a time",
    /// [`find_append`](crate::EventStore::find_append), within the range of
    /// [`Capabilities::find_append`].
    FindAppend = "finding appends by event id",
    /// Repeats with [`Any`](crate::ExpectedRevision::Any) and
    /// [`StreamExists`](crate::ExpectedRevision::StreamExists) are recognized, within
    /// [`Capabilities::repeat_window_appends`]. Without it such an append is appended again.
    UnconditionalRepeats = "recognizing repeats without an expected revision",
    /// Event ids are unique within a stream, so that the same id in another stream is a new event.
    /// Without it the second append is a
    /// [`Conflict::PartialRepeat`](crate::Conflict::PartialRepeat).
    StreamScopedIds = "the same event id in several streams",
    /// [`list_streams`](crate::EventStore::list_streams).
    StreamListing = "listing streams",
    /// [`list_categories`](crate::EventStore::list_categories).
    CategoryListing = "listing categories",
    /// Stream metadata hide events, and can be set and read.
    StreamMetadata = "stream metadata",
    /// [`delete_stream`](crate::EventStore::delete_stream).
    Deletion = "deleting streams",
    /// [`tombstone_stream`](crate::EventStore::tombstone_stream).
    Tombstones = "tombstones",
    /// [`Append::privileged`](crate::Append::privileged): any events in streams whose name begins
    /// with `$`.
    SystemStreams = "events in system streams",
    /// The [`Incarnation`](crate::Incarnation) changes when events are lost, and checkpoints of
    /// another one are refused. Without it the incarnation never changes.
    Incarnations = "incarnations",
    /// [`attach_inline`](crate::EventStore::attach_inline): consumers take part in the
    /// transaction of an append. Without it such a consumer is refused.
    InlineConsumers = "inline projections",
    /// [`close`](crate::EventStore::close) releases the resources of the store, and later calls
    /// fail. Without it `close` does nothing.
    Close = "closing",
}

impl Capability {
    /// Returns the index that gives a store in a directory this feature, as its URL names it:
    /// `gesta:DIRECTORY?index=streams`. `None` for features that need none.
    #[must_use]
    pub const fn index(self) -> Option<&'static str> {
        match self {
            Self::EventIdFilter => Some("event-id"),
            Self::CorrelationFilter | Self::CorrelationOrdinals => Some("correlation"),
            Self::CausationFilter => Some("causation"),
            Self::StreamOrdinals => Some("streams"),
            _ => None,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A set of optional features.
///
/// ```
/// use gesta_store::{Capability, CapabilitySet};
///
/// let needed = CapabilitySet::of(&[Capability::Tags, Capability::QueryFilter]);
/// let supported = CapabilitySet::ALL.without(Capability::Tags);
/// let missing = needed.missing_from(supported);
/// assert_eq!(missing.iter().collect::<Vec<_>>(), [Capability::Tags]);
/// assert_eq!(missing.to_string(), "tags");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No feature.
    pub const EMPTY: Self = Self(0);
    /// All features that this version of the contract knows.
    pub const ALL: Self = Self::of(Capability::ALL);

    /// Creates a set of these features.
    #[must_use]
    pub const fn of(capabilities: &[Capability]) -> Self {
        let mut set = Self::EMPTY;
        let mut rest = capabilities;
        // Iterators are not available in constants.
        while let [first, others @ ..] = rest {
            set = set.with(*first);
            rest = others;
        }
        set
    }

    const fn bit(capability: Capability) -> u64 {
        // Fails to compile when the enum outgrows the set.
        const { assert!(Capability::ALL.len() <= u64::BITS as usize) };
        1 << capability as u64
    }

    /// Adds a feature.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | Self::bit(capability))
    }

    /// Removes a feature.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !Self::bit(capability))
    }

    /// Adds the features of another set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns `true` if the feature is in the set.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & Self::bit(capability) != 0
    }

    /// Returns `true` if the set has no feature.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the features of this set that `supported` lacks.
    #[must_use]
    pub const fn missing_from(self, supported: Self) -> Self {
        Self(self.0 & !supported.0)
    }

    /// Returns the features, in the order of [`Capability::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| self.contains(*capability))
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, capability) in self.iter().enumerate() {
            if nth > 0 {
                f.write_str(", ")?;
            }
            f.write_str(capability.words())?;
        }
        Ok(())
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The optional features, guarantees and limits of a store.
///
/// ```
/// use gesta_store::{Capability, Durability, EventStore, memory::MemoryStore};
///
/// let can = MemoryStore::new().capabilities();
/// assert!(can.has(Capability::MultiStreamAppend));
/// assert_eq!(can.durability, Durability::Volatile);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The optional features that the store has.
    pub supported: CapabilitySet,
    /// Durability of an acknowledged append.
    pub durability: Durability,
    /// Range of [`find_append`](crate::EventStore::find_append), if the store has
    /// [`Capability::FindAppend`].
    pub find_append: AppendLookup,
    /// Number of most recent appends among which any repeat is recognized, if the store has
    /// [`Capability::UnconditionalRepeats`]. At least 2.
    ///
    /// A repeat whose streams with events are all expected at `NoStream` or `Exact` is recognized
    /// without limit, by every store.
    pub repeat_window_appends: u64,
    /// Maximum sizes of input.
    pub limits: Limits,
}

impl Capabilities {
    /// Creates the capabilities of a store that finds every append and every repeat, where it
    /// supports that, and has the default limits. Set the fields that differ.
    #[must_use]
    pub const fn new(supported: CapabilitySet, durability: Durability) -> Self {
        Self {
            supported,
            durability,
            find_append: AppendLookup::Unlimited,
            repeat_window_appends: u64::MAX,
            limits: Limits::DEFAULT,
        }
    }

    /// Returns `true` if the store has the feature.
    #[must_use]
    pub const fn has(&self, capability: Capability) -> bool {
        self.supported.contains(capability)
    }
}

/// Failures that an acknowledged append survives.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// None: events are lost when the process ends.
    Volatile,
    /// The end of the process, but not a power failure: written, not synced.
    Buffered,
    /// A power failure: written and synced before the acknowledgement.
    Synced,
}

/// Range of [`find_append`](crate::EventStore::find_append).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendLookup {
    /// The last n appends.
    Window(u64),
    /// All events that are stored.
    Unlimited,
}

/// Maximum sizes of input. A store rejects larger input with
/// [`Invalid::Limit`](crate::Invalid::Limit).
///
/// Names have limits of their own, such as [`StreamName::BYTES_MAX`](crate::StreamName::BYTES_MAX).
///
/// ```
/// use gesta_store::Limits;
///
/// let mut limits = Limits::DEFAULT;
/// assert_eq!(limits.event_bytes_max, 16 << 20);
/// limits.event_bytes_max = 256 << 10;
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event, by [`NewEvent::content_bytes`](crate::NewEvent::content_bytes).
    pub event_bytes_max: usize,
    /// Bytes of one append: for each event its content, its stream's name, and
    /// [`event_overhead_bytes`](Self::event_overhead_bytes).
    pub append_bytes_max: usize,
    /// Bytes counted for each event in addition to its content, so that
    /// [`append_bytes_max`](Self::append_bytes_max) also bounds appends of many tiny events.
    pub event_overhead_bytes: usize,
    /// Number of events of one append.
    pub events_per_append_max: usize,
    /// Number of streams of one append, with those that are only checked.
    pub streams_per_append_max: usize,
    /// Number of tags of one event.
    pub tags_max: usize,
}

impl Limits {
    /// 16 MiB per event, 32 MiB per append with 72 bytes for each event, 64 tags per event.
    /// Numbers of events and streams have no limit of their own.
    pub const DEFAULT: Self = Self {
        event_bytes_max: 16 << 20,
        append_bytes_max: 32 << 20,
        event_overhead_bytes: 72,
        events_per_append_max: usize::MAX,
        streams_per_append_max: usize::MAX,
        tags_max: 64,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_nothing_else() {
        for &one in Capability::ALL {
            let alone = CapabilitySet::of(&[one]);
            assert_eq!(alone.iter().collect::<Vec<_>>(), [one]);
            assert_eq!(alone.missing_from(CapabilitySet::ALL), CapabilitySet::EMPTY);
            assert_eq!(CapabilitySet::ALL.missing_from(CapabilitySet::ALL.without(one)), alone);
            assert_eq!(alone.without(one), CapabilitySet::EMPTY);
        }
        assert_eq!(CapabilitySet::ALL.iter().count(), Capability::ALL.len());
    }

    #[test]
    fn a_set_prints_its_features_in_words() {
        let set = CapabilitySet::of(&[Capability::Tombstones, Capability::Tags]);
        assert_eq!(set.to_string(), "tags, tombstones");
        assert_eq!(format!("{set:?}"), "{Tags, Tombstones}");
    }
}
