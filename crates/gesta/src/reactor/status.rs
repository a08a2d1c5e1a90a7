//! Status of a reactor: state, position and dead letters.

use std::{sync::Arc, time::SystemTime};

use gesta_store::{EventId, EventType, NodeName, Position, RecordedAt, Revision, StreamName};

/// The current state of a reactor.
///
/// ```
/// use gesta::ReactorState;
///
/// assert_ne!(ReactorState::Running, ReactorState::Paused);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReactorState {
    /// Loading its journal.
    Starting,
    /// Another node runs it, or none does at the moment. Position and dead letters are those of its
    /// journal.
    Waiting,
    /// Handling events.
    Running,
    /// Paused by an operator until resumed, or until the application is opened again.
    Paused,
    /// Halted because the maximum of dead letters is reached. Continues once one is retried or
    /// discarded.
    Halted,
}

/// An event whose effect failed at every attempt. Later events of its stream wait.
///
/// Retry it with [`Gesta::retry_effect`](crate::Gesta::retry_effect), or discard it with
/// [`Gesta::discard_effect`](crate::Gesta::discard_effect).
///
/// ```
/// use gesta::{Begin, EffectContext, EffectError, Gesta, Reactor, Recorded, testing::drain};
/// # use gesta::prelude::*;
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door;
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) {}
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-door", on = Door, either)]
/// # struct OpenDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened.into()) }
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
/// #         Err(EffectError::permanent("the bell is broken"))
/// #     }
/// # }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let gesta = Gesta::at("memory:").react(Doorbell, Begin::Now).open().await?;
/// gesta.execute(OpenDoor { door: 7 }).await?;
/// drain(&gesta).await;
/// let letters = gesta.reactor_dead_letters("doorbell").await?;
/// assert_eq!(letters[0].error, "the bell is broken");
/// assert_eq!(letters[0].stream.as_str(), "door-7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("the bell is broken");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EffectDeadLetter {
    /// Id of the event, which names the dead letter.
    pub id: EventId,
    /// Type of the event.
    pub event_type: EventType,
    /// Stream of the event.
    pub stream: StreamName,
    /// Revision of the event.
    pub revision: Revision,
    /// Position of the event when it was set aside.
    pub position: Position,
    /// Error of the last attempt.
    pub error: String,
    /// Number of attempts.
    pub attempts: u32,
    /// Time at which it was set aside.
    pub since: RecordedAt,
}

/// Status that the runner publishes to queries, health and operators.
#[derive(Clone, Debug)]
pub(crate) struct ReactorProgress {
    pub(crate) state: ReactorState,
    /// Position up to which all events are handled or wait behind a dead letter.
    pub(crate) position: Position,
    /// Position up to which all events were taken up.
    pub(crate) delivered: Position,
    pub(crate) letters: Arc<Vec<EffectDeadLetter>>,
    /// Number of streams whose effect is attempted again after a pause.
    pub(crate) resting: usize,
    /// The error of the reactor as a whole, or of an effect that will be attempted again.
    pub(crate) trouble: Option<String>,
    /// Waiting for a back-off.
    pub(crate) is_stuck: bool,
    /// Effects are in progress, or could be.
    pub(crate) is_busy: bool,
    /// Next time at which an effect is attempted again.
    pub(crate) next_wake: Option<SystemTime>,
    /// The node that runs it, as far as this node knows.
    pub(crate) runs_on: Option<NodeName>,
}

impl ReactorProgress {
    pub(crate) fn starting() -> Self {
        Self {
            state: ReactorState::Starting,
            position: Position::START,
            delivered: Position::START,
            letters: Arc::default(),
            resting: 0,
            trouble: None,
            is_stuck: false,
            is_busy: false,
            next_wake: None,
            runs_on: None,
        }
    }

    /// Returns whether there is no work until an event after this position, a later time, or an
    /// operator's order.
    pub(crate) fn is_idle(&self, head: Position, now: SystemTime) -> bool {
        match self.state {
            ReactorState::Starting => false,
            // Only an operator changes these states, so waiting for work would not end.
            ReactorState::Paused | ReactorState::Halted | ReactorState::Waiting => true,
            ReactorState::Running => {
                self.delivered >= head
                    && !self.is_busy
                    && self.next_wake.is_none_or(|wake| wake > now)
            }
        }
    }
}
