//! The commands that a process may send, as one type.
//!
//! Owns: [`CommandSet`] for tuples of up to eight commands.
//!
//! Invariant: the compiler checks that a sent command belongs to the set, so every stored command
//! can be decoded.
//!
//! Not here: sending.

use crate::{Boundary, CommandContext, CommandRequest, Decide, Registry, TypeShape};

/// The commands that a process may send: a tuple of up to eight.
///
/// ```
/// use gesta::CommandSet;
/// # use gesta::prelude::*;
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
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-door", on = Door, either)]
/// # struct OpenDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened.into()) }
/// # }
///
/// type Commands = (OpenDoor,);
/// assert_eq!(Commands::NAMES, ["open-door"]);
/// ```
pub trait CommandSet: Send + Sync + 'static {
    /// Names of the commands.
    const NAMES: &'static [&'static str];

    /// Shapes of the commands' JSON, in the order of the names.
    #[must_use]
    fn shapes() -> Vec<TypeShape>;

    /// Calls `each` with the category and the events of each aggregate that the commands decide on.
    #[doc(hidden)]
    fn events(each: &mut dyn FnMut(&'static str, Registry));

    /// Decodes a command that was stored as JSON.
    ///
    /// # Errors
    /// [`UnreadableCommand`] if the command is not in the set, or the JSON does not match its type.
    fn request(
        context: CommandContext,
        name: &str,
        json: &str,
    ) -> Result<CommandRequest, UnreadableCommand>;
}

/// Membership of a command in a set. Sealed: implemented for tuples of commands.
///
/// The compiler infers `Index`, the position in the tuple.
///
/// ```
/// use gesta::{CommandSet, Includes};
/// # use gesta::prelude::*;
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
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-door", on = Door, either)]
/// # struct OpenDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened.into()) }
/// # }
///
/// fn names_including<C, S: Includes<C, Index>, Index>() -> &'static [&'static str] {
///     S::NAMES
/// }
/// assert_eq!(names_including::<OpenDoor, (OpenDoor,), _>(), ["open-door"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{C}` is not among the commands of this process",
    note = "add it to the tuple `type Commands` of the `ProcessManager`"
)]
pub trait Includes<C, Index>: CommandSet + sealed::Sealed<C, Index> {}

mod sealed {
    //! The seal of [`Includes`](super::Includes), and its index type.

    pub trait Sealed<C, Index> {}

    /// Position of a command in a tuple, from 0.
    #[derive(Clone, Copy, Debug)]
    pub struct CommandIndex<const INDEX: usize>;
}

/// The reason why a stored command cannot be decoded. Deploy code that can decode it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableCommand {
    /// The process no longer sends this command.
    #[error("the process does not send command {name}")]
    Unknown {
        /// Name of the command.
        name: String,
    },
    /// The JSON does not match the command's type.
    #[error("the payload does not match command {name}")]
    BadPayload {
        /// Name of the command.
        name: String,
        /// Error of serde.
        source: serde_json::Error,
    },
}

fn read<C: Decide>(json: &str) -> Result<C, UnreadableCommand> {
    let bad = |source| UnreadableCommand::BadPayload { name: C::NAME.to_owned(), source };
    serde_json::from_str(json).map_err(bad)
}

macro_rules! command_set {
    ($($command:ident $place:literal),+) => {
        impl<$($command: Decide),+> CommandSet for ($($command,)+) {
            const NAMES: &'static [&'static str] = &[$($command::NAME),+];

            fn shapes() -> Vec<TypeShape> {
                vec![$(TypeShape::of::<$command>()),+]
            }

            fn events(each: &mut dyn FnMut(&'static str, Registry)) {
                $(<$command::On as Boundary>::events(each);)+
            }

            fn request(
                context: CommandContext,
                name: &str,
                json: &str,
            ) -> Result<CommandRequest, UnreadableCommand> {
                $(if name == $command::NAME {
                    return Ok(CommandRequest::new(context, read::<$command>(json)?));
                })+
                Err(UnreadableCommand::Unknown { name: name.to_owned() })
            }
        }
        includes!(($($command),+) $($command $place),+);
    };
}

macro_rules! includes {
    ($all:tt $($command:ident $place:literal),+) => {
        $(includes_one!($all $command $place);)+
    };
}

macro_rules! includes_one {
    (($($all:ident),+) $command:ident $place:literal) => {
        impl<$($all: Decide),+> sealed::Sealed<$command, sealed::CommandIndex<$place>>
            for ($($all,)+) {}
        impl<$($all: Decide),+> Includes<$command, sealed::CommandIndex<$place>>
            for ($($all,)+) {}
    };
}

command_set!(A 0);
command_set!(A 0, B 1);
command_set!(A 0, B 1, C 2);
command_set!(A 0, B 1, C 2, D 3);
command_set!(A 0, B 1, C 2, D 3, E 4);
command_set!(A 0, B 1, C 2, D 3, E 4, F 5);
command_set!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
command_set!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
