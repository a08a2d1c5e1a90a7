//! A transaction: changes in memory, and the commit that writes them.
//!
//! Invariant: a commit whose head has changed since the transaction began writes nothing that is
//! seen. Not here: the steps of a commit (`commit.rs`).

use std::{fmt, sync::Arc};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, ListRows, Position, ReadModelId, ReadModelTx,
    ReadRows, Row, Rows,
    staged::{Area, RowRange, StagedRows, Wanted},
};
use mongodb::{IndexModel, bson::Document};
use serde_json::Value;

use super::{
    commit::commit,
    connection::Connection,
    head::Head,
    lookup::{Found, Lookup},
    marks, purge,
    rows::{check_key, check_keys, text_of},
    turns::Held,
};
use crate::{client::within, names};

/// A transaction on a read model in [`MongoReadModels`](super::MongoReadModels).
///
/// Changes are kept in memory until the commit, which has no limit of rows. A commit fails with
/// [`DatabaseError::CheckpointConflict`] if another process has moved the checkpoint since the
/// transaction began, and with [`DatabaseError::Unavailable`] if it has changed rows only.
///
/// ```no_run
/// use gesta_mongodb::MongoReadModels;
/// use gesta_store::{ReadModelId, ReadModelStore, ReadModelTx, Rows};
///
/// # use gesta_store::DatabaseError;
/// # type Done = Result<(), DatabaseError>;
/// # async fn example(store: MongoReadModels, id: ReadModelId) -> Done {
/// let mut tx = store.begin(&id).await?;
/// tx.put_json("orders", "order-1", &"paid".into()).await?;
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct MongoTx {
    shared: Arc<Connection>,
    id: ReadModelId,
    head: Head,
    changes: StagedRows,
    checkpoint: Option<Checkpoint>,
    /// Areas that were there when this transaction first read them.
    confirmed: Vec<Area>,
    /// Dropped last: the next transaction begins then.
    turn: Held,
}

impl MongoTx {
    pub(super) fn new(shared: Arc<Connection>, id: ReadModelId, head: Head, turn: Held) -> Self {
        let checkpoint = head.checkpoint;
        let (changes, confirmed) = (StagedRows::default(), Vec::new());
        Self { shared, id, head, changes, checkpoint, confirmed, turn }
    }

    /// Creates an index of a table unless it is there, for queries by
    /// [`MongoReader::find`](super::MongoReader::find) and by other programs.
    ///
    /// A rebuilt read model has tables of its own, so a projection asks for its indexes each time
    /// it applies events; the server is asked once for each process and read model. The index stays
    /// if the transaction is rolled back.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Rejected`] if the server refuses the index.
    pub async fn ensure_index(&mut self, table: &str, keys: Document) -> Result<(), DatabaseError> {
        check_key(&self.id, table, "")?;
        let place = self.shared.place.clone();
        let (id, area) = (self.id.clone(), Area::Table(table.to_owned()));
        self.shared
            .call(async move {
                let name = names::of_area(&id, &area);
                let created = format!("{name} {keys}");
                if place.has_created(&created) {
                    return Ok(());
                }
                marks::ensure(&place, &id, &area).await?;
                let index = IndexModel::builder().keys(keys).build();
                within(place.documents(&name).create_index(index)).await?;
                place.note_created(created);
                Ok(())
            })
            .await
    }

    async fn get(&mut self, area: Area, key: &str) -> Result<Option<Value>, DatabaseError> {
        if let Some(changed) = self.changes.get(&area, key)? {
            return Ok(changed);
        }
        let found = self.look_up(area, Wanted::Row(key.to_owned())).await?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    /// Reads rows as they were when the transaction began.
    async fn look_up(&mut self, area: Area, wanted: Wanted) -> Result<Found, DatabaseError> {
        let lookup = Lookup { area: area.clone(), wanted };
        let (place, id, moment) = (self.shared.place.clone(), self.id.clone(), self.head.version);
        let is_confirmed = self.confirmed.contains(&area);
        let read = async move {
            let found = lookup.at(&place, &id, moment).await?;
            if found.is_empty() && !is_confirmed {
                marks::confirm_absence(&place, &id, &lookup.area).await?;
            }
            Ok(found)
        };
        let found = self.shared.call(read).await?;
        if !is_confirmed {
            self.confirmed.push(area);
        }
        Ok(found)
    }
}

/// The key of a dead letter, in the order of positions.
fn letter_key(position: Position) -> String {
    format!("{:020}", position.number())
}

impl fmt::Debug for MongoTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MongoTx on {}", self.id)
    }
}

impl ReadModelTx for MongoTx {
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
        let key = letter_key(letter.position);
        self.changes.set(Area::Letters, &key, Some(letter.to_json().to_string()));
        Ok(())
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        let key = letter_key(position);
        let was_there = self.get(Area::Letters, &key).await?.is_some();
        if was_there {
            self.changes.set(Area::Letters, &key, None);
        }
        Ok(was_there)
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        let value = self.get(Area::Properties, name).await?;
        Ok(value.and_then(|value| value.as_str().map(str::to_owned)))
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        check_key(&self.id, "", name)?;
        let text = text_of("$properties", &value.into())?;
        self.changes.set(Area::Properties, name, Some(text));
        Ok(())
    }

    async fn commit(self) -> Result<(), DatabaseError> {
        let Self { shared, id, head, changes, checkpoint, turn, .. } = self;
        let moved = checkpoint.filter(|to| Some(*to) != head.checkpoint);
        if changes.is_empty() && moved.is_none() {
            return Ok(());
        }
        let (place, own, changes) = (shared.place.clone(), id.clone(), Arc::new(changes));
        let written = Arc::clone(&changes);
        let work = async move { commit(&place, &own, &head, (&written, moved)).await };
        shared.call(work).await?;
        drop(turn);
        let due = purge::due(&shared.place, &id, &changes);
        if !due.is_empty() {
            let place = shared.place.clone();
            let remains = async move { purge::sweep(&place, due).await };
            shared.spawn("the removal of deleted rows", remains);
        }
        Ok(())
    }

    async fn rollback(self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

impl ReadRows for MongoTx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        check_key(&self.id, table, key)?;
        self.get(Area::Table(table.to_owned()), key).await
    }

    async fn get_many_json(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> Result<Vec<Option<Value>>, DatabaseError> {
        check_keys(&self.id, table, keys)?;
        let area = Area::Table(table.to_owned());
        let stored = self.look_up(area.clone(), self.changes.below_keys(&area, keys)).await?;
        self.changes.over_keys(&area, keys, stored)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        check_key(&self.id, list.table, list.prefix)?;
        let (area, range) = (Area::Table(list.table.to_owned()), RowRange::from(&list));
        let stored = self.look_up(area.clone(), self.changes.below(&area, &range)).await?;
        let found = self.changes.over(&area, &range, stored)?;
        Ok(found.into_iter().map(|(key, value)| Row { key, value }).collect())
    }
}

impl Rows for MongoTx {
    async fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), DatabaseError> {
        check_key(&self.id, table, key)?;
        let text = text_of(table, value)?;
        self.changes.set(Area::Table(table.to_owned()), key, Some(text));
        Ok(())
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<(), DatabaseError> {
        check_key(&self.id, table, key)?;
        self.changes.set(Area::Table(table.to_owned()), key, None);
        Ok(())
    }
}
