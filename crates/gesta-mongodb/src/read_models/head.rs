//! The head of a read model: its version, its checkpoint and the batch that is being applied.
//!
//! Owns: the document and the conditional updates that change it. Not here: the order of the steps
//! (`commit.rs`).

use futures_util::TryStreamExt as _;
use gesta_store::{Checkpoint, ReadModelId};
use mongodb::{
    ClientSession,
    bson::{Document, doc},
};

use super::{
    batch::Pending,
    connection::Place,
    fields::{Fields as _, ID, checkpoint_document, damaged, number},
};
use crate::{client::within, errors::CallError, names};

const VERSION: &str = "version";
const CHECKPOINT: &str = "checkpoint";
const PENDING: &str = "pending";
const PENDING_BY: &str = "pending.by";
const DROPPED: &str = "dropped";
const COLLECTIONS: &str = "collections";

/// The head, as it was read.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Version of the last commit.
    pub(super) version: u64,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) is_dropped: bool,
    /// Names of the collections that were created.
    pub(super) collections: Vec<String>,
    /// A batch that is decided and not yet completed.
    pub(super) pending: Option<Pending>,
}

/// Creates the head of a new read model, unless it is there.
pub(super) async fn create(place: &Place, id: &ReadModelId) -> Result<(), CallError> {
    let head = doc! { ID: names::of_head(id), VERSION: number(0) };
    match within(place.documents(names::HEADS).insert_one(head)).await {
        Ok(_) | Err(CallError::Duplicate) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the greatest build of a projection that has a head, or 0.
pub(super) async fn greatest_build(place: &Place, projection: &str) -> Result<u64, CallError> {
    let prefix = names::of_projection(projection);
    let own = doc! { ID: { "$regex": format!("^{}[0-9]+$", prefix.replace('.', "\\.")) } };
    let heads = place.documents(names::HEADS);
    let found: Vec<Document> = within(async { heads.find(own).await?.try_collect().await }).await?;
    let builds = found.iter().filter_map(|head| head.get_str(ID).ok()?.rsplit('.').next());
    Ok(builds.filter_map(|build| build.parse().ok()).max().unwrap_or(0))
}

/// Adds a collection to those that were created.
pub(super) async fn list_collection(
    place: &Place,
    id: &ReadModelId,
    name: &str,
) -> Result<(), CallError> {
    let change = doc! { "$addToSet": { COLLECTIONS: name } };
    let heads = place.documents(names::HEADS);
    within(heads.update_one(doc! { ID: names::of_head(id) }, change)).await.map(drop)
}

/// Reads the head. `None` if there is no such read model, or it was dropped long ago.
pub(super) async fn load(place: &Place, id: &ReadModelId) -> Result<Option<Head>, CallError> {
    let heads = place.documents(names::HEADS);
    let found = within(heads.find_one(doc! { ID: names::of_head(id) })).await?;
    found.map(|document| Head::parse(&document)).transpose()
}

/// Marks a read model as dropped, so that every later call refuses it.
pub(super) async fn mark_dropped(place: &Place, id: &ReadModelId) -> Result<(), CallError> {
    let heads = place.documents(names::HEADS);
    let mark = doc! { "$set": { DROPPED: true } };
    within(heads.update_one(doc! { ID: names::of_head(id) }, mark)).await.map(drop)
}

pub(super) async fn delete(place: &Place, id: &ReadModelId) -> Result<(), CallError> {
    within(place.documents(names::HEADS).delete_one(doc! { ID: names::of_head(id) }))
        .await
        .map(drop)
}

/// Decides a batch: stores it in the head on the condition that the head has this version and no
/// other batch. Fails with [`CallError::Overtaken`] if it has not.
pub(super) async fn decide(
    place: &Place,
    id: &ReadModelId,
    version: u64,
    pending: &Pending,
) -> Result<(), CallError> {
    let condition = unchanged_since(id, version);
    let change = doc! { "$set": { PENDING: pending.document() } };
    let updated = within(place.documents(names::HEADS).update_one(condition, change)).await?;
    if updated.matched_count == 1 { Ok(()) } else { Err(CallError::Overtaken) }
}

/// Moves the head to the version of a batch whose rows are written. Has no effect if another
/// process has done so.
pub(super) async fn advance(
    place: &Place,
    id: &ReadModelId,
    batch: &Pending,
) -> Result<(), CallError> {
    let condition = doc! { ID: names::of_head(id), PENDING_BY: batch.by.as_str() };
    let change = doc! {
        "$set": moved(batch.version, batch.checkpoint),
        "$unset": { PENDING: "" },
    };
    within(place.documents(names::HEADS).update_one(condition, change)).await.map(drop)
}

/// Moves the head from this version to the next one without a batch: with a session in its
/// transaction, with the rows. Fails with [`CallError::Overtaken`] if it is at another version.
pub(super) async fn advance_alone(
    place: &Place,
    id: &ReadModelId,
    (version, checkpoint): (u64, Option<Checkpoint>),
    session: Option<&mut ClientSession>,
) -> Result<(), CallError> {
    let condition = unchanged_since(id, version);
    let change = doc! { "$set": moved(version + 1, checkpoint) };
    let heads = place.documents(names::HEADS);
    let update = heads.update_one(condition, change);
    let updated = match session {
        None => within(update).await?,
        Some(session) => within(update.session(session)).await?,
    };
    if updated.matched_count == 1 { Ok(()) } else { Err(CallError::Overtaken) }
}

fn unchanged_since(id: &ReadModelId, version: u64) -> Document {
    doc! { ID: names::of_head(id), VERSION: number(version), PENDING: { "$exists": false } }
}

fn moved(version: u64, checkpoint: Option<Checkpoint>) -> Document {
    let mut moved = doc! { VERSION: number(version) };
    if let Some(checkpoint) = checkpoint {
        moved.insert(CHECKPOINT, checkpoint_document(checkpoint));
    }
    moved
}

/// Heads of earlier versions have no list.
fn collections_in(document: &Document) -> Result<Vec<String>, CallError> {
    let Some(listed) = document.get(COLLECTIONS) else { return Ok(Vec::new()) };
    let names = listed
        .as_array()
        .and_then(|listed| listed.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    names.ok_or_else(|| damaged(document, COLLECTIONS))
}

impl Head {
    fn parse(document: &Document) -> Result<Self, CallError> {
        let checkpoint = document.opt_document(CHECKPOINT)?;
        let pending = document.opt_document(PENDING)?;
        Ok(Self {
            version: document.number(VERSION)?,
            checkpoint: checkpoint.map(Document::checkpoint).transpose()?,
            is_dropped: document.contains_key(DROPPED),
            collections: collections_in(document)?,
            pending: pending.map(Pending::parse).transpose()?,
        })
    }
}
