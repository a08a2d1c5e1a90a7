//! Removal of the rows of dropped read models, some time after the drop.
//!
//! Readers and transactions that were open at the drop finish in between. A removal that is cut off
//! is repeated by the next one.

use std::collections::BTreeSet;

use gesta_store::ReadModelId;

use super::{
    catalogue::{Catalogue, Dropped},
    head, rows,
};
use crate::{
    clock,
    errors::CallError,
    item::{ALONE, Attributes as _, SK},
    table::{Query, Table},
};

/// Time for which the rows of a dropped read model stay.
const STAYS_SECONDS: u64 = 15 * 60;

/// Removes the rows of the projection's read models that were dropped long enough ago.
pub(super) async fn remove_old(table: &Table, projection: &str) -> Result<(), CallError> {
    let until = clock::epoch_seconds().saturating_sub(STAYS_SECONDS);
    let is_old = |one: &Dropped| one.at_seconds <= until;
    let list = Catalogue::load(table, projection).await?;
    let mut removed = BTreeSet::new();
    for old in list.dropped.iter().filter(|one| is_old(one)) {
        remove(table, &ReadModelId { projection: projection.to_owned(), build: old.build }).await?;
        removed.insert(old.build);
    }
    if removed.is_empty() {
        return Ok(());
    }
    let forget = |list: &mut Catalogue| {
        list.dropped.retain(|one| !removed.contains(&one.build));
        Some(())
    };
    Catalogue::change(table, projection, forget).await.map(drop)
}

async fn remove(table: &Table, id: &ReadModelId) -> Result<(), CallError> {
    let Some(head) = head::load(table, id).await? else { return Ok(()) };
    for area in &head.areas {
        let partition = rows::partition(id, area);
        let mut after = None;
        loop {
            let query = Query { after: after.as_deref(), ..Query::of(&partition) };
            let page = table.query(query).await?;
            let keys = page.items.iter().map(|item| item.text(SK).map(str::to_owned));
            table.delete_all(&partition, keys.collect::<Result<_, _>>()?).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    table.delete(&head::partition(id), ALONE).await
}
