//! Marks of collections: how a collection that another program has dropped is told from one without
//! rows.
//!
//! A collection of a read model has a document of this crate, its mark, and the head lists the
//! collection. So a collection that is listed and has no mark was dropped or emptied, and rows are
//! missing. MongoDB itself creates a dropped collection again with the next row, and never tells.
//!
//! Invariants:
//! - A collection has its mark before the head lists it, and is listed before it has a row.
//! - Nothing that was not found is believed before the mark was found.
//!
//! Not here: the store's own collections, of which only the lists of builds and the heads are
//! missed. Without checkpoints of consumers and snapshots a program goes on.

use gesta_store::{DatabaseError, ReadModelId, staged::Area};
use mongodb::bson::{Document, doc, oid::ObjectId};

use super::{
    catalogue,
    connection::Place,
    fields::ID,
    head::{self, Head},
};
use crate::{client::within, errors::CallError, names};

/// Time between two looks of readers at all collections of a read model.
const LOOK_SECONDS: u64 = 1;

/// The mark's `_id`, which no key of a row equals.
fn id_of_mark() -> ObjectId {
    ObjectId::from_bytes([0; 12])
}

/// Creates the collection of an area with its mark, unless that was done before.
///
/// Fails with [`CallError::Damaged`] if it was done, and the mark is gone.
pub(super) async fn ensure(place: &Place, id: &ReadModelId, area: &Area) -> Result<(), CallError> {
    let name = names::of_area(id, area);
    if place.has_created(&name) {
        return Ok(());
    }
    let head = head::load(place, id).await?;
    if head.is_some_and(|head| head.collections.contains(&name)) {
        require(place, &name).await?;
        place.note_created(name);
        return Ok(());
    }
    place.create(&name).await?;
    let mark = doc! { ID: id_of_mark(), "mark": "do not remove: gesta misses it" };
    match within(place.documents(&name).insert_one(mark)).await {
        Ok(_) | Err(CallError::Duplicate) => {}
        Err(error) => return Err(error),
    }
    head::list_collection(place, id, &name).await?;
    place.note_created(name);
    Ok(())
}

/// Fails with [`CallError::Damaged`] if a collection that was created has no mark.
pub(super) async fn require(place: &Place, name: &str) -> Result<(), CallError> {
    if has_mark(place, name).await? {
        return Ok(());
    }
    place.forget_created(name);
    Err(CallError::Damaged(format!(
        "another program has dropped or emptied collection {name}, so rows are missing; rebuild \
         the projection"
    )))
}

/// Confirms that an area has no such rows, after none was found.
pub(super) async fn confirm_absence(
    place: &Place,
    id: &ReadModelId,
    area: &Area,
) -> Result<(), CallError> {
    let name = names::of_area(id, area);
    if has_mark(place, &name).await? {
        return Ok(());
    }
    // Without a head the read model was dropped, and its collections with it.
    let head = match head::load(place, id).await? {
        Some(head) if !head.is_dropped => head,
        Some(_) => return Err(DatabaseError::Missing { read_model: id.clone() }.into()),
        None => return Err(absence(place, id).await?),
    };
    if head.collections.contains(&name) { require(place, &name).await } else { Ok(()) }
}

/// Returns the error for a read model without a head: it was dropped, or another program has
/// removed what the store knows of it.
pub(super) async fn absence(place: &Place, id: &ReadModelId) -> Result<CallError, CallError> {
    let Some(list) = catalogue::find(place, &id.projection).await? else {
        return Ok(without_list(&id.projection));
    };
    if list.builds().iter().any(|listed| listed.build == id.build) {
        let reason = format!(
            "another program has removed the document of {id} from collection {}; rebuild the \
             projection",
            names::HEADS
        );
        return Ok(CallError::Damaged(reason));
    }
    Ok(DatabaseError::Missing { read_model: id.clone() }.into())
}

/// Looks at all collections of a read model, now and then.
pub(super) async fn look(place: &Place, id: &ReadModelId, head: &Head) -> Result<(), CallError> {
    let what = format!("marks of {id}");
    if !place.is_due(&what, LOOK_SECONDS) {
        return Ok(());
    }
    let looked = async {
        if catalogue::find(place, &id.projection).await?.is_none() {
            return Err(without_list(&id.projection));
        }
        for name in &head.collections {
            require(place, name).await?;
        }
        Ok(())
    };
    let outcome = looked.await;
    if outcome.is_err() {
        place.make_due(&what);
    }
    outcome
}

fn without_list(projection: &str) -> CallError {
    CallError::Damaged(format!(
        "another program has removed the document of {projection} from collection {}; rebuild the \
         projection",
        names::CATALOGUE
    ))
}

async fn has_mark(place: &Place, name: &str) -> Result<bool, CallError> {
    let found: Option<Document> =
        within(place.documents(name).find_one(doc! { ID: id_of_mark() })).await?;
    Ok(found.is_some())
}
