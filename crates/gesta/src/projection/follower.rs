//! A projection on a node that does not run it: the read model that another node fills.
//!
//! Invariant: a published position is one that the shared read model has reached, whichever node
//! has filled it. Nothing is written here.
//!
//! Not here: the choice of the node that runs the projection ([`nodes`](crate::nodes)).

use std::time::Duration;

use gesta_store::{
    Checkpoint, EventType, Filter, Head, Incarnation, Position, ReadAll, ReadModel, ReadModelId,
    ReadModelStore, ReadModelTx, Stage, StoreError, Visibility,
};
use tokio::sync::watch;

use super::{
    Apply, ControlMessage, OldRows, Operation, ProjectionProgress, ProjectionState,
    handle::refusal, provenance::Provenance, run_error::RunError, runner::ProjectionRunner,
    status::InlineReadModel, stream_end,
};
use crate::{
    EventSet, Sleep,
    error_line::in_one_line,
    following::first_event,
    nodes::{Holder, Refusing},
};

/// Pause between two looks while no caller waits.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Pause before the second look for a caller that waits. Each further look doubles it.
const LOOK_SOON_MIN: Duration = Duration::from_millis(5);
const LOOK_SOON_MAX: Duration = Duration::from_millis(100);

/// The facts of a read model that do not change while it is filled.
struct ReadModelFacts {
    id: ReadModelId,
    /// Its rows come from events of all types that this program applies.
    is_complete: bool,
    fills_to: Position,
}

/// The shared read model at one moment.
struct Seen {
    live: ReadModel,
    old: Option<ReadModel>,
    /// Handled position: the checkpoint, or a later one if no event between them is for this
    /// projection.
    position: Position,
    /// The incarnation of the store that the position belongs to. `None` for rows of another one.
    incarnation: Option<Incarnation>,
    fills_to: Option<Position>,
    dead_letters: usize,
    /// Its rows come from events of all types that this program applies.
    is_complete: bool,
}

impl<P, S> ProjectionRunner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Publishes what the node that runs the projection has done, and refuses operations. Returns
    /// once the application is closed.
    ///
    /// Cancel-safe.
    pub(super) async fn follow(&mut self, mut holder: watch::Receiver<Holder>) {
        let mut known = None;
        let mut pause = LOOK_SOON_MIN;
        loop {
            let seen = self.look(&mut known).await;
            let heard = holder.borrow_and_update().clone();
            self.publish_seen(seen, heard);
            let waits = *self.lifecycle.waiters.borrow_and_update() > 0;
            pause = if waits { (pause * 2).min(LOOK_SOON_MAX) } else { LOOK_SOON_MIN };
            if self.until_next_look(waits.then_some(pause), &mut holder).await.is_none() {
                return;
            }
        }
    }

    /// Refuses operations until it is time to look again. Returns `None` once the application is
    /// closed.
    async fn until_next_look(
        &mut self,
        soon: Option<Duration>,
        holder: &mut watch::Receiver<Holder>,
    ) -> Option<()> {
        let Self { lifecycle, closing, control, .. } = self;
        let (waiters, progress) = (&mut lifecycle.waiters, &lifecycle.progress);
        let clock = &lifecycle.deps.clock;
        let sleep: Sleep = soon.map_or_else(|| clock.sleep(LOOK_AGAIN), |it| clock.pause(it));
        let pause = async {
            tokio::select! {
                biased;
                Ok(()) = waiters.changed(), if soon.is_none() => {}
                () = sleep => {}
            }
        };
        let refusing = Refusing { closing, control, holder };
        refusing.refuse_until(pause, |message| Self::refuse(progress, message)).await
    }

    fn refuse(
        progress: &watch::Sender<ProjectionProgress>,
        ControlMessage { operation, reply }: ControlMessage,
    ) {
        let outcome = match operation {
            // The handle remembers it for the status. The node that runs it will meet it, too.
            Operation::Damaged(..) => Ok(()),
            Operation::Rebuild(_)
            | Operation::Retry(_)
            | Operation::Discard(_)
            | Operation::Rehearse(..)
            | Operation::OpenBoth(_)
            | Operation::ConfirmSwitch
            | Operation::RollBack
            | Operation::DropOld
            | Operation::Pause
            | Operation::Resume
            | Operation::Missed(_) => {
                let node = progress.borrow().runs_on.clone();
                Err(refusal(P::NAME, node).into())
            }
        };
        // The caller may have stopped waiting.
        let _ = reply.send(outcome);
    }

    /// Returns the live read model, or `None` if no node has created one yet.
    async fn look(&self, known: &mut Option<ReadModelFacts>) -> Result<Option<Seen>, RunError> {
        let (store, read_models) =
            (self.lifecycle.deps.store.as_ref(), &self.lifecycle.deps.work.read_models);
        // Before the checkpoint: events up to this head that the read below does not find are
        // handled.
        let head = store.head().await?;
        let listed = read_models.list_read_models(P::NAME).await?;
        let at = |stage| listed.iter().find(|one| one.stage == stage).cloned();
        let Some(live) = at(Stage::Live) else { return Ok(None) };
        let checkpoint = live.checkpoint.filter(|it| it.incarnation == head.incarnation);
        let is_known = known.as_ref().is_some_and(|it| it.id == live.id && it.is_complete);
        if !is_known {
            *known = Some(self.learn(&live).await?);
        }
        let complete = known.as_ref().filter(|it| it.is_complete);
        let position = match (checkpoint, complete) {
            (Some(checkpoint), Some(_)) => self.reached(checkpoint, &head).await?,
            (None, _) | (_, None) => Position::START,
        };
        let fills_to = known.as_ref().map(|it| it.fills_to).filter(|to| position < *to);
        let dead_letters = read_models.dead_letters(&live.id).await?.len();
        let is_complete = complete.is_some();
        let old = at(Stage::Retired);
        let incarnation = checkpoint.map(|checkpoint| checkpoint.incarnation);
        Ok(Some(Seen { old, live, position, incarnation, fills_to, dead_letters, is_complete }))
    }

    /// Reads the origin of a read model's rows.
    async fn learn(&self, live: &ReadModel) -> Result<ReadModelFacts, RunError> {
        let mut tx = self.lifecycle.deps.work.read_models.begin(&live.id).await?;
        let provenance = Provenance::read(&mut tx).await?;
        tx.rollback().await?;
        let is_complete = match live.checkpoint {
            Some(checkpoint) => {
                let store = self.lifecycle.deps.store.as_ref();
                provenance.missed_types(store, P::Event::NAMES, checkpoint).await?.is_none()
            }
            None => false,
        };
        Ok(ReadModelFacts { id: live.id.clone(), is_complete, fills_to: provenance.fills_to })
    }

    /// Returns the position up to which no event for this projection is left after a checkpoint.
    ///
    /// The node that runs it stores a checkpoint with events only. Without this, a caller would
    /// wait for the position of an event that is not for this projection.
    async fn reached(&self, checkpoint: Checkpoint, head: &Head) -> Result<Position, StoreError> {
        if checkpoint.position >= head.position {
            return Ok(checkpoint.position);
        }
        let mut types: Vec<EventType> = P::Event::event_types()?;
        types.extend(stream_end::event_types()?);
        let left = ReadAll::forwards()
            .from(checkpoint.position.next())
            .filter(Filter::EventTypes(types))
            .visibility(Visibility::Visible);
        let first = first_event(self.lifecycle.deps.store.as_ref(), left).await?;
        let before = first.map(|event| Position::new(event.position.number().saturating_sub(1)));
        Ok(before.map_or(head.position, |before| before.min(head.position)))
    }

    fn publish_seen(&self, seen: Result<Option<Seen>, RunError>, holder: Holder) {
        let trouble = holder.trouble();
        let Holder { is_known, node, .. } = holder;
        let state = if is_known { ProjectionState::Waiting } else { ProjectionState::Starting };
        self.lifecycle.progress.send_modify(|progress| {
            progress.state = state.clone();
            progress.resumes_as = None;
            progress.runs_on = node;
            progress.halted = false;
            progress.damage = None;
            match seen {
                Ok(Some(seen)) => {
                    progress.trouble = trouble;
                    seen.publish::<P>(progress);
                }
                Ok(None) => {
                    *progress = ProjectionProgress {
                        state,
                        runs_on: progress.runs_on.take(),
                        trouble,
                        ..ProjectionProgress::starting()
                    };
                }
                // The last known read model still answers queries.
                Err(error) => progress.trouble = Some(in_one_line(&error)),
            }
        });
    }
}

impl Seen {
    fn publish<P: super::Projection>(self, progress: &mut ProjectionProgress) {
        let Self { live, old, position, incarnation, fills_to, dead_letters, is_complete } = self;
        let reached = progress.inline_reached.take();
        // Dead letters of a read model of another version cannot be retried.
        let is_own = live.version == P::VERSION;
        progress.filled = is_own.then(|| live.id.clone()).into_iter().collect();
        let takes_part = is_own && is_complete;
        let inline = takes_part.then(|| InlineReadModel { id: live.id.clone(), is_live: true });
        progress.inline_into = inline.into_iter().collect();
        progress.checkpoint = live.checkpoint;
        progress.incarnation = incarnation;
        progress.answering = Some(live.id);
        progress.position = position;
        progress.fills_to = fills_to;
        progress.dead_letters = dead_letters;
        progress.old_rows = old.map(|old| OldRows {
            build: old.id.build,
            version: old.version,
            position: old.checkpoint.map_or(Position::START, |it| it.position),
        });
        // Appends of this node may have moved it since the look.
        if let Some((id, checkpoint)) = reached {
            progress.reach_inline(id, checkpoint);
        }
    }
}
