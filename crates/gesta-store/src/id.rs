//! Identities of events, conversations and causes.
//!
//! Owns: [`EventId`], [`CorrelationId`], [`CausationId`]. Not here: places in a stream or a store
//! ([`Revision`], [`Position`]).
//!
//! [`Position`]: crate::Position
//! [`Revision`]: crate::Revision

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

use crate::name::{InvalidName, text_type};

/// The identity of an event, chosen by the writer. Appending the same id again makes a retry
/// recognizable.
///
/// ```
/// use gesta_store::EventId;
///
/// let first = EventId::derived_from("request-42", 0);
/// assert_eq!(first, EventId::derived_from("request-42", 0), "the same request, the same id");
/// assert_ne!(first, EventId::derived_from("request-42", 1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Uuid);

impl EventId {
    /// Namespace of derived ids: a random UUID that must never change.
    const DERIVED: Uuid = Uuid::from_u128(0x5d6f_0d3e_9b1c_4b52_8a77_1e0c_64d2_9f11);

    /// Creates a unique id that sorts by time (UUID version 7, RFC 9562).
    #[must_use]
    pub fn random() -> Self {
        // Version 7 keeps ids of one writer close together in indexes.
        Self(Uuid::now_v7())
    }

    /// Derives the id of the `ordinal`-th event that `cause` produces (UUID version 5, RFC 9562).
    ///
    /// Equal arguments give equal ids in every version of this crate, so a repeated command is
    /// recognized by the ids of its events.
    #[must_use]
    pub fn derived_from(cause: &str, ordinal: u64) -> Self {
        let mut name = Vec::with_capacity(cause.len() + 9);
        name.extend_from_slice(cause.as_bytes());
        // Separate the parts, so that no two pairs of arguments share a name.
        name.push(0);
        name.extend_from_slice(&ordinal.to_be_bytes());
        Self(Uuid::new_v5(&Self::DERIVED, &name))
    }

    /// Returns the UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::from_str(text).map(Self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_type! {
    /// The conversation that an event belongs to: equal for everything that one request led to.
    ///
    /// ```
    /// use gesta_store::CorrelationId;
    ///
    /// assert_eq!(CorrelationId::new("request-42")?.as_str(), "request-42");
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    CorrelationId, "correlation id", BYTES_MAX = 255
}

text_type! {
    /// The id of the command or event that caused an event.
    ///
    /// ```
    /// use gesta_store::CausationId;
    ///
    /// assert_eq!(CausationId::new("request-42")?.as_str(), "request-42");
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    CausationId, "causation id", BYTES_MAX = 255
}

impl CorrelationId {
    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        Ok(Self(text))
    }
}

impl CausationId {
    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        Ok(Self(text))
    }
}
