//! What runs a projection: one task, one thing at a time.
//!
//! Always holds: only this task writes the projection's read models, so a rebuild and its switch
//! need no lock; what is told to waiters is committed. Not here: which read models there are and
//! which of them answers (`builds`); one read model's transactions ([`Filling`]).
//!
//! [`Filling`]: super::filling::Filling

use std::{collections::HashMap, pin::pin, sync::Arc};

use gesta_store::{ReadModelId, ReadModelStore};
use tokio::sync::{mpsc, watch};

use super::{
    Apply, Operation, OperationError, Order, Progress, ProjectionState,
    backoff::Backoff,
    builds::{NextOf, ReadModels, unavailable},
    filling::{Filling, Parts, Trouble},
    in_one_line,
    provenance::{self, Outdated},
};

pub(super) struct Runner<P, S> {
    pub(super) parts: Arc<Parts<P, S>>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) progress: watch::Sender<Progress>,
    /// Read models that cannot go on: they are filled anew.
    pub(super) outdated: HashMap<ReadModelId, Outdated>,
    /// The trouble that ended the session before, until this one has taken a step.
    pub(super) held: Option<String>,
}

/// What comes next: an order, or something of one of the read models.
enum Next {
    Order(Option<Order>),
    Step(NextOf),
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
            if let Trouble::Outdated { read_model, why } = trouble {
                provenance::warn(&read_model, &why);
                self.outdated.insert(read_model, why);
            } else {
                let attempt = backoff.attempt();
                tracing::warn!(projection = P::NAME, trouble = %line, attempt, "projection begins anew");
                self.held = Some(format!("{line} (attempt {attempt} failed, it is tried again)"));
            }
            let told = self.held.clone().unwrap_or_else(|| line.clone());
            self.progress.send_modify(|progress| progress.trouble = Some(told));
            self.pause(&mut backoff, &line).await;
        }
    }

    /// An order that comes meanwhile is refused with the trouble, unless it is what helps: a read
    /// model that cannot be opened is rebuilt beside.
    async fn pause(&mut self, backoff: &mut Backoff, trouble: &str) {
        let clock = Arc::clone(&self.parts.clock);
        let mut pause = pin!(backoff.pause(clock.as_ref()));
        loop {
            let Order { operation, reply } = tokio::select! {
                () = &mut pause => return,
                Some(order) = self.orders.recv() => order,
            };
            let has_answering = self.progress.borrow().answering.is_some();
            if matches!(operation, Operation::Rebuild) && has_answering {
                let _ = reply.send(self.order_rebuild().await.map_err(unavailable));
                return;
            }
            let reason = trouble.to_owned();
            let _ = reply.send(Err(OperationError::Unavailable { reason }));
        }
    }

    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), Trouble> {
        let mut models = self.open().await?;
        self.switch_if_due(&mut models).await?;
        self.tell(&models);
        loop {
            let next = tokio::select! {
                order = self.orders.recv() => Next::Order(order),
                next = models.next() => Next::Step(next),
            };
            let is_step = matches!(next, Next::Step(_));
            match next {
                Next::Order(None) => return Ok(()),
                Next::Order(Some(order)) => self.obey(order, &mut models).await?,
                Next::Step(NextOf::Answering(delivery)) => {
                    let delivery = delivery?;
                    if let Err(trouble) = models.answering.take(delivery).await {
                        self.answering_failed(&mut models, trouble)?;
                    }
                }
                Next::Step(NextOf::Beside(step)) => self.step(&mut models, step).await?,
            }
            backoff.reset();
            if is_step {
                self.held = None;
            }
            self.tell(&models);
            // Neither a store nor a database need ever wait, so others get their turn here.
            tokio::task::yield_now().await;
        }
    }

    /// A damaged read model waits for an operator; with any other trouble a new session begins.
    fn answering_failed(
        &self,
        models: &mut ReadModels<P, S>,
        trouble: Trouble,
    ) -> Result<(), Trouble> {
        let Some(damage) = trouble.damage() else { return Err(trouble) };
        models.answering.take_damage(damage);
        Ok(())
    }

    async fn obey(&self, order: Order, models: &mut ReadModels<P, S>) -> Result<(), Trouble> {
        let outcome = match order.operation {
            Operation::Rebuild => self.rebuild(models).await.map_err(unavailable),
            Operation::Retry(position) => models.retry(position).await,
            Operation::Discard(position) => models.discard(position).await,
            Operation::ConfirmSwitch if models.confirm() => {
                self.switch_if_due(models).await.map_err(unavailable)
            }
            Operation::ConfirmSwitch => {
                Err(OperationError::NothingToConfirm { projection: P::NAME })
            }
            Operation::RollBack => self.roll_back(models).await,
            Operation::DropOld => self.drop_old(models).await,
            Operation::Damaged(read_model, damage) => {
                if models.answering.id == read_model {
                    models.answering.take_damage(damage);
                }
                Ok(())
            }
        };
        let damage = match &outcome {
            Err(OperationError::Database(error)) => Trouble::from(error.clone()).damage(),
            Ok(()) | Err(_) => None,
        };
        // What was repaired or discarded may have been what a switch-over waited for.
        let switched = self.switch_if_due(models).await;
        // Told before it is answered, so that whoever looks afterwards sees the effect.
        self.tell(models);
        // Who asked may have stopped waiting; it is done all the same.
        let _ = order.reply.send(outcome);
        match damage {
            // Which of the two it is, a new session finds out.
            Some(damage) => Err(Trouble::Again(damage)),
            None => switched,
        }
    }

    /// Writes a line when a rebuild begins to await its confirmation.
    fn warn_of_confirmation(&self, state: &ProjectionState) {
        let ProjectionState::AwaitingConfirmation(pending) = state else { return };
        let before = self.progress.borrow();
        if matches!(before.state, ProjectionState::AwaitingConfirmation(_)) {
            return;
        }
        let (dead_letters, dead_letters_before) =
            (pending.dead_letters, pending.dead_letters_before);
        tracing::warn!(
            projection = P::NAME,
            dead_letters,
            dead_letters_before,
            "a rebuild has set events aside and does not answer yet: retry or discard its dead \
             letters, or confirm the switch-over"
        );
    }

    fn tell(&self, models: &ReadModels<P, S>) {
        let answering = &models.answering;
        let state = models.state(self.parts.clock.now());
        self.warn_of_confirmation(&state);
        let rebuild = models.rebuild();
        let filled = answering.is_filled().then_some(answering).into_iter().chain(rebuild);
        let letters = rebuild.map_or(0, |rebuild| rebuild.dead_letters);
        let outdated = self.outdated.get(&answering.id).map(ToString::to_string);
        let damage = answering.trouble().map(str::to_owned);
        self.progress.send_replace(Progress {
            state,
            answering: Some(answering.id.clone()),
            filled: filled.map(|filling: &Filling<P, S>| filling.id.clone()).collect(),
            halted: models.is_stuck(),
            position: answering.position,
            checkpoint: Some(answering.checkpoint),
            dead_letters: answering.dead_letters.max(letters),
            old_rows: models.old_rows(),
            damage: damage.clone().filter(|_| answering.is_damaged()),
            fills_to: answering.fills_to(),
            trouble: damage.or(outdated).or_else(|| self.held.clone()),
        });
    }
}
