//! Where a process manager begins, and under which name its streams stand.
//!
//! Owns [`ProcessSetup`] and [`Begin`]. Always holds: the streams of a manager keep the name that
//! they were begun under, because the ids of its commands derive from it. Not here: the first
//! checkpoint ([`checkpoint`](super::checkpoint)).

use gesta_store::{Category, InvalidName, RecordedAt, StreamName};

use super::ProcessManager;
use crate::aggregate::is_category;

/// The prefix of the streams in which managers keep their checkpoints and what is set aside.
const JOURNAL: &str = "processes:journal";

/// The event at which a process manager begins that is new to a store. It is kept at the first run
/// and means nothing afterwards.
///
/// ```
/// use gesta::{Begin, RecordedAt};
///
/// assert_eq!(Begin::default(), Begin::AtTheStart);
/// assert_ne!(Begin::At(RecordedAt::from_micros(7)), Begin::Now);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// The first event of the store.
    #[default]
    AtTheStart,
    /// The first event after the manager is opened for the first time.
    Now,
    /// The first event that was recorded at this time or later.
    At(RecordedAt),
}

/// A process manager with its settings, for
/// [`Builder::process_set_up`](crate::Builder::process_set_up).
///
/// ```
/// use gesta::{Begin, Gesta, ProcessSetup};
/// # use gesta::{Effects, Input, ProcessManager, Recorded, RecordedAt, Route, prelude::*};
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
/// #     fn route(_: &Recorded<DoorEvent>) -> Route { Route::Ignore }
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
    /// The most inputs that a manager sets aside, unless told otherwise.
    pub const SET_ASIDE_MAX: usize = 10_000;

    /// A manager whose processes begin with this value, settings included.
    pub fn of(manager: P) -> Self {
        Self {
            manager,
            begins: Begin::default(),
            formerly: None,
            set_aside_max: Self::SET_ASIDE_MAX,
        }
    }

    /// Begins here, where the manager is new to the store.
    pub fn begins(self, begins: Begin) -> Self {
        Self { begins, ..self }
    }

    /// Goes on with the streams of the manager that had this name. They keep it, and with them the
    /// ids of the commands and the actor that gives them, so that nothing is done twice. After
    /// several changes of the name: the first one.
    ///
    /// Opening fails when there are streams under the present name, too, or when another manager
    /// has the former name.
    pub fn formerly(self, name: impl Into<String>) -> Self {
        Self { formerly: Some(name.into()), ..self }
    }

    /// Halts the manager, visibly, rather than set aside more inputs than this.
    pub fn set_aside_at_most(self, inputs: usize) -> Self {
        Self { set_aside_max: inputs, ..self }
    }

    pub(super) fn identity(&self) -> Result<Identity, InvalidName> {
        Identity::named(self.formerly.as_deref().unwrap_or(CheckedName::<P>::TEXT))
    }
}

/// A name that makes a category.
struct CheckedName<P>(P);

impl<P: ProcessManager> CheckedName<P> {
    const TEXT: &'static str = {
        assert!(is_category(P::NAME), "a process's NAME is not empty and has neither `-` nor `$`");
        P::NAME
    };
}

/// The names by which a manager is known in the store.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The category of the instances' streams; its text is also the actor of their commands.
    pub(super) category: Category,
    /// The manager's own stream.
    pub(super) journal: StreamName,
}

impl Identity {
    pub(super) fn named(name: &str) -> Result<Self, InvalidName> {
        let category = Category::new(format!("process:{name}"))?;
        Ok(Self { category, journal: StreamName::new(format!("{JOURNAL}-{name}"))? })
    }

    pub(super) fn actor(&self) -> String {
        self.category.as_str().to_owned()
    }

    /// The beginning of the name of each instance's stream.
    pub(super) fn prefix(&self) -> String {
        format!("{}-", self.category.as_str())
    }

    pub(super) fn stream(&self, id: &str) -> Result<StreamName, InvalidName> {
        StreamName::new(format!("{}{id}", self.prefix()))
    }

    /// The id of the instance that has this stream.
    pub(super) fn id_of(&self, stream: &StreamName) -> Option<String> {
        stream.as_str().strip_prefix(&self.prefix()).map(str::to_owned)
    }
}
