//! Removal of the rows of dropped read models, some time after the drop.
//!
//! Readers and transactions that were open at the drop finish in between. A removal that is cut off
//! is repeated by the next one.

use gesta_store::{ReadModelId, staged::BuildList};

use super::{catalogue, head, rows};
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
    let old = catalogue::load(table, projection).await?.dropped_until(until);
    if old.is_empty() {
        return Ok(());
    }
    for build in &old {
        remove(table, &ReadModelId { projection: projection.to_owned(), build: *build }).await?;
    }
    let forget = |list: &mut BuildList| {
        list.forget(&old);
        Some(())
    };
    catalogue::change(table, projection, forget).await.map(drop)
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
