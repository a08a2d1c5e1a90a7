//! A projection in the transactions of appends.
//!
//! Owns: [`InlineProjection`], which the event store calls for each batch before its commit.
//!
//! Invariants: the stored checkpoint, read under the lock of the read model, says which events are
//! applied; rows and checkpoint are committed with the batch. An error blames a batch only if the
//! live read model had all events before it.
//!
//! Not here: what is further behind, dead letters, and rebuilds up to the head, which the
//! projection's own task does ([`runner`](super::runner)).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, EventStore, EventType, InlineBatch, InlineConsumer,
    InlineError, InlineFuture, Position, ReadModelId, ReadModelStore, ReadModelTx, RecordedEvent,
    StoreError, StreamMetadata, StreamName, TombstoneStream,
};
use tokio::{runtime::Handle, sync::watch};

use super::{
    Apply, ApplyError, ProjectionProgress, catch_panic::catch_panic, deps::ReadModelWork,
    provenance::HistoryMarker, status::InlineReadModel, store_work::in_runtime, stream_end,
};
use crate::{EventSet, Recorded, RowGroups, error_line::in_one_line};

/// Maximum number of events behind the head that an append applies before its own.
const CATCH_UP_EVENTS_MAX: u64 = 512;

/// A projection whose events are applied by their append.
pub(super) struct InlineProjection<P, S> {
    /// Weak: the event store calls this value, and must not keep itself open.
    store: Weak<dyn EventStore>,
    work: Arc<ReadModelWork<P, S>>,
    /// Gone once the projection's own task has ended.
    progress: Weak<watch::Sender<ProjectionProgress>>,
    /// The types that are applied, and those that end streams.
    types: HashSet<EventType>,
    /// The application's.
    runtime: Handle,
    pending: Mutex<Pending>,
}

/// The part of the current batch.
#[derive(Default)]
struct Pending {
    /// Read models that have failed, until the next commit.
    left_out: HashSet<ReadModelId>,
    applied: Vec<(ReadModelId, Checkpoint)>,
    /// Read models whose marks could not be set.
    unmarked: Vec<(ReadModelId, Checkpoint)>,
}

/// An error of one read model.
enum InlineFault {
    /// An event of the batch is at fault.
    Batch(String),
    /// An earlier event or the database is.
    Other(String),
}

impl<P, S> InlineProjection<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Call it within the application's runtime.
    pub(super) fn new(
        store: &Arc<dyn EventStore>,
        work: Arc<ReadModelWork<P, S>>,
        progress: &Arc<watch::Sender<ProjectionProgress>>,
    ) -> Result<Self, gesta_store::InvalidName> {
        let mut types: HashSet<EventType> = P::Event::event_types()?.into_iter().collect();
        types.extend(stream_end::event_types()?);
        Ok(Self {
            store: Arc::downgrade(store),
            work,
            progress: Arc::downgrade(progress),
            types,
            runtime: Handle::current(),
            pending: Mutex::default(),
        })
    }

    async fn apply_to_all(&self, batch: &InlineBatch) -> Result<(), InlineError> {
        let Some(progress) = self.progress.upgrade() else { return Ok(()) };
        let read_models = progress.borrow().inline_into.clone();
        self.pending().applied.clear();
        for InlineReadModel { id, is_live } in read_models {
            if self.pending().left_out.contains(&id) {
                continue;
            }
            match self.apply_to(&id, batch).await {
                Ok(None) => {}
                Ok(Some(checkpoint)) => self.pending().applied.push((id, checkpoint)),
                Err(InlineFault::Batch(reason)) if is_live && !batch.transaction.is_lost() => {
                    let consumer = format!("inline projection {}", P::NAME);
                    return Err(InlineError::Refused { consumer, reason });
                }
                // The same batch comes again over another connection.
                Err(InlineFault::Batch(reason) | InlineFault::Other(reason))
                    if batch.transaction.is_lost() =>
                {
                    return Err(InlineError::Again { reason });
                }
                Err(InlineFault::Batch(reason) | InlineFault::Other(reason)) => {
                    tracing::warn!(
                        read_model = %id, trouble = %reason,
                        "an append goes on without the read model, which catches up"
                    );
                    self.pending().left_out.insert(id);
                    return Err(InlineError::Again { reason });
                }
            }
        }
        Ok(())
    }

    /// Applies the events after the checkpoint, up to the end of the batch. Returns the new
    /// checkpoint, or `None` if the read model does not take part.
    async fn apply_to(
        &self,
        id: &ReadModelId,
        batch: &InlineBatch,
    ) -> Result<Option<Checkpoint>, InlineFault> {
        let at_least = batch.before.number().saturating_sub(CATCH_UP_EVENTS_MAX);
        let at_least = Position::new(at_least);
        let joined = self.work.read_models.join(id, at_least, &batch.transaction).await;
        let Some(mut tx) = joined.map_err(|error| InlineFault::Other(in_one_line(&error)))? else {
            return Ok(None);
        };
        let applied = self.apply_in(&mut tx, batch).await?;
        let ended = match &applied {
            Some(changed) => {
                // Before the commit of the append.
                if self.work.cache.set(id, batch.to, changed).await.is_err() {
                    self.pending().unmarked.push((id.clone(), batch.to));
                }
                tx.commit().await
            }
            None => tx.rollback().await,
        };
        ended.map_err(|error| of_database(error, batch, None))?;
        Ok(applied.map(|_| batch.to))
    }

    /// Returns the groups of rows that have changed, or `None` if there is nothing to commit.
    async fn apply_in(
        &self,
        tx: &mut S::Tx,
        batch: &InlineBatch,
    ) -> Result<Option<RowGroups>, InlineFault> {
        let other = |error: DatabaseError| InlineFault::Other(in_one_line(&error));
        let Some(from) = tx.checkpoint().await.map_err(other)? else { return Ok(None) };
        // After a failover the projection's own task finds out whether its rows are still valid.
        if from.incarnation != batch.to.incarnation || from.position >= batch.to.position {
            return Ok(None);
        }
        let events = batch.transaction.events_after(from.position).await;
        let events = events.map_err(|error| InlineFault::Other(in_one_line(&error)))?;
        let own: Vec<_> = events.iter().filter(|it| self.types.contains(&it.event_type)).collect();
        let mut changed = RowGroups::none();
        for run in own.chunk_by(|one, next| !one.stream.is_system() && !next.stream.is_system()) {
            changed.add(self.apply_run(tx, run, batch).await?);
        }
        let marked = match events.last() {
            Some(last) => HistoryMarker::of(last).keep(tx, None).await,
            None => Ok(()),
        };
        marked.map_err(other)?;
        tx.advance(Advance { from: Some(from), to: batch.to }).await.map_err(other)?;
        Ok(Some(changed))
    }

    /// Applies neighbouring events of ordinary streams, or one event of a system stream.
    async fn apply_run(
        &self,
        tx: &mut S::Tx,
        run: &[&RecordedEvent],
        batch: &InlineBatch,
    ) -> Result<RowGroups, InlineFault> {
        let applied = match run {
            [event] if event.stream.is_system() => self.forget_ended(tx, event, batch).await,
            _ => self.apply_events(tx, run).await,
        };
        applied.map_err(|error| match error {
            ApplyError::Database(error) => of_database(error, batch, run.first().copied()),
            error => blamed(&error, batch, run.first().copied()),
        })
    }

    async fn apply_events(
        &self,
        tx: &mut S::Tx,
        run: &[&RecordedEvent],
    ) -> Result<RowGroups, ApplyError> {
        let decoded = Recorded::read_all(run.iter().copied())?;
        if decoded.is_empty() {
            return Ok(RowGroups::none());
        }
        catch_panic(self.work.projection.apply(tx, &decoded)).await?;
        self.work.changes(&decoded).await
    }

    /// Deletes the rows of a stream that this event has ended, if it has.
    async fn forget_ended(
        &self,
        tx: &mut S::Tx,
        event: &RecordedEvent,
        batch: &InlineBatch,
    ) -> Result<RowGroups, ApplyError> {
        let Some(store) = self.store.upgrade() else {
            return Err(DatabaseError::unavailable("the event store was closed").into());
        };
        let ended = match event.position > batch.before {
            true => ended_in_batch(event, store.as_ref()).await,
            false => stream_end::ended_by(event, store.as_ref()).await,
        };
        let ended = ended.map_err(|error| DatabaseError::unavailable(in_one_line(&error)))?;
        let Some(stream) = ended else { return Ok(RowGroups::none()) };
        catch_panic(self.work.projection.forget(tx, &stream)).await?;
        // The rows of any group may be among those of a stream.
        Ok(RowGroups::all())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        // Every change is one step, so a panic cannot leave it inconsistent.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P, S> InlineConsumer for InlineProjection<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    fn apply<'a>(&'a self, batch: &'a InlineBatch) -> InlineFuture<'a> {
        Box::pin(in_runtime(self.runtime.clone(), self.apply_to_all(batch)))
    }

    fn committed(&self, _: &InlineBatch) {
        let Pending { applied, unmarked, .. } = std::mem::take(&mut *self.pending());
        for (id, to) in unmarked {
            let cache = self.work.cache.clone();
            self.runtime.spawn(async move { cache.reset(&id, to.incarnation).await });
        }
        let Some(progress) = self.progress.upgrade() else { return };
        progress.send_if_modified(|progress| {
            let answering = progress.answering.clone();
            let live = applied.into_iter().find(|(id, _)| Some(id) == answering.as_ref());
            live.is_some_and(|(id, checkpoint)| progress.reach_inline(id, checkpoint))
        });
    }
}

/// Returns the stream that an event of an uncommitted batch has ended. Reads do not see the batch,
/// which has no other append.
async fn ended_in_batch(
    event: &RecordedEvent,
    store: &dyn EventStore,
) -> Result<Option<StreamName>, StoreError> {
    let Some(stream) = event.stream.described_stream() else { return Ok(None) };
    if event.event_type.as_str() == TombstoneStream::EVENT_TYPE {
        return Ok(Some(stream));
    }
    let metadata = StreamMetadata::from_json(&event.data).ok();
    let Some(before) = metadata.and_then(|metadata| metadata.truncate_before) else {
        return Ok(None);
    };
    let head = store.describe_stream(&stream).await?.head;
    Ok(head.is_none_or(|head| head < before).then_some(stream))
}

/// Sorts an error of the database: only a rejected statement is the fault of the events.
fn of_database(
    error: DatabaseError,
    batch: &InlineBatch,
    event: Option<&RecordedEvent>,
) -> InlineFault {
    match error {
        DatabaseError::Rejected { .. } => blamed(&ApplyError::Database(error), batch, event),
        error => InlineFault::Other(in_one_line(&error)),
    }
}

/// Blames the batch, unless an earlier event is the first of those that were applied.
fn blamed(error: &ApplyError, batch: &InlineBatch, first: Option<&RecordedEvent>) -> InlineFault {
    let line = in_one_line(error);
    match first {
        Some(event) if event.position > batch.before => {
            let (event_type, stream) = (&event.event_type, &event.stream);
            InlineFault::Batch(format!("{event_type} of stream {stream}: {line}"))
        }
        Some(event) => InlineFault::Other(format!("at position {}: {line}", event.position)),
        None => InlineFault::Batch(line),
    }
}
