//! A walk over all rows of a read model, for a comparison of two builds.
//!
//! Not here: the walk itself ([`ReadModelStore::visit_rows`](super::ReadModelStore::visit_rows)).

/// Takes the rows of a read model, one after the other.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, Rows, Stage, VisitRows,
/// };
///
/// /// Counts rows by table.
/// #[derive(Default)]
/// struct Counts(BTreeMap<String, u64>);
///
/// impl VisitRows for Counts {
///     fn visit(&mut self, table: &str, _: &str) {
///         *self.0.entry(table.to_owned()).or_default() += 1;
///     }
/// }
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let names = store.create_read_model(CreateReadModel::new("names", 1, Stage::Live)).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// tx.commit().await?;
/// let mut reader = store.reader(&names).await?;
/// let counts = MemoryReadModels::visit_rows(&mut reader, Counts::default()).await?;
/// assert_eq!(counts.0["names"], 1);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store hands out its rows");
/// ```
pub trait VisitRows: Send + 'static {
    /// Takes a row of a table, as a text of JSON. Rows with equal contents have equal texts.
    fn visit(&mut self, table: &str, row: &str);
}

/// Returns the text of a row by key, from the text of its value.
///
/// ```
/// use gesta_store::row_by_key;
///
/// assert_eq!(row_by_key("1", "\"Ann\""), r#"{"key":"1","value":"Ann"}"#);
/// ```
#[must_use]
pub fn row_by_key(key: &str, value: &str) -> String {
    format!(r#"{{"key":{},"value":{value}}}"#, serde_json::Value::from(key))
}
