//! What runs a projection: one task, one thing at a time.
//!
//! Always holds: only this task writes the projection's read models, so a rebuild and its switch
//! need no lock; what is told to waiters is committed. Not here: one read model's transactions
//! ([`Filling`]).

use std::{
    future,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use gesta_store::{
    Checkpoint, CreateReadModel, DatabaseError, Delivery, Position, ReadModel, ReadModelId,
    ReadModelStore, Stage, StoreError,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Apply, Progress, ProjectionState, RebuildProgress,
    backoff::Backoff,
    filling::{Filling, Parts, Trouble},
    in_one_line,
};

/// What somebody asks of a running projection.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) operation: Operation,
    pub(crate) reply: oneshot::Sender<Result<(), OperationError>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Fill a fresh read model, in place of one that is being filled.
    Rebuild,
    /// Apply what was set aside of the stream of the dead letter at this position.
    Retry(Position),
    /// Forget the dead letter at this position.
    Discard(Position),
}

/// Why an operation on a projection was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// No projection of this name runs here.
    #[error("projection {projection} is not registered")]
    NotRegistered {
        /// The name.
        projection: String,
    },
    /// It was retried or discarded before, or never was.
    #[error("there is no dead letter at position {position}")]
    NoSuchDeadLetter {
        /// The position.
        position: Position,
    },
    /// The store no longer has the event. Discard the dead letter.
    #[error("the event at position {position} is gone")]
    EventGone {
        /// The position.
        position: Position,
    },
    /// It was tried and fails as before. Fix the projection.
    #[error("the event at position {position} still fails: {error}")]
    StillFails {
        /// The position.
        position: Position,
        /// Why.
        error: String,
    },
    /// The read model's database did not do it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projection is in trouble or stopped. Look at its status; try again later.
    #[error("the projection cannot do it now: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
    },
}

pub(super) struct Runner<P, S> {
    pub(super) parts: Arc<Parts<P, S>>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) progress: watch::Sender<Progress>,
    /// A read model that has seen events which the store no longer has: it is filled anew.
    pub(super) ahead: Option<ReadModelId>,
}

/// The read models of a projection: one answers, another may be filled beside it.
struct ReadModels<P, S> {
    answering: Filling<P, S>,
    rebuild: Option<Rebuild<P, S>>,
}

struct Rebuild<P, S> {
    filling: Filling<P, S>,
    head: Position,
    /// When and where it began in this run: what an estimate is made from.
    began: (SystemTime, Position),
}

impl<P, S> ReadModels<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Those that this version fills: into another version's, it must not write.
    fn filled(&mut self) -> impl Iterator<Item = &mut Filling<P, S>> {
        let rebuild = self.rebuild.as_mut().map(|rebuild| &mut rebuild.filling);
        let answering = self.answering.is_filled().then_some(&mut self.answering);
        answering.into_iter().chain(rebuild)
    }

    async fn retry(&mut self, position: Position) -> Result<(), OperationError> {
        let mut outcome = Err(OperationError::NoSuchDeadLetter { position });
        for filling in self.filled() {
            outcome = either(outcome, filling.retry(position).await)?;
        }
        outcome
    }

    async fn discard(&mut self, position: Position) -> Result<(), OperationError> {
        let mut outcome = Err(OperationError::NoSuchDeadLetter { position });
        for filling in self.filled() {
            outcome = either(outcome, filling.discard(position).await)?;
        }
        outcome
    }
}

type Done = Result<(), OperationError>;

/// A dead letter may be one read model's and not the other's. Any other error ends it.
fn either(before: Done, now: Done) -> Result<Done, OperationError> {
    match now {
        Err(OperationError::NoSuchDeadLetter { .. }) => Ok(before),
        other => other.map(Ok),
    }
}

/// What comes next: an order, or a delivery for one of the read models.
enum Next {
    Order(Option<Order>),
    Answering(Result<Delivery, Trouble>),
    Rebuild(Result<Delivery, Trouble>),
}

impl<P, S> Runner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Until nobody can order anything any more. Trouble that is not an event's leads to a pause
    /// and a new beginning from the stored checkpoint.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        while let Err(trouble) = self.session(&mut backoff).await {
            let line = in_one_line(&trouble);
            tracing::warn!(projection = P::NAME, trouble = %line, "projection begins anew");
            self.progress.send_modify(|progress| progress.trouble = Some(line.clone()));
            if let Trouble::Ahead { read_model } = trouble {
                self.ahead = Some(read_model);
            }
            self.pause(&mut backoff, &line).await;
        }
    }

    /// Who orders something meanwhile is told why it is not done.
    async fn pause(&mut self, backoff: &mut Backoff, trouble: &str) {
        let clock = Arc::clone(&self.parts.clock);
        let mut pause = pin!(backoff.pause(clock.as_ref()));
        loop {
            tokio::select! {
                () = &mut pause => return,
                Some(order) = self.orders.recv() => {
                    let reason = trouble.to_owned();
                    let _ = order.reply.send(Err(OperationError::Unavailable { reason }));
                }
            }
        }
    }

    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), Trouble> {
        let mut models = self.open().await?;
        self.tell(&models);
        loop {
            let next = tokio::select! {
                order = self.orders.recv() => Next::Order(order),
                delivery = models.answering.next() => Next::Answering(delivery),
                delivery = next_of(models.rebuild.as_mut()) => Next::Rebuild(delivery),
            };
            match next {
                Next::Order(None) => return Ok(()),
                Next::Order(Some(order)) => self.obey(order, &mut models).await,
                Next::Answering(delivery) => models.answering.take(delivery?).await?,
                Next::Rebuild(delivery) => self.go_on(&mut models, delivery?).await?,
            }
            backoff.reset();
            self.tell(&models);
            // Neither a store nor a database need ever wait, so others get their turn here.
            tokio::task::yield_now().await;
        }
    }

    /// Finds the read models as the last run left them.
    async fn open(&self) -> Result<ReadModels<P, S>, Trouble> {
        let listed = self.parts.read_models.list_read_models(P::NAME).await?;
        let mut rebuilding = None;
        let mut answering = None;
        for read_model in listed {
            match read_model.stage {
                Stage::Answering => answering = Some(read_model),
                Stage::Rebuilding if self.can_go_on(&read_model) => {
                    self.drop_unfinished(rebuilding.replace(read_model.id)).await?;
                }
                Stage::Rebuilding => self.drop_unfinished(Some(read_model.id)).await?,
            }
        }
        let Some(answering) = answering else { return self.begin_first(rebuilding).await };
        if self.can_go_on(&answering) {
            let answering = self.filling(answering.id).await?;
            self.tell_answering(&answering);
            let rebuild = self.resume_rebuild(rebuilding).await?;
            return Ok(ReadModels { answering, rebuild });
        }
        let answering = self.retired(answering).await?;
        self.tell_answering(&answering);
        let rebuilding = match rebuilding {
            Some(id) => id,
            None => self.create(Stage::Rebuilding).await?,
        };
        let rebuild = self.resume_rebuild(Some(rebuilding)).await?;
        Ok(ReadModels { answering, rebuild })
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
        read_model.version == P::VERSION && self.ahead.as_ref() != Some(&read_model.id)
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
            None => self.create(Stage::Answering).await?,
        };
        Ok(ReadModels { answering: self.filling(id).await?, rebuild: None })
    }

    async fn filling(&self, id: ReadModelId) -> Result<Filling<P, S>, Trouble> {
        Filling::open(&self.parts, id).await
    }

    async fn retired(&self, read_model: ReadModel) -> Result<Filling<P, S>, Trouble> {
        let incarnation = self.parts.store.head().await?.incarnation;
        let nothing = Checkpoint { position: Position::START, incarnation };
        // Positions that the store no longer has say nothing: whatever replaces it is further.
        let known = read_model.checkpoint.filter(|_| self.ahead.as_ref() != Some(&read_model.id));
        let checkpoint = known.unwrap_or(nothing);
        Ok(Filling::retired(&self.parts, read_model.id, checkpoint))
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

    async fn resume_rebuild(
        &self,
        id: Option<ReadModelId>,
    ) -> Result<Option<Rebuild<P, S>>, Trouble> {
        let Some(id) = id else { return Ok(None) };
        let filling = self.filling(id).await?;
        let head = self.parts.store.head().await?.position;
        let began = (self.parts.clock.now(), filling.position);
        Ok(Some(Rebuild { filling, head, began }))
    }

    /// Fills on, and switches once it has reached the head and the one that answers: no reader
    /// ever sees less than before.
    async fn go_on(
        &self,
        models: &mut ReadModels<P, S>,
        delivery: Delivery,
    ) -> Result<(), Trouble> {
        let Some(rebuild) = &mut models.rebuild else { return Ok(()) };
        rebuild.filling.take(delivery).await?;
        rebuild.head = rebuild.head.max(rebuild.filling.position);
        let reached = rebuild.filling.caught_up
            && rebuild.filling.halt().is_none()
            && rebuild.filling.position >= models.answering.position;
        if !reached {
            return Ok(());
        }
        self.parts.read_models.switch_to(&rebuild.filling.id).await?;
        tracing::info!(projection = P::NAME, read_model = %rebuild.filling.id, "rebuilt");
        if let Some(rebuild) = models.rebuild.take() {
            models.answering = rebuild.filling;
        }
        Ok(())
    }

    async fn obey(&self, order: Order, models: &mut ReadModels<P, S>) {
        let outcome = match order.operation {
            Operation::Rebuild => self.rebuild(models).await,
            Operation::Retry(position) => models.retry(position).await,
            Operation::Discard(position) => models.discard(position).await,
        };
        // Who asked may have stopped waiting; it is done all the same.
        let _ = order.reply.send(outcome);
    }

    async fn rebuild(&self, models: &mut ReadModels<P, S>) -> Result<(), OperationError> {
        let begun = async {
            self.drop_unfinished(models.rebuild.take().map(|rebuild| rebuild.filling.id)).await?;
            let id = self.create(Stage::Rebuilding).await?;
            models.rebuild = self.resume_rebuild(Some(id)).await?;
            Ok(())
        };
        begun.await.map_err(|trouble: Trouble| OperationError::Unavailable {
            reason: in_one_line(&trouble),
        })
    }

    fn tell(&self, models: &ReadModels<P, S>) {
        let answering = &models.answering;
        let rebuild = models.rebuild.as_ref().map(|rebuild| &rebuild.filling);
        let filled = answering.is_filled().then_some(answering).into_iter().chain(rebuild);
        let letters = rebuild.map_or(0, |rebuild| rebuild.dead_letters);
        self.progress.send_replace(Progress {
            state: self.state(models),
            answering: Some(answering.id.clone()),
            filled: filled.map(|filling| filling.id.clone()).collect(),
            halted: answering.is_stopped() && rebuild.is_none_or(Filling::is_stopped),
            position: answering.position,
            checkpoint: Some(answering.checkpoint),
            dead_letters: answering.dead_letters.max(letters),
            trouble: None,
        });
    }

    fn state(&self, models: &ReadModels<P, S>) -> ProjectionState {
        match (&models.rebuild, models.answering.halt()) {
            (Some(rebuild), _) => {
                ProjectionState::Rebuilding(rebuild.progress(self.parts.clock.now()))
            }
            (None, Some(halt)) => {
                ProjectionState::Halted { position: halt.position, error: halt.error.clone() }
            }
            (None, None) => ProjectionState::Running,
        }
    }
}

impl<P, S> Rebuild<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
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

async fn next_of<P, S>(rebuild: Option<&mut Rebuild<P, S>>) -> Result<Delivery, Trouble>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    match rebuild {
        Some(rebuild) => rebuild.filling.next().await,
        None => future::pending().await,
    }
}
