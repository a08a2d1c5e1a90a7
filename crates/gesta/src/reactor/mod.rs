//! Reactors: side effects of events, such as mail, payments and calls of other services.
//!
//! Owns: [`Reactor`], its errors ([`EffectError`]) and its runtime.
//!
//! A reactor's state is its journal, the stream `reactors:journal-NAME`: its position, the events
//! that it has handled beyond that position, and its dead letters. An effect and its record cannot
//! change together, so an effect happens at least once: a crash between the two repeats it. Each
//! attempt has the same idempotency key ([`EffectKey`]), by which the receiver recognises the
//! repeat.
//!
//! Invariants:
//! - Effects of one stream happen in the order of its events, one at a time. Effects of different
//!   streams happen concurrently, up to the reactor's maximum.
//! - An event that still fails after its attempts is a dead letter. The later events of its stream
//!   wait until it is retried or discarded; other streams continue.
//! - The position passes an event once its effect has happened, or its stream is in the journal as
//!   one that waits.
//! - Nothing but a new event, a retry by an operator or a crash leads to an effect: rebuilds of
//!   projections, restored stores and renamed types repeat none.
//!
//! The task of a reactor is layered: the loop (`runner`), operators (`control`), events and results
//! (`intake`), state (`session`), what is stored (`journal`). Each layer calls only those after it.
//! Attempts and reads (`tasks`) run next to the loop and know none of them.
//!
//! On a node that does not run a reactor (`follower`), its task reads the journal only.
//!
//! Not here: the choice of the node that runs a reactor. A node that was paused and wakes up next
//! to its successor can repeat an effect, with the same key; its record in the journal holds next
//! to that of the successor.

mod attempt;
mod control;
mod effect;
mod follower;
mod handle;
mod held;
mod intake;
mod journal;
mod lanes;
mod operation;
mod runner;
mod session;
mod setup;
mod status;
mod tasks;
mod trouble;

use std::future::Future;

pub(crate) use attempt::react_once;
pub(crate) use effect::StateSource;
pub use effect::{EffectContext, EffectError, EffectKey};
pub(crate) use handle::{ReactorContext, ReactorHandle, ReactorRegistration, StartReactor};
pub(crate) use operation::ReactorOperation;
pub use setup::ReactorSetup;
pub(crate) use setup::is_of_reactors;
pub use status::{EffectDeadLetter, ReactorState};
pub use trouble::ReactorError;

use crate::{EventSet, Recorded};

/// A side effect for each event of a set.
///
/// Register it with [`Builder::react`](crate::Builder::react). [`testing::react_to`] runs it in a
/// test without a store.
///
/// An effect happens at least once: after a crash, or if its result is lost, it is attempted again
/// with the same [`EffectKey`]. Pass the key on, so that the receiver takes the effect once: as the
/// `Idempotency-Key` of a request, the `Message-ID` of a mail, or the name of a file.
///
/// Use a [`Projection`](crate::Projection) for rows of a read model, and a
/// [`ProcessManager`](crate::ProcessManager) for commands.
///
/// ```
/// use std::sync::Mutex;
/// use gesta::{Begin, EffectContext, EffectError, Gesta, Reactor, Recorded, prelude::*};
/// use gesta::testing::drain;
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "door-opened")]
/// struct DoorOpened {
///     door: u32,
/// }
///
/// #[derive(EventSet, Clone, Debug, PartialEq)]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
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
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened { door: self.door }.into()) }
/// # }
/// # struct Bell;
/// # impl Bell {
/// #     async fn ring(&self, _: u32, _: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # }
///
/// /// Rings a bell for each door that is opened.
/// struct Doorbell {
///     bell: Bell,
/// }
///
/// impl Reactor for Doorbell {
///     const NAME: &'static str = "doorbell";
///     type Event = DoorEvent;
///
///     async fn react(
///         &self,
///         event: &Recorded<DoorEvent>,
///         effect: &EffectContext,
///     ) -> Result<(), EffectError> {
///         let DoorEvent::Opened(opened) = &event.event;
///         self.bell.ring(opened.door, &effect.key().to_string()).await?;
///         Ok(())
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let gesta = Gesta::at("memory:").react(Doorbell { bell: Bell }, Begin::Now).open().await?;
/// gesta.execute(OpenDoor { door: 7 }).await?;
/// drain(&gesta).await;
/// assert_eq!(gesta.reactors().await?[0].dead_letters, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("the bell rings");
/// ```
///
/// [`testing::react_to`]: crate::testing::react_to
#[doc(alias = "event handler")]
pub trait Reactor: Send + Sync + 'static {
    /// Permanent name: the journal and the keys of the effects derive from it. Any text without
    /// control characters, at most as long as a stream name allows.
    const NAME: &'static str;

    /// Events that the reactor handles, of any category.
    type Event: EventSet;

    /// Lets the effect of one event happen.
    ///
    /// Runs in a task of its own, concurrently with the effects of other streams. An attempt that
    /// exceeds the [time limit](ReactorSetup::time_limit) is dropped and counts as failed, and so
    /// does a panic. An event that an upcaster splits has one call for each part, each with a key
    /// of its own; a failure repeats the parts before it.
    ///
    /// # Errors
    /// Any error: the effect is attempted again after a pause. After the last attempt, or an
    /// [`EffectError::permanent`], the event becomes a dead letter.
    fn react(
        &self,
        event: &Recorded<Self::Event>,
        effect: &EffectContext,
    ) -> impl Future<Output = Result<(), EffectError>> + Send;
}
