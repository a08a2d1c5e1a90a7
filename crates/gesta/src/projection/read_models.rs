//! The read models of a projection: the live one, the rebuild, and the old one.
//!
//! Invariants:
//! - A rebuild becomes live only once it has reached the head and the position of the live read
//!   model, so no reader ever sees less than before.
//! - A rebuild with dead letters becomes live only after an operator's confirmation, unless the
//!   live read model is damaged or of another history.
//! - An error of the rebuild does not affect the live read model.
//!
//! Not here: the transactions of one read model (`writer`) and control messages (`runner`).

use std::time::{Duration, SystemTime};

use gesta_store::{
    Checkpoint, CreateReadModel, Delivery, Position, ReadModel, ReadModelId, ReadModelStore,
    ReadModelTx, Stage,
};

use super::{
    Apply, OldRows, OperationError, PendingSwitch, ProjectionState, RebuildProgress,
    backoff::Backoff,
    in_one_line,
    provenance::{Outdated, Provenance},
    runner::ProjectionRunner,
    writer::{ReadModelWriter, RunError},
};
use crate::{EventSet, Sleep};

/// Pause before a live read model that cannot be opened is opened again, while a rebuild runs.
const REOPEN_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct ReadModels<P, S> {
    pub(super) answering: ReadModelWriter<P, S>,
    pub(super) rebuild_state: RebuildState<P, S>,
    /// The live read model before the last switch-over.
    pub(super) old: Option<ReadModel>,
    backoff: Backoff,
}

/// The rebuild, if there is one.
pub(super) enum RebuildState<P, S> {
    Nothing,
    ReadModelWriter(Box<Rebuild<P, S>>),
    /// Could not be opened or written. Retried after the pause.
    Failing {
        id: ReadModelId,
        trouble: String,
        pause: Sleep,
    },
}

pub(super) struct Rebuild<P, S> {
    writer: ReadModelWriter<P, S>,
    head: Position,
    /// Time and position of its start in this run, for the estimate.
    began: (SystemTime, Position),
    /// An operator has confirmed the switch-over despite dead letters.
    is_confirmed: bool,
    /// Resumes rows from before a switch-over.
    is_resumed: bool,
}

pub(super) enum RebuildStep {
    Delivery(Result<Delivery, RunError>),
    TryAgain,
}

/// The read models in the store's list, by stage.
#[derive(Default)]
struct ListedReadModels {
    answering: Option<ReadModel>,
    rebuilding: Option<ReadModelId>,
    old: Option<ReadModel>,
}

impl<P, S> ReadModels<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    fn new(answering: ReadModelWriter<P, S>) -> Self {
        Self { answering, rebuild_state: RebuildState::Nothing, old: None, backoff: Backoff::new() }
    }

    /// Returns the writer of the rebuild, unless it is being retried.
    pub(super) fn rebuild(&self) -> Option<&ReadModelWriter<P, S>> {
        match &self.rebuild_state {
            RebuildState::ReadModelWriter(rebuild) => Some(&rebuild.writer),
            RebuildState::Nothing | RebuildState::Failing { .. } => None,
        }
    }

    /// Returns the read models that this version writes. It must not write those of other versions.
    fn filled(&mut self) -> impl Iterator<Item = &mut ReadModelWriter<P, S>> {
        let rebuild = match &mut self.rebuild_state {
            RebuildState::ReadModelWriter(rebuild) => Some(&mut rebuild.writer),
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

    /// Confirms the switch-over. Returns false if none awaits confirmation.
    pub(super) fn confirm(&mut self) -> bool {
        let awaits = self.awaits_confirmation();
        match &mut self.rebuild_state {
            RebuildState::ReadModelWriter(rebuild) if awaits => {
                rebuild.is_confirmed = true;
                true
            }
            RebuildState::ReadModelWriter(_)
            | RebuildState::Nothing
            | RebuildState::Failing { .. } => false,
        }
    }

    fn awaits_confirmation(&self) -> bool {
        let RebuildState::ReadModelWriter(rebuild) = &self.rebuild_state else { return false };
        rebuild.is_complete()
            && rebuild.writer.dead_letters > 0
            && !rebuild.is_confirmed
            && self.answering.trouble().is_none()
            && self.answering.has_valid_rows
    }

    fn is_due(&self) -> bool {
        let RebuildState::ReadModelWriter(rebuild) = &self.rebuild_state else { return false };
        rebuild.is_complete()
            && !self.awaits_confirmation()
            && rebuild.writer.position >= self.answering.position
    }

    /// Waits for the next delivery or retry. Pending forever if there is neither.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> NextWork {
        let delivery = match &mut self.rebuild_state {
            RebuildState::Nothing => self.answering.next().await,
            RebuildState::Failing { pause, .. } => tokio::select! {
                delivery = self.answering.next() => delivery,
                () = pause.as_mut() => return NextWork::RebuildState(RebuildStep::TryAgain),
            },
            RebuildState::ReadModelWriter(rebuild) => tokio::select! {
                delivery = self.answering.next() => delivery,
                delivery = rebuild.writer.next() => {
                    return NextWork::RebuildState(RebuildStep::Delivery(delivery));
                }
            },
        };
        NextWork::Answering(delivery)
    }

    pub(super) fn state(&self, now: SystemTime) -> ProjectionState {
        match &self.rebuild_state {
            RebuildState::ReadModelWriter(rebuild) if self.awaits_confirmation() => {
                ProjectionState::AwaitingConfirmation(PendingSwitch {
                    position: rebuild.writer.position,
                    dead_letters: rebuild.writer.dead_letters,
                    dead_letters_before: self.answering.dead_letters,
                })
            }
            RebuildState::ReadModelWriter(rebuild) => {
                ProjectionState::Rebuilding(rebuild.progress(now))
            }
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
            RebuildState::Failing { .. } => true,
            RebuildState::ReadModelWriter(rebuild) => {
                !rebuild.writer.is_stopped() && !self.awaits_confirmation()
            }
        };
        self.answering.is_stopped() && !moves
    }

    pub(super) fn old_rows(&self) -> Option<OldRows> {
        let old = self.old.as_ref()?;
        let position = old.checkpoint.map_or(Position::START, |checkpoint| checkpoint.position);
        Some(OldRows { build: old.id.build, version: old.version, position })
    }
}

pub(super) enum NextWork {
    Answering(Result<Delivery, RunError>),
    RebuildState(RebuildStep),
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

impl<P, S> ProjectionRunner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Loads the read models of the previous run and resumes an interrupted rebuild.
    pub(super) async fn open(&self) -> Result<ReadModels<P, S>, RunError> {
        let ListedReadModels { answering, rebuilding, old } = self.list().await?;
        let Some(answering) = answering else { return self.begin_first(rebuilding).await };
        let goes_on = self.can_continue(&answering);
        let writer = if goes_on {
            self.open_answering(answering, rebuilding.is_some()).await?
        } else {
            self.retired(answering).await?
        };
        self.publish_answering(&writer);
        let mut models = ReadModels::new(writer);
        models.old = old;
        match rebuilding {
            Some(id) => self.resume_rebuild(&mut models, id).await?,
            None if goes_on => {}
            None => self.begin_successor(&mut models).await?,
        }
        Ok(models)
    }

    async fn list(&self) -> Result<ListedReadModels, RunError> {
        let mut listed = ListedReadModels::default();
        for read_model in self.deps.read_models.list_read_models(P::NAME).await? {
            match read_model.stage {
                Stage::Live => listed.answering = Some(read_model),
                Stage::Retired => listed.old = Some(read_model),
                Stage::Rebuilding if self.can_continue(&read_model) => {
                    // A crash between creation and drop can leave two rebuilds; the later one
                    // counts.
                    self.drop_unfinished(listed.rebuilding.replace(read_model.id)).await?;
                }
                Stage::Rebuilding => self.drop_unfinished(Some(read_model.id)).await?,
            }
        }
        Ok(listed)
    }

    /// Publishes the live read model before the rebuild is opened, which may fail and be retried.
    fn publish_answering(&self, answering: &ReadModelWriter<P, S>) {
        self.progress.send_modify(|progress| {
            progress.answering = Some(answering.id.clone());
            progress.position = answering.position;
            progress.checkpoint = Some(answering.checkpoint);
        });
    }

    fn can_continue(&self, read_model: &ReadModel) -> bool {
        read_model.version == P::VERSION && !self.outdated.contains_key(&read_model.id)
    }

    /// Opens the first read model of a projection as live: no earlier one can answer in its place.
    async fn begin_first(
        &self,
        rebuilding: Option<ReadModelId>,
    ) -> Result<ReadModels<P, S>, RunError> {
        let id = match rebuilding {
            Some(id) => {
                self.deps.read_models.switch_to(&id).await?;
                id
            }
            None => self.create(Stage::Live).await?,
        };
        Ok(ReadModels::new(ReadModelWriter::open(&self.deps, id).await?))
    }

    /// Opens the live read model. A damaged one stays live until a rebuild replaces it. One that
    /// cannot be opened does not stop a rebuild.
    async fn open_answering(
        &self,
        read_model: ReadModel,
        has_rebuild: bool,
    ) -> Result<ReadModelWriter<P, S>, RunError> {
        let trouble = match ReadModelWriter::open(&self.deps, read_model.id.clone()).await {
            Ok(writer) => return Ok(writer),
            Err(trouble @ RunError::Outdated { .. }) => return Err(trouble),
            Err(trouble) => trouble,
        };
        // Publish it anyway, so that queries fail with the database error instead of waiting.
        let answering = read_model.id.clone();
        self.progress.send_modify(|progress| progress.answering = Some(answering));
        if let Some(damage) = trouble.damage() {
            let mut writer = self.retired(read_model).await?;
            writer.mark_damaged(damage);
            return Ok(writer);
        }
        if has_rebuild {
            let mut writer = self.retired(read_model).await?;
            writer.fail(in_one_line(&trouble), self.deps.clock.sleep(REOPEN_PAUSE));
            return Ok(writer);
        }
        Err(trouble)
    }

    /// Opens a read model read-only, as it is.
    async fn retired(&self, read_model: ReadModel) -> Result<ReadModelWriter<P, S>, RunError> {
        let incarnation = self.deps.store.head().await?.incarnation;
        let nothing = Checkpoint { position: Position::START, incarnation };
        let outdated = self.outdated.get(&read_model.id);
        let has_valid_rows = outdated.is_none_or(Outdated::has_valid_rows);
        // Rows that lack events publish no position: a query that waits for it would miss them. The
        // rebuild will pass the position.
        let is_complete = outdated.is_none() && self.knows_types(&read_model).await;
        let known = read_model.checkpoint.filter(|_| is_complete);
        let id = read_model.id;
        let letters = self.deps.read_models.dead_letters(&id).await;
        let mut writer = ReadModelWriter::retired(&self.deps, id, known.unwrap_or(nothing));
        writer.has_valid_rows = has_valid_rows;
        // Only for comparison with the rebuild. If damage hides the letters, the damage is reported
        // anyway.
        writer.dead_letters = letters.map_or(0, |letters| letters.len());
        Ok(writer)
    }

    /// Returns whether rows of another version include the events of all types of this version.
    async fn knows_types(&self, read_model: &ReadModel) -> bool {
        let Some(checkpoint) = read_model.checkpoint else { return true };
        let missed = async {
            let mut tx = self.deps.read_models.begin(&read_model.id).await?;
            let provenance = Provenance::read(&mut tx).await?;
            tx.rollback().await?;
            let store = self.deps.store.as_ref();
            let missed = provenance.missed_types(store, P::Event::NAMES, checkpoint).await?;
            Ok::<_, RunError>(missed)
        };
        matches!(missed.await, Ok(None))
    }

    async fn create(&self, stage: Stage) -> Result<ReadModelId, RunError> {
        let create = CreateReadModel { projection: P::NAME, version: P::VERSION, stage };
        Ok(self.deps.read_models.create_read_model(create).await?)
    }

    async fn drop_unfinished(&self, id: Option<ReadModelId>) -> Result<(), RunError> {
        if let Some(id) = id {
            self.deps.read_models.drop_read_model(&id).await?;
        }
        Ok(())
    }

    /// Starts the rebuild that replaces an outdated live read model. Resumes old rows of this
    /// version if there are any.
    async fn begin_successor(&self, models: &mut ReadModels<P, S>) -> Result<(), RunError> {
        let kept = models.old.take_if(|old| self.can_continue(old));
        let Some(kept) = kept else {
            let id = self.create(Stage::Rebuilding).await?;
            return self.resume_rebuild(models, id).await;
        };
        self.deps.read_models.resume(&kept.id).await?;
        self.resume_rebuild(models, kept.id).await?;
        if let RebuildState::ReadModelWriter(rebuild) = &mut models.rebuild_state {
            rebuild.is_resumed = true;
        }
        Ok(())
    }

    /// Opens the rebuild. Replaces a damaged one by a new one, because nothing depends on it yet.
    /// Other errors are retried with pauses.
    async fn resume_rebuild(
        &self,
        models: &mut ReadModels<P, S>,
        id: ReadModelId,
    ) -> Result<(), RunError> {
        let opened = self.open_rebuild(id.clone()).await;
        let (id, opened) = match opened {
            Err(trouble) if trouble.damage().is_some() => {
                self.quarantine(&id, &in_one_line(&trouble)).await?;
                let fresh = self.create(Stage::Rebuilding).await?;
                (fresh.clone(), self.open_rebuild(fresh).await)
            }
            opened => (id, opened),
        };
        match opened {
            Ok(rebuild) => models.rebuild_state = RebuildState::ReadModelWriter(Box::new(rebuild)),
            Err(trouble @ RunError::Outdated { .. }) => return Err(trouble),
            Err(trouble) if trouble.is_missing() => return Err(trouble),
            Err(trouble) => self.retry_rebuild_later(models, id, &trouble),
        }
        Ok(())
    }

    async fn open_rebuild(&self, id: ReadModelId) -> Result<Rebuild<P, S>, RunError> {
        let writer = ReadModelWriter::open(&self.deps, id).await?;
        let head = self.deps.store.head().await?.position;
        let began = (self.deps.clock.now(), writer.position);
        Ok(Rebuild { writer, head, began, is_confirmed: false, is_resumed: false })
    }

    fn retry_rebuild_later(
        &self,
        models: &mut ReadModels<P, S>,
        id: ReadModelId,
        trouble: &RunError,
    ) {
        let trouble = in_one_line(trouble);
        tracing::warn!(projection = P::NAME, read_model = %id, %trouble, "the rebuild is retried");
        let pause = self.deps.clock.sleep(models.backoff.next());
        models.rebuild_state = RebuildState::Failing { id, trouble, pause };
    }

    async fn quarantine(&self, id: &ReadModelId, damage: &str) -> Result<(), RunError> {
        let kept_at = self.deps.read_models.quarantine(id).await?.unwrap_or_default();
        tracing::warn!(read_model = %id, damage, kept_at, "the damaged read model is renamed");
        Ok(())
    }

    /// Handles a step of the rebuild and switches over if it is due.
    pub(super) async fn step(
        &self,
        models: &mut ReadModels<P, S>,
        step: RebuildStep,
    ) -> Result<(), RunError> {
        let rebuild = match &mut models.rebuild_state {
            RebuildState::Nothing => return Ok(()),
            RebuildState::Failing { id, .. } => {
                let id = id.clone();
                return self.resume_rebuild(models, id).await;
            }
            RebuildState::ReadModelWriter(rebuild) => rebuild,
        };
        let RebuildStep::Delivery(delivery) = step else { return Ok(()) };
        let taken = match delivery {
            Ok(delivery) => rebuild.writer.take(delivery).await,
            Err(trouble) => Err(trouble),
        };
        let id = rebuild.writer.id.clone();
        match taken {
            Ok(()) => models.backoff.reset(),
            Err(trouble @ RunError::Outdated { .. }) => return Err(trouble),
            Err(trouble) if trouble.is_missing() => return Err(trouble),
            Err(trouble) => {
                self.retry_rebuild_later(models, id, &trouble);
                return Ok(());
            }
        }
        rebuild.head = rebuild.head.max(rebuild.writer.position);
        self.switch_if_due(models).await
    }

    /// Makes the rebuild live if it is due. Keeps the old rows unless they are of another history.
    pub(super) async fn switch_if_due(
        &self,
        models: &mut ReadModels<P, S>,
    ) -> Result<(), RunError> {
        if !models.is_due() {
            return Ok(());
        }
        let Some(rebuilt) = models.rebuild().map(|writer| writer.id.clone()) else {
            return Ok(());
        };
        // Rows of another history must not answer again, so the switch-over drops them.
        if !models.answering.has_valid_rows {
            self.deps.read_models.switch_to(&rebuilt).await?;
        } else {
            self.deps.read_models.switch_keeping(&rebuilt).await?;
            if let Some(damage) =
                models.answering.trouble().filter(|_| models.answering.is_damaged())
            {
                // Keep the damaged file for analysis, but not as old rows that could be rolled back
                // to.
                self.quarantine(&models.answering.id, damage).await?;
            }
        }
        if let RebuildState::ReadModelWriter(rebuild) =
            std::mem::replace(&mut models.rebuild_state, RebuildState::Nothing)
        {
            if rebuild.is_resumed {
                tracing::info!(
                    projection = P::NAME, read_model = %rebuilt,
                    "rolled back: the old rows have caught up and answer again"
                );
            } else {
                tracing::info!(
                    projection = P::NAME, read_model = %rebuilt, "the rebuilt read model is live"
                );
            }
            models.answering = rebuild.writer;
        }
        // Read the stages back instead of deriving them: the quarantine above may have removed the
        // old rows.
        models.old = self.kept().await?;
        Ok(())
    }

    /// Returns the retired read model, if there is one.
    async fn kept(&self) -> Result<Option<ReadModel>, RunError> {
        let listed = self.deps.read_models.list_read_models(P::NAME).await?;
        Ok(listed.into_iter().find(|read_model| read_model.stage == Stage::Retired))
    }

    /// Starts a rebuild. Drops one in progress.
    pub(super) async fn rebuild(&self, models: &mut ReadModels<P, S>) -> Result<(), RunError> {
        self.drop_rebuild(models).await?;
        let id = self.create(Stage::Rebuilding).await?;
        self.resume_rebuild(models, id).await
    }

    /// Resumes the rows from before the last switch-over. They become live once they have caught
    /// up.
    pub(super) async fn roll_back(&self, models: &mut ReadModels<P, S>) -> OperationResult {
        let old = models.old.clone().ok_or(OperationError::NoOldRows { projection: P::NAME })?;
        if old.version != P::VERSION {
            let (projection, old, program) = (P::NAME, old.version, P::VERSION);
            return Err(OperationError::OtherVersion { projection, old, program });
        }
        let resumed = async {
            self.drop_rebuild(models).await?;
            self.deps.read_models.resume(&old.id).await?;
            models.old = None;
            self.resume_rebuild(models, old.id.clone()).await?;
            // The operator's request also confirms the dead letters of the old rows.
            if let RebuildState::ReadModelWriter(rebuild) = &mut models.rebuild_state {
                rebuild.is_confirmed = true;
                rebuild.is_resumed = true;
            }
            Ok(())
        };
        let outcome = resumed.await;
        if outcome.is_err() && matches!(models.rebuild_state, RebuildState::Nothing) {
            // Old rows that cannot be resumed are of no further use.
            self.deps.read_models.drop_read_model(&old.id).await?;
        }
        outcome.map_err(unavailable)
    }

    pub(super) async fn drop_old(&self, models: &mut ReadModels<P, S>) -> OperationResult {
        let old = models.old.take().ok_or(OperationError::NoOldRows { projection: P::NAME })?;
        Ok(self.deps.read_models.drop_read_model(&old.id).await?)
    }

    async fn drop_rebuild(&self, models: &mut ReadModels<P, S>) -> Result<(), RunError> {
        match std::mem::replace(&mut models.rebuild_state, RebuildState::Nothing) {
            RebuildState::Nothing => Ok(()),
            RebuildState::Failing { id, .. } => self.drop_unfinished(Some(id)).await,
            RebuildState::ReadModelWriter(rebuild) => {
                self.drop_unfinished(Some(rebuild.writer.id)).await
            }
        }
    }

    /// Creates a rebuild that the next session of the runner will fill.
    pub(super) async fn schedule_rebuild(&self) -> Result<(), RunError> {
        let ListedReadModels { rebuilding, .. } = self.list().await?;
        self.drop_unfinished(rebuilding).await?;
        self.create(Stage::Rebuilding).await?;
        Ok(())
    }
}

pub(super) fn unavailable(trouble: RunError) -> OperationError {
    OperationError::Unavailable { reason: in_one_line(&trouble) }
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
