//! Group commit: the queue of appends, and the task that records them.
//!
//! Owns: the order of steps of a group: look-ups, judgement, parts, the log's item, entries, the
//! mark, answers. A step that fails without a clear answer is resolved before the next group. Not
//! here: judging one append (`judge.rs`), the tail that another writer left (`chain.rs`).

mod chain;
mod contents;
mod judge;
mod pauses;

use std::{collections::VecDeque, sync::Arc};

use gesta_store::{Append, Appended, Overload, StoreError};
use tokio::sync::{mpsc, oneshot};

pub(super) use self::judge::check_metadata;
use self::{
    chain::Chain,
    contents::shrink,
    judge::{Judged, Judgement},
    pauses::{PAUSE_MAX, pause},
};
use super::{
    codec::{LoggedAppend, encode_append},
    layout::Batch,
    lookups::answer_of,
    shared::Shared,
};
use crate::{clock, errors::CallError, item::Item};

/// Bytes of a log's item, below the vendor's 400 KB.
const BATCH_BYTES_MAX: usize = 340 * 1_024;
/// Appends of a group.
const GROUP_APPENDS_MAX: usize = 256;
/// Bytes of the appends that wait.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Rounds of a group that other processes are faster than.
const ROUNDS_MAX: u32 = 100;

/// The queue of appends. The task ends when all queues are dropped.
#[derive(Clone)]
pub(super) struct Queue {
    requests: mpsc::UnboundedSender<Request>,
    waiting: Arc<tokio::sync::Semaphore>,
}

/// A request to the task.
enum Request {
    Append(Waiting),
    /// Writes what an earlier writer has left.
    CatchUp(oneshot::Sender<Result<(), StoreError>>),
    /// Ends the task after everything before it.
    End(oneshot::Sender<()>),
}

/// An append that waits for its answer.
struct Waiting {
    append: Append,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
    /// Room in the queue, given back with the answer.
    _room: tokio::sync::OwnedSemaphorePermit,
}

impl Queue {
    /// Starts the task.
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let (requests, received) = mpsc::unbounded_channel();
        let worker = shared.worker.clone();
        worker.spawn(Committer { chain: Chain::new(shared), late: VecDeque::new() }.run(received));
        Self { requests, waiting: Arc::new(tokio::sync::Semaphore::new(QUEUE_BYTES_MAX)) }
    }

    pub(super) async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let bytes: usize = append.events().map(|event| event.content_bytes() + 128).sum();
        let room = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.waiting).try_acquire_many_owned(room);
        let room = room.map_err(|_| {
            let queued_bytes = QUEUE_BYTES_MAX - self.waiting.available_permits();
            StoreError::Overloaded(Overload::Queue { queued_bytes, max: QUEUE_BYTES_MAX })
        })?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { append, answer, _room: room };
        self.requests.send(Request::Append(waiting)).map_err(|_| StoreError::closed())?;
        let lost = || StoreError::unavailable("the store was closed during the append");
        answered.await.map_err(|_| lost())?
    }

    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::CatchUp(answer)).map_err(|_| StoreError::closed())?;
        answered.await.map_err(|_| StoreError::closed())?
    }

    /// Waits until everything that was accepted has its answer, and ends the task.
    pub(super) async fn end(&self) {
        let (ended, end) = oneshot::channel();
        if self.requests.send(Request::End(ended)).is_ok() {
            drop(end.await);
        }
    }
}

/// The task that records appends.
struct Committer {
    chain: Chain,
    /// Appends that a group left to the next one.
    late: VecDeque<Waiting>,
}

/// The end of a group without a record.
enum GroupError {
    /// Another process was faster: judge again.
    Overtaken,
    /// The appends get this answer.
    Failed(StoreError),
}

impl Committer {
    async fn run(mut self, mut received: mpsc::UnboundedReceiver<Request>) {
        loop {
            let first = match self.late.is_empty() {
                true => received.recv().await,
                false => received.try_recv().ok(),
            };
            if first.is_none() && self.late.is_empty() {
                return;
            }
            let mut group: Vec<Waiting> = self.late.drain(..).collect();
            let mut next = first;
            let mut other = None;
            while let Some(request) = next {
                match request {
                    Request::Append(waiting) => group.push(waiting),
                    request => {
                        other = Some(request);
                        break;
                    }
                }
                let is_full = group.len() >= GROUP_APPENDS_MAX;
                next = if is_full { None } else { received.try_recv().ok() };
            }
            self.commit(group).await;
            match other {
                Some(Request::CatchUp(answer)) => {
                    let caught_up = self.chain.catch_up().await.map_err(CallError::into_store);
                    drop(answer.send(caught_up));
                }
                Some(Request::End(ended)) => {
                    while !self.late.is_empty() {
                        let group = self.late.drain(..).collect();
                        self.commit(group).await;
                    }
                    // No one may wait any more.
                    let _ = ended.send(());
                    return;
                }
                Some(Request::Append(_)) | None => {}
            }
        }
    }

    /// Records a group, or answers why not. Some of its appends may be left for the next group.
    async fn commit(&mut self, mut group: Vec<Waiting>) {
        for _ in 0..ROUNDS_MAX {
            // A caller that has gone away may still be recorded, but does not have to be.
            group.retain(|waiting| !waiting.answer.is_closed());
            if group.is_empty() {
                return;
            }
            match self.try_commit(group).await {
                Ok(()) => return,
                Err((rest, GroupError::Overtaken)) => {
                    group = rest;
                    // They came later, and would be judged before them otherwise.
                    group.extend(self.late.drain(..));
                }
                Err((rest, GroupError::Failed(error))) => {
                    rest.into_iter()
                        .for_each(|waiting| drop(waiting.answer.send(Err(error.clone()))));
                    return;
                }
            }
            // Writers that meet at the same key part by chance. A longer pause would give way to
            // the faster one each time.
            tokio::time::sleep(pause(0)).await;
        }
        let busy = StoreError::Overloaded(Overload::Throttled { retry_after: Some(PAUSE_MAX) });
        group.into_iter().for_each(|waiting| drop(waiting.answer.send(Err(busy.clone()))));
    }

    async fn try_commit(&mut self, group: Vec<Waiting>) -> Result<(), (Vec<Waiting>, GroupError)> {
        let failed = |group, error: CallError| (group, GroupError::Failed(of_reading(error)));
        if let Err(error) = self.chain.ready().await {
            return Err(failed(group, error));
        }
        let appends: Vec<&Append> = group.iter().map(|waiting| &waiting.append).collect();
        let mut judgement = match Judgement::begin(&mut self.chain, &appends).await {
            Ok(judgement) => judgement,
            Err(error) => return Err(failed(group, error)),
        };
        let mut plan = Plan::new(&self.chain);
        for waiting in group {
            // Appends that do not fit, or that depend on this group, wait for the next one.
            if plan.is_full || !self.late.is_empty() {
                self.late.push_back(waiting);
                continue;
            }
            match judgement.judge(&self.chain, &waiting.append, !plan.waiting.is_empty()).await {
                Ok(Judged::Answer(answer)) => plan.answered.push((waiting, answer.map(|it| *it))),
                Ok(Judged::Later) => self.late.push_back(waiting),
                Ok(Judged::Record(parts)) => {
                    if let Some(late) = plan.take(waiting, parts, &mut judgement) {
                        self.late.push_back(late);
                    }
                }
                Err(error) => drop(waiting.answer.send(Err(of_reading(error)))),
            }
        }
        plan.record(&mut self.chain).await
    }
}

/// The group that is being filled.
struct Plan {
    batch: Batch,
    bytes: usize,
    is_full: bool,
    waiting: Vec<Waiting>,
    parts: Vec<Item>,
    /// Appends that are not recorded, with their answers. They hold if the end of the chain, on
    /// which they were judged, is the end.
    answered: Vec<(Waiting, Result<Appended, StoreError>)>,
}

impl Plan {
    fn new(chain: &Chain) -> Self {
        let batch = chain.next_batch(clock::now());
        let (waiting, parts, answered) = (Vec::new(), Vec::new(), Vec::new());
        Self { batch, bytes: 0, is_full: false, waiting, parts, answered }
    }

    /// Adds an append, or returns it if the batch has no room for it.
    fn take(
        &mut self,
        waiting: Waiting,
        mut logged: LoggedAppend,
        judgement: &mut Judgement,
    ) -> Option<Waiting> {
        let parts = shrink(&mut logged);
        let mut encoded = Vec::new();
        encode_append(&mut encoded, &logged);
        if !self.waiting.is_empty() && self.bytes + encoded.len() > BATCH_BYTES_MAX {
            self.is_full = true;
            return Some(waiting);
        }
        judgement.accept(&logged);
        self.bytes += encoded.len();
        self.batch.appends.push(logged);
        self.waiting.push(waiting);
        self.parts.extend(parts);
        None
    }

    async fn record(self, chain: &mut Chain) -> Result<(), (Vec<Waiting>, GroupError)> {
        let Self { batch, mut waiting, parts, answered, .. } = self;
        let outcome = match waiting.is_empty() {
            true if answered.is_empty() => return Ok(()),
            true => chain.is_at_end().await,
            false => match chain.table().put_all(parts).await {
                Ok(()) => chain.record(&batch).await,
                Err(error) => Err(of_reading(error)),
            },
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                waiting.extend(answered.into_iter().map(|(waiting, _)| waiting));
                return Err((waiting, GroupError::Overtaken));
            }
            Err(error) => {
                waiting.extend(answered.into_iter().map(|(waiting, _)| waiting));
                return Err((waiting, GroupError::Failed(error)));
            }
        }
        let answers: Vec<Appended> =
            batch.placed_appends().map(|(first, append)| answer_of(first, append)).collect();
        for (waiting, answer) in waiting.into_iter().zip(answers) {
            drop(waiting.answer.send(Ok(answer)));
        }
        for (waiting, answer) in answered {
            drop(waiting.answer.send(answer));
        }
        Ok(())
    }
}

/// The error of a step before the log's item is put: nothing was appended.
fn of_reading(error: CallError) -> StoreError {
    error.of_read().into_store()
}
