//! How a projection is: what it does, how far it is, how far behind.

use std::time::Duration;

use gesta_store::{Checkpoint, Position, ReadModelId};

/// What a projection does at the moment.
///
/// ```
/// use gesta::{Position, ProjectionState};
///
/// let error = "no such customer".to_owned();
/// let halted = ProjectionState::Halted { position: Position::new(7), error };
/// assert_ne!(halted, ProjectionState::Running);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectionState {
    /// Opens its read model.
    Starting,
    /// Applies events as they come.
    Running,
    /// Fills a fresh read model while the one before answers.
    Rebuilding(RebuildProgress),
    /// A rebuild has reached the head and has set events aside. It answers once an operator has
    /// confirmed it; until then the read model before does.
    AwaitingConfirmation(PendingSwitch),
    /// The read model that answers is damaged, or cannot be opened. Order a rebuild.
    Corrupt {
        /// The read model, its place and what the database says.
        error: String,
    },
    /// Stopped before an event that it cannot apply.
    Halted {
        /// Where the event is.
        position: Position,
        /// Why it cannot be applied.
        error: String,
    },
}

/// A switch-over that awaits an operator's confirmation.
///
/// ```
/// use gesta::{PendingSwitch, Position};
///
/// let pending =
///     PendingSwitch { position: Position::new(100), dead_letters: 3, dead_letters_before: 1 };
/// assert!(pending.dead_letters > pending.dead_letters_before, "rows would be missing");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSwitch {
    /// The place up to which the new read model has handled everything.
    pub position: Position,
    /// Events that the new read model has set aside.
    pub dead_letters: usize,
    /// Events that the read model that answers has set aside.
    pub dead_letters_before: usize,
}

/// The rows from before the last switch-over, which are kept until they are dropped.
///
/// ```
/// use gesta::{OldRows, Position};
///
/// let old = OldRows { build: 1, version: 1, position: Position::new(100) };
/// assert_eq!(old.version, 1, "a program with this version of the projection can go on with them");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldRows {
    /// The build number of their read model.
    pub build: u64,
    /// The version of the projection that filled them.
    pub version: u32,
    /// The place up to which they have everything.
    pub position: Position,
}

/// How far a rebuild is.
///
/// ```
/// use gesta::{Position, RebuildProgress};
///
/// let half = RebuildProgress {
///     position: Position::new(50),
///     head: Position::new(100),
///     remaining: None,
///     halted: None,
/// };
/// assert!((half.fraction() - 0.5).abs() < f64::EPSILON);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildProgress {
    /// Everything up to here is handled.
    pub position: Position,
    /// Where the store ended when that was last looked at.
    pub head: Position,
    /// How long it will take at the pace so far, once there is one.
    pub remaining: Option<Duration>,
    /// Why it does not go on, if it does not.
    pub halted: Option<String>,
}

impl RebuildProgress {
    /// The part that is done, from 0 to 1, as far as positions tell.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a fraction to look at")]
    pub fn fraction(&self) -> f64 {
        if self.position >= self.head {
            return 1.0;
        }
        self.position.number() as f64 / self.head.number() as f64
    }
}

/// How far a projection is behind the head of the store.
///
/// ```
/// use gesta::Lag;
///
/// assert!(Lag::NONE.time.is_zero());
/// assert_eq!(Lag::NONE.events, Some(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Events after the last handled one, of any type, where the store counts positions.
    pub events: Option<u64>,
    /// How much later than the first event that is still to be applied the head was recorded.
    pub time: Duration,
}

impl Lag {
    /// At the head.
    pub const NONE: Self = Self { events: Some(0), time: Duration::ZERO };
}

/// How a projection is.
///
/// ```
/// use gesta::{Lag, Position, ProjectionState, ProjectionStatus};
///
/// let status = ProjectionStatus {
///     name: "openings",
///     version: 1,
///     state: ProjectionState::Running,
///     position: Position::new(7),
///     checkpoint: None,
///     lag: Lag::NONE,
///     dead_letters: 0,
///     old_rows: None,
///     trouble: None,
/// };
/// assert_eq!(status.state, ProjectionState::Running);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// The version that the program has.
    pub version: u32,
    /// What it does.
    pub state: ProjectionState,
    /// How far the read model that answers is: everything up to here is handled.
    pub position: Position,
    /// How far it durably is.
    pub checkpoint: Option<Checkpoint>,
    /// How far it is behind.
    pub lag: Lag,
    /// How many dead letters it has.
    pub dead_letters: usize,
    /// The rows from before the last switch-over, if they are still kept.
    pub old_rows: Option<OldRows>,
    /// What it is trying again at the moment, if it is.
    pub trouble: Option<String>,
}

/// What the runner tells whoever waits or looks.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: ProjectionState,
    pub(crate) answering: Option<ReadModelId>,
    /// The read models that are being filled: whose dead letters count.
    pub(crate) filled: Vec<ReadModelId>,
    /// Whether nothing will move until somebody does something.
    pub(crate) halted: bool,
    pub(crate) position: Position,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) dead_letters: usize,
    pub(crate) old_rows: Option<OldRows>,
    /// The damage of the read model that answers.
    pub(crate) damage: Option<String>,
    pub(crate) trouble: Option<String>,
    /// The position at which the read model that answers has everything for the first time, as long
    /// as it is not there.
    pub(crate) fills_to: Option<Position>,
}

impl Progress {
    pub(crate) const fn starting() -> Self {
        Self {
            state: ProjectionState::Starting,
            answering: None,
            filled: Vec::new(),
            halted: false,
            position: Position::START,
            checkpoint: None,
            dead_letters: 0,
            old_rows: None,
            damage: None,
            trouble: None,
            fills_to: None,
        }
    }
}
