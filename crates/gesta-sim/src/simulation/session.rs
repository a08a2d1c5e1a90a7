//! One session of a store: from its opening to its crash or shutdown.
//!
//! Owns: the engine, the unanswered appends, the subscribers. Invariant: answers are checked right
//! after the engine turn that produced them.

use std::{fmt, future::Future, pin::Pin};

use gesta_log::{Engine, EnginePoll, LogStore};
use gesta_store::{Append, Appended, Checkpoint, EventStore, StoreError};

use super::{
    poll::poll_once,
    reads::catch_up,
    subscriber::{Subscriber, SubscriptionTarget},
};
use crate::{
    disk::SimDisk,
    model::{AppendKind, Attempt, CheckResult, Model, ObservedFaults, Violation, ensure},
    rng::SimRng,
};

const SUBSCRIBERS_MAX: usize = 3;

type AppendFuture = Pin<Box<dyn Future<Output = Result<Appended, StoreError>> + Send>>;

/// An append without an answer.
struct PendingAttempt {
    attempt: Attempt,
    outcome: AppendFuture,
    /// Set if it was submitted after the engine had learned of a failed write.
    after_write_failure: bool,
}

pub(crate) struct AttemptAnswer {
    pub(crate) attempt: Attempt,
    pub(crate) answer: Result<Appended, StoreError>,
}

/// An open store with its clients.
pub(crate) struct Session {
    engine: Engine,
    store: LogStore,
    pending: Vec<PendingAttempt>,
    subscribers: Vec<Subscriber>,
    write_failed: bool,
    crash_pending: bool,
}

impl Session {
    pub(crate) fn new(engine: Engine, store: LogStore) -> Self {
        let (pending, subscribers) = (Vec::new(), Vec::new());
        Self { engine, store, pending, subscribers, write_failed: false, crash_pending: false }
    }

    pub(crate) const fn store(&self) -> &LogStore {
        &self.store
    }

    /// Marks a crash that happened and must be carried out next.
    pub(crate) const fn mark_crashed(&mut self) {
        self.crash_pending = true;
    }

    pub(crate) const fn crash_pending(&self) -> bool {
        self.crash_pending
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Submits an append; it is queued when this returns.
    pub(crate) fn submit(&mut self, append: Append, attempt: Attempt) {
        let store = self.store.clone();
        let outcome = Box::pin(async move { store.append(append).await });
        self.pending.push(PendingAttempt {
            attempt,
            outcome,
            after_write_failure: self.write_failed,
        });
        self.poll_last();
    }

    /// Polls the last append: a future does nothing before its first poll.
    fn poll_last(&mut self) {
        let Some(mut last) = self.pending.pop() else { return };
        // Queues the append. An answer that is ready at once is kept for the next check.
        let early = poll_once(last.outcome.as_mut());
        if let Some(answer) = early {
            last.outcome = Box::pin(std::future::ready(answer)); // checked with the others
        }
        self.pending.push(last);
    }

    /// Drops the future of a random append, which does not cancel the append.
    pub(crate) fn abandon_one(&mut self, rng: &mut SimRng) {
        if !self.pending.is_empty() {
            let place = rng.below(self.pending.len());
            drop(self.pending.swap_remove(place));
        }
    }

    /// Lets the engine flush or compact part of its index. Returns `false` if nothing is left.
    pub(crate) fn flush_some(&mut self, disk: &SimDisk) -> bool {
        disk.while_flushing(|| self.engine.compact_some())
    }

    /// Turns the engine and checks its answers.
    pub(crate) fn turn(
        &mut self,
        model: &mut Model,
        disk: &SimDisk,
    ) -> CheckResult<(EnginePoll, Vec<AttemptAnswer>)> {
        let write_had_failed = disk.write_has_failed();
        let turn = self.engine.poll();
        // The engine learned of the failure in this turn: only later submissions must fail.
        self.write_failed |= write_had_failed;
        let observed = ObservedFaults {
            disk_failed: disk.has_failed(),
            write_failed: disk.write_has_failed(),
            damaged: disk.is_damaged(),
        };
        let answers = self.collect_answers(model, observed)?;
        Ok((turn, answers))
    }

    fn collect_answers(
        &mut self,
        model: &mut Model,
        observed: ObservedFaults,
    ) -> CheckResult<Vec<AttemptAnswer>> {
        let mut answers = Vec::new();
        let mut pending = Vec::new();
        for mut waiting in std::mem::take(&mut self.pending) {
            match poll_once(waiting.outcome.as_mut()) {
                Some(answer) => {
                    answers.push((waiting.attempt, waiting.after_write_failure, answer))
                }
                None => pending.push(waiting),
            }
        }
        self.pending = pending;
        // An acknowledged append is already visible, so absorb events before checking answers.
        if !answers.is_empty() {
            catch_up(&self.store, model)?;
        }
        let mut answered = Vec::new();
        for (attempt, after_write_failure, answer) in answers {
            // After a failed write the engine must refuse new appends until it is reopened.
            let sound = model.kind(attempt.append) == AppendKind::Valid;
            ensure(
                !(after_write_failure && answer.is_ok() && sound && attempt.is_first()),
                || format!("append {} was accepted after a write had failed", attempt.append),
            )?;
            model.answered(attempt, &answer, observed)?;
            answered.push(AttemptAnswer { attempt, answer });
        }
        Ok(answered)
    }

    /// Adds a subscriber; the oldest one is dropped at the limit.
    pub(crate) fn follow(&mut self, target: SubscriptionTarget, checkpoint: Checkpoint) {
        if self.subscribers.len() == SUBSCRIBERS_MAX {
            self.subscribers.remove(0);
        }
        self.subscribers.push(Subscriber::subscribe(&self.store, target, checkpoint));
    }

    /// Polls a random subscriber.
    pub(crate) fn listen(&mut self, model: &mut Model, rng: &mut SimRng) -> CheckResult {
        catch_up(&self.store, model)?;
        let subscriber = rng.below(self.subscribers.len());
        let deliveries_max = rng.pick(&[1, 4, 100]);
        match self.subscribers.get_mut(subscriber) {
            Some(subscriber) => subscriber.listen(model.history(), deliveries_max),
            None => Ok(()),
        }
    }

    /// Drops the last handle of the store; the engine must be turned until it stops.
    pub(crate) fn close(self) -> Closing {
        Closing { engine: self.engine }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("unanswered", &self.unanswered()).finish_non_exhaustive()
    }
}

/// A store without handles, whose engine has not stopped yet.
#[derive(Debug)]
pub(crate) struct Closing {
    engine: Engine,
}

impl Closing {
    /// Turns the engine until it stops.
    pub(crate) fn finish(mut self, mut step: impl FnMut()) -> CheckResult {
        for _ in 0..CLOSING_TURNS_MAX {
            if matches!(self.engine.poll(), EnginePoll::Closed) {
                return Ok(());
            }
            step();
        }
        Err(Violation("the engine did not stop after the last handle was dropped".to_owned()))
    }
}

const CLOSING_TURNS_MAX: usize = 1_000;
