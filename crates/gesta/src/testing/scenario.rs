//! given / when / then for commands.

use std::fmt::Debug;

use crate::{Boundary, Decide, InvalidField};

/// What has happened, before a command.
///
/// For a tuple, one history for each aggregate; for a `Vec`, one for each that is named.
///
/// ```
/// use gesta::{prelude::*, testing::given};
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door { open: bool }
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) { self.open = true }
/// # }
/// # #[derive(Debug, PartialEq, thiserror::Error, Rejection)]
/// # #[error("the door is open already")]
/// # #[rejection(code = "already-open")]
/// # struct AlreadyOpen;
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-doors", on = (Door, Vec<Door>), either)]
/// # struct OpenDoors {
/// #     #[command(id)]
/// #     front: u32,
/// #     #[command(id)]
/// #     others: Vec<u32>,
/// # }
/// # impl Decide for OpenDoors {
/// #     type Rejection = AlreadyOpen;
/// #     fn decide(&self, (front, others): &(Door, Vec<Door>)) -> Decision<Self> {
/// #         if front.open { return Err(AlreadyOpen) }
/// #         Ok((DoorOpened.into(), others.iter().map(|_| DoorOpened.into()).collect()))
/// #     }
/// # }
/// let open = || OpenDoors { front: 1, others: vec![2] };
/// given::<(Door, Vec<Door>)>((vec![], vec![vec![]]))
///     .when(open())
///     .then((DoorOpened.into(), vec![DoorOpened.into()]));
/// given::<(Door, Vec<Door>)>((vec![DoorOpened.into()], vec![vec![]]))
///     .when(open())
///     .then_rejected(AlreadyOpen);
/// ```
pub fn given<B: Boundary>(history: impl Into<B::History>) -> Given<B> {
    Given(B::after(history.into()))
}

/// What has happened, as a state. See [`given`].
#[must_use = "nothing is tested until `when`"]
pub struct Given<B: Boundary>(B::State);

impl<B: Boundary> Given<B> {
    /// A command comes: it is validated, then decided.
    pub fn when<C: Decide<On = B>>(self, command: C) -> When<B::Decided, C::Rejection> {
        When(match command.validate() {
            Err(invalid) => Answer::Invalid(invalid),
            Ok(()) => command.decide(&self.0).map_or_else(Answer::Rejected, Answer::Decided),
        })
    }
}

impl<B: Boundary> Debug for Given<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

/// How a command was answered. See [`given`].
#[must_use = "nothing is tested until `then`"]
#[derive(Debug)]
pub struct When<D, R>(Answer<D, R>);

#[derive(Debug, PartialEq)]
enum Answer<D, R> {
    Decided(D),
    Rejected(R),
    Invalid(InvalidField),
}

impl<D: Debug + PartialEq, R: Debug + PartialEq> When<D, R> {
    /// This happens.
    #[track_caller]
    pub fn then(self, happens: impl Into<D>) {
        assert_eq!(self.0, Answer::Decided(happens.into()));
    }

    /// The business says no.
    #[track_caller]
    pub fn then_rejected(self, rejection: R) {
        assert_eq!(self.0, Answer::Rejected(rejection));
    }

    /// The command makes no sense, because of this field.
    #[track_caller]
    pub fn then_invalid(self, field: &str) {
        let Answer::Invalid(invalid) = &self.0 else {
            panic!("{field} is not called invalid: {:?}", self.0);
        };
        assert_eq!(invalid.field, field, "{invalid}");
    }
}
