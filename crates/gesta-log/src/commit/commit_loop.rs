//! The loop that carries out the committer's actions: queue → committer → disk → readers → callers.
//!
//! Invariant: an append is answered after its group is visible. The same code runs under the
//! threads of a real store and under a simulation, which calls [`CommitLoop::poll`] itself.
//!
//! Elsewhere: threads ([`leader`](super::leader)), decisions ([`committer`](super::committer)).

use std::{sync::Arc, time::Duration};

use gesta_store::{EventQuery, Position, RecordedEvent, StoreError};
use tracing::{info, warn};

use super::{
    action::{Action, Now},
    committer::Committer,
    completion::Completions,
    index_worker::IndexWorker,
    queue::{Drained, SubmitQueue},
    validation::CommittedLookup,
};
use crate::{
    clock::{Clock, Rng},
    index::{AppendSpan, Index},
    mutations::mutated,
    options::Options,
    published::{RECORDED_AHEAD_MAX, SealedQueue},
    read::{EarlierAppend, Ends, Reader},
    recovery::LogEnd,
};

/// The state of an [`Engine`](crate::Engine) after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnginePoll {
    /// Nothing to do until an append or a completion arrives.
    Idle,
    /// As [`Idle`](Self::Idle), but poll again at this time of [`Clock::elapsed`] at the latest.
    WakeAt(Duration),
    /// Closed or stopped for good; polling again does nothing.
    Closed,
}

/// The writing side of a store. It makes progress only while it is polled.
#[derive(Debug)]
pub(crate) struct CommitLoop {
    committer: Committer,
    queue: Arc<SubmitQueue>,
    completions: Arc<Completions>,
    reader: Reader,
    index_worker: Arc<IndexWorker>,
    sealed: Arc<SealedQueue>,
    /// True if the log was told that the recorded time is ahead of the clock.
    warned_ahead: bool,
}

impl CommitLoop {
    pub(crate) fn new(
        reader: Reader,
        end: LogEnd,
        rng: Box<dyn Rng>,
        options: Options,
        sealed: Arc<SealedQueue>,
    ) -> Self {
        let committer = Committer::new(options, rng, end, reader.disk.place());
        let mut commit_loop = Self {
            committer,
            queue: Arc::default(),
            completions: Arc::default(),
            reader,
            index_worker: Arc::default(),
            sealed,
            warned_ahead: false,
        };
        commit_loop.watch_clock();
        commit_loop
    }

    /// Processes all queued appends and completions as far as possible without waiting.
    pub(crate) fn poll(&mut self) -> EnginePoll {
        self.poll_while(|| true)
    }

    /// As [`poll`](Self::poll), but returns between two steps once `proceed` is false.
    pub(super) fn poll_while(&mut self, proceed: impl Fn() -> bool) -> EnginePoll {
        loop {
            // Publish what completed before the next appends are validated against the index.
            let mut completed = self.drain_queue();
            if mutated!(AnswerBeforePublication) {
                completed.sort_by_key(|action| !matches!(action, Action::Answer(_)));
            }
            let mut quiet = completed.is_empty();
            for action in completed {
                self.carry_out(action);
            }
            let step = self.step();
            quiet &= step.is_empty();
            for action in step {
                self.carry_out(action);
            }
            let answered = self.completions.drain_some();
            quiet &= !answered;
            let done = quiet && self.queue.is_empty(self.committer.wake_threshold());
            // An early return loses nothing: remaining work is in the queue or has a deadline.
            if done || (!answered && !proceed()) {
                return self.next_poll();
            }
        }
    }

    fn step(&mut self) -> Vec<Action> {
        let now = self.now();
        let index = self.reader.published.index();
        self.committer.step(now, &index, &PublishedAppends(&self.reader))
    }

    fn drain_queue(&mut self) -> Vec<Action> {
        let Drained { appends, completions, stop_requested } = self.queue.drain();
        if stop_requested {
            self.committer.stop();
        }
        // Only a completed write changes the recorded time of the last event.
        if !completions.is_empty() {
            self.watch_clock();
        }
        let now = self.now();
        // Appends first: a completion adapts the batch size to the number of queued appends.
        appends.into_iter().for_each(|append| self.committer.enqueue(append));
        let complete = |(task, result)| self.committer.complete(task, result, now);
        completions.into_iter().flat_map(complete).collect()
    }

    /// Logs once when the recorded time is far ahead of the clock, and once when it no longer is.
    fn watch_clock(&mut self) {
        let ahead = self.committer.recorded_ahead(self.reader.clock.now());
        if (ahead > RECORDED_AHEAD_MAX) == self.warned_ahead {
            return;
        }
        self.warned_ahead = !self.warned_ahead;
        if self.warned_ahead {
            warn!(
                ?ahead,
                "the last event was recorded by a clock that was ahead; until the clock catches \
                 up, all events get that time, and maximum ages count from it. If the clock is \
                 correct now, stop the store and run `gesta clock --restart`"
            );
        } else {
            info!("the clock has reached the last event's recorded time");
        }
    }

    fn carry_out(&self, action: Action) {
        match action {
            Action::Submit(task, operation, lane) => {
                let queue = Arc::clone(&self.queue);
                // May run on a thread of the disk: it only enqueues the result, wakes the leader.
                let done = Box::new(move |result| queue.complete(task, result));
                self.reader.disk.submit(operation, lane, done);
            }
            Action::StageIndex(group) => {
                if self.index_worker.is_worth(group.events.len())
                    && let Some(staged) = self.reader.published.stage(&group)
                {
                    self.index_worker.submit(staged, group.events);
                }
            }
            Action::Publish(publication) => {
                // The staged postings become visible together with the group.
                let staged = self.index_worker.join();
                self.reader.published.publish(&publication, staged.as_ref());
            }
            Action::Answer(results) => self.completions.push(results),
            Action::Sealed(segment) => self.sealed.push(segment),
            Action::Release(bytes) => self.queue.release(bytes),
        }
    }

    fn next_poll(&self) -> EnginePoll {
        if self.committer.is_closed() {
            return EnginePoll::Closed;
        }
        self.committer.deadline().map_or(EnginePoll::Idle, EnginePoll::WakeAt)
    }

    fn now(&self) -> Now {
        Now { calendar: self.reader.clock.now(), elapsed: self.reader.clock.elapsed() }
    }

    /// Returns whether a group is being gathered or written.
    pub(super) fn is_busy(&self) -> bool {
        self.committer.is_busy()
    }

    /// Returns the time for which a leader spins before it parks.
    pub(super) fn spin_time(&self) -> Duration {
        self.committer.spin_time()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.reader.clock)
    }

    pub(crate) fn queue(&self) -> &Arc<SubmitQueue> {
        &self.queue
    }

    pub(crate) fn completions(&self) -> &Arc<Completions> {
        &self.completions
    }

    pub(crate) fn index_worker(&self) -> &Arc<IndexWorker> {
        &self.index_worker
    }
}

impl Drop for CommitLoop {
    /// Answers all waiting callers with an unknown outcome, and ends subscriptions.
    fn drop(&mut self) {
        // Dropping a responder answers its caller.
        drop(self.queue.close());
        while self.completions.drain_some() {}
        self.reader.published.close();
    }
}

/// Appends that are visible already, for recognizing repeats and matching conditions.
struct PublishedAppends<'a>(&'a Reader);

impl CommittedLookup for PublishedAppends<'_> {
    fn append(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError> {
        self.0.span(span)
    }

    fn index(&self) -> Index {
        self.0.published.wait_for_replacement();
        self.0.published.index()
    }

    fn first_match(
        &self,
        query: &EventQuery,
        after: Position,
        ends: Ends<'_>,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let reader = self.0;
        reader.retry_if_files_replaced(|| {
            reader.first_match(&reader.published.index(), query, after, &mut *ends)
        })
    }
}
