//! Batches in whose transaction consumers take part.
//!
//! Owns: the transaction of such a batch: begun, appended to, applied by each consumer, committed.
//! Invariants: a batch is answered after the commit of both; what was rolled back is answered as
//! refused, or sent again. A batch whose transaction the server does not begin is recorded alone,
//! and consumers catch up. Not here: how a batch is sent and repeated
//! ([`committer`](super::committer)).

use std::sync::Arc;

use futures_util::future::join;
use gesta_store::{
    AppendTransaction, Checkpoint, InlineBatch, InlineConsumer, InlineError, Position, StoreError,
};

use super::{columns::Columns, committer::Committer, queue::QueuedAppend, verdicts::Verdicts};
use crate::{
    append_transaction::OpenAppend,
    connection::{Connection, Prepared},
    errors::Failure,
};

/// Begins the transaction of a batch. The server ends it if nothing happens for 5 s: a process that
/// was stopped keeps all others from appending for as long. Statements of projections are planned
/// as the server chooses; the functions of the store keep their own setting.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                     SET LOCAL idle_in_transaction_session_timeout = 5000; \
                     SET LOCAL plan_cache_mode = auto";

/// The query refuses in a transaction that has failed, where a commit would answer as if nothing
/// were wrong.
const COMMIT: &str = "SELECT 1; COMMIT";

impl Committer {
    /// Records a batch, in one transaction with what consumers make of it. Remembers the numbers
    /// that the server gave to names.
    pub(super) async fn record(
        &mut self,
        columns: &Columns<'_>,
        appends: &[QueuedAppend],
    ) -> Result<Verdicts, Failure> {
        let Some(connection) = self.connection.clone() else {
            return Err(Failure::Refused(StoreError::unreachable("no connection")));
        };
        let consumers = self.inline.present();
        let has_events = appends.iter().any(|queued| queued.append.events().next().is_some());
        if consumers.is_empty() || !has_events {
            let (verdicts, numbers) = self.send(&connection, columns).await?;
            self.numbers.learn(columns, numbers);
            return Ok(verdicts);
        }
        // The batch is sent before the answer to the beginning is there.
        let begin = connection.execute(BEGIN);
        let (begun, sent) = join(begin, self.send(&connection, columns)).await;
        if let Err(failure) = begun {
            // The batch was a transaction of its own, and consumers catch up; or it failed in one
            // that is still open, so the connection is closed.
            self.connection = None;
            let error = failure.of_read();
            tracing::warn!(%error, "no transaction for inline projections, which catch up");
            let (verdicts, numbers) = sent?;
            self.numbers.learn(columns, numbers);
            return Ok(verdicts);
        }
        let joint = async {
            let (verdicts, numbers) = sent?;
            let batch = self.apply(&connection, &verdicts, appends, &consumers).await?;
            Ok((verdicts, numbers, batch))
        };
        let (verdicts, numbers, batch) = match joint.await {
            Ok(recorded) => recorded,
            Err(failure) => {
                // Nothing was committed. A connection that does not roll back is closed.
                if matches!(failure, Failure::Lost(_))
                    || connection.execute("ROLLBACK").await.is_err()
                {
                    self.connection = None;
                }
                return Err(failure);
            }
        };
        connection.execute(COMMIT).await.map_err(of_commit)?;
        if let Some(batch) = &batch {
            consumers.iter().for_each(|consumer| consumer.committed(batch));
        }
        // Numbers that were rolled back are given again, to other names perhaps.
        self.numbers.learn(columns, numbers);
        Ok(verdicts)
    }

    /// Returns the batch if it has events that were not there before.
    async fn apply(
        &mut self,
        connection: &Arc<Connection>,
        verdicts: &Verdicts,
        appends: &[QueuedAppend],
        consumers: &[Arc<dyn InlineConsumer>],
    ) -> Result<Option<InlineBatch>, Failure> {
        let recorded = verdicts.recorded_events(appends);
        if recorded == 0 {
            return Ok(None);
        }
        let (head, incarnation) = (verdicts.head, self.history.incarnations().current());
        let open = self.lend(connection, Position::new(head));
        let before = Position::new(head.saturating_sub(recorded));
        let to = Checkpoint { position: Position::new(head), incarnation };
        let lent = Arc::clone(&open) as Arc<dyn AppendTransaction>;
        let batch = InlineBatch::new(lent, before, to);
        for consumer in consumers {
            let applied = consumer.apply(&batch).await;
            if !open.is_usable() {
                let lost = "a statement of a read model in the append's transaction has no answer";
                return Err(Failure::Lost(StoreError::unreachable(lost)));
            }
            applied.map_err(of_consumer)?;
        }
        self.take_back(&open);
        Ok(Some(batch))
    }

    /// Lends the connection to consumers, with the statements of read models that it knows.
    fn lend(&mut self, connection: &Arc<Connection>, head: Position) -> Arc<OpenAppend> {
        let known = self.prepared.take();
        let known = known.filter(|known| Arc::ptr_eq(&known.connection, connection));
        let prepared = known.unwrap_or_else(|| Prepared::new(Arc::clone(connection)));
        Arc::new(OpenAppend::new(self.schema.clone(), head, prepared))
    }

    fn take_back(&mut self, open: &OpenAppend) {
        let mut prepared = open.take();
        if self.connector.through_pooler() {
            // The next transaction may have another session, which does not know them.
            prepared.iter_mut().for_each(Prepared::forget);
        }
        self.prepared = prepared;
    }
}

fn of_consumer(error: InlineError) -> Failure {
    match error {
        InlineError::Again { reason } => Failure::Yielded(StoreError::unreachable(reason)),
        refused => Failure::Refused(StoreError::Inline(refused)),
    }
}

/// Sorts the failure of a commit. A constraint that is checked with the commit is a read model's.
fn of_commit(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(error) => {
            let (consumer, reason) =
                ("a constraint of an inline projection".to_owned(), error.to_string());
            Failure::Refused(StoreError::Inline(InlineError::Refused { consumer, reason }))
        }
        other => other,
    }
}
