//! The list of a projection's read models: one document, so every switch is one conditional write.
//!
//! Owns: the document and its optimistic change. Other programs find the live build in it. Not
//! here: the list itself ([`BuildList`]), and the heads of read models.
//!
//! ```text
//! { _id: PROJECTION, revision, lastBuild, readModels: [{ build, version, stage }],
//!   dropped: [{ build, at }] }
//! ```

use gesta_store::{DatabaseError, staged::BuildList};
use mongodb::bson::{Bson, doc};
use serde_json::json;

use super::{
    connection::Place,
    fields::{Fields as _, ID, number},
    head,
};
use crate::{client::within, errors::CallError, json, names};

const REVISION: &str = "revision";
/// Rounds of a change that other processes are faster than.
const ROUNDS_MAX: u32 = 50;

pub(super) async fn load(place: &Place, projection: &str) -> Result<BuildList, CallError> {
    Ok(load_with_revision(place, projection).await?.1)
}

/// Returns the list, or `None` if there is none: no read model was created, or another program has
/// removed the document.
pub(super) async fn find(place: &Place, projection: &str) -> Result<Option<BuildList>, CallError> {
    Ok(find_with_revision(place, projection).await?.map(|(_, list)| list))
}

/// Changes the list. The change is repeated on the newest list if another process was faster. A
/// change that returns `None` leaves the list as it is.
pub(super) async fn change<T>(
    place: &Place,
    projection: &str,
    mut change: impl FnMut(&mut BuildList) -> Option<T>,
) -> Result<Option<T>, CallError> {
    for _ in 0..ROUNDS_MAX {
        let (revision, mut list) = load_with_revision(place, projection).await?;
        let Some(result) = change(&mut list) else { return Ok(None) };
        if replace(place, projection, revision, &list).await? {
            return Ok(Some(result));
        }
    }
    let reason = format!("the read models of {projection} are changed all the time; retry");
    Err(DatabaseError::unavailable(reason).into())
}

/// Returns the list with the revision of its document, which is 0 if it is not there.
async fn load_with_revision(
    place: &Place,
    projection: &str,
) -> Result<(u64, BuildList), CallError> {
    if let Some(found) = find_with_revision(place, projection).await? {
        return Ok(found);
    }
    // The document may have been removed by another program. No number is given again that this
    // process knows.
    let used = place.greatest_build(projection);
    let list = json!({ "lastBuild": used, "readModels": [], "dropped": [] });
    Ok((0, BuildList::from_json(&list).unwrap_or_default()))
}

/// Returns the number of the next build.
pub(super) async fn next_build(place: &Place, projection: &str) -> Result<u64, CallError> {
    if let Some(list) = find(place, projection).await? {
        return Ok(list.next_build());
    }
    // Heads that are left without a list have numbers that were given before.
    place.note_build(projection, head::greatest_build(place, projection).await?);
    Ok(place.greatest_build(projection) + 1)
}

async fn find_with_revision(
    place: &Place,
    projection: &str,
) -> Result<Option<(u64, BuildList)>, CallError> {
    let lists = place.documents(names::CATALOGUE);
    let Some(document) = within(lists.find_one(doc! { ID: projection })).await? else {
        return Ok(None);
    };
    let revision = document.number(REVISION)?;
    let object = json::decode(&Bson::Document(document));
    let list = object.and_then(|object| BuildList::from_json(&object));
    let damaged = || CallError::Damaged(format!("the list of builds of {projection}"));
    let list = list.ok_or_else(damaged)?;
    place.note_build(projection, list.next_build() - 1);
    Ok(Some((revision, list)))
}

/// Returns `false` if another process has changed the list since it was read.
async fn replace(
    place: &Place,
    projection: &str,
    revision: u64,
    list: &BuildList,
) -> Result<bool, CallError> {
    let lists = place.documents(names::CATALOGUE);
    let mut document = doc! { ID: projection, REVISION: number(revision + 1) };
    if let Bson::Document(list) = json::encode(&list.to_json(), true).value {
        document.extend(list);
    }
    if revision == 0 {
        return match within(lists.insert_one(document)).await {
            Ok(_) => Ok(true),
            Err(CallError::Duplicate) => Ok(false),
            Err(error) => Err(error),
        };
    }
    let unchanged = doc! { ID: projection, REVISION: number(revision) };
    Ok(within(lists.replace_one(unchanged, document)).await?.matched_count == 1)
}
