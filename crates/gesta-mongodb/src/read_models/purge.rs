//! Removal of what no reader needs any more: collections of dropped read models, some time after
//! the drop, and the remains of deleted rows.
//!
//! Readers and transactions that were open finish in between. A removal that is cut off is repeated
//! by the next one.

use gesta_store::{
    ReadModelId,
    staged::{Area, BuildList, StagedRows},
};
use mongodb::bson::doc;

use super::{batch::remove_parts, catalogue, connection::Place, fields::number, head, rows::GONE};
use crate::{client::within, clock, errors::CallError, names};

/// Time for which the rows of a dropped read model stay.
const STAYS_SECONDS: u64 = 15 * 60;
/// Time for which the remains of a deleted row are kept, for readers of earlier versions.
const REMAINS_SECONDS: u64 = 24 * 60 * 60;
/// Time between two removals of remains from a collection. Each looks at all of its rows.
const SWEEP_SECONDS: u64 = 60 * 60;

/// Removes the read models of a projection that were dropped long enough ago.
pub(super) async fn remove_old(place: &Place, projection: &str) -> Result<(), CallError> {
    let until = clock::epoch_seconds().saturating_sub(STAYS_SECONDS);
    let old = catalogue::load(place, projection).await?.dropped_until(until);
    if old.is_empty() {
        return Ok(());
    }
    for build in &old {
        let id = ReadModelId { projection: projection.to_owned(), build: *build };
        remove(place, &id).await?;
    }
    let forget = |list: &mut BuildList| {
        list.forget(&old);
        Some(())
    };
    catalogue::change(place, projection, forget).await.map(drop)
}

async fn remove(place: &Place, id: &ReadModelId) -> Result<(), CallError> {
    // No commit begins any more without the head.
    head::delete(place, id).await?;
    remove_parts(place, id, u64::MAX).await?;
    let tables = names::of_read_model(id);
    let kept = [Area::Letters, Area::Properties].map(|area| names::of_area(id, &area));
    for name in within(place.database.list_collection_names()).await? {
        if name.starts_with(&tables) || kept.contains(&name) {
            within(place.documents(&name).drop()).await?;
        }
    }
    Ok(())
}

/// Returns the collections of deleted rows whose remains are due to be looked for.
pub(super) fn due(place: &Place, id: &ReadModelId, changes: &StagedRows) -> Vec<String> {
    let has_deleted = changes.areas().filter(|(_, rows)| rows.values().any(Option::is_none));
    let names = has_deleted.map(|(area, _)| names::of_area(id, area));
    names.filter(|name| place.is_due(name, SWEEP_SECONDS)).collect()
}

/// Removes the remains of rows that were deleted long enough ago.
pub(super) async fn sweep(place: &Place, collections: Vec<String>) -> Result<(), CallError> {
    let until = clock::epoch_seconds().saturating_sub(REMAINS_SECONDS);
    for name in collections {
        let old = doc! { GONE: { "$lte": number(until) } };
        within(place.documents(&name).delete_many(old)).await?;
    }
    Ok(())
}
