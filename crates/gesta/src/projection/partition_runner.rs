//! The task that applies the events of one partition of a projection.
//!
//! Invariants: only the node with the partition's lease applies its events. All read models that
//! this version of the projection fills are filled: the live one, and a rebuild next to it.
//!
//! Not here: the creation of read models, rebuilds and switch-overs, which the projection's own
//! task does ([`runner`](super::runner)).

use std::{future::pending, sync::Arc, time::Duration};

use gesta_store::{
    DatabaseError, FencingToken, NodeName, Partition, Position, ReadModelId, ReadModelStore, Stage,
};
use tokio::sync::watch;

use super::{
    Apply, deliveries::Fetched, deps::ProjectionDeps, run_error::RunError, writer::ReadModelWriter,
};
use crate::{
    Sleep,
    backoff::Backoff,
    error_line::in_one_line,
    nodes::{Closing, Holder, NodeTask, Post, RunEnd, closed},
};

/// Pause between two looks for read models that were created or dropped.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The same while there is nothing to fill.
const LOOK_SOON: Duration = Duration::from_millis(50);

/// Status of a partition, as its task publishes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionProgress {
    /// Position up to which the live read model has handled the partition's events. Known on the
    /// node that runs it.
    pub(crate) position: Option<Position>,
    pub(crate) runs_on: Option<NodeName>,
    pub(crate) trouble: Option<String>,
}

pub(super) struct PartitionRunner<P, S> {
    pub(super) partition: Partition,
    pub(super) deps: Arc<ProjectionDeps<P, S>>,
    pub(super) progress: watch::Sender<PartitionProgress>,
    pub(super) closing: watch::Receiver<Closing>,
    pub(super) post: Post,
}

impl<P, S> NodeTask for PartitionRunner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    fn closing(&mut self) -> &mut watch::Receiver<Closing> {
        &mut self.closing
    }

    async fn wait(&mut self, mut holder: watch::Receiver<Holder>) {
        loop {
            let heard = holder.borrow_and_update().clone();
            self.progress.send_replace(PartitionProgress {
                position: None,
                trouble: heard.trouble(),
                runs_on: heard.node,
            });
            tokio::select! {
                biased;
                _ = closed(&mut self.closing) => return,
                Ok(()) = holder.changed() => {}
            }
        }
    }

    async fn run(&mut self, token: Option<FencingToken>) -> RunEnd {
        self.deps = Arc::new(self.deps.under(token));
        let runs_on = self.post.node.clone();
        self.progress.send_replace(PartitionProgress { runs_on, ..PartitionProgress::default() });
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closed(&mut closing) => RunEnd::Closed,
            end = self.work() => end,
        }
    }

    async fn put_down(&mut self) {}
}

impl<P, S> PartitionRunner<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Runs on this node and waits on others, until the application is closed.
    pub(super) async fn run_in_turns(mut self) {
        let post = self.post.clone();
        post.keep(&mut self).await;
    }

    /// Runs sessions until a later lease has written.
    async fn work(&mut self) -> RunEnd {
        let mut backoff = Backoff::new();
        loop {
            let trouble = match self.session(&mut backoff).await {
                // The read models have changed.
                Ok(()) => continue,
                Err(trouble) if trouble.is_fenced() => return RunEnd::Fenced,
                // The projection's own task divides or replaces the rows, once it runs.
                Err(trouble) if trouble.is_divided_otherwise() => {
                    self.deps.clock.pause(LOOK_AGAIN).await;
                    continue;
                }
                // Dropped by a switch-over.
                Err(trouble) if trouble.is_missing() => None,
                Err(trouble) => Some(in_one_line(&trouble)),
            };
            if let Some(trouble) = trouble {
                tracing::warn!(
                    projection = P::NAME, partition = %self.partition, %trouble,
                    "partition restarts from its checkpoint"
                );
                self.progress.send_modify(|progress| progress.trouble = Some(trouble));
            }
            backoff.pause(self.deps.clock.as_ref()).await;
        }
    }

    /// Fills the read models of this version until others are to be filled.
    async fn session(&self, backoff: &mut Backoff) -> Result<(), RunError> {
        let ids = self.fillable().await?;
        let mut writers = self.open_writers(&ids).await?;
        let mut look = self.next_look(&ids);
        loop {
            self.publish(&writers);
            tokio::select! {
                biased;
                () = &mut look => {
                    let full = halted(&writers);
                    if self.fillable().await? != ids || self.can_resume(full).await? {
                        return Ok(());
                    }
                    look = self.next_look(&ids);
                }
                (index, fetched) = next_of(&mut writers) => {
                    let fetched = fetched?;
                    if let Some(writer) = writers.get_mut(index) {
                        writer.take(fetched).await?;
                    }
                    backoff.reset();
                }
            }
            // Stores in memory never return pending; see the projection's runner.
            tokio::task::yield_now().await;
        }
    }

    fn next_look(&self, ids: &[ReadModelId]) -> Sleep {
        // The projection's own task creates a read model soon.
        match ids.is_empty() {
            true => self.deps.clock.pause(LOOK_SOON),
            false => self.deps.clock.sleep(LOOK_AGAIN),
        }
    }

    /// Returns the prepared read models of this version, the live one first.
    async fn fillable(&self) -> Result<Vec<ReadModelId>, DatabaseError> {
        let mut all = self.deps.work.read_models.list_read_models(P::NAME).await?;
        all.retain(|it| {
            let is_filled = matches!(it.stage, Stage::Live | Stage::Rebuilding);
            // Without a checkpoint it is not prepared yet.
            is_filled && it.version == P::VERSION && it.checkpoint.is_some()
        });
        all.sort_by_key(|it| it.stage == Stage::Rebuilding);
        // At most one of each stage: a later rebuild replaces an earlier one.
        all.dedup_by(|next, before| {
            let is_replaced = next.stage == before.stage;
            if is_replaced {
                std::mem::swap(next, before);
            }
            is_replaced
        });
        Ok(all.into_iter().map(|it| it.id).collect())
    }

    /// Opens the read models that can continue. One that cannot keeps its rows while a rebuild
    /// next to it is filled.
    async fn open_writers(
        &self,
        ids: &[ReadModelId],
    ) -> Result<Vec<ReadModelWriter<P, S>>, RunError> {
        let (mut writers, mut outdated) = (Vec::new(), None);
        for id in ids {
            self.deps.work.take_over(id).await?;
            match self.open_writer(id.clone()).await {
                Ok(writer) => writers.push(writer),
                Err(error @ RunError::Outdated { .. }) => outdated = Some(error),
                Err(error) => return Err(error),
            }
        }
        match outdated {
            Some(error) if writers.is_empty() => Err(error),
            Some(_) | None => Ok(writers),
        }
    }

    async fn open_writer(&self, id: ReadModelId) -> Result<ReadModelWriter<P, S>, RunError> {
        let mut writer = ReadModelWriter::load(&self.deps, id).await?;
        writer.clear_halting_letters().await?;
        writer.apply_orphaned_letters().await?;
        writer.load_dead_letters().await?;
        writer.subscribe()?;
        Ok(writer)
    }

    /// Returns whether a read model that is full of dead letters has room again.
    async fn can_resume(&self, full: Vec<(ReadModelId, usize)>) -> Result<bool, DatabaseError> {
        for (id, letters_before) in full {
            let letters = self.deps.work.read_models.dead_letters(&id).await?;
            if letters.iter().filter(|it| self.partition.has(&it.stream)).count() < letters_before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn publish(&self, writers: &[ReadModelWriter<P, S>]) {
        let position = writers.first().map(|writer| writer.position);
        let halt = writers.iter().find_map(ReadModelWriter::halt);
        let trouble = halt.map(|halt| format!("at position {}: {}", halt.position, halt.error));
        self.progress.send_modify(|progress| {
            progress.position = position;
            progress.trouble = trouble;
        });
    }
}

/// Returns the read models whose writers halted at the maximum of dead letters, and their number.
fn halted<P, S>(writers: &[ReadModelWriter<P, S>]) -> Vec<(ReadModelId, usize)>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    let halted = writers.iter().filter(|writer| writer.halt().is_some());
    halted.map(|writer| (writer.id.clone(), writer.dead_letters)).collect()
}

/// Returns the next delivery, with the index of its read model. Cancel-safe.
async fn next_of<P, S>(
    writers: &mut [ReadModelWriter<P, S>],
) -> (usize, Result<Fetched<P::Event>, RunError>)
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    match writers {
        [] => pending().await,
        [live] => (0, live.next().await),
        [live, rebuild, ..] => tokio::select! {
            fetched = live.next() => (0, fetched),
            fetched = rebuild.next() => (1, fetched),
        },
    }
}
