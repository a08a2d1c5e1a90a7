//! The connections to a store of rows by key.

#[cfg(feature = "dynamodb")]
use gesta::dynamodb::{DynamoReader, DynamoTx};
#[cfg(feature = "mongodb")]
use gesta::mongodb::{MongoReader, MongoTx};
use gesta::store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, ListRows, MemoryReader, MemoryTx, Partition,
    Position, ReadModelTx, ReadRows, Row, Rows,
};
use serde_json::Value;

type RowsResult<T> = Result<T, DatabaseError>;

/// A transaction of a projection in a store of rows.
#[derive(Debug)]
#[non_exhaustive]
pub enum RowsTx {
    /// In memory.
    Memory(MemoryTx),
    /// In a table of DynamoDB.
    #[cfg(feature = "dynamodb")]
    Dynamo(DynamoTx),
    /// Documents in a database of MongoDB.
    #[cfg(feature = "mongodb")]
    Mongo(MongoTx),
}

/// A connection of a query in a store of rows. All its reads see one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub enum RowsReader {
    /// In memory.
    Memory(MemoryReader),
    /// In a table of DynamoDB.
    #[cfg(feature = "dynamodb")]
    Dynamo(DynamoReader),
    /// Documents in a database of MongoDB.
    #[cfg(feature = "mongodb")]
    Mongo(MongoReader),
}

/// Hands a call on to the chosen store.
macro_rules! hand_on {
    ($self:expr, $chosen:ident => $call:expr) => {
        match $self {
            Self::Memory($chosen) => $call,
            #[cfg(feature = "dynamodb")]
            Self::Dynamo($chosen) => $call,
            #[cfg(feature = "mongodb")]
            Self::Mongo($chosen) => $call,
        }
    };
}

impl ReadModelTx for RowsTx {
    async fn checkpoint(&mut self) -> RowsResult<Option<Checkpoint>> {
        hand_on!(self, tx => tx.checkpoint().await)
    }

    async fn advance(&mut self, advance: Advance) -> RowsResult<()> {
        hand_on!(self, tx => tx.advance(advance).await)
    }

    async fn partition_checkpoint(
        &mut self,
        partition: Partition,
    ) -> RowsResult<Option<Checkpoint>> {
        hand_on!(self, tx => tx.partition_checkpoint(partition).await)
    }

    async fn advance_partition(
        &mut self,
        partition: Partition,
        advance: Advance,
    ) -> RowsResult<()> {
        hand_on!(self, tx => tx.advance_partition(partition, advance).await)
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> RowsResult<()> {
        hand_on!(self, tx => tx.put_dead_letter(letter).await)
    }

    async fn delete_dead_letter(&mut self, position: Position) -> RowsResult<bool> {
        hand_on!(self, tx => tx.delete_dead_letter(position).await)
    }

    async fn property(&mut self, name: &str) -> RowsResult<Option<String>> {
        hand_on!(self, tx => tx.property(name).await)
    }

    async fn set_property(&mut self, name: &str, value: &str) -> RowsResult<()> {
        hand_on!(self, tx => tx.set_property(name, value).await)
    }

    async fn commit(self) -> RowsResult<()> {
        hand_on!(self, tx => tx.commit().await)
    }

    async fn rollback(self) -> RowsResult<()> {
        hand_on!(self, tx => tx.rollback().await)
    }
}

impl ReadRows for RowsTx {
    async fn get_json(&mut self, table: &str, key: &str) -> RowsResult<Option<Value>> {
        hand_on!(self, tx => tx.get_json(table, key).await)
    }

    async fn get_many_json(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> RowsResult<Vec<Option<Value>>> {
        hand_on!(self, tx => tx.get_many_json(table, keys).await)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> RowsResult<Vec<Row>> {
        hand_on!(self, tx => tx.list_json(list).await)
    }
}

impl Rows for RowsTx {
    async fn put_json(&mut self, table: &str, key: &str, value: &Value) -> RowsResult<()> {
        hand_on!(self, tx => tx.put_json(table, key, value).await)
    }

    async fn delete(&mut self, table: &str, key: &str) -> RowsResult<()> {
        hand_on!(self, tx => tx.delete(table, key).await)
    }
}

impl ReadRows for RowsReader {
    async fn get_json(&mut self, table: &str, key: &str) -> RowsResult<Option<Value>> {
        hand_on!(self, reader => reader.get_json(table, key).await)
    }

    async fn get_many_json(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> RowsResult<Vec<Option<Value>>> {
        hand_on!(self, reader => reader.get_many_json(table, keys).await)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> RowsResult<Vec<Row>> {
        hand_on!(self, reader => reader.list_json(list).await)
    }
}
