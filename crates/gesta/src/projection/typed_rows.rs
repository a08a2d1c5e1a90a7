//! Typed access to portable rows: any serde type as the value of a row.

use std::future::Future;

use gesta_store::{ListRows, ReadRows, Rows};
use serde::{Serialize, de::DeserializeOwned};

use super::ApplyError;

/// Typed reads of rows, on any [`ReadRows`].
///
/// ```
/// use gesta::{ReadTypedRows, TypedRows};
/// use gesta::store::{CreateReadModel, ListRows, MemoryReadModels, ReadModelStore, Stage};
///
/// # gesta::store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("doors", 1, Stage::Live);
/// let doors = store.create_read_model(create).await?;
/// let mut tx = store.begin(&doors).await?;
/// tx.put("openings", "door-1", &3).await?;
/// assert_eq!(tx.get::<u32>("openings", "door-1").await?, Some(3));
/// assert_eq!(tx.get_many("openings", &["door-1", "door-2"]).await?, [Some(3), None]);
/// assert_eq!(tx.list::<u32>(ListRows::of("openings")).await?, [("door-1".to_owned(), 3)]);
/// # Ok::<(), gesta::ApplyError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait ReadTypedRows: ReadRows {
    /// Returns the value of a row, or `None` if there is no such row.
    fn get<T: DeserializeOwned + Send>(
        &mut self,
        table: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<T>, ApplyError>> + Send {
        async move {
            let value = self.get_json(table, key).await?;
            Ok(value.map(serde_json::from_value).transpose()?)
        }
    }

    /// Returns the values of several rows, in the order of their keys; `None` for a row that does
    /// not exist. Reads them together where the store is behind a network.
    fn get_many<T: DeserializeOwned + Send>(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<T>>, ApplyError>> + Send {
        async move {
            let values = self.get_many_json(table, keys).await?.into_iter();
            values.map(|value| Ok(value.map(serde_json::from_value).transpose()?)).collect()
        }
    }

    /// Returns keys and values of a table's rows, by ascending key.
    fn list<T: DeserializeOwned + Send>(
        &mut self,
        list: ListRows<'_>,
    ) -> impl Future<Output = Result<Vec<(String, T)>, ApplyError>> + Send {
        async move {
            let rows = self.list_json(list).await?.into_iter();
            rows.map(|row| Ok((row.key, serde_json::from_value(row.value)?))).collect()
        }
    }
}

impl<R: ReadRows + ?Sized> ReadTypedRows for R {}

/// Typed writes of rows, on any [`Rows`].
///
/// ```
/// use gesta::{ReadTypedRows, TypedRows};
/// use gesta::store::{CreateReadModel, MemoryReadModels, ReadModelStore, Stage};
///
/// # gesta::store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("doors", 1, Stage::Live);
/// let doors = store.create_read_model(create).await?;
/// let mut tx = store.begin(&doors).await?;
/// tx.put("openings", "door-1", &(3, "Ann")).await?;
/// assert_eq!(tx.get("openings", "door-1").await?, Some((3, "Ann".to_owned())));
/// # Ok::<(), gesta::ApplyError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait TypedRows: Rows {
    /// Inserts or replaces the value of a row.
    fn put<T: Serialize + Sync>(
        &mut self,
        table: &str,
        key: &str,
        value: &T,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send {
        async move {
            let value = serde_json::to_value(value)?;
            Ok(self.put_json(table, key, &value).await?)
        }
    }
}

impl<R: Rows + ?Sized> TypedRows for R {}
