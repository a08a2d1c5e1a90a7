//! Checkpoints of consumers without a read model, and snapshots: one item each, replaced on a
//! condition.

use gesta_store::{
    Checkpoint, CheckpointStore, DatabaseError, DatabaseFuture, Fingerprint, Incarnation, Position,
    Revision, Snapshot, SnapshotStore, StreamName,
};

use super::store::DynamoReadModels;
use crate::{
    errors::CallError,
    item::{ALONE, Attributes as _, Item, binary, damaged, key, number, text},
    table::Update,
};

const POSITION: &str = "pos";
const INCARNATION: &str = "inc";
const REVISION: &str = "rv";
const FINGERPRINT: &str = "fp";
/// The upper half of the fingerprint, which identifies the fold.
const FOLD: &str = "fd";
const STATE: &str = "st";
/// Bytes of a snapshot's state. An item has at most 400 KB.
const STATE_BYTES_MAX: usize = 390 * 1_024;

impl CheckpointStore for DynamoReadModels {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        let (table, place) = (self.shared().table.clone(), of_consumer(consumer));
        let work = async move {
            let item = table.get(&place, ALONE).await?;
            item.map(|item| checkpoint_of(&item)).transpose()
        };
        Box::pin(self.shared().call(async move { work.await.map_err(CallError::into_database) }))
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        let (table, place) = (self.shared().table.clone(), of_consumer(consumer));
        let position = number(checkpoint.position.number());
        let incarnation = text(checkpoint.incarnation.as_uuid().to_string());
        let mut item = key(&place, ALONE);
        item.insert(POSITION.to_owned(), position.clone());
        item.insert(INCARNATION.to_owned(), incarnation.clone());
        let work = async move {
            let condition = "attribute_not_exists(pk) OR inc <> :inc OR pos <= :pos";
            let on = Update { condition, ..Update::default() };
            let on = on.value(":inc", incarnation).value(":pos", position);
            unless_newer(table.put(item, on).await)
        };
        Box::pin(self.shared().call(work))
    }
}

impl SnapshotStore for DynamoReadModels {
    fn place(&self) -> String {
        self.shared().url.to_string()
    }

    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        let (table, stream) = (self.shared().table.clone(), stream.clone());
        let work = async move {
            let item = table.get(&of_stream(&stream), ALONE).await?;
            item.map(|item| snapshot_of(stream, &item)).transpose()
        };
        Box::pin(self.shared().call(async move { work.await.map_err(CallError::into_database) }))
    }

    /// The state has at most 390 KB.
    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        let table = self.shared().table.clone();
        let work = async move {
            let bytes = snapshot.state.len();
            if bytes > STATE_BYTES_MAX {
                return Err(DatabaseError::rejected(format!(
                    "the state of a snapshot must be at most {STATE_BYTES_MAX} bytes in DynamoDB; \
                     got {bytes} for stream {}",
                    snapshot.stream
                )));
            }
            let revision = number(snapshot.revision.number());
            let incarnation = text(snapshot.incarnation.as_uuid().to_string());
            let fold = number(u64::from(snapshot.fingerprint.fold()));
            let mut item = key(&of_stream(&snapshot.stream), ALONE);
            item.insert(REVISION.to_owned(), revision.clone());
            item.insert(INCARNATION.to_owned(), incarnation.clone());
            item.insert(FINGERPRINT.to_owned(), text(snapshot.fingerprint.to_string()));
            item.insert(FOLD.to_owned(), fold.clone());
            item.insert(STATE.to_owned(), binary(snapshot.state));
            let condition = "attribute_not_exists(pk) OR fd <> :fd OR inc <> :inc OR rv <= :rv";
            let on = Update { condition, ..Update::default() }
                .value(":fd", fold)
                .value(":inc", incarnation)
                .value(":rv", revision);
            unless_newer(table.put(item, on).await)
        };
        Box::pin(self.shared().call(work))
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        let (table, place) = (self.shared().table.clone(), of_stream(stream));
        let work =
            async move { table.delete(&place, ALONE).await.map_err(CallError::into_database) };
        Box::pin(self.shared().call(work))
    }
}

fn of_consumer(name: &str) -> String {
    format!("consumer#{name}")
}

fn of_stream(stream: &StreamName) -> String {
    format!("snapshot#{stream}")
}

/// Ignores a write that is older than what is stored.
fn unless_newer(written: Result<(), CallError>) -> Result<(), DatabaseError> {
    match written {
        Err(CallError::Condition(_)) => Ok(()),
        outcome => outcome.map_err(CallError::into_database),
    }
}

fn incarnation_of(item: &Item) -> Result<Incarnation, CallError> {
    let id = item.text(INCARNATION)?.parse().map_err(|_| damaged(item, INCARNATION))?;
    Ok(Incarnation::new(id))
}

fn checkpoint_of(item: &Item) -> Result<Checkpoint, CallError> {
    let position = Position::new(item.number(POSITION)?);
    Ok(Checkpoint { position, incarnation: incarnation_of(item)? })
}

fn snapshot_of(stream: StreamName, item: &Item) -> Result<Snapshot, CallError> {
    let fingerprint = u64::from_str_radix(item.text(FINGERPRINT)?, 16);
    Ok(Snapshot::new(
        stream,
        Revision::new(item.number(REVISION)?),
        incarnation_of(item)?,
        Fingerprint::new(fingerprint.map_err(|_| damaged(item, FINGERPRINT))?),
        item.bytes(STATE)?,
    ))
}
