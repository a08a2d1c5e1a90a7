//! The output of a process: its effects.

use std::{fmt, time::Duration};

use gesta_store::RecordedAt;

use super::{Includes, ProcessManager, history::Json};
use crate::Decide;
#[cfg(feature = "calendar")]
use crate::calendar::CalendarRule;

/// Effects that a process decides on, in order.
///
/// ```
/// use std::time::Duration;
/// use gesta::Effects;
/// # use gesta::{Input, ProcessManager, Recorded, RecordedAt, Routing, prelude::*};
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
/// # #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # struct LookAgain;
/// # #[derive(Clone)]
/// # struct Porter;
/// # impl ProcessManager for Porter {
/// #     const NAME: &'static str = "porter";
/// #     type Event = DoorEvent;
/// #     type Timer = LookAgain;
/// #     type Commands = (CloseDoor,);
/// #     fn route(_: &Recorded<DoorEvent>) -> Routing { Routing::Ignore }
/// #     fn evolve(&mut self, _: &Input<Self>) {}
/// #     fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> { Effects::none() }
/// # }
///
/// let close = || Effects::<Porter>::none().send(CloseDoor { door: 7 });
/// let and_look = close().after(Duration::from_secs(60), LookAgain);
/// assert_ne!(close(), and_look);
/// ```
///
/// A command that is not among those of the process does not compile:
///
/// ```compile_fail
/// # use gesta::{Effects, Input, ProcessManager, Recorded, RecordedAt, Routing, prelude::*};
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
/// # #[command(name = "close-door", on = Door)]
/// # struct CloseDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for CloseDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(Events::none()) }
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "break-door", on = Door)]
/// # struct BreakDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for BreakDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(Events::none()) }
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
/// Effects::<Porter>::none().send(BreakDoor { door: 7 });
/// ```
#[must_use = "effects that are not returned from `react` never happen"]
pub struct Effects<P: ProcessManager>(pub(super) Vec<Effect<P::Timer>>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect<T> {
    Send { name: &'static str, payload: Json },
    SetTimer { due: Due, timer: T },
    CancelTimer { timer: T },
    End,
}

/// Due time of a timer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Due {
    /// Counted from the occurrence of the input.
    After(Duration),
    /// Counted from the handling of the input.
    AfterHandling(Duration),
    At(RecordedAt),
    /// By a rule of the calendar, counted from the occurrence of the input.
    #[cfg(feature = "calendar")]
    On(Box<CalendarRule>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Recording time of an event, or due time of a timer.
    pub(super) since: RecordedAt,
    /// Handling time of the input.
    pub(super) handled: RecordedAt,
}

impl Times {
    /// Creates the times of an input. A clock that ran ahead is corrected: no input occurs after it
    /// is handled.
    pub(super) fn of(since: RecordedAt, handled: RecordedAt) -> Self {
        Self { since: since.min(handled), handled }
    }
}

impl Due {
    pub(super) fn from(self, times: Times) -> RecordedAt {
        match self {
            Self::At(time) => time,
            Self::After(wait) => later(times.since, wait),
            Self::AfterHandling(wait) => later(times.handled, wait),
            #[cfg(feature = "calendar")]
            Self::On(rule) => rule.due_after(times.since),
        }
    }
}

/// Adds a pause to a time. Saturates at the latest representable time.
pub(super) fn later(time: RecordedAt, wait: Duration) -> RecordedAt {
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    RecordedAt::from_micros(time.micros().saturating_add(micros))
}

impl<P: ProcessManager> Effects<P> {
    /// Creates effects without any content.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Sends a command, after those before it.
    ///
    /// A final refusal returns as [`Input::Rejected`](crate::Input::Rejected).
    ///
    /// # Panics
    /// If the command has no JSON form that can be decoded, for example because of a map
    /// with keys other than strings or a non-finite number. A running process is then set aside.
    /// Correct the type.
    pub fn send<C, Where>(self, command: C) -> Self
    where
        C: Decide,
        P::Commands: Includes<C, Where>,
    {
        let payload = Json::of(&command).unwrap_or_else(|error| {
            // Panics because `react` returns no errors. The task that runs the reaction catches it.
            panic!("command {} has no readable JSON form: {error}", C::NAME)
        });
        self.and(Effect::Send { name: C::NAME, payload })
    }

    /// Sets a timer that is due this long after the input occurred.
    ///
    /// An event occurs when it is recorded, a timer when it is due, a rejection when it is handled.
    /// So an event that is handled late, because the program did not run, still fires its timers at
    /// the intended time. An equal pending timer is replaced.
    pub fn after(self, wait: Duration, timer: P::Timer) -> Self {
        self.and(Effect::SetTimer { due: Due::After(wait), timer })
    }

    /// Sets a timer that is due this long after the input is handled, however late that is.
    ///
    /// An equal pending timer is replaced.
    pub fn after_handling(self, wait: Duration, timer: P::Timer) -> Self {
        self.and(Effect::SetTimer { due: Due::AfterHandling(wait), timer })
    }

    /// Sets a timer that is due at this time. An equal pending timer is replaced.
    pub fn at(self, time: RecordedAt, timer: P::Timer) -> Self {
        self.and(Effect::SetTimer { due: Due::At(time), timer })
    }

    /// Sets a timer by a rule of the calendar, counted from the occurrence of the input as with
    /// [`after`](Self::after). An equal pending timer is replaced.
    ///
    /// The due time is computed when the input is handled, and stored. Later changes of the rule,
    /// of the holidays or of the zone's summer time do not move it. A repeated timer is set again
    /// by the reaction to it: times that passed while the program did not run are due one after
    /// the other.
    ///
    /// ```
    /// use gesta::calendar::{Calendar, time};
    /// # use gesta::{Effects, Input, ProcessManager, Recorded, RecordedAt, Routing, prelude::*};
    /// # use gesta::testing::reaction_of;
    /// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
    /// # #[event(name = "contract-signed")]
    /// # struct ContractSigned;
    /// # #[derive(EventSet, Clone, Debug, PartialEq)]
    /// # enum ContractEvent {
    /// #     Signed(ContractSigned),
    /// # }
    /// # #[derive(Default)]
    /// # struct Contract;
    /// # impl Aggregate for Contract {
    /// #     const CATEGORY: &'static str = "contract";
    /// #     type Id = u32;
    /// #     type Event = ContractEvent;
    /// #     fn evolve(&mut self, _: &ContractEvent) {}
    /// # }
    /// # #[derive(Command, Serialize, Deserialize)]
    /// # #[command(name = "send-bill", on = Contract)]
    /// # struct SendBill {
    /// #     #[command(id)]
    /// #     contract: u32,
    /// # }
    /// # impl Decide for SendBill {
    /// #     type Rejection = std::convert::Infallible;
    /// #     fn decide(&self, _: &Contract) -> Decision<Self> { Ok(Events::none()) }
    /// # }
    ///
    /// #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
    /// struct BillDue;
    ///
    /// /// Sends a bill on the last day of each month.
    /// #[derive(Clone)]
    /// struct Billing {
    ///     calendar: Calendar,
    /// }
    ///
    /// impl ProcessManager for Billing {
    /// #     const NAME: &'static str = "billing";
    /// #     type Event = ContractEvent;
    /// #     type Timer = BillDue;
    /// #     type Commands = (SendBill,);
    /// #     fn route(_: &Recorded<ContractEvent>) -> Routing { Routing::start(7) }
    /// #     fn evolve(&mut self, _: &Input<Self>) {}
    ///     // …
    ///     fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
    ///         let next = self.calendar.monthly(31).at(time(9, 0, 0, 0));
    ///         match input {
    ///             Input::Event(_) => Effects::none().on(next, BillDue),
    ///             Input::Timer(BillDue) => {
    ///                 Effects::none().send(SendBill { contract: 7 }).on(next, BillDue)
    ///             }
    ///             Input::Rejected(_) => Effects::none(),
    ///         }
    ///     }
    /// }
    ///
    /// let calendar = Calendar::in_zone("Europe/Berlin")?;
    /// let next = calendar.monthly(31).at(time(9, 0, 0, 0));
    /// let billing = reaction_of(Billing { calendar });
    /// let signed = Input::event(ContractSigned);
    /// billing.when(signed).then(Effects::none().on(next, BillDue));
    /// # Ok::<(), gesta::calendar::UnknownZone>(())
    /// ```
    #[cfg(feature = "calendar")]
    pub fn on(self, rule: CalendarRule, timer: P::Timer) -> Self {
        self.and(Effect::SetTimer { due: Due::On(Box::new(rule)), timer })
    }

    /// Cancels this timer, if it is pending.
    pub fn cancel(self, timer: P::Timer) -> Self {
        self.and(Effect::CancelTimer { timer })
    }

    /// Ends the process. Its timers are cancelled, its commands are still executed, and no further
    /// input reaches it.
    pub fn end(self) -> Self {
        self.and(Effect::End)
    }

    fn and(mut self, effect: Effect<P::Timer>) -> Self {
        self.0.push(effect);
        self
    }
}

impl<P: ProcessManager> Clone for Effects<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: ProcessManager> PartialEq for Effects<P> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<P: ProcessManager> fmt::Debug for Effects<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}
