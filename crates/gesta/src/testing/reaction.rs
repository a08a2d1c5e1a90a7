//! Given-when-then tests of processes.

use std::fmt;

use gesta_store::RecordedAt;

use crate::{Effects, Input, ProcessManager, process};

/// Starts a test of a process without inputs, for a manager with a default.
///
/// ```
/// use gesta::{prelude::*, testing::reaction};
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened { door: u32 }
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
///
/// /// Closes a door that was opened twice.
/// #[derive(Clone, Default)]
/// struct Porter {
///     opened: u32,
/// }
///
/// impl ProcessManager for Porter {
/// #     const NAME: &'static str = "porter";
/// #     type Event = DoorEvent;
/// #     type Timer = ();
/// #     type Commands = (CloseDoor,);
/// #     fn route(_: &Recorded<DoorEvent>) -> Routing { Routing::Ignore }
///     // …
///     fn evolve(&mut self, _: &Input<Self>) {
///         self.opened += 1;
///     }
///
///     fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
///         match input {
///             Input::Event(DoorEvent::Opened(opened)) if self.opened == 2 => {
///                 Effects::none().send(CloseDoor { door: opened.door })
///             }
///             _ => Effects::none(),
///         }
///     }
/// }
///
/// let opened = || Input::event(DoorOpened { door: 7 });
/// reaction::<Porter>().when(opened()).then(Effects::none());
/// let close = Effects::none().send(CloseDoor { door: 7 });
/// reaction::<Porter>().given([opened()]).when(opened()).then(close);
/// ```
pub fn reaction<P: ProcessManager + Default>() -> Reaction<P> {
    reaction_of(P::default())
}

/// Starts a test of a process without inputs, for this manager. See [`reaction`].
pub const fn reaction_of<P: ProcessManager>(manager: P) -> Reaction<P> {
    Reaction { state: manager, at: RecordedAt::from_micros(0) }
}

/// A process with its past inputs. See [`reaction`].
#[must_use = "nothing is tested until `when`"]
pub struct Reaction<P> {
    state: P,
    at: RecordedAt,
}

impl<P: ProcessManager> Reaction<P> {
    /// Adds past inputs.
    pub fn given(mut self, inputs: impl IntoIterator<Item = Input<P>>) -> Self {
        inputs.into_iter().for_each(|input| self.state.evolve(&input));
        self
    }

    /// Sets the time of the next input. Default: the start of 1970.
    pub fn at(self, time: RecordedAt) -> Self {
        Self { at: time, ..self }
    }

    /// Handles the next input.
    pub fn when(self, input: Input<P>) -> Reacted<P> {
        Reacted(process::react(self.state, &input, self.at))
    }
}

impl<P> fmt::Debug for Reaction<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reaction")
    }
}

/// The effects of an input. See [`reaction`].
#[must_use = "nothing is tested until `then`"]
pub struct Reacted<P: ProcessManager>(Effects<P>);

impl<P: ProcessManager> Reacted<P> {
    /// Asserts the effects.
    #[track_caller]
    pub fn then(self, effects: Effects<P>) {
        assert_eq!(self.0, effects);
    }
}

impl<P: ProcessManager> fmt::Debug for Reacted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reacted").field(&self.0).finish()
    }
}
