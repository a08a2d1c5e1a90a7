//! The task that commits batches.
//!
//! Invariants:
//! - An append is answered after the server has answered the commit of its batch, or refused it.
//! - A batch whose connection broke is sent again, on a new connection. The transaction that was
//!   cut off and the new one exclude each other by the lock of the store, and each recognizes the
//!   appends of the other by their event ids: nothing is appended twice.
//! - An append whose batch was never sent fails definitely. One whose batch was sent, and whose
//!   outcome cannot be found out within [`RESEND_TIMEOUT`], has an unknown outcome.

use std::{sync::Arc, time::Duration};

use gesta_store::{
    Append, Appended, Conflict, ExpectedRevision, Invalid, Position, Revision, StoreError,
    StreamName,
};
use tokio::{
    sync::{mpsc, watch},
    task::yield_now,
    time::{Instant, sleep},
};
use tokio_postgres::Row;

use super::{
    batch::Batch,
    columns::{APPEND, Columns},
    past_append,
    queue::{Queued, QueuedAppend},
};
use crate::{
    connection::{Connection, Connector, Pool, RECONNECT_PAUSE, RESEND_TIMEOUT},
    errors::{Failure, invalid_row},
    head::KnownHead,
    number::from_sql,
    read::cell,
    schema::Schema,
};

/// The part of a batch's time that the next one waits for writers, and its maximum.
const PAUSE_FRACTION: u32 = 8;
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// Verdicts of the function `append`.
const RECORDED: i32 = 0;
const EXPECTATION_FAILED: i32 = 1;
const TOMBSTONED: i32 = 2;
const CONDITION_MET: i32 = 3;
const BEYOND_HEAD: i32 = 4;
const SEEN: i32 = 5;

/// Commits the batches of one store.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) connector: Arc<Connector>,
    pub(crate) connection: Option<Connection>,
    /// For look-ups of earlier appends.
    pub(crate) pool: Arc<Pool>,
    pub(crate) schema: Schema,
    pub(crate) head: KnownHead,
    /// The last position that this process has committed.
    pub(crate) committed: watch::Sender<u64>,
}

impl Committer {
    /// Commits what is queued, until the queue is closed.
    pub(crate) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Queued>) {
        let mut waiting = None;
        let mut patience = Patience::default();
        loop {
            let first = match waiting.take() {
                Some(queued) => queued,
                None => match queue.recv().await {
                    Some(Queued::Append(queued)) => *queued,
                    Some(Queued::Close) | None => return,
                },
            };
            patience.wait(&queue).await;
            let (batch, left, closed) = gather(first, &mut queue);
            waiting = left;
            let (appends, begun) = (batch.appends.len(), Instant::now());
            self.commit(batch.appends).await;
            patience.learn(appends + queue.len(), begun.elapsed());
            if closed {
                return;
            }
        }
    }

    async fn commit(&mut self, appends: Vec<QueuedAppend>) {
        let error = match self.judge(&appends).await {
            Ok(row) => return self.answer_all(appends, &row).await,
            Err(error) => error,
        };
        if appends.len() == 1 || self.connection.is_none() {
            for queued in appends {
                queued.answer(Err(error.clone()));
            }
            return;
        }
        // The fault may be one append's alone.
        for queued in appends {
            let alone = [queued];
            let outcome = self.judge(&alone).await;
            let [queued] = alone;
            match outcome {
                Ok(row) => self.answer_all(vec![queued], &row).await,
                Err(error) => queued.answer(Err(error)),
            }
        }
    }

    /// Sends a batch until the server answers, and returns the row of verdicts.
    async fn judge(&mut self, appends: &[QueuedAppend]) -> Result<Row, StoreError> {
        let columns = Columns::of(appends)?;
        let statement = self.schema.fill(APPEND);
        let deadline = Instant::now() + RESEND_TIMEOUT;
        let mut sent = false;
        loop {
            let connection = match self.connected().await {
                Ok(connection) => connection,
                Err(error) if !sent => return Err(error),
                Err(error) if Instant::now() >= deadline => return Err(unknown(&error)),
                Err(_) => {
                    sleep(RECONNECT_PAUSE).await;
                    continue;
                }
            };
            match connection.query(&statement, &columns.values()).await {
                Ok(mut rows) => {
                    return rows.pop().ok_or_else(|| invalid_row("an append has no verdict"));
                }
                Err(Failure::Yielded(_)) if Instant::now() < deadline => {}
                Err(Failure::Yielded(error)) => return Err(error),
                // An earlier attempt may have committed: the refusal is about this one only.
                Err(Failure::Refused(error)) if sent => return Err(unknown(&error)),
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::Lost(error)) => {
                    self.connection = None;
                    sent = true;
                    tracing::warn!(%error, "the connection broke during an append; it is sent again");
                    if Instant::now() >= deadline {
                        return Err(unknown(&error));
                    }
                }
            }
        }
    }

    async fn connected(&mut self) -> Result<&Connection, StoreError> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            self.connection = None;
            self.connection = Some(self.connector.connect().await?);
        }
        self.connection.as_ref().ok_or_else(|| StoreError::unreachable("no connection"))
    }

    async fn answer_all(&self, appends: Vec<QueuedAppend>, row: &Row) {
        let verdicts = match Verdicts::read(row) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                // The batch was committed, but its result cannot be read.
                for queued in appends {
                    queued.answer(Err(unknown(&error)));
                }
                return;
            }
        };
        self.head.raise(verdicts.head);
        self.committed.send_if_modified(|committed| {
            let recorded = verdicts.verdicts.contains(&RECORDED) && verdicts.head > *committed;
            *committed = verdicts.head.max(*committed);
            recorded
        });
        let mut part = 0;
        for (nth, queued) in appends.into_iter().enumerate() {
            let outcome = match verdicts.seen(nth) {
                Some(position) => self.repeated(&queued.append, position).await,
                None => verdicts.outcome(nth, part, &queued.append),
            };
            part += queued.append.streams.len();
            queued.answer(outcome);
        }
    }

    async fn repeated(&self, append: &Append, position: i64) -> Result<Appended, StoreError> {
        let past = past_append(&self.pool, &self.schema, position).await;
        // Nothing new was appended, but this may have been the second attempt.
        past.map_err(|error| unknown(&error))?.repeated_by(append)
    }
}

/// The moment that a batch waits for writers that were just answered.
///
/// Writers that append again after each answer come one after the other. A batch that begins with
/// the first of them leaves the others to the next one, and each batch costs a sync.
#[derive(Debug, Default)]
struct Patience {
    /// Appends that were in the last batch, or queued when it ended.
    writers: usize,
    /// A fraction of the time that the last batch took.
    pause: Duration,
}

impl Patience {
    fn learn(&mut self, writers: usize, took: Duration) {
        self.writers = writers;
        self.pause = (took / PAUSE_FRACTION).min(PAUSE_MAX);
    }

    /// Waits until as many appends are queued as there were writers, or the pause is over. Other
    /// work of the thread goes on.
    async fn wait(&self, queue: &mpsc::UnboundedReceiver<Queued>) {
        let end = Instant::now() + self.pause;
        // One append is in hand. A timer has milliseconds, which may be more than the batch takes.
        while queue.len() + 1 < self.writers && Instant::now() < end {
            yield_now().await;
        }
    }
}

/// Takes what is queued for one batch. Returns the append that belongs to the next one, or `true`
/// if the queue was closed after the batch.
fn gather(
    first: QueuedAppend,
    queue: &mut mpsc::UnboundedReceiver<Queued>,
) -> (Batch, Option<QueuedAppend>, bool) {
    let mut batch = Batch::default();
    // An empty batch takes any append.
    let mut left = batch.take(first);
    while left.is_none() {
        match queue.try_recv() {
            Ok(Queued::Append(queued)) => left = batch.take(*queued),
            Ok(Queued::Close) => return (batch, left, true),
            Err(_) => break,
        }
    }
    (batch, left, false)
}

/// The verdicts of one batch.
#[derive(Debug)]
struct Verdicts {
    verdicts: Vec<i32>,
    details: Vec<i64>,
    /// Index of the part that failed, from 1.
    failed_parts: Vec<i32>,
    /// New or conflicting head of each part; -1 for none.
    part_heads: Vec<i64>,
    head: u64,
}

impl Verdicts {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let head: i64 = cell(row, 4)?;
        Ok(Self {
            verdicts: cell(row, 0)?,
            details: cell(row, 1)?,
            failed_parts: cell(row, 2)?,
            part_heads: cell(row, 3)?,
            head: from_sql(head),
        })
    }

    /// Returns the position of an earlier append with the same first event id.
    fn seen(&self, nth: usize) -> Option<i64> {
        self.verdicts.get(nth).filter(|verdict| **verdict == SEEN)?;
        self.details.get(nth).copied()
    }

    /// Returns the outcome of the n-th append, whose first part has the index `part`.
    fn outcome(&self, nth: usize, part: usize, append: &Append) -> Result<Appended, StoreError> {
        let detail = self.details.get(nth).map_or(0, |detail| from_sql(*detail));
        match self.verdicts.get(nth).copied() {
            Some(RECORDED) => {
                Ok(Appended::new(Position::new(detail), self.revisions(part, append)))
            }
            Some(EXPECTATION_FAILED) => Err(self.conflict(nth, part, append)?.into()),
            Some(TOMBSTONED) => {
                let (name, _, _) = self.failed(nth, part, append)?;
                let stream = name.described_stream().unwrap_or(name);
                Err(StoreError::Deleted { stream })
            }
            Some(CONDITION_MET) => {
                Err(Conflict::Condition { matching: Position::new(detail) }.into())
            }
            Some(BEYOND_HEAD) => {
                let after = append.condition.as_ref().map(|condition| condition.after);
                let position = after.unwrap_or(Position::START);
                Err(Invalid::BeyondHead { position, head: Position::new(detail) }.into())
            }
            _ => Err(StoreError::unavailable("the server returned no known verdict")),
        }
    }

    fn revisions(&self, part: usize, append: &Append) -> Vec<(StreamName, Revision)> {
        let heads = self.part_heads.iter().skip(part);
        let parts = append.streams.iter().zip(heads).filter(|(part, _)| !part.events.is_empty());
        parts.map(|(part, head)| (part.stream.clone(), Revision::new(from_sql(*head)))).collect()
    }

    fn conflict(&self, nth: usize, part: usize, append: &Append) -> Result<Conflict, StoreError> {
        let (stream, expected, head) = self.failed(nth, part, append)?;
        Ok(Conflict::Stream { stream, expected, head })
    }

    /// Returns the part that failed: its stream, its expectation, and the head that it met.
    fn failed(
        &self,
        nth: usize,
        part: usize,
        append: &Append,
    ) -> Result<(StreamName, ExpectedRevision, Option<Revision>), StoreError> {
        let unread = || StoreError::unavailable("the server named no part of the append");
        let index = self.failed_parts.get(nth).and_then(|index| usize::try_from(*index - 1).ok());
        let index = index.ok_or_else(unread)?;
        let failed = index.checked_sub(part).and_then(|index| append.streams.get(index));
        let failed = failed.ok_or_else(unread)?;
        let head = self.part_heads.get(index).filter(|head| **head >= 0);
        let head = head.map(|head| Revision::new(from_sql(*head)));
        Ok((failed.stream.clone(), failed.expected, head))
    }
}

/// The error of an append that may have been recorded.
fn unknown(error: &StoreError) -> StoreError {
    StoreError::Unavailable { reason: error.to_string(), source: None }
}
