//! Status of a projection: state, position and lag.

use std::time::Duration;

use gesta_store::{
    CacheScope, Checkpoint, Incarnation, LeaseName, NodeName, Position, ReadModelId,
};

/// The current state of a projection.
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
    /// Opening the read models.
    Starting,
    /// Another node runs it, or none does at the moment. Queries read the read model that all nodes
    /// share.
    Waiting,
    /// Applying events as they are recorded.
    Running,
    /// Paused by an operator until resumed, or until the application is opened again.
    /// [`ProjectionStatus::resumes_as`] has what it goes on with.
    Paused,
    /// Filling a new read model while the previous one answers queries.
    Rebuilding(RebuildProgress),
    /// A rebuild has reached the head with dead letters, or was held. It becomes live once an
    /// operator confirms it; until then the previous read model answers queries.
    AwaitingConfirmation(PendingSwitch),
    /// The live read model is damaged or cannot be opened. Start a rebuild.
    Corrupt {
        /// The read model, its file and the database error.
        error: String,
    },
    /// Stopped before an event that cannot be applied.
    Halted {
        /// Position of the event.
        position: Position,
        /// Error of the last attempt.
        error: String,
    },
}

/// A switch-over that awaits an operator's confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingSwitch {
    /// Position up to which the new read model has handled all events.
    pub position: Position,
    /// Number of dead letters of the new read model.
    pub dead_letters: usize,
    /// Number of dead letters of the live read model.
    pub dead_letters_before: usize,
    /// An operator wants to confirm it even without dead letters.
    pub held: bool,
}

/// The rows from before the last switch-over, kept until they are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldRows {
    /// Build number of their read model.
    pub build: u64,
    /// Version of the projection that filled them.
    pub version: u32,
    /// Position up to which they include all events.
    pub position: Position,
}

/// Progress of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildProgress {
    /// Position up to which all events are handled.
    pub position: Position,
    /// Last known head of the store.
    pub head: Position,
    /// Estimated remaining time. `None` until the first event is handled.
    pub remaining: Option<Duration>,
    /// The error that halts the rebuild, if it is halted.
    pub halted: Option<String>,
}

impl RebuildProgress {
    /// Completed fraction, from 0 to 1, computed from positions.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a fraction for display")]
    pub fn fraction(&self) -> f64 {
        if self.position >= self.head {
            return 1.0;
        }
        self.position.number() as f64 / self.head.number() as f64
    }
}

/// Distance of a projection from the head of the store.
///
/// ```
/// use gesta::Lag;
///
/// assert!(Lag::NONE.time.is_zero());
/// assert_eq!(Lag::NONE.events, Some(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Number of events of any type after the last handled one. `None` if the store's positions
    /// have gaps.
    pub events: Option<u64>,
    /// Time between the recording of the first unapplied event and that of the head.
    pub time: Duration,
}

impl Lag {
    /// No lag: the projection is at the head.
    pub const NONE: Self = Self { events: Some(0), time: Duration::ZERO };
}

/// A projection with its state, position and lag.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectionStatus {
    /// Name of the projection.
    pub name: &'static str,
    /// Version of the projection in this program.
    pub version: u32,
    /// Current state.
    pub state: ProjectionState,
    /// State that a paused projection goes on with when it is resumed, such as a rebuild that
    /// awaits confirmation. `None` for one that is not paused.
    pub resumes_as: Option<ProjectionState>,
    /// Position up to which the live read model has handled all events.
    pub position: Position,
    /// Stored checkpoint of the live read model.
    pub checkpoint: Option<Checkpoint>,
    /// Appends apply its events in their own transaction, as long as it is not behind.
    pub inline: bool,
    /// Distance from the head of the store.
    pub lag: Lag,
    /// Number of dead letters.
    pub dead_letters: usize,
    /// Rows from before the last switch-over, if they are kept.
    pub old_rows: Option<OldRows>,
    /// The error that is being retried, if any.
    pub trouble: Option<String>,
    /// Name of its lease. `None` without [`Nodes`](crate::Nodes).
    pub lease: Option<LeaseName>,
    /// The node that runs it, as far as this node knows. `None` without [`Nodes`](crate::Nodes).
    pub runs_on: Option<NodeName>,
    /// Its partitions, by index. Empty if it is not divided.
    pub partitions: Vec<PartitionStatus>,
}

/// A partition of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Index, from 0.
    pub index: u32,
    /// Position up to which its events are handled. `None` on a node that does not run it.
    pub position: Option<Position>,
    /// The error that is being retried, if any.
    pub trouble: Option<String>,
    /// Name of its lease. `None` without [`Nodes`](crate::Nodes).
    pub lease: Option<LeaseName>,
    /// The node that runs it, as far as this node knows. `None` without [`Nodes`](crate::Nodes).
    pub runs_on: Option<NodeName>,
}

/// A read model that takes part in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InlineReadModel {
    pub(crate) id: ReadModelId,
    /// It answers queries, so that its failures are those of appends.
    pub(crate) is_live: bool,
}

/// Status that the runner publishes to queries, health and operators.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionProgress {
    pub(crate) state: ProjectionState,
    /// State behind a pause. `None` without one.
    pub(crate) resumes_as: Option<ProjectionState>,
    pub(crate) answering: Option<ReadModelId>,
    /// Read models that take part in appends, if the projection is inline.
    pub(crate) inline_into: Vec<InlineReadModel>,
    /// The checkpoint of a live read model that appends of this program have moved last.
    pub(crate) inline_reached: Option<(ReadModelId, Checkpoint)>,
    /// Read models that this version fills. Their dead letters can be retried.
    pub(crate) filled: Vec<ReadModelId>,
    /// No progress is possible without an operator.
    pub(crate) halted: bool,
    pub(crate) position: Position,
    /// The incarnation of the store that the position belongs to. `None` if it is unknown.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) dead_letters: usize,
    pub(crate) old_rows: Option<OldRows>,
    /// Damage of the live read model.
    pub(crate) damage: Option<String>,
    pub(crate) trouble: Option<String>,
    /// Position that the live read model must reach before its rows are first complete. `None` once
    /// it has reached it.
    pub(crate) fills_to: Option<Position>,
    /// The node that runs it, as far as this node knows.
    pub(crate) runs_on: Option<NodeName>,
}

impl ProjectionProgress {
    pub(crate) const fn starting() -> Self {
        Self {
            state: ProjectionState::Starting,
            resumes_as: None,
            answering: None,
            inline_into: Vec::new(),
            inline_reached: None,
            filled: Vec::new(),
            halted: false,
            position: Position::START,
            incarnation: None,
            checkpoint: None,
            dead_letters: 0,
            old_rows: None,
            damage: None,
            trouble: None,
            fills_to: None,
            runs_on: None,
        }
    }

    /// Returns the state apart from a pause.
    pub(crate) const fn state_of_work(&self) -> &ProjectionState {
        match &self.resumes_as {
            Some(state) => state,
            None => &self.state,
        }
    }

    /// Returns the scope of cached answers to queries, if one is known.
    pub(crate) fn cache_scope(&self) -> Option<CacheScope> {
        let (read_model, incarnation) = (self.answering.clone()?, self.incarnation?);
        Some(CacheScope { read_model, incarnation })
    }

    /// Takes over a checkpoint that an append has moved. Returns `true` if it is news.
    pub(crate) fn reach_inline(&mut self, id: ReadModelId, checkpoint: Checkpoint) -> bool {
        let is_of_history =
            self.checkpoint.is_none_or(|own| own.incarnation == checkpoint.incarnation);
        if self.answering.as_ref() != Some(&id) || !is_of_history {
            return false;
        }
        let is_news = checkpoint.position > self.position;
        self.position = self.position.max(checkpoint.position);
        self.incarnation = Some(checkpoint.incarnation);
        if self.checkpoint.is_none_or(|own| own.position < checkpoint.position) {
            self.checkpoint = Some(checkpoint);
        }
        self.fills_to = self.fills_to.filter(|to| self.position < *to);
        self.inline_reached = Some((id, checkpoint));
        is_news
    }

    /// Replaces the progress by what the projection's own task knows, which may be older than what
    /// appends have done.
    pub(crate) fn replace(&mut self, known: Self) {
        let reached = self.inline_reached.take();
        *self = known;
        if let Some((id, checkpoint)) = reached {
            self.reach_inline(id, checkpoint);
        }
    }
}
