//! The inputs of a process.

use std::fmt;

use super::{ProcessManager, RefusalKind, history::Json};
use crate::{Command, Rejection};

/// An input that a process reacts to.
///
/// ```
/// use gesta::Input;
/// # use gesta::{Effects, ProcessManager, Recorded, RecordedAt, Routing, prelude::*};
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
/// # #[derive(Debug, thiserror::Error, Rejection)]
/// # #[error("the door is stuck")]
/// # #[rejection(code = "door-stuck")]
/// # struct Stuck;
/// # #[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
/// # #[command(name = "close-door", on = Door)]
/// # struct CloseDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for CloseDoor {
/// #     type Rejection = Stuck;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Err(Stuck) }
/// # }
/// # #[derive(Clone)]
/// # struct Porter;
/// # impl ProcessManager for Porter {
/// #     const NAME: &'static str = "porter";
/// #     type Event = DoorEvent;
/// #     type Timer = ();
/// #     type Commands = (CloseDoor,);
/// #     fn route(_: &Recorded<DoorEvent>) -> Routing { Routing::Ignore }
/// #     fn evolve(&mut self, _: &Input<Self>) {}
/// #     fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> { Effects::none() }
/// # }
///
/// fn what(input: &Input<Porter>) -> String {
///     match input {
///         Input::Event(DoorEvent::Opened(_)) => "opened".to_owned(),
///         Input::Timer(()) => "open for long".to_owned(),
///         Input::Rejected(rejected) => format!("not closed: {}", rejected.kind),
///     }
/// }
///
/// assert_eq!(what(&Input::event(DoorOpened)), "opened");
/// let rejected = Input::rejected(&CloseDoor { door: 7 }, &Stuck);
/// assert_eq!(what(&rejected), "not closed: door-stuck");
/// ```
pub enum Input<P: ProcessManager> {
    /// An event was recorded.
    Event(P::Event),
    /// A timer of the process is due.
    Timer(P::Timer),
    /// A command of the process was permanently refused.
    Rejected(RejectedCommand),
}

impl<P: ProcessManager> Input<P> {
    /// Creates an input from an event.
    pub fn event(event: impl Into<P::Event>) -> Self {
        Self::Event(event.into())
    }

    /// Creates the rejection of a command by the business, for tests.
    ///
    /// # Panics
    /// If the command has no JSON form that can be decoded. Correct its type.
    pub fn rejected<C: Command>(command: &C, rejection: &impl Rejection) -> Self {
        Self::Rejected(RejectedCommand {
            name: C::NAME.to_owned(),
            kind: RefusalKind::Rejected { code: rejection.code().to_owned() },
            reason: rejection.to_string(),
            payload: Json::of(command).expect("the command has a JSON form"),
        })
    }
}

impl<P: ProcessManager> fmt::Debug for Input<P>
where
    P::Event: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Timer(timer) => f.debug_tuple("Timer").field(timer).finish(),
            Self::Rejected(rejected) => f.debug_tuple("Rejected").field(rejected).finish(),
        }
    }
}

/// A command that was permanently refused: by the business, by validation or authorization, or
/// because its target does not exist or already exists.
///
/// ```
/// use gesta::{Input, RejectedCommand};
///
/// fn out_of_stock(rejected: &RejectedCommand) -> bool {
///     rejected.is::<ReserveStock>() && rejected.code() == Some("insufficient-stock")
/// }
/// # use gesta::{Effects, ProcessManager, Recorded, RecordedAt, Routing, prelude::*};
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "stock-reserved")]
/// # struct StockReserved;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum StockEvent {
/// #     Reserved(StockReserved),
/// # }
/// # #[derive(Default)]
/// # struct Stock;
/// # impl Aggregate for Stock {
/// #     const CATEGORY: &'static str = "stock";
/// #     type Id = u32;
/// #     type Event = StockEvent;
/// #     fn evolve(&mut self, _: &StockEvent) {}
/// # }
/// # #[derive(Debug, thiserror::Error, Rejection)]
/// # #[error("too little is there")]
/// # #[rejection(code = "insufficient-stock")]
/// # struct Insufficient;
/// # #[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
/// # #[command(name = "reserve-stock", on = Stock)]
/// # struct ReserveStock {
/// #     #[command(id)]
/// #     product: u32,
/// # }
/// # impl Decide for ReserveStock {
/// #     type Rejection = Insufficient;
/// #     fn decide(&self, _: &Stock) -> Decision<Self> { Err(Insufficient) }
/// # }
/// # #[derive(Clone)]
/// # struct Fulfilment;
/// # impl ProcessManager for Fulfilment {
/// #     const NAME: &'static str = "fulfilment";
/// #     type Event = StockEvent;
/// #     type Timer = ();
/// #     type Commands = (ReserveStock,);
/// #     fn route(_: &Recorded<StockEvent>) -> Routing { Routing::Ignore }
/// #     fn evolve(&mut self, _: &Input<Self>) {}
/// #     fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> { Effects::none() }
/// # }
///
/// let input: Input<Fulfilment> = Input::rejected(&ReserveStock { product: 7 }, &Insufficient);
/// let Input::Rejected(rejected) = input else { unreachable!("it is a rejection") };
/// assert!(out_of_stock(&rejected));
/// assert_eq!(rejected.command(), Some(ReserveStock { product: 7 }));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedCommand {
    /// Name of the command.
    pub name: String,
    /// Kind of the refusal.
    pub kind: RefusalKind,
    /// Reason, for people.
    pub reason: String,
    pub(super) payload: Json,
}

impl RejectedCommand {
    /// Returns whether the command is of this type.
    #[must_use]
    pub fn is<C: Command>(&self) -> bool {
        self.name == C::NAME
    }

    /// Returns the code of the rejection, or `None` if the business did not refuse the command.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.kind.rejection_code()
    }

    /// Decodes the command, if it is of this type.
    #[must_use]
    pub fn command<C: Command>(&self) -> Option<C> {
        if self.is::<C>() { self.payload.read().ok() } else { None }
    }
}
