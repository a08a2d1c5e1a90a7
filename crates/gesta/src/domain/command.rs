//! Commands: requests that are decided.
//!
//! Owns: [`Command`], a request about one boundary; [`Decide`], the business decision on it;
//! [`InvalidField`], the result of validation. Invariant: a decision is pure and may run more than
//! once; the time, new ids and prices are fields of the command. Not here: execution
//! ([`Gesta::execute`]).
//!
//! [`Gesta::execute`]: crate::Gesta::execute

use serde::{Serialize, de::DeserializeOwned};

use crate::{Boundary, CommandPayload, EncodeError, PayloadDigest, Rejection};

/// A request to change something, in the imperative: `ShipOrder`. Usually derived.
///
/// Fields filled in at the edge, such as the time or a generated id, differ when a client repeats
/// its request. Mark them with `#[command(edge)]` to leave them out of the digest that recognizes a
/// repeat.
///
/// A later version of the command may have further fields: a field that is an `Option` or has
/// `#[serde(default)]` counts as absent while it has its default value, so a client's retry stays a
/// repeat across the deployment. This holds inside of fields as well.
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    note = "derive it: `#[derive(Command, Serialize, Deserialize)]` with \
            `#[command(name = \"…\", on = Aggregate)]`"
)]
pub trait Command: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The command's name. Stable: stored with command ids and process managers' reactions.
    const NAME: &'static str;
    /// Required existence of the first aggregate of `On`.
    const EXISTENCE: Existence = Existence::Existing;
    /// The consistency boundary that it decides on.
    type On: Boundary;

    /// Returns the ids of the aggregates that it decides on.
    fn id(&self) -> <Self::On as Boundary>::Id;

    /// Checks the command's fields on their own, before anything is read.
    ///
    /// # Errors
    /// [`InvalidField`] with the path of the field to correct.
    fn validate(&self) -> Result<(), InvalidField> {
        Ok(())
    }

    /// Returns the fields that distinguish a repeat from another use of the same command id.
    ///
    /// # Errors
    /// [`EncodeError`] if the command has no JSON form. Correct its type.
    fn payload(&self) -> Result<CommandPayload, EncodeError> {
        CommandPayload::whole(Self::NAME, self)
    }

    /// Returns the digest of the [`payload`](Self::payload), as it is stored.
    ///
    /// # Errors
    /// [`EncodeError`] if the command has no JSON form. Correct its type.
    fn payload_digest(&self) -> Result<PayloadDigest, EncodeError> {
        Ok(self.payload()?.digest())
    }
}

/// Required existence of the first aggregate of a command.
///
/// ```
/// use gesta::Existence;
///
/// assert_eq!(Existence::default(), Existence::Existing);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existence {
    /// The stream must have no events: the command creates the aggregate. Fails with
    /// [`ExecuteError::AlreadyExists`](crate::ExecuteError::AlreadyExists).
    New,
    /// The stream must have events. Fails with
    /// [`ExecuteError::NotFound`](crate::ExecuteError::NotFound), which is never a rejection.
    #[default]
    Existing,
    /// No requirement.
    Either,
}

/// The business decision on a command.
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
    /// Reasons for which the business refuses the command; `Infallible` if it never does.
    type Rejection: Rejection;

    /// Decides which events follow from the command, given the current state.
    ///
    /// Pure and repeatable: after a conflict it runs again on newer state.
    ///
    /// # Errors
    /// A rejection. It is not remembered, so the same command may be accepted later.
    fn decide(&self, state: &State<Self>) -> Decision<Self>;
}

/// The state that a command decides on: a tuple of aggregates for a tuple of boundaries.
///
/// ```
/// use gesta::{State, prelude::*};
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

/// Result of a decision: [`Events`](crate::Events) for each aggregate, or a rejection.
///
/// ```
/// use gesta::{State, prelude::*};
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

/// A validation error of one field of a command.
///
/// ```
/// use gesta::InvalidField;
///
/// let invalid = InvalidField::new("lines[0].quantity", "must be at least 1");
/// assert_eq!(invalid.to_string(), "lines[0].quantity: must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
#[non_exhaustive]
pub struct InvalidField {
    /// Path of the field, such as `lines[0].quantity`.
    pub field: String,
    /// The problem with its value, as a predicate: `must be at least 1`.
    pub reason: String,
}

impl InvalidField {
    /// Creates an error for a field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}
