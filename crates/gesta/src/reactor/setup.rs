//! The settings of a reactor, and its name in the store.
//!
//! Owns [`ReactorSetup`]. Invariant: the first event is stated at the registration, so that no
//! history has effects by accident.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use gesta_store::{InvalidName, StreamName};

use super::{EffectKey, Reactor};
use crate::Begin;

/// Prefix of the streams that hold the positions and dead letters of reactors.
const JOURNAL: &str = "reactors:journal";

/// A reactor with its settings, for
/// [`Builder::react_set_up`](crate::Builder::react_set_up).
///
/// ```
/// use std::time::Duration;
/// use gesta::{Begin, EffectContext, EffectError, Gesta, Reactor, ReactorSetup, Recorded};
/// # use gesta::prelude::*;
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # struct Doorbell;
/// # impl Reactor for Doorbell {
/// #     const NAME: &'static str = "doorbell";
/// #     type Event = DoorEvent;
/// #     async fn react(
/// #         &self,
/// #         _: &Recorded<DoorEvent>,
/// #         _: &EffectContext,
/// #     ) -> Result<(), EffectError> {
/// #         Ok(())
/// #     }
/// # }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let doorbell = ReactorSetup::of(Doorbell, Begin::Now)
///     .concurrency(4)
///     .attempts(3)
///     .time_limit(Duration::from_secs(5));
/// let gesta = Gesta::at("memory:").react_set_up(doorbell).open().await?;
/// assert_eq!(gesta.reactors().await?[0].name, "doorbell");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a reactor runs once it is given to `Builder::react_set_up`"]
pub struct ReactorSetup<R> {
    pub(super) reactor: R,
    pub(super) begins: Begin,
    pub(super) limits: EffectLimits,
}

/// The limits of a reactor's effects.
#[derive(Clone, Copy, Debug)]
pub(super) struct EffectLimits {
    pub(super) concurrency: usize,
    pub(super) attempts: u32,
    pub(super) time: Duration,
    pub(super) dead_letters: usize,
}

impl<R: Reactor> ReactorSetup<R> {
    /// Default of [`concurrency`](Self::concurrency).
    pub const CONCURRENCY: usize = 16;

    /// Default of [`attempts`](Self::attempts). With the pauses between them, a receiver may fail
    /// for 25 seconds.
    pub const ATTEMPTS: u32 = 10;

    /// Default of [`time_limit`](Self::time_limit).
    pub const TIME_LIMIT: Duration = Duration::from_secs(60);

    /// Default of [`dead_letters_at_most`](Self::dead_letters_at_most).
    pub const DEAD_LETTERS_MAX: usize = 1_000;

    /// Creates a setup. `begins` is the first event, if the reactor is new to the store; a known
    /// reactor continues from its position.
    pub fn of(reactor: R, begins: Begin) -> Self {
        let limits = EffectLimits {
            concurrency: Self::CONCURRENCY,
            attempts: Self::ATTEMPTS,
            time: Self::TIME_LIMIT,
            dead_letters: Self::DEAD_LETTERS_MAX,
        };
        Self { reactor, begins, limits }
    }

    /// Sets the number of streams whose effects happen at the same time. Zero counts as one.
    pub fn concurrency(mut self, streams: usize) -> Self {
        self.limits.concurrency = NonZeroUsize::new(streams).map_or(1, NonZeroUsize::get);
        self
    }

    /// Sets the number of attempts after which an event becomes a dead letter. The pauses between
    /// them double from 50 milliseconds to 30 seconds. Zero counts as one.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.limits.attempts = NonZeroU32::new(attempts).map_or(1, NonZeroU32::get);
        self
    }

    /// Sets the time limit of one attempt.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limits.time = limit;
        self
    }

    /// Sets the maximum of dead letters. At the next one the reactor halts: a receiver that
    /// refuses everything does not turn every event into a dead letter.
    pub fn dead_letters_at_most(mut self, letters: usize) -> Self {
        self.limits.dead_letters = letters;
        self
    }
}

/// Returns whether streams of this category are those of reactors.
pub(crate) fn is_of_reactors(category: &str) -> bool {
    category == JOURNAL
}

/// The name of a reactor in the store.
#[derive(Clone, Debug)]
pub(super) struct ReactorIdentity {
    pub(super) name: &'static str,
    pub(super) journal: StreamName,
}

impl ReactorIdentity {
    pub(super) fn of(name: &'static str) -> Result<Self, InvalidName> {
        Ok(Self { name, journal: StreamName::new(format!("{JOURNAL}-{name}"))? })
    }

    /// The actor in the metadata of the journal's events.
    pub(super) fn actor(&self) -> String {
        format!("reactor:{}", self.name)
    }

    pub(super) fn key_of(&self, event: gesta_store::EventId, part: usize) -> EffectKey {
        EffectKey::new(self.name, event).part(part)
    }
}
