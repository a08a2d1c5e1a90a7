//! Portable rows: JSON values by table and key, on any read model store.
//!
//! Always holds: a table is there as soon as it has a row; keys are in byte order. What goes
//! beyond looking up by key and prefix is the database's own language, and not here.

use std::future::Future;

use serde_json::Value;

use super::DatabaseError;

/// A row: its key and its value.
///
/// ```
/// use gesta_store::Row;
///
/// let row = Row { key: "order-1".to_owned(), value: 3.into() };
/// assert_eq!(row.value, 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// Asks for rows of a table, by rising key.
///
/// ```
/// use gesta_store::ListRows;
///
/// let first_ten = ListRows { limit: 10, ..ListRows::of("orders") };
/// assert!(first_ten.after.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRows<'a> {
    /// Which table.
    pub table: &'a str,
    /// Only keys that begin with this; empty: all.
    pub prefix: &'a str,
    /// Only keys after this one, so that the last key of a page asks for the next page.
    pub after: Option<&'a str>,
    /// How many at most.
    pub limit: usize,
}

impl<'a> ListRows<'a> {
    /// All rows of a table.
    #[must_use]
    pub const fn of(table: &'a str) -> Self {
        Self { table, prefix: "", after: None, limit: usize::MAX }
    }
}

/// Reading portable rows.
///
/// ```
/// use gesta_store::{
///     CreateReadModel, ListRows, MemoryReadModels, ReadModelStore, ReadRows, Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Answering };
/// let names = store.create_read_model(create).await?;
/// let mut reader = store.reader(&names).await?;
/// assert_eq!(reader.get_json("names", "1").await?, None);
/// assert!(reader.list_json(ListRows::of("names")).await?.is_empty());
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait ReadRows: Send {
    /// The value of a row, if there is one.
    fn get_json(
        &mut self,
        table: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<Value>, DatabaseError>> + Send;

    /// Rows of a table, by rising key.
    fn list_json(
        &mut self,
        list: ListRows<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, DatabaseError>> + Send;
}

/// Reading and changing portable rows, in a transaction.
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows,
///     Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Answering };
/// let names = store.create_read_model(create).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// assert_eq!(tx.get_json("names", "1").await?, Some("Ann".into()));
/// tx.delete("names", "1").await?;
/// assert_eq!(tx.get_json("names", "1").await?, None);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait Rows: ReadRows {
    /// Sets the value of a row, whether there was one or not.
    fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Removes a row, if there is one.
    fn delete(
        &mut self,
        table: &str,
        key: &str,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;
}
