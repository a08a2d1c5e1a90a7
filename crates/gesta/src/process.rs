//! Process managers: what reacts to events, and to time, with commands.
//!
//! Owns: [`ProcessManager`], what goes into one ([`Input`]) and comes out of it ([`Effects`]), and
//! what runs them.
//!
//! A process remembers nothing but its own stream, `process:NAME-id`. One append there records an
//! input together with the effects decided upon it, on condition of the revision that the decision
//! saw. Hence, wherever the program ends:
//! - before that append, nothing has happened: the event comes again, the timer is still pending,
//!   the command is sent again;
//! - after it, the effects are decided once and for all: a command's id derives from its place in
//!   the stream, so that sending it again is a repeat and no second command; once it is executed,
//!   the stream says so, and it is not sent any more;
//! - an input that comes again is known by its identity (the event's id, the place where the timer
//!   was set or the command decided).
//!
//! A manager remembers, in its journal `processes:journal-NAME`, how far all its processes are, and
//! what is set aside. A process that fails is set aside by its stream: what comes for it waits
//! there, in order, as references. An event that cannot be routed is set aside by the stream that
//! it came from. A checkpoint lists every timer and every process with commands that are not
//! executed: whatever changes a process without a further event does so because of one of them. So
//! a start reads the journal from its last checkpoint on, those processes, the ones whose streams
//! have changed since, and the events since.
//!
//! Always holds: the inputs of one process are handled in order, those of different processes side
//! by side; the commands of one process are sent one after the other, in the order in which they
//! were decided; nothing that was set aside is lost, and nothing is handled twice.
//!
//! Not here: which of several nodes runs a process. Two that do disturb each other little, since
//! every append is conditional and every command has one id; but a command that decided nothing
//! leaves no trace, and may be judged twice. A lease, taken where a session begins, closes that.

mod agenda;
mod aside;
mod census;
mod checkpoint;
mod command_set;
mod dispatch;
mod effects;
mod flow;
mod handle;
mod history;
mod input;
mod instance;
mod instances;
mod journal;
mod lanes;
mod orders;
mod outstanding;
mod report;
mod retry;
mod runner;
mod setup;
mod shapes;
mod status;
mod stored;
mod timers;
mod trouble;

use std::fmt::Debug;

use gesta_store::RecordedAt;
use serde::{Serialize, de::DeserializeOwned};

pub use command_set::{CommandSet, Includes, UnreadableCommand};
pub use effects::Effects;
pub(crate) use handle::{Handle, Planned, Planning, ProcessContext};
pub use history::{EffectId, ParseEffectIdError};
pub use input::{Input, RejectedCommand};
pub(crate) use instance::react;
pub(crate) use orders::Operation;
pub use report::{
    InstanceCommand, InstanceCounts, InstanceDetails, InstancePage, InstanceQuery, InstanceState,
    InstanceSummary, InstanceTimer, ParseInstanceStateError, ParseSubjectError, ProcessError,
    RefusedCommand, SetAside, SetAsideInput, Subject, WaitingInput,
};
pub use setup::{Begin, ProcessSetup};
pub(crate) use shapes::ProcessShapes;
pub use status::{ProcessState, ProcessStatus};
pub use stored::{NotUnderstoodInstance, stored_processes};
pub use timers::{TimerVersions, UnreadableTimer};

use crate::{EventSet, Recorded};

/// Reacts to events, to timers and to rejections of its commands with further commands.
///
/// Each process begins as a clone of the value that was registered, which therefore may carry
/// settings, and is from then on what [`evolve`](Self::evolve) makes of its inputs. Like a
/// decision, a reaction is pure; it is recorded before anything of it is done, and never asked for
/// twice.
///
/// ```
/// use std::time::Duration;
/// use gesta::{Effects, Input, ProcessManager, Recorded, Route, prelude::*};
/// use gesta::{RecordedAt, testing::reaction_of};
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
/// # #[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
/// # #[command(name = "close-door", on = Door)]
/// # struct CloseDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for CloseDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(Events::none()) }
/// # }
///
/// /// Closes a door some time after it was opened.
/// #[derive(Clone)]
/// struct Porter {
///     patience: Duration,
///     door: u32,
/// }
///
/// #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// struct OpenForLong;
///
/// impl ProcessManager for Porter {
///     const NAME: &'static str = "porter";
///     type Event = DoorEvent;
///     type Timer = OpenForLong;
///     type Commands = (CloseDoor,);
///
///     fn route(event: &Recorded<DoorEvent>) -> Route {
///         let DoorEvent::Opened(opened) = &event.event;
///         Route::start(opened.door)
///     }
///
///     fn evolve(&mut self, input: &Input<Self>) {
///         if let Input::Event(DoorEvent::Opened(opened)) = input {
///             self.door = opened.door;
///         }
///     }
///
///     fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
///         match input {
///             Input::Event(_) => Effects::none().after(self.patience, OpenForLong),
///             Input::Timer(OpenForLong) => Effects::none().send(CloseDoor { door: self.door }),
///             Input::Rejected(_) => Effects::none(),
///         }
///     }
/// }
///
/// let porter = || reaction_of(Porter { patience: Duration::from_secs(60), door: 0 });
/// let opened = || Input::event(DoorOpened { door: 7 });
/// let minute = Duration::from_secs(60);
/// porter().when(opened()).then(Effects::none().after(minute, OpenForLong));
/// porter()
///     .given([opened()])
///     .when(Input::Timer(OpenForLong))
///     .then(Effects::none().send(CloseDoor { door: 7 }));
/// assert_eq!(Porter::NAME, "porter");
/// ```
#[doc(alias = "saga")]
pub trait ProcessManager: Clone + Send + Sync + 'static {
    /// Its name, for ever: the streams of its processes are called `process:NAME-id`. Like a
    /// category, it has neither `-` nor `$`.
    const NAME: &'static str;
    /// The events that it understands, of whatever categories.
    type Event: EventSet;
    /// What it has itself reminded of.
    type Timer: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static;
    /// The commands that it sends: a tuple of them, such as `(PayOrder, ShipOrder)`.
    type Commands: CommandSet;
    /// What an event does that would begin a process which has ended.
    const AFTER_END: AfterEnd = AfterEnd::BeginAnew;
    /// What is done with a stored input, timer or command of a process that this definition does
    /// not understand any more.
    const NOT_UNDERSTOOD: NotUnderstood = NotUnderstood::SetAside;

    /// The versions of the timer type, where its stored form has changed: stored timers of older
    /// versions are read through them. Unless given, the type is version 1 of timer `timer`.
    #[must_use]
    fn timers() -> TimerVersions<Self::Timer> {
        TimerVersions::new()
    }

    /// Which process an event is for. Asked for every event of the set, in order.
    #[must_use]
    fn route(event: &Recorded<Self::Event>) -> Route;

    /// Takes in one input. Every input of the process comes by, in order, once.
    fn evolve(&mut self, input: &Input<Self>);

    /// What is to be done upon an input, which [`evolve`](Self::evolve) has taken in already.
    ///
    /// `at` is when the input is handled: the time that the effects may speak of.
    fn react(&self, input: &Input<Self>, at: RecordedAt) -> Effects<Self>;
}

/// What [`Route::Start`] does for a process that has ended.
///
/// ```
/// use gesta::AfterEnd;
///
/// assert_eq!(AfterEnd::default(), AfterEnd::BeginAnew);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterEnd {
    /// The event begins a new life of the process, which knows nothing of the former one. Timers
    /// and rejections of the former life do not reach it.
    #[default]
    BeginAnew,
    /// The event is ignored, logged, and counted in
    /// [`ProcessStatus::ignored`](crate::ProcessStatus::ignored).
    Ignore,
}

/// What is done with what a process stored and its definition does not understand any more: an
/// input of a type that left the event set, a timer whose value does not decode, a command that is
/// not sent any more.
///
/// ```
/// use gesta::NotUnderstood;
///
/// assert_eq!(NotUnderstood::default(), NotUnderstood::SetAside);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotUnderstood {
    /// The process is set aside when it comes to it; other processes go on.
    #[default]
    SetAside,
    /// It is left out: the input is not taken in, the timer does not fire, the command is not
    /// sent.
    Ignore,
}

/// Which process an event is for.
///
/// ```
/// use gesta::Route;
///
/// assert_eq!(Route::start(7), Route::Start("7".to_owned()));
/// assert_eq!(Route::continue_with("order-7"), Route::Continue("order-7".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// It begins the process with this id, or goes on with it; see [`AfterEnd`] for one that has
    /// ended.
    Start(String),
    /// It is for the process with this id, if that has begun.
    Continue(String),
    /// It is for none.
    Ignore,
}

impl Route {
    /// It begins the process with this id.
    #[must_use]
    pub fn start(id: impl ToString) -> Self {
        Self::Start(id.to_string())
    }

    /// It is for the process with this id, if that has begun.
    #[must_use]
    pub fn continue_with(id: impl ToString) -> Self {
        Self::Continue(id.to_string())
    }
}
