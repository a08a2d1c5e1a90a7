//! Appends as a store records them, for copies from one store to another.
//!
//! Owns: [`StoredAppend`], with everything that a copy has to keep. Invariant: the events and the
//! scavenged events of an append together fill its positions without gaps. Not here: reading and
//! writing of copies, which are the stores' own.

use crate::{CorrelationId, EventId, EventType, Position, RecordedEvent, Revision, StreamName};

/// An append as a store records it.
///
/// ```
/// use gesta_store::{Position, StoredAppend};
///
/// let empty = StoredAppend::new(Position::new(7), vec![]);
/// assert_eq!(empty.count(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAppend {
    /// The position of its first event.
    pub first: Position,
    /// The events that were not scavenged, ordered by position.
    pub events: Vec<RecordedEvent>,
    /// Present if events of the append were scavenged.
    pub scavenged: Option<Scavenged>,
}

impl StoredAppend {
    /// Creates an append of which no event was scavenged.
    #[must_use]
    pub const fn new(first: Position, events: Vec<RecordedEvent>) -> Self {
        Self { first, events, scavenged: None }
    }

    /// Sets the remains of its scavenged events.
    #[must_use]
    pub fn scavenged(self, scavenged: impl Into<Option<Scavenged>>) -> Self {
        Self { scavenged: scavenged.into(), ..self }
    }

    /// Returns the number of events at the time of the append.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.scavenged.as_ref().map_or(self.events.len() as u64, |of| u64::from(of.events))
    }

    /// Returns the position after its last event.
    #[must_use]
    pub fn next(&self) -> Position {
        Position::new(self.first.number().saturating_add(self.count()))
    }
}

/// The remains of an append whose events were scavenged: enough to recognize a repeat, and to
/// continue the revisions of its streams.
///
/// ```
/// use gesta_store::{EventId, Scavenged};
///
/// let first_event = EventId::derived_from("request-42", 0);
/// let of = Scavenged { events: 2, first_event, ids_digest: 17, scavenged: vec![] };
/// assert_eq!(of.events, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scavenged {
    /// Number of events at the time of the append.
    pub events: u32,
    /// The id of the first event.
    pub first_event: EventId,
    /// The first 8 bytes, little-endian, of the BLAKE3 hash of all event ids.
    pub ids_digest: u64,
    /// The scavenged events, ordered by position.
    pub scavenged: Vec<ScavengedEvent>,
}

/// The remains of a scavenged event: its place, and the terms that have ordinals.
///
/// ```
/// use gesta_store::{Position, Revision, ScavengedEvent, StreamName};
///
/// let stream = StreamName::new("session-1")?;
/// let scavenged = ScavengedEvent::new(Position::new(7), stream, Revision::FIRST);
/// assert_eq!(scavenged.position.number(), 7);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScavengedEvent {
    /// The event's position in the store.
    pub position: Position,
    /// The event's stream.
    pub stream: StreamName,
    /// The event's revision in the stream.
    pub revision: Revision,
    /// The event's type, unless an earlier version scavenged it.
    pub event_type: Option<EventType>,
    /// The event's correlation id, unless an earlier version scavenged it.
    pub correlation_id: Option<CorrelationId>,
}

impl ScavengedEvent {
    /// Creates the remains of an event whose type and correlation id are not known.
    #[must_use]
    pub const fn new(position: Position, stream: StreamName, revision: Revision) -> Self {
        Self { position, stream, revision, event_type: None, correlation_id: None }
    }
}
