//! Tests of reactors without a store.

use std::{fmt, sync::Arc};

use gesta_store::{
    Append, EventId, EventStore, ExpectedRevision, ReadAll, RecordedAt, RecordedEvent, StreamName,
    memory::MemoryStore,
};

use crate::{EffectError, EffectKey, EventSet, Reactor, reactor::react_once};

/// Starts a test of a reactor, with a fake in place of what its effects reach.
///
/// ```
/// use std::sync::Mutex;
/// use gesta::{EffectContext, EffectError, EffectKey, Reactor, Recorded, prelude::*};
/// use gesta::testing::react_to;
///
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// /// A bell that remembers who rang it.
/// #[derive(Default)]
/// struct FakeBell(Mutex<Vec<EffectKey>>);
///
/// struct Doorbell {
///     bell: FakeBell,
/// }
///
/// impl Reactor for Doorbell {
///     const NAME: &'static str = "doorbell";
///     type Event = DoorEvent;
///
///     async fn react(
///         &self,
///         _: &Recorded<DoorEvent>,
///         effect: &EffectContext,
///     ) -> Result<(), EffectError> {
///         self.bell.0.lock().unwrap().push(effect.key());
///         Ok(())
///     }
/// }
///
/// # gesta::store::conformance::block_on(async {
/// let doorbell = Doorbell { bell: FakeBell::default() };
/// let mut doors = react_to(&doorbell);
/// let first = doors.event("door-1", DoorOpened).await?;
/// let again = doors.again().await?;
/// let second = doors.event("door-1", DoorOpened).await?;
/// assert_eq!(*doorbell.bell.0.lock().unwrap(), [first, again, second]);
/// assert_eq!(first, again, "a further attempt has the same key");
/// assert_ne!(first, second);
/// # Ok::<(), EffectError>(())
/// # }).expect("the bell rings");
/// ```
pub fn react_to<R: Reactor>(reactor: &R) -> ReactorHistory<'_, R> {
    let store = Arc::new(MemoryStore::new());
    ReactorHistory { reactor, store, at: RecordedAt::from_micros(0), last: None, attempt: 0 }
}

/// A reactor with the events that it got so far, in a memory store. See [`react_to`].
pub struct ReactorHistory<'r, R> {
    reactor: &'r R,
    store: Arc<dyn EventStore>,
    at: RecordedAt,
    last: Option<RecordedEvent>,
    attempt: u32,
}

impl<R: Reactor> ReactorHistory<'_, R> {
    /// Sets the recorded time of the next events. Default: the start of 1970.
    #[must_use]
    pub fn at(self, time: RecordedAt) -> Self {
        Self { at: time, ..self }
    }

    /// Appends an event that the reactor does not get, for an aggregate that it loads.
    ///
    /// # Panics
    /// If the stream's name is invalid, or the event has no stored form.
    pub async fn given<E: EventSet>(&mut self, stream: &str, event: impl Into<E>) {
        self.append(stream, event.into()).await;
    }

    /// Lets the reactor attempt the effect of a stream's next event. Returns the key of the effect.
    ///
    /// The event's id derives from its place, so each run of the test has the same keys.
    ///
    /// # Errors
    /// The error of the reactor.
    ///
    /// # Panics
    /// If the stream's name is invalid, or the event has no stored form.
    pub async fn event(
        &mut self,
        stream: &str,
        event: impl Into<R::Event>,
    ) -> Result<EffectKey, EffectError> {
        let mut recorded = self.append::<R::Event>(stream, event.into()).await;
        recorded.recorded_at = self.at;
        self.last = Some(recorded);
        self.attempt = 0;
        self.again().await
    }

    /// Lets the reactor attempt the effect of the last event once more, as after a failure or a
    /// crash.
    ///
    /// # Errors
    /// The error of the reactor.
    ///
    /// # Panics
    /// Without an event before.
    pub async fn again(&mut self) -> Result<EffectKey, EffectError> {
        let last = self.last.as_ref().expect("a further attempt follows a first one");
        self.attempt += 1;
        react_once(self.reactor, (last, self.attempt), &self.store).await
    }

    async fn append<E: EventSet>(&self, stream: &str, event: E) -> RecordedEvent {
        let stream = StreamName::new(stream).expect("the stream has a valid name");
        let head = self.store.head().await.expect("a memory store has a head").position;
        let id = EventId::derived_from(stream.as_str(), head.number());
        let new = event.encode().expect("the event has a stored form").with_id(id);
        let append = Append::to(stream, ExpectedRevision::Any, [new]);
        self.store.append(append).await.expect("a memory store takes the event");
        let last = ReadAll::backwards().limit(1);
        let last = self.store.read_all(last).collect_events().await;
        last.expect("a memory store is read").pop().expect("the event was appended")
    }
}

impl<R> fmt::Debug for ReactorHistory<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReactorHistory")
    }
}
