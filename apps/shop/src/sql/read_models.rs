//! The database of the read models, chosen when the shop opens.
//!
//! Owns: [`ReadModels`], a store of read models that hands each call on to the chosen database;
//! [`Tx`] and [`Reader`], on which the shop's statements run. Not here: the statements.

use std::future::Future;

use gesta::{
    postgres::{self, Parameter, PostgresReadModels},
    sqlite::{self, Sqlite, rusqlite},
    store::{
        Advance, Checkpoint, CreateReadModel, DeadLetter, ListRows, Partition, Position, ReadModel,
        ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Rows,
    },
};
use serde_json::Value as Json;

use super::{
    Result, Row, Value,
    dialect::{Dialect, Search},
};
use crate::search::SearchText;

/// The database of the read models.
///
/// ```
/// use gesta::{Gesta, sqlite::Sqlite};
/// use shop::{read_side, sql::ReadModels};
///
/// # gesta::store::conformance::block_on(async {
/// let read_models = ReadModels::from(Sqlite::temporary().await?);
/// let builder = read_side::project_all(Gesta::at("memory:"), &read_models);
/// # drop(builder);
/// read_models.close().await;
/// # Ok::<(), gesta::store::DatabaseError>(())
/// # }).expect("a temporary database opens");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReadModels {
    /// Files of one directory.
    Sqlite(Sqlite),
    /// Schemas of a database, which several nodes may share.
    Postgres(PostgresReadModels),
}

/// A transaction of a projection.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "one is open at a time, and it is moved a few times")]
pub enum Tx {
    /// On a read model's file.
    Sqlite(sqlite::Tx),
    /// On a read model's schema.
    Postgres(postgres::Tx),
}

/// A connection of a query. All its statements read one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reader {
    /// On a read model's file.
    Sqlite(sqlite::Reader),
    /// On a read model's schema.
    Postgres(postgres::Reader),
}

impl From<Sqlite> for ReadModels {
    fn from(directory: Sqlite) -> Self {
        Self::Sqlite(directory)
    }
}

impl From<PostgresReadModels> for ReadModels {
    fn from(database: PostgresReadModels) -> Self {
        Self::Postgres(database)
    }
}

impl ReadModels {
    /// Closes the database for all clones. Close the application first.
    pub async fn close(self) {
        match self {
            Self::Sqlite(directory) => directory.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}

impl Tx {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Creates tables and indexes, which are defined in the form of SQLite.
    pub(crate) async fn create(&mut self, tables: &str) -> Result<()> {
        let tables = self.dialect().definitions(tables).into_owned();
        self.run_script(&tables).await
    }

    /// Creates an index of words.
    pub(crate) async fn create_words(&mut self, index: &str) -> Result<()> {
        let definition = self.dialect().words_definition(index);
        self.run_script(&definition).await
    }

    /// Adds the words of a row to an index.
    pub(crate) async fn add_words(&mut self, index: &str, row: u64, words: &str) -> Result<()> {
        let add = self.dialect().add_words(index, row, words);
        self.execute(&add.sql, &add.values).await
    }

    /// Removes the words of a row, which must be those that were added.
    pub(crate) async fn remove_words(&mut self, index: &str, row: u64, words: &str) -> Result<()> {
        let remove = self.dialect().remove_words(index, row, words);
        self.execute(&remove.sql, &remove.values).await
    }

    /// Runs a statement.
    pub(crate) async fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.execute(sql, rusqlite::params_from_iter(values)).map(drop),
            Self::Postgres(tx) => {
                let sql = Dialect::Postgres.statement(sql);
                tx.execute(&sql, &parameters(values)).await.map(drop)
            }
        }
    }

    /// Returns the first row of a result, or `None` if the result is empty.
    pub(crate) async fn find<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Row) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        match self {
            Self::Sqlite(tx) => {
                let values = rusqlite::params_from_iter(values);
                tx.find(sql, values, |row| Ok(read(row)))?.transpose()
            }
            Self::Postgres(tx) => {
                let sql = Dialect::Postgres.statement(sql);
                tx.find(&sql, &parameters(values), |row| Ok(read(row))).await?.transpose()
            }
        }
    }

    async fn run_script(&mut self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.execute_script(sql),
            Self::Postgres(tx) => tx.batch_execute(sql).await,
        }
    }
}

impl Reader {
    /// Returns the condition that a row's words match, with its value, which is the parameter of
    /// this number.
    pub(crate) fn search(&self, index: &str, text: &SearchText, parameter: usize) -> Search {
        let dialect = match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        };
        dialect.search(index, text, parameter)
    }

    /// Returns the first row of a result, or `None` if the result is empty.
    pub(crate) async fn find<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Row) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        match self {
            Self::Sqlite(reader) => {
                let values = rusqlite::params_from_iter(values);
                reader.find(sql, values, |row| Ok(read(row)))?.transpose()
            }
            Self::Postgres(reader) => {
                let sql = Dialect::Postgres.statement(sql);
                reader.find(&sql, &parameters(values), |row| Ok(read(row))).await?.transpose()
            }
        }
    }

    /// Returns all rows of a result.
    pub(crate) async fn query<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Row) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(reader) => {
                let values = rusqlite::params_from_iter(values);
                reader.query(sql, values, |row| Ok(read(row)))?.into_iter().collect()
            }
            Self::Postgres(reader) => {
                let sql = Dialect::Postgres.statement(sql);
                let rows = reader.query(&sql, &parameters(values), |row| Ok(read(row))).await?;
                rows.into_iter().collect()
            }
        }
    }
}

fn parameters<'v>(values: &'v [Value<'_>]) -> Vec<Parameter<'v>> {
    values.iter().map(|value| -> Parameter<'v> { value }).collect()
}

/// Hands a call on to the chosen database.
macro_rules! hand_on {
    ($self:expr, $chosen:ident => $call:expr) => {
        match $self {
            Self::Sqlite($chosen) => $call,
            Self::Postgres($chosen) => $call,
        }
    };
}

impl ReadModelStore for ReadModels {
    type Tx = Tx;
    type Reader = Reader;

    async fn troubles(&self) -> Vec<String> {
        hand_on!(self, store => store.troubles().await)
    }

    async fn run_write<T: Send + 'static>(
        &self,
        read_model: &ReadModelId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        hand_on!(self, store => store.run_write(read_model, work).await)
    }

    async fn run_read<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        hand_on!(self, store => store.run_read(work).await)
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>> {
        hand_on!(self, store => store.list_read_models(projection).await)
    }

    async fn create_read_model(&self, create: CreateReadModel<'_>) -> Result<ReadModelId> {
        hand_on!(self, store => store.create_read_model(create).await)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<()> {
        hand_on!(self, store => store.switch_to(read_model).await)
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<()> {
        hand_on!(self, store => store.switch_keeping(read_model).await)
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<()> {
        hand_on!(self, store => store.resume(read_model).await)
    }

    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>> {
        hand_on!(self, store => store.quarantine(read_model).await)
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<()> {
        hand_on!(self, store => store.drop_read_model(read_model).await)
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<Tx> {
        Ok(match self {
            Self::Sqlite(store) => Tx::Sqlite(store.begin(read_model).await?),
            Self::Postgres(store) => Tx::Postgres(store.begin(read_model).await?),
        })
    }

    async fn begin_partition(&self, read_model: &ReadModelId, partition: Partition) -> Result<Tx> {
        Ok(match self {
            Self::Sqlite(store) => Tx::Sqlite(store.begin_partition(read_model, partition).await?),
            Self::Postgres(store) => {
                Tx::Postgres(store.begin_partition(read_model, partition).await?)
            }
        })
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<Reader> {
        Ok(match self {
            Self::Sqlite(store) => Reader::Sqlite(store.reader(read_model).await?),
            Self::Postgres(store) => Reader::Postgres(store.reader(read_model).await?),
        })
    }

    async fn dead_letters(&self, read_model: &ReadModelId) -> Result<Vec<DeadLetter>> {
        hand_on!(self, store => store.dead_letters(read_model).await)
    }
}

impl ReadModelTx for Tx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        hand_on!(self, tx => tx.checkpoint().await)
    }

    async fn advance(&mut self, advance: Advance) -> Result<()> {
        hand_on!(self, tx => tx.advance(advance).await)
    }

    async fn partition_checkpoint(&mut self, partition: Partition) -> Result<Option<Checkpoint>> {
        hand_on!(self, tx => tx.partition_checkpoint(partition).await)
    }

    async fn advance_partition(&mut self, partition: Partition, advance: Advance) -> Result<()> {
        hand_on!(self, tx => tx.advance_partition(partition, advance).await)
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> Result<()> {
        hand_on!(self, tx => tx.put_dead_letter(letter).await)
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool> {
        hand_on!(self, tx => tx.delete_dead_letter(position).await)
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>> {
        hand_on!(self, tx => tx.property(name).await)
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<()> {
        hand_on!(self, tx => tx.set_property(name, value).await)
    }

    async fn commit(self) -> Result<()> {
        hand_on!(self, tx => tx.commit().await)
    }

    async fn rollback(self) -> Result<()> {
        hand_on!(self, tx => tx.rollback().await)
    }
}

impl ReadRows for Tx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Json>> {
        hand_on!(self, tx => tx.get_json(table, key).await)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<gesta::store::Row>> {
        hand_on!(self, tx => tx.list_json(list).await)
    }
}

impl Rows for Tx {
    async fn put_json(&mut self, table: &str, key: &str, value: &Json) -> Result<()> {
        hand_on!(self, tx => tx.put_json(table, key, value).await)
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<()> {
        hand_on!(self, tx => tx.delete(table, key).await)
    }
}

impl ReadRows for Reader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Json>> {
        hand_on!(self, reader => reader.get_json(table, key).await)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<gesta::store::Row>> {
        hand_on!(self, reader => reader.list_json(list).await)
    }
}
