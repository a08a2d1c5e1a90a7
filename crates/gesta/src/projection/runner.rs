//! The task that runs a projection.
//!
//! Invariant: only this task writes the projection's read models, so a rebuild and its switch-over
//! need no lock. Of several nodes, the one with the lease runs it; each write carries the token of
//! the lease. A published position is committed.
//!
//! Not here: the other nodes (`follower`), the set of read models (`read_models`), the changes of
//! their stages (`lifecycle`), and the transactions of one read model ([`ReadModelWriter`]).
//!
//! [`ReadModelWriter`]: super::writer::ReadModelWriter

use std::{
    pin::pin,
    sync::{Arc, PoisonError},
};

use gesta_store::{FencingToken, ReadModelId, ReadModelStore};
use tokio::sync::{mpsc, watch};

use super::{
    Apply, ControlMessage, Operation, OperationError, ProjectionProgress, ProjectionState,
    lifecycle::{ReadModelLifecycle, unavailable},
    provenance,
    read_models::{NextWork, ReadModels},
    run_error::RunError,
    writer::ReadModelWriter,
};
use crate::{
    backoff::Backoff,
    error_line::in_one_line,
    nodes::{Closing, Holder, NodeTask, Post, RunEnd, closed},
};

pub(super) struct ProjectionRunner<P, S> {
    pub(super) lifecycle: ReadModelLifecycle<P, S>,
    pub(super) control: mpsc::Receiver<ControlMessage>,
    pub(super) closing: watch::Receiver<Closing>,
    pub(super) post: Post,
    /// An operator has paused it: no events are applied. Not stored.
    pub(super) is_paused: bool,
    /// The error that ended the previous session. Cleared by the first step of the current one.
    pub(super) last_error: Option<String>,
}

impl<P, S> NodeTask for ProjectionRunner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    fn closing(&mut self) -> &mut watch::Receiver<Closing> {
        &mut self.closing
    }

    async fn wait(&mut self, holder: watch::Receiver<Holder>) {
        self.follow(holder).await;
    }

    async fn run(&mut self, token: Option<FencingToken>) -> RunEnd {
        self.lifecycle.deps = Arc::new(self.lifecycle.deps.under(token));
        self.lifecycle.progress.send_modify(|progress| {
            progress.state = ProjectionState::Starting;
            progress.trouble = None;
            progress.runs_on = self.post.node.clone();
        });
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closed(&mut closing) => RunEnd::Closed,
            end = self.work() => end,
        }
    }

    async fn put_down(&mut self) {
        self.is_paused = false;
        self.last_error = None;
    }
}

enum NextAction<E> {
    /// `None` once all handles are dropped.
    Control(Option<ControlMessage>),
    Work(NextWork<E>),
}

impl<P, S> ProjectionRunner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Runs on this node and follows on others, until the application is closed.
    pub(super) async fn run(mut self) {
        let post = self.post.clone();
        post.keep(&mut self).await;
    }

    /// Runs sessions until all handles are dropped.
    ///
    /// An infrastructure error pauses and restarts from the stored checkpoint. Errors of single
    /// events are handled by [`ReadModelWriter`].
    async fn work(&mut self) -> RunEnd {
        let mut backoff = Backoff::new();
        while let Err(trouble) = self.session(&mut backoff).await {
            let line = in_one_line(&trouble);
            if trouble.is_fenced() {
                tracing::warn!(projection = P::NAME, trouble = %line, "another node has taken over");
                return RunEnd::Fenced;
            }
            if let RunError::Outdated { read_model, why } = trouble {
                provenance::warn(&read_model, &why);
                self.lifecycle.outdated.insert(read_model, why);
            } else {
                let attempt = backoff.attempt();
                tracing::warn!(
                    projection = P::NAME, trouble = %line, attempt,
                    "projection restarts from its checkpoint"
                );
                self.last_error = Some(format!("{line} (attempt {attempt} failed; retrying)"));
            }
            // An outdated read model is no failure of its own, so an earlier error stays visible.
            let shown = self.last_error.clone().unwrap_or_else(|| line.clone());
            self.lifecycle.progress.send_modify(|progress| progress.trouble = Some(shown));
            self.pause(&mut backoff, &line).await;
        }
        RunEnd::Closed
    }

    /// Waits for the back-off and refuses control messages with the error that caused it.
    ///
    /// A rebuild is accepted: it replaces a read model that cannot be opened. A pause by an
    /// operator is accepted, too: it holds for the next session.
    async fn pause(&mut self, backoff: &mut Backoff, trouble: &str) {
        let clock = Arc::clone(&self.lifecycle.deps.clock);
        let mut pause = pin!(backoff.pause(clock.as_ref()));
        loop {
            let ControlMessage { operation, reply } = tokio::select! {
                () = &mut pause => return,
                Some(message) = self.control.recv() => message,
            };
            // Without a live read model the next session creates one anyway.
            let has_answering = self.lifecycle.progress.borrow().answering.is_some();
            if let Operation::Rebuild(switch) = operation
                && has_answering
            {
                let scheduled = self.lifecycle.schedule_rebuild(switch).await;
                let _ = reply.send(scheduled.map_err(unavailable));
                return;
            }
            if let Operation::Pause | Operation::Resume = operation {
                self.is_paused = matches!(operation, Operation::Pause);
                let _ = reply.send(Ok(()));
                continue;
            }
            let reason = trouble.to_owned();
            let _ = reply.send(Err(OperationError::Unavailable { reason }));
        }
    }

    /// Runs from the stored checkpoint until all handles are dropped or an error ends the session.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), RunError> {
        let mut models = self.lifecycle.open().await?;
        // A crash may have come between the last committed event and the switch-over.
        if !self.is_paused {
            self.lifecycle.switch_if_due(&mut models).await?;
        }
        self.publish_status(&models);
        loop {
            // Both branches are cancel-safe: a delivery is handled after the select, not in it.
            let next = tokio::select! {
                message = self.control.recv() => NextAction::Control(message),
                next = models.next(), if !self.is_paused => NextAction::Work(next),
            };
            let is_step = matches!(next, NextAction::Work(_));
            match next {
                NextAction::Control(None) => return Ok(()),
                NextAction::Control(Some(message)) => {
                    let message = unless_missed(message, &models.answering.id)?;
                    self.handle_control(message, &mut models).await?;
                }
                NextAction::Work(NextWork::Answering(delivery)) => {
                    let delivery = delivery?;
                    if let Err(trouble) = models.answering.take(delivery).await {
                        self.answering_failed(&mut models, trouble)?;
                    }
                }
                NextAction::Work(NextWork::Rebuild(step)) => {
                    self.lifecycle.step(&mut models, step).await?
                }
            }
            backoff.reset();
            if is_step {
                self.last_error = None;
            }
            self.publish_status(&models);
            // Stores in memory never return pending, so this task would otherwise hold its worker
            // thread while it catches up.
            tokio::task::yield_now().await;
        }
    }

    /// Marks the live read model as damaged, or returns the error to end the session.
    ///
    /// A restart does not repair damage: an operator must rebuild the read model.
    fn answering_failed(
        &self,
        models: &mut ReadModels<P, S>,
        trouble: RunError,
    ) -> Result<(), RunError> {
        let Some(damage) = trouble.damage() else { return Err(trouble) };
        models.answering.mark_damaged(damage);
        Ok(())
    }

    async fn handle_control(
        &mut self,
        message: ControlMessage,
        models: &mut ReadModels<P, S>,
    ) -> Result<(), RunError> {
        let outcome = match message.operation {
            // A switch-over has replaced it.
            Operation::Missed(_) => Ok(()),
            Operation::Rebuild(switch) => {
                self.lifecycle.rebuild(models, switch).await.map_err(unavailable)
            }
            Operation::Retry(position) => models.retry(position).await,
            Operation::Discard(position) => models.discard(position).await,
            Operation::Rehearse(position, data, slot) => {
                models.rehearse(position, &data).await.map(|rehearsal| {
                    // Each message has a slot of its own.
                    let _ = slot.set(rehearsal);
                })
            }
            Operation::OpenBoth(_) if self.is_paused => Err(OperationError::CannotCompare {
                projection: P::NAME,
                reason: "it is paused, so that neither build can reach the other one; resume it, \
                         and try again"
                    .to_owned(),
            }),
            Operation::OpenBoth(slot) => self.lifecycle.open_both(models).await.map(|both| {
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(both);
            }),
            Operation::ConfirmSwitch if models.confirm() => {
                self.lifecycle.switch_after_operation(models).await.map_err(unavailable)
            }
            Operation::ConfirmSwitch => {
                Err(OperationError::NothingToConfirm { projection: P::NAME })
            }
            Operation::RollBack => self.lifecycle.roll_back(models).await,
            Operation::DropOld => self.lifecycle.drop_old(models).await,
            Operation::Pause | Operation::Resume => {
                self.is_paused = matches!(message.operation, Operation::Pause);
                Ok(())
            }
            Operation::Damaged(read_model, damage) => {
                if models.answering.id == read_model {
                    models.answering.mark_damaged(damage);
                }
                Ok(())
            }
        };
        let database = match &outcome {
            Err(OperationError::Database(error)) => Some(RunError::from(error.clone())),
            Ok(()) | Err(_) => None,
        };
        let damage = database.as_ref().and_then(RunError::damage);
        // Retrying or discarding the last dead letter can complete a rebuild that awaited
        // confirmation.
        let switched = self.lifecycle.switch_after_operation(models).await;
        // Publish before replying, so that a caller sees the effect in the status it reads next.
        self.publish_status(models);
        // The caller may have stopped waiting, which does not undo the operation.
        let _ = message.reply.send(outcome);
        if let Some(fenced) = database.filter(RunError::is_fenced) {
            return Err(fenced);
        }
        match damage {
            // The damage may be in the live read model or in the rebuild. A new session opens both
            // and finds out.
            Some(damage) => Err(RunError::Again(damage)),
            None => switched,
        }
    }

    /// Logs once when a rebuild starts to await confirmation.
    fn warn_of_confirmation(&self, state: &ProjectionState) {
        let ProjectionState::AwaitingConfirmation(pending) = state else { return };
        let before = self.lifecycle.progress.borrow();
        if matches!(before.state_of_work(), ProjectionState::AwaitingConfirmation(_)) {
            return;
        }
        let (dead_letters, dead_letters_before) =
            (pending.dead_letters, pending.dead_letters_before);
        tracing::warn!(
            projection = P::NAME,
            dead_letters,
            dead_letters_before,
            held = pending.held,
            "a rebuild has dead letters, or was held, and is not live yet: retry or discard its \
             dead letters, or confirm the switch-over"
        );
    }

    /// Publishes the committed state to waiting queries, health and operators.
    fn publish_status(&self, models: &ReadModels<P, S>) {
        let answering = &models.answering;
        let of_work = models.state(self.lifecycle.deps.clock.now());
        self.warn_of_confirmation(&of_work);
        let (state, resumes_as) = match self.is_paused {
            true => (ProjectionState::Paused, Some(of_work)),
            false => (of_work, None),
        };
        let rebuild = models.rebuild();
        // Dead letters of a read model of another version cannot be retried, so they do not count.
        let filled = answering.is_filled().then_some(answering).into_iter().chain(rebuild);
        let letters = rebuild.map_or(0, |rebuild| rebuild.dead_letters);
        let outdated = self.lifecycle.outdated.get(&answering.id).map(ToString::to_string);
        let damage = answering.trouble().map(str::to_owned);
        let inline = [(Some(answering), true), (rebuild, false)].into_iter();
        let inline = inline.filter_map(|(writer, is_live)| writer?.inline(is_live));
        let known = ProjectionProgress {
            state,
            resumes_as,
            answering: Some(answering.id.clone()),
            inline_into: inline.collect(),
            inline_reached: None,
            filled: filled.map(|writer: &ReadModelWriter<P, S>| writer.id.clone()).collect(),
            // A caller that waits for a position would wait for the operator.
            halted: models.is_stuck() || self.is_paused,
            position: answering.position,
            incarnation: Some(answering.incarnation),
            checkpoint: Some(answering.checkpoint),
            dead_letters: answering.dead_letters.max(letters),
            old_rows: models.old_rows(),
            damage: damage.clone().filter(|_| answering.is_damaged()),
            fills_to: answering.fills_to(),
            runs_on: self.post.node.clone(),
            trouble: damage.or(outdated).or_else(|| self.last_error.clone()),
        };
        self.lifecycle.progress.send_modify(|progress| progress.replace(known));
    }
}

/// Returns a message, or ends the session if a query did not find the read model that it fills: the
/// next one opens what is there now.
fn unless_missed(
    message: ControlMessage,
    filled: &ReadModelId,
) -> Result<ControlMessage, RunError> {
    let Operation::Missed(read_model) = &message.operation else { return Ok(message) };
    if read_model != filled {
        return Ok(message);
    }
    let reason = format!(
        "another program has dropped {read_model}; the projection looks for the read model that is \
         live now, and fills one if there is none"
    );
    // The query may have been cancelled.
    let _ = message.reply.send(Err(OperationError::Unavailable { reason: reason.clone() }));
    Err(RunError::Again(reason))
}
