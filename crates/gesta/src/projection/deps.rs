//! Shared dependencies of a projection and its read models.
//!
//! Owns: [`ProjectionDeps`], and the part of them that work on the read models' threads has.
//!
//! Invariant: every transaction that writes carries the token of the lease. Not here: the events
//! and the checkpoint that a transaction applies (`writer`).

use std::sync::Arc;

use gesta_store::{
    DatabaseError, EventStore, FencingToken, Partition, ReadModelId, ReadModelStore, ReadModelTx,
    StreamName,
};
use tokio::sync::mpsc;

use super::{
    Apply, ApplyError, Projection, catch_panic::catch_panic, store_work::in_callers_context,
};
use crate::{Clock, Recorded, RowGroups, cache::CacheMarks};

/// Shared dependencies of a projection and its read models.
pub(super) struct ProjectionDeps<P, S> {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// Dropped last.
    pub(super) work: Arc<ReadModelWork<P, S>>,
}

/// The part of the dependencies that work on the read models' threads has.
///
/// Without the event store: abandoned work may end after the application was dropped, and must not
/// keep the event store open.
pub(super) struct ReadModelWork<P, S> {
    pub(super) projection: Arc<P>,
    pub(super) read_models: S,
    /// Token of the lease. `None` without nodes.
    pub(super) token: Option<FencingToken>,
    /// Appends apply the events, too.
    pub(super) is_inline: bool,
    /// The partition whose events are applied. `None` for all of the projection.
    pub(super) partition: Option<Partition>,
    pub(super) cache: CacheMarks,
    /// Dropped last, which signals the handle that nothing of the projection is in use.
    pub(super) in_use: mpsc::Sender<()>,
}

impl<P, S> ReadModelWork<P, S>
where
    P: Projection,
    S: ReadModelStore,
{
    /// Returns the work on the same events under another lease, or on those of a partition.
    fn with(&self, token: Option<FencingToken>, partition: Option<Partition>) -> Self {
        Self {
            projection: Arc::clone(&self.projection),
            read_models: self.read_models.clone(),
            token,
            is_inline: self.is_inline,
            partition,
            cache: self.cache.clone(),
            in_use: self.in_use.clone(),
        }
    }

    /// Returns the groups of rows that events have changed. Nothing without a cache.
    pub(super) async fn changes(
        &self,
        events: &[Recorded<P::Event>],
    ) -> Result<RowGroups, ApplyError> {
        let mut changed = RowGroups::none();
        if self.cache.are_kept() {
            let changes = async {
                events.iter().for_each(|event| changed.add(self.projection.changes(event)));
                Ok(())
            };
            catch_panic(changes).await?;
        }
        Ok(changed)
    }

    /// Begins a transaction that writes. Every one of them carries the token of the lease.
    pub(super) async fn begin(&self, id: &ReadModelId) -> Result<S::Tx, DatabaseError> {
        let Some(partition) = self.partition else {
            let mut tx = self.read_models.begin(id).await?;
            if let Some(token) = self.token {
                token.fence(&mut tx).await?;
            }
            return Ok(tx);
        };
        let mut tx = self.read_models.begin_partition(id, partition).await?;
        if let Some(token) = self.token {
            token.fence_partition(&mut tx, partition).await?;
        }
        Ok(tx)
    }

    /// Refuses the tokens of earlier leases from now on.
    pub(super) async fn take_over(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        if self.token.is_none() {
            return Ok(());
        }
        self.begin(id).await?.commit().await
    }

    /// Checks that no later lease has written. Precedes changes that have no transaction, such as a
    /// switch-over.
    pub(super) async fn check_token(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        if self.token.is_none() {
            return Ok(());
        }
        self.begin(id).await?.rollback().await
    }
}

impl<P, S> ProjectionDeps<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Returns the dependencies under another lease. Abandoned work keeps the token that it has.
    pub(super) fn under(&self, token: Option<FencingToken>) -> Self {
        self.with(self.work.with(token, self.work.partition))
    }

    /// Returns the dependencies of a partition, without a lease.
    pub(super) fn of_partition(&self, partition: Partition) -> Self {
        self.with(self.work.with(None, Some(partition)))
    }

    fn with(&self, work: ReadModelWork<P, S>) -> Self {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Self { store, clock, work: Arc::new(work) }
    }

    /// Runs work on a read model where the store's statements may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        id: &ReadModelId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.work.read_models.run_write(id, in_callers_context(work)).await
    }

    /// Applies events in a transaction. Returns it with the projection's result.
    pub(super) async fn apply(
        &self,
        id: &ReadModelId,
        mut tx: S::Tx,
        events: Vec<Recorded<P::Event>>,
    ) -> Result<(S::Tx, Result<(), ApplyError>), DatabaseError> {
        let own = Arc::clone(&self.work);
        let apply = async move {
            let applied = catch_panic(own.projection.apply(&mut tx, &events)).await;
            (tx, applied)
        };
        self.run(id, apply).await
    }

    /// Deletes the rows of a stream in a transaction. Returns it with the projection's result.
    pub(super) async fn forget(
        &self,
        id: &ReadModelId,
        mut tx: S::Tx,
        stream: StreamName,
    ) -> Result<(S::Tx, Result<(), ApplyError>), DatabaseError> {
        let own = Arc::clone(&self.work);
        let forget = async move {
            let forgotten = catch_panic(own.projection.forget(&mut tx, &stream)).await;
            (tx, forgotten)
        };
        self.run(id, forget).await
    }
}
