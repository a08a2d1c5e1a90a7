//! The lifecycle of a projection's read models: creation, rebuild, switch-over, roll-back, removal.
//!
//! Invariant: the stages are those in the store, so a crash at any step leaves a set that the next
//! start continues. Not here: the set itself (`read_models`) and the events (`writer`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use gesta_store::{
    Checkpoint, CreateReadModel, DatabaseError, Position, ReadModel, ReadModelId, ReadModelStore,
    ReadModelTx, Stage,
};
use tokio::sync::watch;

use super::{
    Apply, OperationError, ProjectionProgress, SwitchOver,
    deps::ProjectionDeps,
    provenance::{self, Outdated, Provenance},
    read_models::{OperationResult, ReadModels, Rebuild, RebuildState, RebuildStep},
    run_error::RunError,
    writer::ReadModelWriter,
};
use crate::{EventSet, error_line::in_one_line};

/// Pause before a live read model that cannot be opened is opened again, while a rebuild runs.
const REOPEN_PAUSE: Duration = Duration::from_secs(5);

/// The changes of the set of read models.
pub(super) struct ReadModelLifecycle<P, S> {
    pub(super) deps: Arc<ProjectionDeps<P, S>>,
    pub(super) progress: Arc<watch::Sender<ProjectionProgress>>,
    /// Read models that must be replaced by a rebuild.
    pub(super) outdated: HashMap<ReadModelId, Outdated>,
    /// Number of callers that wait for a position.
    pub(super) waiters: watch::Receiver<usize>,
}

/// The read models in the store's list, by stage.
#[derive(Default)]
struct ListedReadModels {
    answering: Option<ReadModel>,
    rebuilding: Option<ReadModelId>,
    old: Option<ReadModel>,
}

impl<P, S> ReadModelLifecycle<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Loads the read models of the previous run and resumes an interrupted rebuild.
    pub(super) async fn open(&mut self) -> Result<ReadModels<P, S>, RunError> {
        let listed = self.list().await?;
        self.take_over(&listed).await?;
        let ListedReadModels { answering, rebuilding, old } = listed;
        // Without a live read model there is nothing that could answer in between.
        let Some(answering) = answering else { return self.begin_first(rebuilding).await };
        let (writer, goes_on) = self.open_live(answering, rebuilding.is_some()).await?;
        self.publish_answering(&writer);
        let mut models = ReadModels::new(writer);
        models.old = old;
        match rebuilding {
            // A rebuild in the store runs on, even if the live read model needs none: an operator
            // may have started it.
            Some(id) => self.resume_rebuild(&mut models, id).await?,
            None if goes_on => {}
            None => self.begin_successor(&mut models).await?,
        }
        Ok(models)
    }

    /// Keeps the node that had the lease before from writing.
    async fn take_over(&self, listed: &ListedReadModels) -> Result<(), RunError> {
        let answering = listed.answering.as_ref().map(|answering| &answering.id);
        for id in answering.into_iter().chain(&listed.rebuilding) {
            // With another error it cannot be written, not by any node. Its opening reports why.
            if let Err(error @ DatabaseError::Fenced { .. }) = self.deps.work.take_over(id).await {
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<ListedReadModels, RunError> {
        let mut listed = ListedReadModels::default();
        for read_model in self.deps.work.read_models.list_read_models(P::NAME).await? {
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
            progress.incarnation = Some(answering.incarnation);
            progress.checkpoint = Some(answering.checkpoint);
        });
    }

    fn can_continue(&self, read_model: &ReadModel) -> bool {
        read_model.version == P::VERSION && !self.outdated.contains_key(&read_model.id)
    }

    /// Opens a read model that this version writes, and settles its dead letters first, so that no
    /// event is applied before the ones set aside of its stream.
    async fn open_writer(&self, id: ReadModelId) -> Result<ReadModelWriter<P, S>, RunError> {
        let mut writer = ReadModelWriter::load(&self.deps, id).await?;
        if P::PARTITIONS > 1 {
            writer.load_dead_letters().await?;
            writer.supervise(self.waiters.clone());
            return Ok(writer);
        }
        writer.clear_halting_letters().await?;
        writer.apply_orphaned_letters().await?;
        writer.load_dead_letters().await?;
        writer.subscribe()?;
        Ok(writer)
    }

    /// Opens the first read model of a projection as live: no earlier one can answer in its place.
    async fn begin_first(
        &self,
        rebuilding: Option<ReadModelId>,
    ) -> Result<ReadModels<P, S>, RunError> {
        let id = match rebuilding {
            Some(id) => {
                self.deps.work.read_models.switch_to(&id).await?;
                id
            }
            None => self.create(Stage::Live).await?,
        };
        Ok(ReadModels::new(self.open_writer(id).await?))
    }

    /// Opens the live read model, and returns whether this version continues with it. One that
    /// cannot continue answers until a rebuild replaces it.
    async fn open_live(
        &mut self,
        read_model: ReadModel,
        has_rebuild: bool,
    ) -> Result<(ReadModelWriter<P, S>, bool), RunError> {
        if self.can_continue(&read_model) {
            match self.open_answering(read_model.clone(), has_rebuild).await {
                Err(RunError::Outdated { why, .. }) => {
                    provenance::warn(&read_model.id, &why);
                    self.outdated.insert(read_model.id.clone(), why);
                }
                opened => return Ok((opened?, true)),
            }
        }
        Ok((self.retired(read_model).await?, false))
    }

    /// Opens the live read model. A damaged one stays live until a rebuild replaces it. One that
    /// cannot be opened does not stop a rebuild.
    async fn open_answering(
        &self,
        read_model: ReadModel,
        has_rebuild: bool,
    ) -> Result<ReadModelWriter<P, S>, RunError> {
        let trouble = match self.open_writer(read_model.id.clone()).await {
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
        // The rebuild runs on and replaces this one. Without a rebuild, the whole session is
        // repeated after a back-off.
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
        let letters = self.deps.work.read_models.dead_letters(&id).await;
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
            let mut tx = self.deps.work.read_models.begin(&read_model.id).await?;
            let provenance = Provenance::read(&mut tx).await?;
            tx.rollback().await?;
            let store = self.deps.store.as_ref();
            let missed = provenance.missed_types(store, P::Event::NAMES, checkpoint).await?;
            Ok::<_, RunError>(missed)
        };
        // A read model that cannot be read counts as incomplete, which only keeps its position
        // unpublished.
        matches!(missed.await, Ok(None))
    }

    async fn create(&self, stage: Stage) -> Result<ReadModelId, RunError> {
        let create = CreateReadModel::new(P::NAME, P::VERSION, stage);
        Ok(self.deps.work.read_models.create_read_model(create).await?)
    }

    async fn drop_unfinished(&self, id: Option<ReadModelId>) -> Result<(), RunError> {
        if let Some(id) = id {
            self.check_token(&id).await?;
            self.deps.work.read_models.drop_read_model(&id).await?;
        }
        Ok(())
    }

    /// Checks that this node still has the right to drop a read model.
    async fn check_token(&self, id: &ReadModelId) -> Result<(), RunError> {
        match self.deps.work.check_token(id).await {
            Err(error @ DatabaseError::Fenced { .. }) => Err(error.into()),
            // A read model that cannot be opened is dropped all the same.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Starts the rebuild that replaces an outdated live read model. Resumes old rows of this
    /// version if there are any.
    async fn begin_successor(&self, models: &mut ReadModels<P, S>) -> Result<(), RunError> {
        // Old rows of this version only lack the events since the switch-over: less to read than
        // from the first event.
        let kept = models.old.take_if(|old| self.can_continue(old));
        let Some(kept) = kept else {
            let id = self.create(Stage::Rebuilding).await?;
            return self.resume_rebuild(models, id).await;
        };
        self.deps.work.read_models.resume(&kept.id).await?;
        self.resume_rebuild(models, kept.id).await?;
        if let RebuildState::Running(rebuild) = &mut models.rebuild_state {
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
            Ok(rebuild) => models.rebuild_state = RebuildState::Running(Box::new(rebuild)),
            Err(trouble @ RunError::Outdated { .. }) => return Err(trouble),
            Err(trouble) if trouble.is_missing() || trouble.is_fenced() => return Err(trouble),
            Err(trouble) => self.retry_rebuild_later(models, id, &trouble),
        }
        Ok(())
    }

    async fn open_rebuild(&self, id: ReadModelId) -> Result<Rebuild<P, S>, RunError> {
        let writer = self.open_writer(id).await?;
        let head = self.deps.store.head().await?.position;
        let began = (self.deps.clock.now(), writer.position);
        let is_held = self.is_held(&writer.id).await?;
        Ok(Rebuild { writer, head, began, is_confirmed: false, is_held, is_resumed: false })
    }

    /// Keeps a new rebuild from going live before it is confirmed, also after a restart.
    async fn hold(&self, id: &ReadModelId, switch: SwitchOver) -> Result<(), RunError> {
        if switch == SwitchOver::WhenConfirmed {
            let mut tx = self.deps.work.begin(id).await?;
            provenance::keep_held(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn is_held(&self, id: &ReadModelId) -> Result<bool, RunError> {
        let mut tx = self.deps.work.read_models.begin(id).await?;
        let is_held = provenance::is_held(&mut tx).await?;
        tx.rollback().await?;
        Ok(is_held)
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
        let kept_at = self.deps.work.read_models.quarantine(id).await?.unwrap_or_default();
        tracing::warn!(read_model = %id, damage, kept_at, "the damaged read model is renamed");
        Ok(())
    }

    /// Handles a step of the rebuild and switches over if it is due.
    pub(super) async fn step(
        &self,
        models: &mut ReadModels<P, S>,
        step: RebuildStep<P::Event>,
    ) -> Result<(), RunError> {
        let rebuild = match &mut models.rebuild_state {
            RebuildState::Nothing => return Ok(()),
            RebuildState::Failing { id, .. } => {
                let id = id.clone();
                return self.resume_rebuild(models, id).await;
            }
            RebuildState::Running(rebuild) => rebuild,
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
            Err(trouble) if trouble.is_missing() || trouble.is_fenced() => return Err(trouble),
            Err(trouble) => {
                self.retry_rebuild_later(models, id, &trouble);
                return Ok(());
            }
        }
        // Events that arrive during the rebuild move the head, which the estimate is based on.
        rebuild.head = rebuild.head.max(rebuild.writer.position);
        self.switch_if_due(models).await
    }

    /// Makes the rebuild live if it is due. Keeps the old rows unless they belong to another
    /// history.
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
        // Held until queries know: no append moves one of the two before.
        let live = models.answering.has_valid_rows.then(|| models.answering.id.clone());
        let Some(locked) = self.lock_for_switch(live, &rebuilt).await? else { return Ok(()) };
        // Rows from another history must not serve queries again, so the switch-over drops them.
        if !models.answering.has_valid_rows {
            self.deps.work.read_models.switch_to(&rebuilt).await?;
        } else {
            self.deps.work.read_models.switch_keeping(&rebuilt).await?;
            if let Some(damage) =
                models.answering.trouble().filter(|_| models.answering.is_damaged())
            {
                // Keep the damaged file for analysis, but make a rollback to it impossible.
                self.quarantine(&models.answering.id, damage).await?;
            }
        }
        if let RebuildState::Running(rebuild) =
            std::mem::replace(&mut models.rebuild_state, RebuildState::Nothing)
        {
            if rebuild.is_resumed {
                tracing::info!(
                    projection = P::NAME, read_model = %rebuilt,
                    "rolled back: the old rows have caught up and serve queries again"
                );
            } else {
                tracing::info!(
                    projection = P::NAME, read_model = %rebuilt, "the rebuilt read model is live"
                );
            }
            models.answering = rebuild.writer;
        }
        if self.deps.work.is_inline {
            self.publish_answering(&models.answering);
        }
        drop(locked);
        // Read the stages back instead of deriving them: the quarantine above may have removed the
        // old rows.
        models.old = self.kept().await?;
        Ok(())
    }

    /// Begins the transactions under which a rebuild goes live, with the right to do so. Returns
    /// `None` if appends have moved the live read model beyond it.
    async fn lock_for_switch(
        &self,
        live: Option<ReadModelId>,
        rebuilt: &ReadModelId,
    ) -> Result<Option<Vec<S::Tx>>, RunError> {
        let mut locked = Vec::new();
        if !self.deps.work.is_inline {
            self.deps.work.check_token(rebuilt).await?;
            return Ok(Some(locked));
        }
        // In the order in which appends lock them. A live read model that cannot be opened takes no
        // part in appends.
        if let Some(live) = live {
            locked.extend(self.deps.work.begin(&live).await.ok());
        }
        locked.push(self.deps.work.begin(rebuilt).await?);
        let mut reached = Vec::new();
        for tx in &mut locked {
            reached.push(tx.checkpoint().await?.map(|checkpoint| checkpoint.position));
        }
        Ok((reached.first() <= reached.last()).then_some(locked))
    }

    /// Returns the retired read model, if there is one.
    async fn kept(&self) -> Result<Option<ReadModel>, RunError> {
        let listed = self.deps.work.read_models.list_read_models(P::NAME).await?;
        Ok(listed.into_iter().find(|read_model| read_model.stage == Stage::Retired))
    }

    /// Starts a rebuild. Drops one in progress.
    pub(super) async fn rebuild(
        &self,
        models: &mut ReadModels<P, S>,
        switch: SwitchOver,
    ) -> Result<(), RunError> {
        self.drop_rebuild(models).await?;
        let id = self.create(Stage::Rebuilding).await?;
        self.hold(&id, switch).await?;
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
            self.deps.work.check_token(&models.answering.id).await?;
            self.deps.work.read_models.resume(&old.id).await?;
            // Resumed in the store by now: it is the rebuild, and no longer old.
            models.old = None;
            self.resume_rebuild(models, old.id.clone()).await?;
            // The operator's request also confirms the dead letters of the old rows.
            if let RebuildState::Running(rebuild) = &mut models.rebuild_state {
                rebuild.is_confirmed = true;
                rebuild.is_resumed = true;
            }
            Ok(())
        };
        let outcome = resumed.await;
        if outcome.is_err() && matches!(models.rebuild_state, RebuildState::Nothing) {
            // Old rows that cannot be resumed are of no further use.
            self.deps.work.read_models.drop_read_model(&old.id).await?;
        }
        outcome.map_err(unavailable)
    }

    pub(super) async fn drop_old(&self, models: &mut ReadModels<P, S>) -> OperationResult {
        let old = models.old.take().ok_or(OperationError::NoOldRows { projection: P::NAME })?;
        self.deps.work.check_token(&models.answering.id).await?;
        Ok(self.deps.work.read_models.drop_read_model(&old.id).await?)
    }

    async fn drop_rebuild(&self, models: &mut ReadModels<P, S>) -> Result<(), RunError> {
        match std::mem::replace(&mut models.rebuild_state, RebuildState::Nothing) {
            RebuildState::Nothing => Ok(()),
            RebuildState::Failing { id, .. } => self.drop_unfinished(Some(id)).await,
            RebuildState::Running(rebuild) => self.drop_unfinished(Some(rebuild.writer.id)).await,
        }
    }

    /// Creates a rebuild that the next session of the runner will fill.
    pub(super) async fn schedule_rebuild(&self, switch: SwitchOver) -> Result<(), RunError> {
        let ListedReadModels { rebuilding, .. } = self.list().await?;
        self.drop_unfinished(rebuilding).await?;
        let id = self.create(Stage::Rebuilding).await?;
        self.hold(&id, switch).await
    }
}

pub(super) fn unavailable(trouble: RunError) -> OperationError {
    OperationError::Unavailable { reason: in_one_line(&trouble) }
}
