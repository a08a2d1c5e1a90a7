//! The read models of a projection: the live one, the rebuild, and the old one.
//!
//! Invariants:
//! - A rebuild becomes live only once it has reached the head and the position of the live read
//!   model, so no reader ever sees less than before.
//! - A rebuild with dead letters, or one that was held, becomes live only after an operator's
//!   confirmation, unless the live read model is damaged or belongs to another history.
//! - An error of the rebuild does not affect the live read model.
//!
//! Not here: the transactions of one read model (`writer`), changes of the set (`lifecycle`) and
//! control messages (`runner`).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gesta_store::{Position, ReadModel, ReadModelId, ReadModelStore};

use super::{
    Apply, OldRows, OperationError, PendingSwitch, Projection, ProjectionState, RebuildProgress,
    Rehearsal, deliveries::Fetched, run_error::RunError, writer::ReadModelWriter,
};
use crate::{Sleep, backoff::Backoff};

pub(super) struct ReadModels<P: Projection, S> {
    pub(super) answering: ReadModelWriter<P, S>,
    pub(super) rebuild_state: RebuildState<P, S>,
    /// The live read model before the last switch-over.
    pub(super) old: Option<ReadModel>,
    pub(super) backoff: Backoff,
}

/// The rebuild, if there is one.
pub(super) enum RebuildState<P: Projection, S> {
    Nothing,
    Running(Box<Rebuild<P, S>>),
    /// Could not be opened or written. Retried after the pause.
    Failing {
        id: ReadModelId,
        trouble: String,
        pause: Sleep,
    },
}

pub(super) struct Rebuild<P: Projection, S> {
    pub(super) writer: ReadModelWriter<P, S>,
    pub(super) head: Position,
    /// Time and position of its start in this run, for the estimate.
    pub(super) began: (SystemTime, Position),
    /// An operator has confirmed the switch-over.
    pub(super) is_confirmed: bool,
    /// An operator wants to confirm it even without dead letters.
    pub(super) is_held: bool,
    /// Resumes rows from before a switch-over.
    pub(super) is_resumed: bool,
}

pub(super) enum RebuildStep<E> {
    Delivery(Result<Fetched<E>, RunError>),
    TryAgain,
}

impl<P, S> ReadModels<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    pub(super) fn new(answering: ReadModelWriter<P, S>) -> Self {
        Self { answering, rebuild_state: RebuildState::Nothing, old: None, backoff: Backoff::new() }
    }

    /// Returns the writer of the rebuild, unless it is being retried.
    pub(super) fn rebuild(&self) -> Option<&ReadModelWriter<P, S>> {
        match &self.rebuild_state {
            RebuildState::Running(rebuild) => Some(&rebuild.writer),
            RebuildState::Nothing | RebuildState::Failing { .. } => None,
        }
    }

    /// Returns the read models that this version writes. It must not write those of other versions.
    fn filled(&mut self) -> impl Iterator<Item = &mut ReadModelWriter<P, S>> {
        let rebuild = match &mut self.rebuild_state {
            RebuildState::Running(rebuild) => Some(&mut rebuild.writer),
            RebuildState::Nothing | RebuildState::Failing { .. } => None,
        };
        let answering = self.answering.is_filled().then_some(&mut self.answering);
        answering.into_iter().chain(rebuild)
    }

    pub(super) async fn retry(&mut self, position: Position) -> OperationResult {
        let mut outcome = Err(OperationError::NoSuchDeadLetter { position });
        for writer in self.filled() {
            outcome = merge_outcomes(outcome, writer.retry(position).await)?;
        }
        outcome
    }

    pub(super) async fn discard(&mut self, position: Position) -> OperationResult {
        let mut outcome = Err(OperationError::NoSuchDeadLetter { position });
        for writer in self.filled() {
            outcome = merge_outcomes(outcome, writer.discard(position).await)?;
        }
        outcome
    }

    /// Rehearses a dead letter in the first read model that has it: the live one, then the rebuild.
    pub(super) async fn rehearse(
        &mut self,
        position: Position,
        data: &Bytes,
    ) -> Result<Rehearsal, OperationError> {
        for writer in self.filled() {
            match writer.rehearse(position, data).await {
                Err(OperationError::NoSuchDeadLetter { .. }) => {}
                rehearsed => return rehearsed,
            }
        }
        Err(OperationError::NoSuchDeadLetter { position })
    }

    /// Confirms the switch-over. Returns false if none awaits confirmation.
    pub(super) fn confirm(&mut self) -> bool {
        let awaits = self.awaits_confirmation();
        match &mut self.rebuild_state {
            RebuildState::Running(rebuild) if awaits => {
                rebuild.is_confirmed = true;
                true
            }
            RebuildState::Running(_) | RebuildState::Nothing | RebuildState::Failing { .. } => {
                false
            }
        }
    }

    pub(super) fn awaits_confirmation(&self) -> bool {
        let RebuildState::Running(rebuild) = &self.rebuild_state else { return false };
        rebuild.is_complete()
            && (rebuild.writer.dead_letters > 0 || rebuild.is_held)
            && !rebuild.is_confirmed
            // Neither dead letters nor a hold are a reason to keep a live read model that is
            // damaged or belongs to another history.
            && self.answering.trouble().is_none()
            && self.answering.has_valid_rows
    }

    pub(super) fn is_due(&self) -> bool {
        // `caught_up` refers to the head at that moment. The live read model may have passed it
        // since.
        self.ready().is_some_and(|rebuild| rebuild.position >= self.answering.position)
    }

    /// Returns the writer of a rebuild that goes live once it reaches the live read model.
    pub(super) fn ready(&self) -> Option<&ReadModelWriter<P, S>> {
        let RebuildState::Running(rebuild) = &self.rebuild_state else { return None };
        let is_ready = rebuild.is_complete() && !self.awaits_confirmation();
        is_ready.then_some(&rebuild.writer)
    }

    /// Waits for the next delivery or retry. Pending forever if there is neither.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> NextWork<P::Event> {
        let delivery = match &mut self.rebuild_state {
            RebuildState::Nothing => self.answering.next().await,
            RebuildState::Failing { pause, .. } => tokio::select! {
                delivery = self.answering.next() => delivery,
                () = pause.as_mut() => return NextWork::Rebuild(RebuildStep::TryAgain),
            },
            RebuildState::Running(rebuild) => tokio::select! {
                delivery = self.answering.next() => delivery,
                delivery = rebuild.writer.next() => {
                    return NextWork::Rebuild(RebuildStep::Delivery(delivery));
                }
            },
        };
        NextWork::Answering(delivery)
    }

    /// Waits for the next delivery of the rebuild. `None` if there is no rebuild.
    ///
    /// Cancel-safe.
    pub(super) async fn next_of_rebuild(&mut self) -> Option<Result<Fetched<P::Event>, RunError>> {
        match &mut self.rebuild_state {
            RebuildState::Running(rebuild) => Some(rebuild.writer.next().await),
            RebuildState::Nothing | RebuildState::Failing { .. } => None,
        }
    }

    pub(super) fn state(&self, now: SystemTime) -> ProjectionState {
        match &self.rebuild_state {
            RebuildState::Running(rebuild) if self.awaits_confirmation() => {
                ProjectionState::AwaitingConfirmation(PendingSwitch {
                    position: rebuild.writer.position,
                    dead_letters: rebuild.writer.dead_letters,
                    dead_letters_before: self.answering.dead_letters,
                    held: rebuild.is_held,
                })
            }
            RebuildState::Running(rebuild) => ProjectionState::Rebuilding(rebuild.progress(now)),
            RebuildState::Failing { trouble, .. } => ProjectionState::Rebuilding(RebuildProgress {
                position: Position::START,
                head: self.answering.position,
                remaining: None,
                halted: Some(trouble.clone()),
            }),
            RebuildState::Nothing => self.answering_state(),
        }
    }

    fn answering_state(&self) -> ProjectionState {
        if let Some(halt) = self.answering.halt() {
            let error = halt.error.clone();
            return ProjectionState::Halted { position: halt.position, error };
        }
        match self.answering.trouble() {
            Some(error) => ProjectionState::Corrupt { error: error.to_owned() },
            None => ProjectionState::Running,
        }
    }

    /// Returns whether no progress is possible without an operator.
    pub(super) fn is_stuck(&self) -> bool {
        let moves = match &self.rebuild_state {
            RebuildState::Nothing => false,
            // It is opened again after its pause.
            RebuildState::Failing { .. } => true,
            RebuildState::Running(rebuild) => {
                !rebuild.writer.is_stopped() && !self.awaits_confirmation()
            }
        };
        // It is enough that one of the two moves.
        self.answering.is_stopped() && !moves
    }

    pub(super) fn old_rows(&self) -> Option<OldRows> {
        let old = self.old.as_ref()?;
        let position = old.checkpoint.map_or(Position::START, |checkpoint| checkpoint.position);
        Some(OldRows { build: old.id.build, version: old.version, position })
    }
}

pub(super) enum NextWork<E> {
    Answering(Result<Fetched<E>, RunError>),
    Rebuild(RebuildStep<E>),
}

pub(super) type OperationResult = Result<(), OperationError>;

/// Combines the results of two read models. A dead letter may exist in one of them only; any other
/// error ends the operation.
fn merge_outcomes(
    before: OperationResult,
    now: OperationResult,
) -> Result<OperationResult, OperationError> {
    match now {
        Err(OperationError::NoSuchDeadLetter { .. }) => Ok(before),
        other => other.map(Ok),
    }
}

impl<P, S> Rebuild<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Returns whether it has reached the head and still advances.
    fn is_complete(&self) -> bool {
        self.writer.caught_up && self.writer.halt().is_none()
    }

    fn progress(&self, now: SystemTime) -> RebuildProgress {
        let position = self.writer.position;
        let (since, from) = self.began;
        let done = position.number().saturating_sub(from.number());
        let left = self.head.number().saturating_sub(position.number());
        let took = now.duration_since(since).unwrap_or_default();
        let remaining = (done > 0).then(|| estimate(took, left, done));
        let halted = self.writer.halt().map(|halt| halt.error.clone());
        RebuildProgress { position, head: self.head, remaining, halted }
    }
}

/// Estimates the remaining time from the pace so far.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn estimate(took: Duration, left: u64, done: u64) -> Duration {
    took.mul_f64(left as f64 / done as f64)
}
