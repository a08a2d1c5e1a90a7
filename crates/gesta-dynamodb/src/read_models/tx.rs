//! A transaction: changes in memory, and the commit that writes them.
//!
//! Invariants: the rows of a commit are written before its version is, so who sees the version sees
//! the rows. A commit whose head has changed since the transaction began writes nothing that is
//! seen.

use std::{fmt, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, ListRows, Position, ReadModelId, ReadModelTx,
    ReadRows, Row, Rows,
    staged::{Area, RowRange, StagedRows, Wanted},
};
use serde_json::Value;

use super::{
    catalogue,
    connection::Connection,
    head::{self, ABORTED_MAX, Head},
    rows::{self, Found, Lookup, RowError},
    turns::Held,
};
use crate::{errors::CallError, item::sorted, table::Table};

/// Rows that are written at the same time.
const WRITES_MAX: usize = 16;

/// A transaction on a read model in [`DynamoReadModels`](super::DynamoReadModels).
///
/// Changes are kept in memory until the commit, which has no limit of rows. A commit fails with
/// [`DatabaseError::CheckpointConflict`] if another process has moved the checkpoint since the
/// transaction began, and with [`DatabaseError::Unavailable`] if it has changed rows only.
///
/// ```no_run
/// use gesta_dynamodb::DynamoReadModels;
/// use gesta_store::{ReadModelId, ReadModelStore, ReadModelTx, Rows};
///
/// # use gesta_store::DatabaseError;
/// # type Done = Result<(), DatabaseError>;
/// # async fn example(store: DynamoReadModels, id: ReadModelId) -> Done {
/// let mut tx = store.begin(&id).await?;
/// tx.put_json("orders", "order-1", &"paid".into()).await?;
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct DynamoTx {
    shared: Arc<Connection>,
    id: ReadModelId,
    head: Head,
    changes: StagedRows,
    checkpoint: Option<Checkpoint>,
    /// Dropped last: the next transaction begins then.
    turn: Held,
}

impl DynamoTx {
    pub(super) fn new(shared: Arc<Connection>, id: ReadModelId, head: Head, turn: Held) -> Self {
        let checkpoint = head.checkpoint;
        Self { shared, id, head, changes: StagedRows::default(), checkpoint, turn }
    }

    async fn get(&self, area: &Area, key: &str) -> Result<Option<Value>, DatabaseError> {
        if let Some(changed) = self.changes.get(area, key)? {
            return Ok(changed);
        }
        let found = self.stored(area, Wanted::Row(key.to_owned())).await?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    /// Reads rows as they were when the transaction began.
    async fn stored(&self, area: &Area, wanted: Wanted) -> Result<Found, DatabaseError> {
        let lookup = Lookup::new(&self.id, area, wanted);
        let (table, moment) = (self.shared.table.clone(), self.head.moment());
        let read = async move { lookup.at(&table, &moment).await.map_err(RowError::into_database) };
        self.shared.call(read).await
    }
}

impl fmt::Debug for DynamoTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamoTx on {}", self.id)
    }
}

impl ReadModelTx for DynamoTx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, DatabaseError> {
        Ok(self.checkpoint)
    }

    async fn advance(&mut self, advance: Advance) -> Result<(), DatabaseError> {
        let stored = self.checkpoint;
        if stored != advance.from {
            return Err(DatabaseError::CheckpointConflict { expected: advance.from, stored });
        }
        self.checkpoint = Some(advance.to);
        Ok(())
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> Result<(), DatabaseError> {
        let key = sorted(letter.position.number());
        self.changes.set(Area::Letters, &key, Some(letter.to_json().to_string()));
        Ok(())
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        let key = sorted(position.number());
        let was_there = self.get(&Area::Letters, &key).await?.is_some();
        if was_there {
            self.changes.set(Area::Letters, &key, None);
        }
        Ok(was_there)
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        let value = self.get(&Area::Properties, name).await?;
        Ok(value.and_then(|value| value.as_str().map(str::to_owned)))
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        let text = Value::from(value).to_string();
        rows::check("$properties", name, Some(&text))?;
        self.changes.set(Area::Properties, name, Some(text));
        Ok(())
    }

    async fn commit(self) -> Result<(), DatabaseError> {
        let Self { shared, id, head, changes, checkpoint, turn } = self;
        let moved = checkpoint.filter(|to| Some(*to) != head.checkpoint);
        if changes.is_empty() && moved.is_none() {
            return Ok(());
        }
        let table = shared.table.clone();
        let own = id.clone();
        let (changes, before) = (Arc::new(changes), head.checkpoint);
        let written = Arc::clone(&changes);
        let work = async move {
            match write(&table, &own, &head, (&written, moved)).await {
                Ok(mine) => Ok(mine),
                Err(CallError::Condition(_)) => Err(overtaken(&table, &own, before).await),
                Err(error) => Err(error.into_database()),
            }
        };
        let mine = shared.call(work).await?;
        drop(turn);
        if changes.areas().any(|(_, rows)| rows.values().any(Option::is_none)) {
            let table = shared.table.clone();
            let remains = async move { let_go(&table, &id, &changes, mine).await };
            shared.spawn("the removal of deleted rows", remains);
        }
        Ok(())
    }

    async fn rollback(self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// Writes all rows, then the version. Returns the number of the commit.
async fn write(
    table: &Table,
    id: &ReadModelId,
    head: &Head,
    (changes, moved): (&StagedRows, Option<Checkpoint>),
) -> Result<u64, CallError> {
    if head.aborted.len() >= ABORTED_MAX {
        let reason = format!("{ABORTED_MAX} commits of {id} were cut off; rebuild the projection");
        return Err(CallError::Damaged(reason));
    }
    let areas = changes.areas().map(|(area, _)| area.text());
    let areas = areas.filter(|area| !head.areas.contains(area));
    let (mine, aborted) = head.reserve(table, id, areas.collect()).await?;
    let mut writes = Vec::new();
    for (partition, key, value) in each_row(id, changes) {
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        let commit = (mine, Arc::clone(&aborted));
        writes.push(write_row(table.clone(), (partition, key), value, commit));
    }
    stream::iter(writes).buffer_unordered(WRITES_MAX).try_collect::<()>().await?;
    Head::finish(table, id, mine, moved).await?;
    Ok(mine)
}

async fn write_row(
    table: Table,
    (partition, key): (Arc<str>, String),
    value: Option<String>,
    (mine, aborted): (u64, Arc<[u64]>),
) -> Result<(), CallError> {
    rows::change(&table, (&partition, &key), value.as_deref(), (mine, &aborted)).await
}

/// Changed rows with their partitions.
fn each_row<'a>(
    id: &ReadModelId,
    changes: &'a StagedRows,
) -> impl Iterator<Item = (Arc<str>, &'a str, Option<&'a str>)> {
    let areas = changes.areas().map(|(area, rows)| {
        let partition: Arc<str> = rows::partition(id, &area.text()).into();
        (partition, rows)
    });
    areas.collect::<Vec<_>>().into_iter().flat_map(|(partition, rows)| {
        let row = move |(key, value): (&'a String, &'a Option<String>)| {
            (Arc::clone(&partition), key.as_str(), value.as_deref())
        };
        rows.iter().map(row)
    })
}

/// The error of a commit that another process was faster than. Nothing of it is seen.
async fn overtaken(table: &Table, id: &ReadModelId, before: Option<Checkpoint>) -> DatabaseError {
    let stored = match head::load(table, id).await {
        Ok(Some(head)) => head.checkpoint,
        Ok(None) => return catalogue::absence(table, id).await.unwrap_or_else(|error| error),
        Err(error) => return error.into_database(),
    };
    if stored == before {
        return DatabaseError::unavailable(
            "another process has committed to this read model at the same time; nothing was \
             committed here: begin again",
        );
    }
    DatabaseError::CheckpointConflict { expected: before, stored }
}

async fn let_go(
    table: &Table,
    id: &ReadModelId,
    changes: &StagedRows,
    mine: u64,
) -> Result<(), CallError> {
    for (partition, key, value) in each_row(id, changes) {
        if value.is_none() {
            rows::let_go(table, (&partition, key), mine).await?;
        }
    }
    Ok(())
}

impl ReadRows for DynamoTx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        rows::check(table, key, None)?;
        self.get(&Area::Table(table.to_owned()), key).await
    }

    async fn get_many_json(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> Result<Vec<Option<Value>>, DatabaseError> {
        rows::check_keys(table, keys)?;
        let area = Area::Table(table.to_owned());
        let stored = self.stored(&area, self.changes.below_keys(&area, keys)).await?;
        self.changes.over_keys(&area, keys, stored)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        rows::check(list.table, list.prefix, None)?;
        let (area, range) = (Area::Table(list.table.to_owned()), RowRange::from(&list));
        let stored = self.stored(&area, self.changes.below(&area, &range)).await?;
        let found = self.changes.over(&area, &range, stored)?;
        Ok(found.into_iter().map(|(key, value)| Row { key, value }).collect())
    }
}

impl Rows for DynamoTx {
    async fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), DatabaseError> {
        let text = value.to_string();
        rows::check(table, key, Some(&text))?;
        self.changes.set(Area::Table(table.to_owned()), key, Some(text));
        Ok(())
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<(), DatabaseError> {
        rows::check(table, key, None)?;
        self.changes.set(Area::Table(table.to_owned()), key, None);
        Ok(())
    }
}
