//! The start position of a process manager, and the names of its streams.
//!
//! Owns [`ProcessSetup`].
//!
//! Invariant: a manager's streams keep their first name, because the ids of its commands derive
//! from it.
//!
//! Not here: the first checkpoint ([`checkpoint`](super::checkpoint)).

use gesta_store::{Category, InvalidName, StreamName};

use super::ProcessManager;
use crate::{Begin, domain::is_category};

/// Prefix of the streams that hold a manager's checkpoints and set-aside inputs.
const JOURNAL: &str = "processes:journal";
/// Prefix of the categories of instances' streams.
const INSTANCES: &str = "process:";

/// A process manager with its settings, for
/// [`Builder::process_set_up`](crate::Builder::process_set_up).
///
/// ```
/// use gesta::{Begin, Gesta, ProcessSetup};
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
/// # #[derive(Clone, Default)]
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
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let porter = ProcessSetup::of(Porter).begins(Begin::Now).formerly("doorkeeper");
/// let gesta = Gesta::at("memory:").process_set_up(porter).open().await?;
/// assert_eq!(gesta.process_managers()[0].name, "porter");
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a manager runs once it is given to `Builder::process_set_up`"]
pub struct ProcessSetup<P> {
    pub(super) manager: P,
    pub(super) begins: Begin,
    pub(super) formerly: Option<String>,
    pub(super) set_aside_max: usize,
}

impl<P: ProcessManager> ProcessSetup<P> {
    /// Default maximum of set-aside inputs.
    pub const SET_ASIDE_MAX: usize = 10_000;

    /// Creates a setup whose processes start from this value, settings included.
    pub fn of(manager: P) -> Self {
        Self {
            manager,
            begins: Begin::default(),
            formerly: None,
            set_aside_max: Self::SET_ASIDE_MAX,
        }
    }

    /// Sets the first event, for a manager that is new to the store.
    pub fn begins(self, begins: Begin) -> Self {
        Self { begins, ..self }
    }

    /// Takes over the streams of the manager that was registered as `name`.
    ///
    /// The streams, the command ids and the actor keep the former name, so no command is executed
    /// twice. After several renames, give the first name.
    ///
    /// Opening fails if streams under the current name exist too, or if another manager has the
    /// former name.
    pub fn formerly(self, name: impl Into<String>) -> Self {
        Self { formerly: Some(name.into()), ..self }
    }

    /// Sets the maximum of set-aside inputs. Beyond it the manager halts.
    pub fn set_aside_at_most(self, inputs: usize) -> Self {
        Self { set_aside_max: inputs, ..self }
    }

    pub(super) fn identity(&self) -> Result<Identity, InvalidName> {
        Identity::named(self.formerly.as_deref().unwrap_or(CheckedName::<P>::TEXT))
    }
}

/// A name that is valid as a category.
struct CheckedName<P>(P);

impl<P: ProcessManager> CheckedName<P> {
    const TEXT: &'static str = {
        // Evaluated when the manager is compiled: a wrong name never reaches a store.
        assert!(is_category(P::NAME), "a process's NAME is not empty and has neither `-` nor `$`");
        P::NAME
    };
}

/// Returns whether streams of this category are those of process managers and their instances.
pub(crate) fn is_of_processes(category: &str) -> bool {
    category == JOURNAL || category.starts_with(INSTANCES)
}

/// The names of a manager in the store.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Category of the instances' streams. Also the actor of their commands.
    pub(super) category: Category,
    /// Stream of the manager itself.
    pub(super) journal: StreamName,
}

impl Identity {
    pub(super) fn named(name: &str) -> Result<Self, InvalidName> {
        let category = Category::new(format!("{INSTANCES}{name}"))?;
        Ok(Self { category, journal: StreamName::new(format!("{JOURNAL}-{name}"))? })
    }

    pub(super) fn actor(&self) -> String {
        self.category.as_str().to_owned()
    }

    /// Prefix of the names of instance streams.
    pub(super) fn prefix(&self) -> String {
        format!("{}-", self.category.as_str())
    }

    pub(super) fn stream(&self, id: &str) -> Result<StreamName, InvalidName> {
        StreamName::new(format!("{}{id}", self.prefix()))
    }

    /// Returns the id of the instance with this stream.
    pub(super) fn id_of(&self, stream: &StreamName) -> Option<String> {
        stream.as_str().strip_prefix(&self.prefix()).map(str::to_owned)
    }
}
