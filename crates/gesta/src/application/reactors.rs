//! The operation of reactors through [`Gesta`]: status, pauses and dead letters.
//!
//! Not here: the execution of reactors ([`Reactor`](crate::Reactor)).

use gesta_store::{EventId, LeaseName, NodeName, Position, StoreError};

use super::{Gesta, lag::lag};
use crate::{
    EffectDeadLetter, Lag, ReactorError, ReactorState,
    audit::Operator,
    reactor::{ReactorHandle, ReactorOperation},
};

/// A reactor with its state, position and dead letters.
///
/// ```
/// use gesta::{Begin, EffectContext, EffectError, Gesta, Reactor, ReactorState, Recorded};
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
/// let gesta = Gesta::at("memory:").react(Doorbell, Begin::Now).open().await?;
/// let status = gesta.reactors().await?.remove(0);
/// assert_eq!((status.name, status.state), ("doorbell", ReactorState::Running));
/// assert_eq!((status.retrying, status.dead_letters), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReactorStatus {
    /// Name of the reactor.
    pub name: &'static str,
    /// Current state.
    pub state: ReactorState,
    /// Position up to which all events are handled or wait behind a dead letter.
    pub position: Position,
    /// Distance from the head of the store.
    pub lag: Lag,
    /// Number of streams whose effect failed and is attempted again after a pause.
    pub retrying: usize,
    /// Number of dead letters. The later events of their streams wait.
    pub dead_letters: usize,
    /// The error that is being retried, or the reason of the halt, if any.
    pub trouble: Option<String>,
    /// Name of its lease. `None` without [`Nodes`](crate::Nodes).
    pub lease: Option<LeaseName>,
    /// The node that runs it, as far as this node knows. `None` without [`Nodes`](crate::Nodes).
    pub runs_on: Option<NodeName>,
}

impl Gesta {
    /// Returns the status of every reactor, by name.
    ///
    /// # Errors
    /// [`StoreError`] if the store could not be read for the lag.
    pub async fn reactors(&self) -> Result<Vec<ReactorStatus>, StoreError> {
        let mut all = Vec::new();
        for handle in self.reactor_side().handles() {
            all.push(self.reactor_status(handle).await?);
        }
        Ok(all)
    }

    async fn reactor_status(&self, handle: &ReactorHandle) -> Result<ReactorStatus, StoreError> {
        let progress = handle.started().await;
        let lag = lag(self.store().as_ref(), progress.position, &handle.event_types).await?;
        Ok(ReactorStatus {
            name: handle.name,
            state: progress.state,
            position: progress.position,
            lag,
            retrying: progress.resting,
            dead_letters: progress.letters.len(),
            trouble: progress.trouble,
            lease: handle.lease.clone(),
            runs_on: progress.runs_on,
        })
    }

    /// Pauses a reactor after the attempts in progress: no further effect happens until it is
    /// resumed. An operator can still retry a dead letter.
    ///
    /// The pause is not stored: it ends when the application is opened again.
    ///
    /// # Errors
    /// [`ReactorError::NotRegistered`] if no reactor has this name.
    /// [`ReactorError::RunsElsewhere`] if another node runs it. [`ReactorError::Unavailable`] if
    /// the operation could not be recorded; the reactor is not paused then.
    pub async fn pause_reactor(&self, name: &str, by: &Operator) -> Result<(), ReactorError> {
        self.reactor_side().named(name)?.order(ReactorOperation::Pause { by: by.clone() }).await
    }

    /// Resumes a reactor after a pause or halt.
    ///
    /// # Errors
    /// The same as [`pause_reactor`](Self::pause_reactor).
    pub async fn resume_reactor(&self, name: &str, by: &Operator) -> Result<(), ReactorError> {
        self.reactor_side().named(name)?.order(ReactorOperation::Resume { by: by.clone() }).await
    }

    /// Returns the dead letters of a reactor, by stream.
    ///
    /// # Errors
    /// [`ReactorError::NotRegistered`] if no reactor has this name.
    pub async fn reactor_dead_letters(
        &self,
        name: &str,
    ) -> Result<Vec<EffectDeadLetter>, ReactorError> {
        let progress = self.reactor_side().named(name)?.started().await;
        Ok(progress.letters.as_ref().clone())
    }

    /// Attempts the effect of a dead letter once more. If it happens, the later events of the
    /// stream follow in order.
    ///
    /// # Errors
    /// [`ReactorError::StillFails`] if it fails again; the event stays a dead letter.
    /// [`ReactorError::NoSuchDeadLetter`] if it is none.
    pub async fn retry_effect(
        &self,
        reactor: &str,
        event: EventId,
        by: &Operator,
    ) -> Result<(), ReactorError> {
        let operation = ReactorOperation::Retry { event, by: by.clone() };
        self.reactor_side().named(reactor)?.order(operation).await
    }

    /// Discards a dead letter: its effect never happens. The later events of the stream follow in
    /// order.
    ///
    /// # Errors
    /// [`ReactorError::NoSuchDeadLetter`] if the event is none.
    pub async fn discard_effect(
        &self,
        reactor: &str,
        event: EventId,
        by: &Operator,
    ) -> Result<(), ReactorError> {
        let operation = ReactorOperation::Discard { event, by: by.clone() };
        self.reactor_side().named(reactor)?.order(operation).await
    }
}
