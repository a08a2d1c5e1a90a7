//! An effect as the reactor sees it: its key, its attempt, and its failure.
//!
//! Invariant: the key of an effect depends on the reactor's name and the event's id alone, so each
//! attempt has the same one, also in a restored or moved store.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use gesta_store::{EventId, EventStore};
use uuid::Uuid;

use crate::{Aggregate, AsOf, LoadError, Loaded, loaded::load, snapshot::Snapshots};

/// Namespace of the keys, a random UUID.
const NAMESPACE: Uuid = Uuid::from_u128(0x3f0d_7a52_9c41_4e0b_8d64_51a7_e2c9_06b3);

/// The idempotency key of an effect: the same at each attempt, and different for each reactor and
/// event.
///
/// A UUID of version 5, made of the reactor's name and the event's id.
///
/// ```
/// use gesta::{EffectKey, EventId};
///
/// let event = EventId::derived_from("request-42", 0);
/// let key = EffectKey::new("doorbell", event);
/// assert_eq!(key, EffectKey::new("doorbell", event));
/// assert_ne!(key, EffectKey::new("letterbox", event));
/// assert_eq!(key.to_string().len(), 36);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectKey(Uuid);

impl EffectKey {
    /// Returns the key of a reactor's effect of an event.
    #[must_use]
    pub fn new(reactor: &str, event: EventId) -> Self {
        let of_reactor = Uuid::new_v5(&NAMESPACE, reactor.as_bytes());
        Self(Uuid::new_v5(&of_reactor, event.as_uuid().as_bytes()))
    }

    /// Returns the key of a further part of the event. The first part has the key of the event.
    pub(super) fn part(self, part: usize) -> Self {
        match part {
            0 => self,
            part => Self(Uuid::new_v5(&self.0, &(part as u64).to_be_bytes())),
        }
    }

    /// Returns the key as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One attempt of an effect, as [`Reactor::react`](crate::Reactor::react) gets it.
///
/// ```
/// use gesta::{EffectContext, EffectError, Reactor, Recorded, testing::react_to};
/// # use gesta::prelude::*;
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
///
/// struct Doorbell;
///
/// impl Reactor for Doorbell {
/// #     const NAME: &'static str = "doorbell";
/// #     type Event = DoorEvent;
///     // …
///     async fn react(
///         &self,
///         _: &Recorded<DoorEvent>,
///         effect: &EffectContext,
///     ) -> Result<(), EffectError> {
///         println!("ding, {}", effect.key());
///         if effect.attempt() < 2 { Err(EffectError::message("nobody hears it")) } else { Ok(()) }
///     }
/// }
///
/// # gesta::store::conformance::block_on(async {
/// let mut doors = react_to(&Doorbell);
/// assert!(doors.event("door-7", DoorOpened).await.is_err());
/// assert!(doors.again().await.is_ok(), "the second attempt");
/// # });
/// ```
#[derive(Clone)]
pub struct EffectContext {
    key: EffectKey,
    attempt: u32,
    state: StateSource,
}

/// The store that aggregates are loaded from.
#[derive(Clone)]
pub(crate) struct StateSource {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) snapshots: Snapshots,
}

impl EffectContext {
    pub(super) fn new(key: EffectKey, attempt: u32, state: &StateSource) -> Self {
        Self { key, attempt, state: state.clone() }
    }

    /// Returns the idempotency key of the effect.
    #[must_use]
    pub const fn key(&self) -> EffectKey {
        self.key
    }

    /// Returns the number of the attempt, from 1. Counts anew after a restart.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Loads the current state of an aggregate, for what the event does not carry; `None` if it
    /// has no events.
    ///
    /// A later attempt may see another state, such as a corrected address.
    ///
    /// # Errors
    /// [`LoadError`] if the events cannot be read. With `?` the effect is attempted again.
    pub async fn load<A: Aggregate>(&self, id: &A::Id) -> Result<Option<Loaded<A>>, LoadError> {
        load(self.state.store.as_ref(), &self.state.snapshots, id, AsOf::Now).await
    }
}

impl fmt::Debug for EffectContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} of effect {}", self.attempt, self.key)
    }
}

/// The reason why an effect failed.
///
/// Any error becomes one with `?`, and is attempted again. [`permanent`](Self::permanent) marks a
/// failure that no further attempt changes.
///
/// ```
/// use std::time::Duration;
/// use gesta::EffectError;
///
/// fn sent(status: u16) -> Result<(), EffectError> {
///     match status {
///         200 => Ok(()),
///         404 => Err(EffectError::permanent("no such mailbox")),
///         429 => Err(EffectError::message("too busy").retry_after(Duration::from_secs(60))),
///         _ => Err(EffectError::message(format!("status {status}"))),
///     }
/// }
/// assert_eq!(sent(404).unwrap_err().to_string(), "no such mailbox");
///
/// fn read(path: &str) -> Result<Vec<u8>, EffectError> {
///     Ok(std::fs::read(path)?)
/// }
/// assert!(read("/no/such/file").is_err());
/// ```
// Does not implement `Error`, so that every error converts to it.
#[derive(Debug)]
pub struct EffectError {
    source: Box<dyn Error + Send + Sync>,
    is_permanent: bool,
    retry_after: Option<Duration>,
}

impl EffectError {
    /// Longest pause before the next attempt, a day. A receiver that asks for more would keep the
    /// later events of the stream waiting where no operator could act.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// Creates a failure that is attempted again.
    pub fn message(text: impl Into<String>) -> Self {
        Self { source: text.into().into(), is_permanent: false, retry_after: None }
    }

    /// Creates a failure that no further attempt changes, such as an address that does not exist.
    /// The event becomes a dead letter at once.
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: error.into(), is_permanent: true, retry_after: None }
    }

    /// Sets the shortest pause before the next attempt, as the receiver asks for it: at most
    /// [`RETRY_AFTER_MAX`](Self::RETRY_AFTER_MAX).
    #[must_use]
    pub fn retry_after(self, pause: Duration) -> Self {
        Self { retry_after: Some(pause.min(Self::RETRY_AFTER_MAX)), ..self }
    }

    /// Returns the error itself.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.source.as_ref()
    }

    /// Returns whether no further attempt is made.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.is_permanent
    }

    pub(super) const fn pause(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for EffectError {
    fn from(error: E) -> Self {
        Self { source: Box::new(error), is_permanent: false, retry_after: None }
    }
}

impl fmt::Display for EffectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_effect_never_changes() {
        let event = EventId::derived_from("request-42", 0);
        let key = EffectKey::new("doorbell", event);
        assert_eq!(key.to_string(), "dcbc7424-e9e7-5716-84ba-7501f5674629");
        assert_eq!(key.as_uuid().get_version_num(), 5);
    }

    #[test]
    fn parts_of_an_event_have_keys_of_their_own() {
        let key = EffectKey::new("doorbell", EventId::derived_from("request-42", 0));
        assert_eq!(key.part(0), key);
        assert_ne!(key.part(1), key);
        assert_ne!(key.part(1), key.part(2));
    }
}
