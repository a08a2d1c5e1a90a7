//! Given-when-then tests of commands.

use std::fmt::Debug;

use crate::{Boundary, Decide, Events, InvalidField};

/// Starts a test with the events before a command.
///
/// For one aggregate, its events in order: an array of one event type, a tuple of several, a chain
/// through [`Events`], or a `Vec` of the event set. For a tuple of aggregates, a tuple of
/// histories; for a `Vec`, a history for each id.
///
/// ```
/// use gesta::{prelude::*, testing::given};
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened { by: String }
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-closed")]
/// # struct DoorClosed;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// #     Closed(DoorClosed),
/// # }
/// # #[derive(Default)]
/// # struct Door { open: bool }
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, event: &DoorEvent) {
/// #         self.open = matches!(event, DoorEvent::Opened(_));
/// #     }
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "close-door", on = Door)]
/// # struct CloseDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for CloseDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, door: &Door) -> Decision<Self> {
/// #         Ok(if door.open { DoorClosed.into() } else { Events::none() })
/// #     }
/// # }
/// # let close = || CloseDoor { door: 7 };
/// let opened = DoorOpened { by: "ann".to_owned() };
/// given::<Door>([]).when(close()).then(Events::none());
/// given::<Door>([opened.clone()]).when(close()).then(DoorClosed);
/// given::<Door>((opened.clone(), DoorClosed)).when(close()).then(Events::none());
/// given::<Door>(Events::none().and(opened).and(DoorClosed)).when(close()).then(Events::none());
/// ```
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
pub fn given<B: Boundary>(history: impl IntoHistory<B::History>) -> Given<B> {
    Given(B::after(history.into_history()))
}

/// A value that converts into a history: the history itself or, for a single aggregate, an array or
/// a tuple of events. See [`given`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a history of this boundary",
    note = "pass events of one type as an array, and events of several types as a tuple: \
         `given::<Order>((OrderPlaced {{ .. }}, OrderPaid {{ .. }}))`"
)]
pub trait IntoHistory<History> {
    /// Converts into a history.
    fn into_history(self) -> History;
}

impl<History> IntoHistory<History> for History {
    fn into_history(self) -> History {
        self
    }
}

impl<E> IntoHistory<Vec<E>> for Events<E> {
    fn into_history(self) -> Vec<E> {
        self.into_iter().collect()
    }
}

/// An array without events has no type of its own.
impl<E> IntoHistory<Vec<E>> for [E; 0] {
    fn into_history(self) -> Vec<E> {
        Vec::new()
    }
}

macro_rules! arrays {
    ($($length:literal)+) => {
        $(impl<E, T: Into<E>> IntoHistory<Vec<E>> for [T; $length] {
            fn into_history(self) -> Vec<E> {
                self.into_iter().map(Into::into).collect()
            }
        })+
    };
}
arrays!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);

macro_rules! tuples {
    ($(($($part:ident $index:tt),+))+) => {
        $(impl<E, $($part: Into<E>),+> IntoHistory<Vec<E>> for ($($part,)+) {
            fn into_history(self) -> Vec<E> {
                vec![$(self.$index.into()),+]
            }
        })+
    };
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, F 4)
    (A 0, B 1, C 2, D 3, F 4, G 5)
    (A 0, B 1, C 2, D 3, F 4, G 5, H 6)
    (A 0, B 1, C 2, D 3, F 4, G 5, H 6, I 7)
}

/// The state before a command. See [`given`].
#[must_use = "nothing is tested until `when`"]
pub struct Given<B: Boundary>(B::State);

impl<B: Boundary> Given<B> {
    /// Validates a command, then decides it.
    pub fn when<C: Decide<On = B>>(self, command: C) -> When<B::Decided, C::Rejection> {
        When(match command.validate() {
            Err(invalid) => DecisionOutcome::Invalid(invalid),
            Ok(()) => command
                .decide(&self.0)
                .map_or_else(DecisionOutcome::Rejected, DecisionOutcome::Decided),
        })
    }
}

impl<B: Boundary> Debug for Given<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

/// The outcome of a command. See [`given`].
#[must_use = "nothing is tested until `then`"]
#[derive(Debug)]
pub struct When<D, R>(DecisionOutcome<D, R>);

#[derive(Debug, PartialEq)]
enum DecisionOutcome<D, R> {
    Decided(D),
    Rejected(R),
    Invalid(InvalidField),
}

impl<D: Debug + PartialEq, R: Debug + PartialEq> When<D, R> {
    /// Asserts the decided events.
    #[track_caller]
    pub fn then(self, happens: impl Into<D>) {
        assert_eq!(self.0, DecisionOutcome::Decided(happens.into()));
    }

    /// Asserts a rejection.
    #[track_caller]
    pub fn then_rejected(self, rejection: R) {
        assert_eq!(self.0, DecisionOutcome::Rejected(rejection));
    }

    /// Asserts that validation fails on this field.
    #[track_caller]
    pub fn then_invalid(self, field: &str) {
        let DecisionOutcome::Invalid(invalid) = &self.0 else {
            panic!("expected {field} to be invalid; got {:?}", self.0);
        };
        assert_eq!(invalid.field, field, "{invalid}");
    }
}
