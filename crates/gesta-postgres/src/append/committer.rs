//! The task that commits batches.
//!
//! Invariants:
//! - An append is answered after the server has answered the commit of its batch, or refused it.
//! - A batch whose connection broke is sent again, on a new connection. The transaction that was
//!   cut off is ended first. If it was committed, the appends are recognized by their event ids:
//!   nothing is appended twice.
//! - An append whose batch was never sent fails definitely. One whose batch was sent, and whose
//!   outcome cannot be found out in time ([`TimeLimits`](crate::connection::TimeLimits)), has an
//!   unknown outcome, also if a later attempt was refused.

use std::{sync::Arc, time::Duration};

use gesta_store::{Append, Appended, StoreError};
use tokio::{
    sync::{mpsc, watch},
    task::yield_now,
    time::{Instant, sleep},
};

use super::{
    batch::Batch,
    columns::{
        APPEND, Columns, GivenNumbers, KnownNumbers,
        alone::{APPEND_ALONE, Alone},
    },
    consumers::InlineConsumers,
    past_append,
    queue::{Queued, QueuedAppend},
    verdicts::Verdicts,
};
use crate::{
    connection::{Connection, Connector, Pool, Prepared, RECONNECT_PAUSE, ServerSession},
    errors::{Failure, invalid_row},
    head::{KnownHead, SeenHead},
    incarnation::History,
    read::cell,
    schema::Schema,
};

/// Number of times that a batch gives way to other transactions of the server, or to its promotion.
const YIELDS_MAX: u32 = 50;

/// The part of a batch's time that the next one waits for writers, and its maximum.
const PAUSE_FRACTION: u32 = 8;
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// Commits the batches of one store.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) connector: Arc<Connector>,
    pub(crate) connection: Option<Arc<Connection>>,
    /// Statements of read models on the connection.
    pub(crate) prepared: Option<Prepared>,
    /// Consumers that take part in the transactions of batches.
    pub(crate) inline: Arc<InlineConsumers>,
    /// The session of the connection, or of the last one that broke.
    pub(crate) session: Option<ServerSession>,
    pub(crate) history: Arc<History>,
    /// The head before the batch that is answered.
    pub(crate) before: SeenHead,
    /// Numbers in the history that `before` belongs to.
    pub(crate) numbers: KnownNumbers,
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
        let mut attempt = Attempt::within(self.connector.limits().resend);
        let error = match self.judge(&appends, &mut attempt).await {
            Ok(verdicts) => return self.answer_all(appends, verdicts).await,
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
            let outcome = self.judge(&alone, &mut attempt).await;
            let [queued] = alone;
            match outcome {
                Ok(verdicts) => self.answer_all(vec![queued], verdicts).await,
                Err(error) => queued.answer(Err(error)),
            }
        }
    }

    /// Sends a batch until the server answers, and returns the verdicts.
    async fn judge(
        &mut self,
        appends: &[QueuedAppend],
        attempt: &mut Attempt,
    ) -> Result<Verdicts, StoreError> {
        let mut columns = Columns::of(appends)?;
        loop {
            if let Err(error) = self.connected().await {
                if !attempt.may_wait() {
                    return Err(attempt.error(error));
                }
                sleep(RECONNECT_PAUSE).await;
                continue;
            }
            let before = self.head.get();
            if !before.is_of_history(self.before) {
                self.numbers = KnownNumbers::default();
            }
            self.before = before;
            // The timeline is known once a connection has asked for it.
            columns.know(self.history.timeline(), &self.numbers);
            let failure = match self.record(&columns, appends).await {
                Ok(verdicts) => return Ok(verdicts),
                Err(failure) => failure,
            };
            match failure {
                Failure::Refused(error) => return Err(attempt.error(error)),
                Failure::Yielded(error) if attempt.yields_left() => {
                    tracing::debug!(%error, "an append is sent again");
                }
                Failure::Promoted(error) if attempt.yields_left() => {
                    tracing::info!(%error, "an append is sent again");
                    self.follow().await.map_err(|error| attempt.error(error))?;
                }
                Failure::Yielded(error) | Failure::Promoted(error) => {
                    return Err(attempt.error(error));
                }
                Failure::Lost(error) => {
                    tracing::warn!(%error, "the connection broke during an append; it is sent again");
                    self.connection = None;
                    attempt.lost();
                    if !attempt.may_wait() {
                        return Err(attempt.error(error));
                    }
                }
            }
        }
    }

    /// Sends a batch once. Returns the numbers that the server gave to names, too.
    pub(super) async fn send(
        &self,
        connection: &Connection,
        columns: &Columns<'_>,
    ) -> Result<(Verdicts, GivenNumbers), Failure> {
        let alone = Alone::of(columns);
        let mut rows = match &alone {
            Some(alone) => {
                connection.query(&self.schema.fill(APPEND_ALONE), &alone.values()).await?
            }
            None => connection.query(&self.schema.fill(APPEND), &columns.values()).await?,
        };
        // The batch may be committed, whether or not its verdicts can be read.
        let unread = |error: StoreError| Failure::Refused(unknown(&error));
        let row = rows.pop().ok_or_else(|| unread(invalid_row("an append has no verdict")))?;
        if alone.is_some() {
            return Ok((Verdicts::of_one(&row).map_err(unread)?, GivenNumbers::default()));
        }
        let numbers = |nth| cell(&row, nth).map_err(unread);
        let given = GivenNumbers { types: numbers(5)?, categories: numbers(6)? };
        Ok((Verdicts::read(&row).map_err(unread)?, given))
    }

    /// Takes over the history of a server that was promoted while it was connected.
    async fn follow(&self) -> Result<(), StoreError> {
        let Some(connection) = &self.connection else { return Ok(()) };
        self.history.follow(connection).await.map_err(Failure::of_read)
    }

    async fn connected(&mut self) -> Result<(), StoreError> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_closed()) {
            return Ok(());
        }
        self.connection = None;
        let connection = self.connector.connect().await?;
        // A session whose connection broke may still have the lock, or wait for it, and its client
        // is gone: what it does must be over before its appends are judged again.
        if let Some(session) = self.session.take()
            && let Err(failure) = connection.end_session(session).await
        {
            self.session = Some(session);
            return Err(failure.of_read());
        }
        self.session = connection.session().await.map_err(Failure::of_read)?;
        self.connection = Some(Arc::new(connection));
        Ok(())
    }

    async fn answer_all(&self, appends: Vec<QueuedAppend>, verdicts: Verdicts) {
        self.head.raise(self.before, verdicts.head);
        if verdicts.has_recorded() {
            self.committed.send_replace(verdicts.head);
        }
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

/// The attempts to send a batch, or each of its appends.
#[derive(Debug)]
struct Attempt {
    resend: Duration,
    /// The end of the attempts after a connection broke. From then on the appends may be recorded,
    /// whatever a later attempt is answered.
    resend_until: Option<Instant>,
    yields: u32,
}

impl Attempt {
    fn within(resend: Duration) -> Self {
        Self { resend, resend_until: None, yields: 0 }
    }

    fn lost(&mut self) {
        self.resend_until.get_or_insert_with(|| Instant::now() + self.resend);
    }

    /// Returns `true` if another attempt is worth a wait for the server.
    fn may_wait(&self) -> bool {
        self.resend_until.is_some_and(|end| Instant::now() < end)
    }

    /// Returns `true` if another attempt at once is allowed, and counts it.
    fn yields_left(&mut self) -> bool {
        self.yields += 1;
        self.yields <= YIELDS_MAX
    }

    /// Returns the error for the caller, which is definite only if nothing was cut off.
    fn error(&self, error: StoreError) -> StoreError {
        if self.resend_until.is_some() { unknown(&error) } else { error }
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
    /// work of the thread continues.
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

/// The error of an append that may have been recorded.
fn unknown(error: &StoreError) -> StoreError {
    StoreError::Unavailable { reason: error.to_string(), source: None }
}
