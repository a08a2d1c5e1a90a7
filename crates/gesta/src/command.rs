//! Commands: requests that are decided.
//!
//! Owns: [`Command`], what one is about; [`Decide`], how the business answers it; what may be wrong
//! with one. Always holds: a decision is pure and may be asked for again; the time, new ids and
//! prices are fields of the command. Not here: executing one ([`Gesta::execute`]).
//!
//! [`Gesta::execute`]: crate::Gesta::execute

use serde::{Serialize, de::DeserializeOwned};

use crate::{Boundary, EncodeError, PayloadDigest, Rejection};

/// A request to change something: `ShipOrder`. Derive it.
///
/// Fields that the edge fills, such as the time or a fresh id, differ when a client repeats its
/// request. Mark them with `#[command(edge)]`, so that the repeat is known for one.
///
/// ```
/// use gesta::prelude::*;
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
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
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(name = "open-door", on = Door, either, validate = OpenDoor::check)]
/// struct OpenDoor {
///     #[command(id)]
///     door: u32,
///     key: String,
///     #[command(edge)]
///     now: u64,
/// }
///
/// impl OpenDoor {
///     fn check(&self) -> Result<(), InvalidField> {
///         if self.key.is_empty() { Err(InvalidField::new("key", "is empty")) } else { Ok(()) }
///     }
/// }
///
/// let open = |now| OpenDoor { door: 7, key: "gold".to_owned(), now };
/// assert_eq!(open(0).id(), 7);
/// assert_eq!(open(0).payload_digest()?, open(1).payload_digest()?);
/// assert!(OpenDoor { key: String::new(), ..open(0) }.validate().is_err());
/// # Ok::<(), gesta::EncodeError>(())
/// ```
pub trait Command: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name, stable for ever.
    const NAME: &'static str;
    /// What must be there already: judged on the first aggregate of `On`.
    const EXISTENCE: Existence = Existence::Existing;
    /// What it decides on.
    type On: Boundary;

    /// Which aggregates.
    fn id(&self) -> <Self::On as Boundary>::Id;

    /// Whether the request makes sense by itself, before anything is read.
    ///
    /// # Errors
    /// [`InvalidField`] with the field to correct.
    fn validate(&self) -> Result<(), InvalidField> {
        Ok(())
    }

    /// What tells a repeat from another use of the same command id.
    ///
    /// # Errors
    /// [`EncodeError`] when the command has no JSON form.
    fn payload_digest(&self) -> Result<PayloadDigest, EncodeError> {
        PayloadDigest::of(Self::NAME, self)
    }
}

/// Whether the first aggregate that a command is about must have events already.
///
/// ```
/// use gesta::Existence;
///
/// assert_eq!(Existence::default(), Existence::Existing);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existence {
    /// It must not: the command creates it.
    New,
    /// It must; an unknown id is *not found*, never a rejection.
    #[default]
    Existing,
    /// Both are fine.
    Either,
}

/// How the business answers a command.
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
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-door", on = Door)]
/// # struct OpenDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
///
/// #[derive(Debug, PartialEq, thiserror::Error, Rejection)]
/// #[error("the door is open already")]
/// #[rejection(code = "already-open")]
/// struct AlreadyOpen;
///
/// impl Decide for OpenDoor {
///     type Rejection = AlreadyOpen;
///
///     fn decide(&self, door: &Door) -> Decision<Self> {
///         if door.open { Err(AlreadyOpen) } else { Ok(DoorOpened.into()) }
///     }
/// }
///
/// assert_eq!(OpenDoor { door: 7 }.decide(&Door { open: true }), Err(AlreadyOpen));
/// given::<Door>([]).when(OpenDoor { door: 7 }).then(DoorOpened);
/// given::<Door>([DoorOpened]).when(OpenDoor { door: 7 }).then_rejected(AlreadyOpen);
/// ```
pub trait Decide: Command {
    /// The ways in which the business may say no; `Infallible` if it never does.
    type Rejection: Rejection;

    /// What happens, judged by what has happened.
    ///
    /// # Errors
    /// A rejection; it is not remembered, so the same command may be accepted later.
    fn decide(&self, state: &State<Self>) -> Decision<Self>;
}

/// What a command decides on, as its events have made it: of a tuple, a tuple.
///
/// ```
/// use gesta::prelude::*;
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
/// # #[command(name = "open-door", on = (Door, Vec<Door>), id = OpenDoor::doors)]
/// # struct OpenDoor;
/// # impl OpenDoor {
/// #     fn doors(&self) -> (u32, Vec<u32>) { (1, vec![2, 3]) }
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, (_, others): &State<Self>) -> Decision<Self> {
/// #         Ok((DoorOpened.into(), others.iter().map(|_| Events::none()).collect()))
/// #     }
/// # }
///
/// // `OpenDoor` decides on `(Door, Vec<Door>)`.
/// let state: State<OpenDoor> = (Door, vec![Door, Door]);
/// assert!(OpenDoor.decide(&state).is_ok());
/// ```
pub type State<C> = <<C as Command>::On as Boundary>::State;

/// What a command's decision may be: [`Events`](crate::Events) for each aggregate, or a rejection.
///
/// ```
/// use gesta::prelude::*;
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
/// # #[command(name = "open-door", on = (Door, Vec<Door>), id = OpenDoor::doors)]
/// # struct OpenDoor;
/// # impl OpenDoor {
/// #     fn doors(&self) -> (u32, Vec<u32>) { (1, vec![2, 3]) }
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, (_, others): &State<Self>) -> Decision<Self> {
/// #         Ok((DoorOpened.into(), others.iter().map(|_| Events::none()).collect()))
/// #     }
/// # }
///
/// // `OpenDoor` decides on `(Door, Vec<Door>)`.
/// let decision: Decision<OpenDoor> = OpenDoor.decide(&(Door, vec![Door]));
/// assert_eq!(decision, Ok((DoorOpened.into(), vec![Events::none()])));
/// ```
pub type Decision<C> = Result<<<C as Command>::On as Boundary>::Decided, <C as Decide>::Rejection>;

/// What is wrong with a command, and in which field of it.
///
/// ```
/// use gesta::InvalidField;
///
/// let invalid = InvalidField::new("lines[0].quantity", "must be at least 1");
/// assert_eq!(invalid.to_string(), "lines[0].quantity: must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    /// The path to the field.
    pub field: String,
    /// What must change.
    pub reason: String,
}

impl InvalidField {
    /// This field, for this reason.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}
