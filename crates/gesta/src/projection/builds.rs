//! The read models of a projection: the one that answers, the one that is filled beside it, the one
//! that answered before.
//!
//! Invariants: a read model takes over only once it has reached the head and the one that answers,
//! so no reader ever sees less than before; one that has set events aside takes over only when an
//! operator has confirmed it, unless what it replaces is damaged or of another history; trouble of
//! the one that is filled is not the other's. Not here: one read model's transactions (`filling`),
//! orders (`runner`).

use std::time::{Duration, SystemTime};

use gesta_store::{
    Checkpoint, CreateReadModel, Delivery, Position, ReadModel, ReadModelId, ReadModelStore,
    ReadModelTx, Stage,
};

use super::{
    Apply, OldRows, OperationError, PendingSwitch, ProjectionState, RebuildProgress,
    backoff::Backoff,
    filling::{Filling, Trouble},
    in_one_line,
    provenance::{Outdated, Provenance},
    runner::Runner,
};
use crate::{EventSet, Sleep};

/// The pause before a read model that answers and cannot be opened is tried again while another one
/// is filled beside it.
const REOPEN_PAUSE: Duration = Duration::from_secs(5);

/// The read models of a projection.
pub(super) struct ReadModels<P, S> {
    pub(super) answering: Filling<P, S>,
    pub(super) beside: Beside<P, S>,
    /// The one that answered before.
    pub(super) old: Option<ReadModel>,
    backoff: Backoff,
}

/// A read model that is filled beside the one that answers.
pub(super) enum Beside<P, S> {
    Nothing,
    Filling(Box<Rebuild<P, S>>),
    /// It could not be opened or filled, and is tried again after the pause.
    Failing {
        id: ReadModelId,
        trouble: String,
        pause: Sleep,
    },
}

pub(super) struct Rebuild<P, S> {
    filling: Filling<P, S>,
    head: Position,
    /// When and where it began in this run: what an estimate is made from.
    began: (SystemTime, Position),
    /// An operator has confirmed that it takes over with what it has set aside.
    is_confirmed: bool,
    /// It goes on with rows from before a switch-over.
    is_resumed: bool,
}

/// What comes next of the read model that is filled beside the other.
pub(super) enum Step {
    Delivery(Result<Delivery, Trouble>),
    TryAgain,
}

/// The read models as their store lists them, by stage.
#[derive(Default)]
struct Listed {
    answering: Option<ReadModel>,
    rebuilding: Option<ReadModelId>,
    old: Option<ReadModel>,
}

impl<P, S> ReadModels<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    fn new(answering: Filling<P, S>) -> Self {
        Self { answering, beside: Beside::Nothing, old: None, backoff: Backoff::new() }
    }

    /// The read model that is filled beside the other, if it can be.
    pub(super) fn rebuild(&self) -> Option<&Filling<P, S>> {
        match &self.beside {
            Beside::Filling(rebuild) => Some(&rebuild.filling),
            Beside::Nothing | Beside::Failing { .. } => None,
        }
    }

    /// Those that this version fills: into another version's, it must not write.
    fn filled(&mut self) -> impl Iterator<Item = &mut Filling<P, S>> {
        let rebuild = match &mut self.beside {
            Beside::Filling(rebuild) => Some(&mut rebuild.filling),
            Beside::Nothing | Beside::Failing { .. } => None,
        };
        let answering = self.answering.is_filled().then_some(&mut self.answering);
        answering.into_iter().chain(rebuild)
    }

    pub(super) async fn retry(&mut self, position: Position) -> Done {
        let mut outcome = Err(OperationError::NoSuchDeadLetter { position });
        for filling in self.filled() {
            outcome = either(outcome, filling.retry(position).await)?;
        }
        outcome
    }

    pub(super) async fn discard(&mut self, position: Position) -> Done {
        let mut outcome = Err(OperationError::NoSuchDeadLetter { position });
        for filling in self.filled() {
            outcome = either(outcome, filling.discard(position).await)?;
        }
        outcome
    }

    /// Lets the rebuild take over with what it has set aside, if that is what it waits for.
    pub(super) fn confirm(&mut self) -> bool {
        let awaits = self.awaits_confirmation();
        match &mut self.beside {
            Beside::Filling(rebuild) if awaits => {
                rebuild.is_confirmed = true;
                true
            }
            Beside::Filling(_) | Beside::Nothing | Beside::Failing { .. } => false,
        }
    }

    fn awaits_confirmation(&self) -> bool {
        let Beside::Filling(rebuild) = &self.beside else { return false };
        rebuild.is_complete()
            && rebuild.filling.dead_letters > 0
            && !rebuild.is_confirmed
            && self.answering.trouble().is_none()
            && self.answering.has_right_rows
    }

    fn is_due(&self) -> bool {
        let Beside::Filling(rebuild) = &self.beside else { return false };
        rebuild.is_complete()
            && !self.awaits_confirmation()
            && rebuild.filling.position >= self.answering.position
    }

    /// The next step of the rebuild; never comes where there is none.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> NextOf {
        let delivery = match &mut self.beside {
            Beside::Nothing => self.answering.next().await,
            Beside::Failing { pause, .. } => tokio::select! {
                delivery = self.answering.next() => delivery,
                () = pause.as_mut() => return NextOf::Beside(Step::TryAgain),
            },
            Beside::Filling(rebuild) => tokio::select! {
                delivery = self.answering.next() => delivery,
                delivery = rebuild.filling.next() => {
                    return NextOf::Beside(Step::Delivery(delivery));
                }
            },
        };
        NextOf::Answering(delivery)
    }

    pub(super) fn state(&self, now: SystemTime) -> ProjectionState {
        match &self.beside {
            Beside::Filling(rebuild) if self.awaits_confirmation() => {
                ProjectionState::AwaitingConfirmation(PendingSwitch {
                    position: rebuild.filling.position,
                    dead_letters: rebuild.filling.dead_letters,
                    dead_letters_before: self.answering.dead_letters,
                })
            }
            Beside::Filling(rebuild) => ProjectionState::Rebuilding(rebuild.progress(now)),
            Beside::Failing { trouble, .. } => ProjectionState::Rebuilding(RebuildProgress {
                position: Position::START,
                head: self.answering.position,
                remaining: None,
                halted: Some(trouble.clone()),
            }),
            Beside::Nothing => self.answering_state(),
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

    /// Whether nothing will move until an operator does something.
    pub(super) fn is_stuck(&self) -> bool {
        let moves = match &self.beside {
            Beside::Nothing => false,
            Beside::Failing { .. } => true,
            Beside::Filling(rebuild) => {
                !rebuild.filling.is_stopped() && !self.awaits_confirmation()
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

/// What comes next, of either read model.
pub(super) enum NextOf {
    Answering(Result<Delivery, Trouble>),
    Beside(Step),
}

pub(super) type Done = Result<(), OperationError>;

/// A dead letter may be one read model's and not the other's. Any other error ends it.
fn either(before: Done, now: Done) -> Result<Done, OperationError> {
    match now {
        Err(OperationError::NoSuchDeadLetter { .. }) => Ok(before),
        other => other.map(Ok),
    }
}

impl<P, S> Runner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Finds the read models as the last run left them.
    pub(super) async fn open(&self) -> Result<ReadModels<P, S>, Trouble> {
        let Listed { answering, rebuilding, old } = self.list().await?;
        let Some(answering) = answering else { return self.begin_first(rebuilding).await };
        let goes_on = self.can_go_on(&answering);
        let filling = if goes_on {
            self.open_answering(answering, rebuilding.is_some()).await?
        } else {
            self.retired(answering).await?
        };
        self.tell_answering(&filling);
        let mut models = ReadModels::new(filling);
        models.old = old;
        match rebuilding {
            Some(id) => self.go_on_with(&mut models, id).await?,
            None if goes_on => {}
            None => self.begin_successor(&mut models).await?,
        }
        Ok(models)
    }

    async fn list(&self) -> Result<Listed, Trouble> {
        let mut listed = Listed::default();
        for read_model in self.parts.read_models.list_read_models(P::NAME).await? {
            match read_model.stage {
                Stage::Live => listed.answering = Some(read_model),
                Stage::Retired => listed.old = Some(read_model),
                Stage::Rebuilding if self.can_go_on(&read_model) => {
                    self.drop_unfinished(listed.rebuilding.replace(read_model.id)).await?;
                }
                Stage::Rebuilding => self.drop_unfinished(Some(read_model.id)).await?,
            }
        }
        Ok(listed)
    }

    /// What answers is told before a rebuild is opened, which may fail and be tried again.
    fn tell_answering(&self, answering: &Filling<P, S>) {
        self.progress.send_modify(|progress| {
            progress.answering = Some(answering.id.clone());
            progress.position = answering.position;
            progress.checkpoint = Some(answering.checkpoint);
        });
    }

    fn can_go_on(&self, read_model: &ReadModel) -> bool {
        read_model.version == P::VERSION && !self.outdated.contains_key(&read_model.id)
    }

    /// Where nothing answers yet there is nothing to keep answering beside.
    async fn begin_first(
        &self,
        rebuilding: Option<ReadModelId>,
    ) -> Result<ReadModels<P, S>, Trouble> {
        let id = match rebuilding {
            Some(id) => {
                self.parts.read_models.switch_to(&id).await?;
                id
            }
            None => self.create(Stage::Live).await?,
        };
        Ok(ReadModels::new(Filling::open(&self.parts, id).await?))
    }

    /// A damaged one waits for a rebuild. One that cannot be opened keeps no rebuild from going on.
    async fn open_answering(
        &self,
        read_model: ReadModel,
        has_rebuild: bool,
    ) -> Result<Filling<P, S>, Trouble> {
        let trouble = match Filling::open(&self.parts, read_model.id.clone()).await {
            Ok(filling) => return Ok(filling),
            Err(trouble @ Trouble::Outdated { .. }) => return Err(trouble),
            Err(trouble) => trouble,
        };
        // Queries are answered with what the database says.
        let answering = read_model.id.clone();
        self.progress.send_modify(|progress| progress.answering = Some(answering));
        if let Some(damage) = trouble.damage() {
            let mut filling = self.retired(read_model).await?;
            filling.take_damage(damage);
            return Ok(filling);
        }
        if has_rebuild {
            let mut filling = self.retired(read_model).await?;
            filling.fail(in_one_line(&trouble), self.parts.clock.sleep(REOPEN_PAUSE));
            return Ok(filling);
        }
        Err(trouble)
    }

    /// A read model that answers as it is.
    async fn retired(&self, read_model: ReadModel) -> Result<Filling<P, S>, Trouble> {
        let incarnation = self.parts.store.head().await?.incarnation;
        let nothing = Checkpoint { position: Position::START, incarnation };
        let outdated = self.outdated.get(&read_model.id);
        let has_right_rows = outdated.is_none_or(Outdated::has_right_rows);
        // A place up to which the rows do not have everything is none to wait for: what replaces
        // them is further.
        let is_complete = outdated.is_none() && self.knows_types(&read_model).await;
        let known = read_model.checkpoint.filter(|_| is_complete);
        let id = read_model.id;
        let letters = self.parts.read_models.dead_letters(&id).await;
        let mut filling = Filling::retired(&self.parts, id, known.unwrap_or(nothing));
        filling.has_right_rows = has_right_rows;
        // Only a count to compare with; what damage hides is told by the damage.
        filling.dead_letters = letters.map_or(0, |letters| letters.len());
        Ok(filling)
    }

    /// Whether rows of another version have the events of every type that this version understands.
    async fn knows_types(&self, read_model: &ReadModel) -> bool {
        let Some(checkpoint) = read_model.checkpoint else { return true };
        let missed = async {
            let mut tx = self.parts.read_models.begin(&read_model.id).await?;
            let provenance = Provenance::read(&mut tx).await?;
            tx.rollback().await?;
            let store = self.parts.store.as_ref();
            let missed = provenance.missed_types(store, P::Event::NAMES, checkpoint).await?;
            Ok::<_, Trouble>(missed)
        };
        matches!(missed.await, Ok(None))
    }

    async fn create(&self, stage: Stage) -> Result<ReadModelId, Trouble> {
        let create = CreateReadModel { projection: P::NAME, version: P::VERSION, stage };
        Ok(self.parts.read_models.create_read_model(create).await?)
    }

    async fn drop_unfinished(&self, id: Option<ReadModelId>) -> Result<(), Trouble> {
        if let Some(id) = id {
            self.parts.read_models.drop_read_model(&id).await?;
        }
        Ok(())
    }

    /// What answers is of another version, or outdated: rows of this version that are kept from
    /// before a switch-over are gone on with, else a fresh read model is filled.
    async fn begin_successor(&self, models: &mut ReadModels<P, S>) -> Result<(), Trouble> {
        let kept = models.old.take_if(|old| self.can_go_on(old));
        let Some(kept) = kept else {
            let id = self.create(Stage::Rebuilding).await?;
            return self.go_on_with(models, id).await;
        };
        self.parts.read_models.resume(&kept.id).await?;
        self.go_on_with(models, kept.id).await?;
        if let Beside::Filling(rebuild) = &mut models.beside {
            rebuild.is_resumed = true;
        }
        Ok(())
    }

    /// Opens the read model that is filled beside the other. A damaged one is begun anew: nothing
    /// rests on it. Any other trouble of it is its own, and tried again.
    async fn go_on_with(
        &self,
        models: &mut ReadModels<P, S>,
        id: ReadModelId,
    ) -> Result<(), Trouble> {
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
            Ok(rebuild) => models.beside = Beside::Filling(Box::new(rebuild)),
            Err(trouble @ Trouble::Outdated { .. }) => return Err(trouble),
            Err(trouble) if trouble.is_missing() => return Err(trouble),
            Err(trouble) => self.fail_beside(models, id, &trouble),
        }
        Ok(())
    }

    async fn open_rebuild(&self, id: ReadModelId) -> Result<Rebuild<P, S>, Trouble> {
        let filling = Filling::open(&self.parts, id).await?;
        let head = self.parts.store.head().await?.position;
        let began = (self.parts.clock.now(), filling.position);
        Ok(Rebuild { filling, head, began, is_confirmed: false, is_resumed: false })
    }

    fn fail_beside(&self, models: &mut ReadModels<P, S>, id: ReadModelId, trouble: &Trouble) {
        let trouble = in_one_line(trouble);
        tracing::warn!(projection = P::NAME, read_model = %id, %trouble, "the rebuild is tried again");
        let pause = self.parts.clock.sleep(models.backoff.next());
        models.beside = Beside::Failing { id, trouble, pause };
    }

    async fn quarantine(&self, id: &ReadModelId, damage: &str) -> Result<(), Trouble> {
        let kept_at = self.parts.read_models.quarantine(id).await?.unwrap_or_default();
        tracing::warn!(read_model = %id, damage, kept_at, "the damaged read model is kept aside");
        Ok(())
    }

    /// Takes a step of the rebuild, and switches if it is due.
    pub(super) async fn step(
        &self,
        models: &mut ReadModels<P, S>,
        step: Step,
    ) -> Result<(), Trouble> {
        let rebuild = match &mut models.beside {
            Beside::Nothing => return Ok(()),
            Beside::Failing { id, .. } => {
                let id = id.clone();
                return self.go_on_with(models, id).await;
            }
            Beside::Filling(rebuild) => rebuild,
        };
        let Step::Delivery(delivery) = step else { return Ok(()) };
        let taken = match delivery {
            Ok(delivery) => rebuild.filling.take(delivery).await,
            Err(trouble) => Err(trouble),
        };
        let id = rebuild.filling.id.clone();
        match taken {
            Ok(()) => models.backoff.reset(),
            Err(trouble @ Trouble::Outdated { .. }) => return Err(trouble),
            Err(trouble) if trouble.is_missing() => return Err(trouble),
            Err(trouble) => {
                self.fail_beside(models, id, &trouble);
                return Ok(());
            }
        }
        rebuild.head = rebuild.head.max(rebuild.filling.position);
        self.switch_if_due(models).await
    }

    /// Lets the rebuild answer once it may. The rows before are kept, unless they are of no use.
    pub(super) async fn switch_if_due(&self, models: &mut ReadModels<P, S>) -> Result<(), Trouble> {
        if !models.is_due() {
            return Ok(());
        }
        let Some(rebuilt) = models.rebuild().map(|filling| filling.id.clone()) else {
            return Ok(());
        };
        if !models.answering.has_right_rows {
            self.parts.read_models.switch_to(&rebuilt).await?;
        } else {
            self.parts.read_models.switch_keeping(&rebuilt).await?;
            if let Some(damage) =
                models.answering.trouble().filter(|_| models.answering.is_damaged())
            {
                self.quarantine(&models.answering.id, damage).await?;
            }
        }
        if let Beside::Filling(rebuild) = std::mem::replace(&mut models.beside, Beside::Nothing) {
            if rebuild.is_resumed {
                tracing::info!(
                    projection = P::NAME, read_model = %rebuilt,
                    "rolled back: the old rows have caught up and answer again"
                );
            } else {
                tracing::info!(
                    projection = P::NAME, read_model = %rebuilt, "the rebuilt read model answers"
                );
            }
            models.answering = rebuild.filling;
        }
        models.old = self.kept().await?;
        Ok(())
    }

    /// The read model that is kept from before a switch-over.
    async fn kept(&self) -> Result<Option<ReadModel>, Trouble> {
        let listed = self.parts.read_models.list_read_models(P::NAME).await?;
        Ok(listed.into_iter().find(|read_model| read_model.stage == Stage::Retired))
    }

    /// Fills a fresh read model, in place of one that is being filled.
    pub(super) async fn rebuild(&self, models: &mut ReadModels<P, S>) -> Result<(), Trouble> {
        self.drop_beside(models).await?;
        let id = self.create(Stage::Rebuilding).await?;
        self.go_on_with(models, id).await
    }

    /// Goes on with the rows from before the last switch-over; they answer once they have caught up.
    pub(super) async fn roll_back(&self, models: &mut ReadModels<P, S>) -> Done {
        let old = models.old.clone().ok_or(OperationError::NoOldRows { projection: P::NAME })?;
        if old.version != P::VERSION {
            let (projection, old, program) = (P::NAME, old.version, P::VERSION);
            return Err(OperationError::OtherVersion { projection, old, program });
        }
        let resumed = async {
            self.drop_beside(models).await?;
            self.parts.read_models.resume(&old.id).await?;
            models.old = None;
            self.go_on_with(models, old.id.clone()).await?;
            // The order is the confirmation of whatever the old rows have set aside.
            if let Beside::Filling(rebuild) = &mut models.beside {
                rebuild.is_confirmed = true;
                rebuild.is_resumed = true;
            }
            Ok(())
        };
        let outcome = resumed.await;
        if outcome.is_err() && matches!(models.beside, Beside::Nothing) {
            // Rows that cannot be gone on with are of no use to anybody.
            self.parts.read_models.drop_read_model(&old.id).await?;
        }
        outcome.map_err(unavailable)
    }

    pub(super) async fn drop_old(&self, models: &mut ReadModels<P, S>) -> Done {
        let old = models.old.take().ok_or(OperationError::NoOldRows { projection: P::NAME })?;
        Ok(self.parts.read_models.drop_read_model(&old.id).await?)
    }

    async fn drop_beside(&self, models: &mut ReadModels<P, S>) -> Result<(), Trouble> {
        match std::mem::replace(&mut models.beside, Beside::Nothing) {
            Beside::Nothing => Ok(()),
            Beside::Failing { id, .. } => self.drop_unfinished(Some(id)).await,
            Beside::Filling(rebuild) => self.drop_unfinished(Some(rebuild.filling.id)).await,
        }
    }

    /// Makes the next run of a projection fill a fresh read model beside the one that answers.
    pub(super) async fn order_rebuild(&self) -> Result<(), Trouble> {
        let Listed { rebuilding, .. } = self.list().await?;
        self.drop_unfinished(rebuilding).await?;
        self.create(Stage::Rebuilding).await?;
        Ok(())
    }
}

pub(super) fn unavailable(trouble: Trouble) -> OperationError {
    OperationError::Unavailable { reason: in_one_line(&trouble) }
}

impl<P, S> Rebuild<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Whether it has reached the head and goes on from there.
    fn is_complete(&self) -> bool {
        self.filling.caught_up && self.filling.halt().is_none()
    }

    fn progress(&self, now: SystemTime) -> RebuildProgress {
        let position = self.filling.position;
        let (since, from) = self.began;
        let done = position.number().saturating_sub(from.number());
        let left = self.head.number().saturating_sub(position.number());
        let took = now.duration_since(since).unwrap_or_default();
        let remaining = (done > 0).then(|| pace(took, left, done));
        let halted = self.filling.halt().map(|halt| halt.error.clone());
        RebuildProgress { position, head: self.head, remaining, halted }
    }
}

/// What is left, at the pace of what is done.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn pace(took: Duration, left: u64, done: u64) -> Duration {
    took.mul_f64(left as f64 / done as f64)
}
