//! Process managers: reactions to events and timers with commands.
//!
//! Owns: [`ProcessManager`], its inputs ([`Input`]) and outputs ([`Effects`]), and their runtime.
//!
//! The state of a process is its stream, `process:NAME-id`. One append records an input together
//! with the effects decided on it, at the revision that the decision saw. A crash has therefore one
//! of two results:
//! - Before that append, nothing has happened. The event is delivered again, the timer is still
//!   pending, the command is sent again.
//! - After it, the effects are decided for good. A command's id derives from its place in the
//!   stream, so sending it again repeats the same command. Its execution is recorded in the stream
//!   and ends the sending. A repeated input is recognised by its identity: the event's id, or the
//!   place where the timer was set or the command was decided.
//!
//! A manager's own stream, its journal `processes:journal-NAME`, records its position and set-aside
//! inputs. A failing process is set aside by its stream: later inputs wait there in order, as
//! references. An event that cannot be routed is set aside by its source stream. A checkpoint lists
//! all timers and all processes with unexecuted commands, because only these change a process
//! without a further event. A start therefore reads the journal from its last checkpoint, the
//! listed processes, the processes whose streams have changed since, and the events since.
//!
//! Invariant: inputs of one process are handled in order, those of different processes
//! concurrently. Commands of one process are sent one at a time, in the order of their decisions.
//! No set-aside input is lost, and none is handled twice.
//!
//! The task of a manager is layered: the loop (`runner`), operators (`control`, `retrying`), inputs
//! (`intake`), state (`session`). Each layer calls only those after it. An instance's own work
//! (`instance`, `dispatch`) runs in tasks that know none of them.
//!
//! On a node that does not run a manager (`follower`), its task reads the journal only.
//!
//! Not here: the choice of the node that runs a process. Every append is conditional and every
//! command has one id, so a node that was paused and wakes up next to its successor records nothing
//! twice. A command without events leaves no trace and may be judged twice then.

mod aside;
mod census;
mod checkpoint;
mod command_queue;
mod command_set;
mod control;
mod deps;
mod dispatch;
mod effects;
mod follower;
mod handle;
mod history;
mod input;
mod instance;
mod instance_cache;
mod instances;
mod intake;
mod journal;
mod lanes;
mod operation;
mod outstanding;
mod recording;
mod refusal;
mod report;
mod retry;
mod retrying;
mod runner;
mod schedule;
mod session;
mod setup;
mod shapes;
mod source;
mod status;
mod stored;
mod timer_queue;
mod timers;
mod trouble;

use std::fmt::Debug;

use gesta_store::RecordedAt;
use serde::{Serialize, de::DeserializeOwned};

pub use command_set::{CommandSet, Includes, UnreadableCommand};
pub use effects::Effects;
pub(crate) use handle::{ProcessContext, ProcessHandle, ProcessRegistration, StartProcessManager};
pub use history::{EffectId, ParseEffectIdError};
pub use input::{Input, RejectedCommand};
pub(crate) use instance::react;
pub(crate) use operation::ProcessOperation;
pub use refusal::RefusalKind;
pub use report::{
    DueTimer, InstanceCommand, InstanceCounts, InstanceDetails, InstancePage, InstanceQuery,
    InstanceState, InstanceSummary, InstanceTimer, OutstandingCommand, ParseInstanceStateError,
    ParseSubjectError, ProcessError, ProcessNotRegistered, RefusedCommand, SetAside, SetAsideInput,
    Subject, WaitingInput,
};
pub use setup::ProcessSetup;
pub(crate) use setup::is_of_processes;
pub use status::{ProcessState, ProcessStatus};
pub use stored::{NotUnderstoodInstance, stored_processes};
pub use timers::{TimerVersions, UnreadableTimer};

use crate::{EventSet, Recorded};

/// A reaction to events, timers and refused commands, with further commands.
///
/// Each process starts as a clone of the registered value, which may carry settings. From then on
/// [`evolve`](Self::evolve) derives its state from its inputs. A reaction is pure, like a decision.
/// It is recorded before its effects are executed, and never computed twice.
///
/// ```
/// use std::time::Duration;
/// use gesta::{Effects, Input, ProcessManager, Recorded, Routing, prelude::*};
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
///     fn route(event: &Recorded<DoorEvent>) -> Routing {
///         let DoorEvent::Opened(opened) = &event.event;
///         Routing::start(opened.door)
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
    /// Permanent name: the streams of the processes are called `process:NAME-id`. Like a category,
    /// it contains neither `-` nor `$`.
    const NAME: &'static str;
    /// Events that the manager handles, of any category.
    type Event: EventSet;
    /// Value of the timers that it sets.
    type Timer: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static;
    /// Commands that it sends: a tuple, such as `(PayOrder, ShipOrder)`.
    type Commands: CommandSet;
    /// Policy for an event that would start an ended process again.
    const AFTER_END: AfterEnd = AfterEnd::BeginAnew;
    /// Policy for a stored input, timer or command that this definition no longer understands.
    const NOT_UNDERSTOOD: NotUnderstood = NotUnderstood::SetAside;
    /// Keys of [custom metadata](crate::CustomMetadata) that the process passes on: from an event
    /// to its reaction, from there to the reaction's commands, and through timers and refusals to
    /// later ones. Defaults to the trace context of W3C. Other entries stay with their event.
    const PASSED_ON: &'static [&'static str] = &["traceparent", "tracestate"];

    /// Versions of the timer type, for a changed stored form. Stored timers of older versions are
    /// decoded through them. The default is version 1 of timer `timer`.
    #[must_use]
    fn timers() -> TimerVersions<Self::Timer> {
        TimerVersions::new()
    }

    /// Returns the process of an event. Called for every event of the set, in order.
    #[must_use]
    fn route(event: &Recorded<Self::Event>) -> Routing;

    /// Applies one input to the state. Called for every input of the process, in order, once.
    fn evolve(&mut self, input: &Input<Self>);

    /// Decides the effects of an input that [`evolve`](Self::evolve) has already applied.
    ///
    /// `at` is the handling time of the input, from which effects may compute times.
    fn react(&self, input: &Input<Self>, at: RecordedAt) -> Effects<Self>;
}

/// Policy of [`Routing::Start`] for a process that has ended.
///
/// ```
/// use gesta::AfterEnd;
///
/// assert_eq!(AfterEnd::default(), AfterEnd::BeginAnew);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterEnd {
    /// Starts a new run of the process, without the state of the former run, whose timers and
    /// refusals do not reach the new one.
    #[default]
    BeginAnew,
    /// Ignores the event, logs it, and counts it in
    /// [`ProcessStatus::ignored`](crate::ProcessStatus::ignored).
    Ignore,
}

/// Policy for stored data that the definition no longer understands.
///
/// This concerns an input of a type that left the event set, a timer whose value does not decode,
/// and a command that is no longer sent.
///
/// ```
/// use gesta::NotUnderstood;
///
/// assert_eq!(NotUnderstood::default(), NotUnderstood::SetAside);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotUnderstood {
    /// Sets the process aside when it reaches the data. Other processes continue.
    #[default]
    SetAside,
    /// Skips the data: the input is not applied, the timer does not fire, the command is not sent.
    Ignore,
}

/// The process that an event is routed to.
///
/// ```
/// use gesta::Routing;
///
/// assert_eq!(Routing::start(7), Routing::Start("7".to_owned()));
/// assert_eq!(Routing::continue_with("order-7"), Routing::Continue("order-7".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Routing {
    /// Starts the process with this id, or continues it; see [`AfterEnd`] for one that has ended.
    Start(String),
    /// Continues the process with this id, if it has started.
    Continue(String),
    /// No process.
    Ignore,
}

impl Routing {
    /// Starts or continues the process with this id.
    #[must_use]
    pub fn start(id: impl ToString) -> Self {
        Self::Start(id.to_string())
    }

    /// Continues the process with this id, if it has started.
    #[must_use]
    pub fn continue_with(id: impl ToString) -> Self {
        Self::Continue(id.to_string())
    }
}
