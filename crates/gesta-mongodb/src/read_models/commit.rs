//! Commits: the order in which the head and the rows are written.
//!
//! Invariant: what a head at a version shows was written before the head had it. Not here: the
//! requests of each step (`head.rs`, `batch.rs`, `apply.rs`).

use gesta_store::{Checkpoint, DatabaseError, ReadModelId, staged::StagedRows};
use mongodb::ClientSession;

use super::{
    apply::apply,
    batch::{Pending, remove_parts},
    connection::Place,
    head::{self, Head},
    marks,
};
use crate::{
    client::{Commits, within},
    errors::CallError,
};

/// Tries of the last request of a transaction, which may be repeated.
const COMMIT_TRIES_MAX: u32 = 3;
/// Batches of other processes that a transaction completes before it gives way.
const COMPLETED_MAX: u32 = 20;

/// Commits changes on the head that the transaction has begun on.
pub(super) async fn commit(
    place: &Place,
    id: &ReadModelId,
    head: &Head,
    (changes, moved): (&StagedRows, Option<Checkpoint>),
) -> Result<(), CallError> {
    let outcome = match place.commits {
        // One document is changed at one moment anywhere.
        _ if changes.is_empty() => {
            head::advance_alone(place, id, (head.version, moved), None).await
        }
        Commits::StagedBatches => by_batch(place, id, head.version, (changes, moved)).await,
        Commits::Transactions => in_transaction(place, id, head.version, (changes, moved)).await,
    };
    match outcome {
        Err(CallError::Overtaken) => Err(overtaken(place, id, head.checkpoint).await?.into()),
        outcome => outcome,
    }
}

async fn by_batch(
    place: &Place,
    id: &ReadModelId,
    version: u64,
    (changes, moved): (&StagedRows, Option<Checkpoint>),
) -> Result<(), CallError> {
    for (area, _) in changes.areas() {
        marks::ensure(place, id, area).await?;
    }
    let (batch, parts) = Pending::split(version + 1, changes, moved);
    batch.stage(place, id, parts).await?;
    head::decide(place, id, version, &batch).await?;
    complete(place, id, &batch, changes).await
}

/// Completes a batch that is decided. May be repeated, by several processes at the same time.
async fn complete(
    place: &Place,
    id: &ReadModelId,
    batch: &Pending,
    changes: &StagedRows,
) -> Result<(), CallError> {
    apply(place, id, (batch.version, changes), None).await?;
    head::advance(place, id, batch).await?;
    if batch.parts > 0 {
        remove_parts(place, id, batch.version).await?;
    }
    Ok(())
}

async fn in_transaction(
    place: &Place,
    id: &ReadModelId,
    version: u64,
    (changes, moved): (&StagedRows, Option<Checkpoint>),
) -> Result<(), CallError> {
    // A transaction creates no collections.
    for (area, _) in changes.areas() {
        marks::ensure(place, id, area).await?;
    }
    let mut session = within(place.database.client().start_session()).await?;
    within(session.start_transaction()).await?;
    let written = async {
        head::advance_alone(place, id, (version, moved), Some(&mut session)).await?;
        apply(place, id, (version + 1, changes), Some(&mut session)).await
    };
    if let Err(error) = written.await {
        // The server ends a transaction that it does not hear of again.
        drop(within(session.abort_transaction()).await);
        return Err(error);
    }
    finish(&mut session).await
}

/// Ends a transaction. Its outcome is unknown if the last try has no answer.
async fn finish(session: &mut ClientSession) -> Result<(), CallError> {
    let mut outcome = within(session.commit_transaction()).await;
    for _ in 1..COMMIT_TRIES_MAX {
        if !matches!(
            outcome,
            Err(CallError::Unreachable(_) | CallError::NoServer | CallError::Internal(_))
        ) {
            break;
        }
        outcome = within(session.commit_transaction()).await;
    }
    outcome
}

/// Reads the head of a read model that was not dropped.
pub(super) async fn live_head(place: &Place, id: &ReadModelId) -> Result<Head, CallError> {
    match head::load(place, id).await? {
        Some(head) if !head.is_dropped => Ok(head),
        Some(_) => Err(DatabaseError::Missing { read_model: id.clone() }.into()),
        None => Err(marks::absence(place, id).await?),
    }
}

/// Reads the head for a transaction. Completes a batch that was decided before.
pub(super) async fn settled_head(place: &Place, id: &ReadModelId) -> Result<Head, CallError> {
    for _ in 0..COMPLETED_MAX {
        let head = live_head(place, id).await?;
        let Some(batch) = &head.pending else { return Ok(head) };
        match batch.load(place).await? {
            Some(changes) => complete(place, id, batch, &changes).await?,
            None => check_parts_are_not_needed(place, id, batch).await?,
        }
    }
    let reason = "other processes commit to this read model all the time";
    Err(DatabaseError::unavailable(reason).into())
}

/// Parts are removed once their batch is complete. The head refers to none that are missing.
async fn check_parts_are_not_needed(
    place: &Place,
    id: &ReadModelId,
    batch: &Pending,
) -> Result<(), CallError> {
    let pending = live_head(place, id).await?.pending;
    if pending.is_some_and(|pending| pending.by == batch.by) {
        let reason = format!("a decided batch of {id} has lost its parts; rebuild the projection");
        return Err(CallError::Damaged(reason));
    }
    Ok(())
}

/// The error of a commit that another process was faster than. Nothing of it is seen.
async fn overtaken(
    place: &Place,
    id: &ReadModelId,
    before: Option<Checkpoint>,
) -> Result<DatabaseError, CallError> {
    let head = live_head(place, id).await?;
    let pending = head.pending.as_ref().and_then(|pending| pending.checkpoint);
    let stored = pending.or(head.checkpoint);
    if stored == before {
        return Ok(DatabaseError::unavailable(
            "another process has committed to this read model at the same time; nothing was \
             committed here: begin again",
        ));
    }
    Ok(DatabaseError::CheckpointConflict { expected: before, stored })
}
