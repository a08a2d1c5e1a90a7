//! Portable rows: JSON values by table and key, for every read model store.
//!
//! A table exists as soon as it has a row. Keys are ordered byte by byte. Not here: queries beyond
//! lookups by key and prefix; use the database's own language.

use std::future::Future;

use serde_json::Value;

use super::DatabaseError;

/// A row of a table.
///
/// ```
/// use gesta_store::Row;
///
/// let row = Row { key: "order-1".to_owned(), value: 3.into() };
/// assert_eq!(row.value, 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Key of the row, unique in its table.
    pub key: String,
    /// Value of the row.
    pub value: Value,
}

/// A request for rows of a table, by increasing key.
///
/// ```
/// use gesta_store::ListRows;
///
/// let first_ten = ListRows::of("orders").limit(10);
/// assert!(first_ten.after.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListRows<'a> {
    /// Name of the table.
    pub table: &'a str,
    /// Prefix of the keys; empty for all.
    pub prefix: &'a str,
    /// Lists rows after this key: pass the last key of a page to get the next page.
    pub after: Option<&'a str>,
    /// Maximum number of rows.
    pub limit: usize,
}

impl<'a> ListRows<'a> {
    /// Requests all rows of a table.
    #[must_use]
    pub const fn of(table: &'a str) -> Self {
        Self { table, prefix: "", after: None, limit: usize::MAX }
    }

    /// Lists only keys with this prefix.
    #[must_use]
    pub const fn prefix(self, prefix: &'a str) -> Self {
        Self { prefix, ..self }
    }

    /// Lists rows after this key: pass the last key of a page to get the next page.
    #[must_use]
    pub fn after(self, key: impl Into<Option<&'a str>>) -> Self {
        Self { after: key.into(), ..self }
    }

    /// Limits the number of rows.
    #[must_use]
    pub const fn limit(self, rows: usize) -> Self {
        Self { limit: rows, ..self }
    }
}

/// Read access to portable rows.
///
/// ```
/// use gesta_store::{
///     CreateReadModel, ListRows, MemoryReadModels, ReadModelStore, ReadRows, Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("names", 1, Stage::Live);
/// let names = store.create_read_model(create).await?;
/// let mut reader = store.reader(&names).await?;
/// assert_eq!(reader.get_json("names", "1").await?, None);
/// assert!(reader.list_json(ListRows::of("names")).await?.is_empty());
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait ReadRows: Send {
    /// Returns the value of a row, or `None` if it does not exist.
    fn get_json(
        &mut self,
        table: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<Value>, DatabaseError>> + Send;

    /// Returns the values of several rows, in the order of their keys; `None` for a row that does
    /// not exist.
    ///
    /// By default one row is read after the other. A store behind a network reads them together.
    fn get_many_json(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<Value>>, DatabaseError>> + Send {
        async move {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                values.push(self.get_json(table, key).await?);
            }
            Ok(values)
        }
    }

    /// Returns rows of a table, by increasing key.
    fn list_json(
        &mut self,
        list: ListRows<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, DatabaseError>> + Send;
}

/// Read and write access to portable rows, in a transaction.
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows,
///     Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("names", 1, Stage::Live);
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
    /// Sets the value of a row, in place of an earlier one.
    fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Deletes a row. Has no effect if it does not exist.
    fn delete(
        &mut self,
        table: &str,
        key: &str,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;
}
