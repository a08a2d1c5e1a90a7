//! The store of the read models, chosen when the shop opens.
//!
//! Owns: [`ReadModels`], a store of read models that hands each call on to the chosen one; [`Tx`]
//! and [`Reader`], which say whether a read model has its SQL form or its form as rows. The only
//! module that names all stores.
//!
//! Invariant: both forms of a read model answer every query alike. Not here: the statements
//! ([`sql`](crate::sql)) and the keys of rows ([`rows`](crate::rows)), which are with each domain.

use std::future::Future;

#[cfg(feature = "dynamodb")]
use gesta::dynamodb::DynamoReadModels;
#[cfg(feature = "mongodb")]
use gesta::mongodb::MongoReadModels;
use gesta::{
    Revision, StreamName,
    postgres::PostgresReadModels,
    sqlite::Sqlite,
    store::{
        Advance, Checkpoint, CreateReadModel, DeadLetter, ListRows, MemoryReadModels, Partition,
        Position, ReadModel, ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Row, Rows,
        VisitRows,
    },
};
use serde_json::Value;

use crate::{
    rows::{RowsReader, RowsTx},
    sql::{Result, SqlReader, SqlTx},
};

/// The store of the read models.
///
/// ```
/// use gesta::{Gesta, sqlite::Sqlite};
/// use shop::{read_models::ReadModels, read_side};
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
    /// Rows in memory. A transaction costs a copy of its read model.
    Memory(MemoryReadModels),
    /// Rows in a table of DynamoDB.
    #[cfg(feature = "dynamodb")]
    Dynamo(DynamoReadModels),
    /// Documents in a database of MongoDB.
    #[cfg(feature = "mongodb")]
    Mongo(MongoReadModels),
}

/// A transaction of a projection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Tx {
    /// In a database with SQL.
    Sql(SqlTx),
    /// In a store of rows by key.
    Rows(RowsTx),
}

/// A connection of a query. All its reads see one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reader {
    /// In a database with SQL.
    Sql(SqlReader),
    /// In a store of rows by key.
    Rows(RowsReader),
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

impl From<MemoryReadModels> for ReadModels {
    fn from(rows: MemoryReadModels) -> Self {
        Self::Memory(rows)
    }
}

#[cfg(feature = "dynamodb")]
impl From<DynamoReadModels> for ReadModels {
    fn from(table: DynamoReadModels) -> Self {
        Self::Dynamo(table)
    }
}

#[cfg(feature = "mongodb")]
impl From<MongoReadModels> for ReadModels {
    fn from(database: MongoReadModels) -> Self {
        Self::Mongo(database)
    }
}

impl ReadModels {
    /// Closes the store for all clones. Close the application first.
    pub async fn close(self) {
        match self {
            Self::Sqlite(directory) => directory.close().await,
            Self::Postgres(database) => database.close().await,
            // Their connections end with the last clone.
            Self::Memory(_) => {}
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(_) => {}
            #[cfg(feature = "mongodb")]
            Self::Mongo(_) => {}
        }
    }
}

/// Returns the id part of a stream's name, or `None` for another category.
pub(crate) fn id_of<'s>(stream: &'s StreamName, category: &str) -> Option<&'s str> {
    // The whole category must match: `order` is also a prefix of the category `orderNotes`.
    stream.as_str().strip_prefix(category)?.strip_prefix('-')
}

/// The revision of a value in a list, which has no ETag.
pub(crate) const fn first_revision() -> Revision {
    Revision::FIRST
}

/// Hands a call on to the chosen store.
macro_rules! hand_on {
    ($self:expr, $chosen:ident => $call:expr) => {
        match $self {
            Self::Sqlite($chosen) => $call,
            Self::Postgres($chosen) => $call,
            Self::Memory($chosen) => $call,
            #[cfg(feature = "dynamodb")]
            Self::Dynamo($chosen) => $call,
            #[cfg(feature = "mongodb")]
            Self::Mongo($chosen) => $call,
        }
    };
}

impl ReadModelStore for ReadModels {
    type Tx = Tx;
    type Reader = Reader;

    fn place(&self) -> String {
        hand_on!(self, store => ReadModelStore::place(store))
    }

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
            Self::Sqlite(store) => Tx::Sql(SqlTx::Sqlite(store.begin(read_model).await?)),
            Self::Postgres(store) => Tx::Sql(SqlTx::Postgres(store.begin(read_model).await?)),
            Self::Memory(store) => Tx::Rows(RowsTx::Memory(store.begin(read_model).await?)),
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(store) => Tx::Rows(RowsTx::Dynamo(store.begin(read_model).await?)),
            #[cfg(feature = "mongodb")]
            Self::Mongo(store) => Tx::Rows(RowsTx::Mongo(store.begin(read_model).await?)),
        })
    }

    async fn begin_partition(&self, read_model: &ReadModelId, partition: Partition) -> Result<Tx> {
        let id = read_model;
        Ok(match self {
            Self::Sqlite(store) => {
                Tx::Sql(SqlTx::Sqlite(store.begin_partition(id, partition).await?))
            }
            Self::Postgres(store) => {
                Tx::Sql(SqlTx::Postgres(store.begin_partition(id, partition).await?))
            }
            Self::Memory(store) => {
                Tx::Rows(RowsTx::Memory(store.begin_partition(id, partition).await?))
            }
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(store) => {
                Tx::Rows(RowsTx::Dynamo(store.begin_partition(id, partition).await?))
            }
            #[cfg(feature = "mongodb")]
            Self::Mongo(store) => {
                Tx::Rows(RowsTx::Mongo(store.begin_partition(id, partition).await?))
            }
        })
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<Reader> {
        Ok(match self {
            Self::Sqlite(store) => Reader::Sql(SqlReader::Sqlite(store.reader(read_model).await?)),
            Self::Postgres(store) => {
                Reader::Sql(SqlReader::Postgres(store.reader(read_model).await?))
            }
            Self::Memory(store) => {
                Reader::Rows(RowsReader::Memory(store.reader(read_model).await?))
            }
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(store) => {
                Reader::Rows(RowsReader::Dynamo(store.reader(read_model).await?))
            }
            #[cfg(feature = "mongodb")]
            Self::Mongo(store) => Reader::Rows(RowsReader::Mongo(store.reader(read_model).await?)),
        })
    }

    async fn visit_rows<V: VisitRows>(reader: &mut Reader, visitor: V) -> Result<V> {
        match reader {
            Reader::Sql(SqlReader::Sqlite(rows)) => Sqlite::visit_rows(rows, visitor).await,
            Reader::Sql(SqlReader::Postgres(rows)) => {
                PostgresReadModels::visit_rows(rows, visitor).await
            }
            Reader::Rows(RowsReader::Memory(rows)) => {
                MemoryReadModels::visit_rows(rows, visitor).await
            }
            #[cfg(feature = "dynamodb")]
            Reader::Rows(RowsReader::Dynamo(rows)) => {
                DynamoReadModels::visit_rows(rows, visitor).await
            }
            #[cfg(feature = "mongodb")]
            Reader::Rows(RowsReader::Mongo(rows)) => {
                MongoReadModels::visit_rows(rows, visitor).await
            }
        }
    }

    async fn dead_letters(&self, read_model: &ReadModelId) -> Result<Vec<DeadLetter>> {
        hand_on!(self, store => store.dead_letters(read_model).await)
    }
}

/// Hands a call on to the transaction in the chosen store.
macro_rules! hand_on_tx {
    ($self:expr, $chosen:ident => $call:expr) => {
        match $self {
            Self::Sql(SqlTx::Sqlite($chosen)) => $call,
            Self::Sql(SqlTx::Postgres($chosen)) => $call,
            Self::Rows($chosen) => $call,
        }
    };
}

/// Hands a call on to the connection in the chosen store.
macro_rules! hand_on_reader {
    ($self:expr, $chosen:ident => $call:expr) => {
        match $self {
            Self::Sql(SqlReader::Sqlite($chosen)) => $call,
            Self::Sql(SqlReader::Postgres($chosen)) => $call,
            Self::Rows($chosen) => $call,
        }
    };
}

impl ReadModelTx for Tx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        hand_on_tx!(self, tx => tx.checkpoint().await)
    }

    async fn advance(&mut self, advance: Advance) -> Result<()> {
        hand_on_tx!(self, tx => tx.advance(advance).await)
    }

    async fn partition_checkpoint(&mut self, partition: Partition) -> Result<Option<Checkpoint>> {
        hand_on_tx!(self, tx => tx.partition_checkpoint(partition).await)
    }

    async fn advance_partition(&mut self, partition: Partition, advance: Advance) -> Result<()> {
        hand_on_tx!(self, tx => tx.advance_partition(partition, advance).await)
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> Result<()> {
        hand_on_tx!(self, tx => tx.put_dead_letter(letter).await)
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool> {
        hand_on_tx!(self, tx => tx.delete_dead_letter(position).await)
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>> {
        hand_on_tx!(self, tx => tx.property(name).await)
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<()> {
        hand_on_tx!(self, tx => tx.set_property(name, value).await)
    }

    async fn commit(self) -> Result<()> {
        hand_on_tx!(self, tx => tx.commit().await)
    }

    async fn rollback(self) -> Result<()> {
        hand_on_tx!(self, tx => tx.rollback().await)
    }
}

impl ReadRows for Tx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>> {
        hand_on_tx!(self, tx => tx.get_json(table, key).await)
    }

    async fn get_many_json(&mut self, table: &str, keys: &[&str]) -> Result<Vec<Option<Value>>> {
        hand_on_tx!(self, tx => tx.get_many_json(table, keys).await)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>> {
        hand_on_tx!(self, tx => tx.list_json(list).await)
    }
}

impl Rows for Tx {
    async fn put_json(&mut self, table: &str, key: &str, value: &Value) -> Result<()> {
        hand_on_tx!(self, tx => tx.put_json(table, key, value).await)
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<()> {
        hand_on_tx!(self, tx => tx.delete(table, key).await)
    }
}

impl ReadRows for Reader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>> {
        hand_on_reader!(self, reader => reader.get_json(table, key).await)
    }

    async fn get_many_json(&mut self, table: &str, keys: &[&str]) -> Result<Vec<Option<Value>>> {
        hand_on_reader!(self, reader => reader.get_many_json(table, keys).await)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>> {
        hand_on_reader!(self, reader => reader.list_json(list).await)
    }
}
