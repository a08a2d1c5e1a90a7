//! Checkpoints of consumers without a read model, and snapshots: one document each, written unless
//! a newer one is there.

use bytes::Bytes;
use gesta_store::{
    Checkpoint, CheckpointStore, DatabaseError, DatabaseFuture, Fingerprint, Incarnation, Revision,
    Snapshot, SnapshotStore, StreamName,
};
use mongodb::{
    Collection,
    bson::{Binary, Document, doc, spec::BinarySubtype},
};

use super::{
    fields::{Fields as _, ID, checkpoint_document, damaged, number},
    store::MongoReadModels,
};
use crate::{client::within, errors::CallError, names};

const REVISION: &str = "revision";
const INCARNATION: &str = "incarnation";
const POSITION: &str = "position";
const FINGERPRINT: &str = "fingerprint";
/// The upper half of the fingerprint, which identifies the fold.
const FOLD: &str = "fold";
const STATE: &str = "state";
/// Bytes of a snapshot's state. A document has at most 16 MB.
const STATE_BYTES_MAX: usize = 15 << 20;

impl CheckpointStore for MongoReadModels {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        let consumers = self.shared().place.documents(names::CONSUMERS);
        let own = doc! { ID: consumer };
        let work = async move {
            let found = within(consumers.find_one(own)).await?;
            found.map(|document| document.checkpoint()).transpose()
        };
        Box::pin(self.shared().call(work))
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        let consumers = self.shared().place.documents(names::CONSUMERS);
        let mut document = doc! { ID: consumer };
        document.extend(checkpoint_document(checkpoint));
        let not_newer = doc! { ID: consumer, "$or": [
            { INCARNATION: { "$ne": checkpoint.incarnation.as_uuid().to_string() } },
            { POSITION: { "$lte": number(checkpoint.position.number()) } },
        ] };
        Box::pin(self.shared().call(async move { replace(&consumers, not_newer, document).await }))
    }
}

impl SnapshotStore for MongoReadModels {
    fn place(&self) -> String {
        self.shared().place.server.to_string()
    }

    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        let (snapshots, stream) = (self.shared().place.documents(names::SNAPSHOTS), stream.clone());
        let work = async move {
            let found = within(snapshots.find_one(doc! { ID: stream.as_str() })).await?;
            found.map(|document| snapshot_of(stream, &document)).transpose()
        };
        Box::pin(self.shared().call(work))
    }

    /// The state has at most 15 MiB.
    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        let snapshots = self.shared().place.documents(names::SNAPSHOTS);
        let work = async move {
            let bytes = snapshot.state.len();
            if bytes > STATE_BYTES_MAX {
                let reason = format!(
                    "the state of a snapshot must be at most {STATE_BYTES_MAX} bytes in MongoDB; \
                     got {bytes} for stream {}",
                    snapshot.stream
                );
                return Err(DatabaseError::rejected(reason).into());
            }
            let (document, not_newer) = document_of(snapshot);
            replace(&snapshots, not_newer, document).await
        };
        Box::pin(self.shared().call(work))
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        let snapshots = self.shared().place.documents(names::SNAPSHOTS);
        let own = doc! { ID: stream.as_str() };
        let work = async move { within(snapshots.delete_one(own)).await.map(drop) };
        Box::pin(self.shared().call(work))
    }
}

/// Writes a document unless one is there that does not meet the condition.
async fn replace(
    documents: &Collection<Document>,
    condition: Document,
    document: Document,
) -> Result<(), CallError> {
    let upsert = documents.replace_one(condition.clone(), document.clone()).upsert(true);
    match within(upsert).await {
        Ok(_) => Ok(()),
        // The `_id` is there: the document does not meet the condition, or was inserted just now.
        Err(CallError::Duplicate) => {
            within(documents.replace_one(condition, document)).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// The document of a snapshot, and the condition of those that it replaces.
fn document_of(snapshot: Snapshot) -> (Document, Document) {
    let revision = number(snapshot.revision.number());
    let incarnation = snapshot.incarnation.as_uuid().to_string();
    let fold = number(u64::from(snapshot.fingerprint.fold()));
    let stream = snapshot.stream.as_str();
    let not_newer = doc! { ID: stream, "$or": [
        { FOLD: { "$ne": fold.clone() } },
        { INCARNATION: { "$ne": incarnation.as_str() } },
        { REVISION: { "$lte": revision.clone() } },
    ] };
    let state = Binary { subtype: BinarySubtype::Generic, bytes: snapshot.state.to_vec() };
    let document = doc! {
        ID: stream,
        REVISION: revision,
        INCARNATION: incarnation,
        FINGERPRINT: snapshot.fingerprint.to_string(),
        FOLD: fold,
        STATE: state,
    };
    (document, not_newer)
}

fn snapshot_of(stream: StreamName, document: &Document) -> Result<Snapshot, CallError> {
    let fingerprint = u64::from_str_radix(document.text(FINGERPRINT)?, 16);
    let fingerprint = fingerprint.map_err(|_| damaged(document, FINGERPRINT))?;
    let incarnation = document.text(INCARNATION)?.parse();
    let incarnation = incarnation.map_err(|_| damaged(document, INCARNATION))?;
    let state = document.get_binary_generic(STATE).map_err(|_| damaged(document, STATE))?;
    Ok(Snapshot::new(
        stream,
        Revision::new(document.number(REVISION)?),
        Incarnation::new(incarnation),
        Fingerprint::new(fingerprint),
        Bytes::copy_from_slice(state),
    ))
}
