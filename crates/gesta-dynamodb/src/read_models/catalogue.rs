//! The list of a projection's read models: one item, so every switch is one conditional write.
//!
//! Owns: the item and its optimistic change. Not here: the list itself ([`BuildList`]), and the
//! heads of read models.

use gesta_store::{
    DatabaseError, ReadModelId,
    staged::{BuildList, ListedBuild},
};
use serde_json::json;

use super::head::{self, Head};
use crate::{
    errors::CallError,
    item::{ALONE, Attributes as _, damaged, key, number, text},
    table::{Table, Update},
};

const REVISION: &str = "rev";
const LIST: &str = "list";
/// Rounds of a change that other processes are faster than.
const ROUNDS_MAX: u32 = 50;

pub(super) async fn load(table: &Table, projection: &str) -> Result<BuildList, CallError> {
    Ok(load_with_revision(table, projection).await?.1)
}

/// Reads the head of a read model that is not dropped.
pub(super) async fn live_head(table: &Table, id: &ReadModelId) -> Result<Head, DatabaseError> {
    match head::load(table, id).await.map_err(CallError::into_database)? {
        Some(head) if !head.is_dropped => Ok(head),
        Some(_) => Err(DatabaseError::Missing { read_model: id.clone() }),
        None => Err(absence(table, id).await?),
    }
}

/// Returns the error for a read model without a head: it was dropped, or another program has
/// removed what the store knows of it.
pub(super) async fn absence(
    table: &Table,
    id: &ReadModelId,
) -> Result<DatabaseError, DatabaseError> {
    let list = load(table, &id.projection).await.map_err(CallError::into_database)?;
    let is_listed = list.builds().iter().any(|listed| listed.build == id.build);
    if list != BuildList::default() && !is_listed {
        return Ok(DatabaseError::Missing { read_model: id.clone() });
    }
    let reason = format!(
        "another program has removed {id} from table {}, or has deleted the table and created it \
         again; rebuild the projection",
        table.name()
    );
    Ok(DatabaseError::Corrupt { reason, source: None })
}

/// Adds a build with a number after all that are known. Returns `None` if another process was
/// faster.
pub(super) fn add(list: &mut BuildList, listed: ListedBuild) -> Option<()> {
    if *list == BuildList::default() {
        // The list may have been removed with the table. No number is given again.
        let known = json!({ "lastBuild": listed.build - 1, "readModels": [], "dropped": [] });
        *list = BuildList::from_json(&known).unwrap_or_default();
    }
    list.add(listed).then_some(())
}

/// Changes the list. The change is repeated on the newest list if another process was faster. A
/// change that returns `None` leaves the list as it is.
pub(super) async fn change<T>(
    table: &Table,
    projection: &str,
    mut change: impl FnMut(&mut BuildList) -> Option<T>,
) -> Result<Option<T>, CallError> {
    for _ in 0..ROUNDS_MAX {
        let (revision, mut list) = load_with_revision(table, projection).await?;
        let Some(result) = change(&mut list) else { return Ok(None) };
        match replace(table, projection, revision, &list).await {
            Err(CallError::Condition(_)) => {}
            outcome => return outcome.map(|()| Some(result)),
        }
    }
    let reason = format!("the read models of {projection} are changed all the time; retry");
    Err(CallError::Unreachable(reason, None))
}

/// Returns the list with the revision of its item, which is 0 if it is not there.
async fn load_with_revision(
    table: &Table,
    projection: &str,
) -> Result<(u64, BuildList), CallError> {
    let Some(item) = table.get(&partition(projection), ALONE).await? else {
        return Ok((0, BuildList::default()));
    };
    let object = serde_json::from_str(item.text(LIST)?).ok();
    let list = object.and_then(|object| BuildList::from_json(&object));
    Ok((item.number(REVISION)?, list.ok_or_else(|| damaged(&item, LIST))?))
}

async fn replace(
    table: &Table,
    projection: &str,
    revision: u64,
    list: &BuildList,
) -> Result<(), CallError> {
    let mut item = key(&partition(projection), ALONE);
    item.insert(REVISION.to_owned(), number(revision + 1));
    item.insert(LIST.to_owned(), text(list.to_json().to_string()));
    let on = match revision {
        0 => Update { condition: "attribute_not_exists(pk)", ..Update::default() },
        known => {
            Update { condition: "rev = :known", ..Update::default() }.value(":known", number(known))
        }
    };
    let written = item.clone();
    match table.put(item, on).await {
        // The client has sent it twice, and the first one arrived.
        Err(CallError::Condition(Some(found))) if found == written => Ok(()),
        outcome => outcome,
    }
}

fn partition(projection: &str) -> String {
    format!("projection#{projection}")
}
