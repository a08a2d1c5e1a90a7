//! Identities: of an event, of a conversation, of a cause.
//!
//! Owns: how events are told apart and tied together. Not here: places ([`Position`], [`Revision`]).
//!
//! [`Position`]: crate::Position
//! [`Revision`]: crate::Revision

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

use crate::name::{InvalidName, text_type};

/// The id of an event, chosen by whoever offers it; offering it again is how a retry is known.
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
    /// The namespace of derived ids (a random UUID, fixed for ever).
    const DERIVED: Uuid = Uuid::from_u128(0x5d6f_0d3e_9b1c_4b52_8a77_1e0c_64d2_9f11);

    /// A fresh id that sorts by time (UUID version 7, RFC 9562).
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of the `ordinal`-th event that `cause` brings about (UUID version 5, RFC 9562).
    ///
    /// Equal arguments give equal ids for ever: this is what makes a repeated command one command.
    #[must_use]
    pub fn derived_from(cause: &str, ordinal: u64) -> Self {
        let mut name = Vec::with_capacity(cause.len() + 9);
        name.extend_from_slice(cause.as_bytes());
        name.push(0);
        name.extend_from_slice(&ordinal.to_be_bytes());
        Self(Uuid::new_v5(&Self::DERIVED, &name))
    }

    /// The UUID.
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
    /// Which conversation an event belongs to: the same for everything that one request led to.
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
    /// What caused an event: the id of a command or of another event.
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
