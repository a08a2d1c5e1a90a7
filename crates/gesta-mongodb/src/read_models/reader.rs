//! Readers: lookups of rows, all at one version, and queries in MongoDB's own language.

use std::{fmt, sync::Arc};

use futures_util::TryStreamExt as _;
use gesta_store::{
    DatabaseError, ListRows, ReadModelId, ReadRows, Row, VisitRows,
    staged::{Area, StagedRows, Wanted},
};
use mongodb::bson::{Document, doc};
use serde_json::Value;

use super::{
    commit::live_head,
    connection::Connection,
    fields::ID,
    lookup::{Found, Lookup, look_up, visit},
    marks,
    rows::{StoredRow, VALUE, check_key, check_keys},
};
use crate::{client::within, errors::CallError, names};

/// A connection for queries on a read model. All its lookups see one moment, that of its opening or
/// a later one.
///
/// A row keeps one earlier value. A reader that finds a row changed twice since its moment takes a
/// later moment if it has not answered yet, and fails with [`DatabaseError::Unavailable`]
/// otherwise: ask again. [`find`](Self::find) has no moment.
///
/// ```no_run
/// use gesta_mongodb::{FindRows, MongoReadModels, bson::doc};
/// use gesta_store::{ReadModelId, ReadModelStore, ReadRows};
///
/// # use gesta_store::DatabaseError;
/// # type Done = Result<(), DatabaseError>;
/// # async fn example(store: MongoReadModels, id: ReadModelId) -> Done {
/// let mut reader = store.reader(&id).await?;
/// let product = reader.get_json("products", "product-1").await?;
/// let books = FindRows::of("products", doc! { "value.category": "books" });
/// let books = reader.find(books.sort(doc! { "value.price": 1 }).limit(10)).await?;
/// # Ok(())
/// # }
/// ```
pub struct MongoReader {
    shared: Arc<Connection>,
    id: ReadModelId,
    moment: u64,
    has_answered: bool,
}

/// A query of a table in MongoDB's own language.
///
/// The fields of a row's value are below `value`, as in `value.price`.
///
/// ```
/// use gesta_mongodb::{FindRows, bson::doc};
///
/// let cheap = FindRows::of("products", doc! { "value.price": { "$lt": 1_000 } });
/// let cheapest = cheap.sort(doc! { "value.price": 1 }).limit(3);
/// # let _ = cheapest;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct FindRows<'a> {
    table: &'a str,
    filter: Document,
    sort: Document,
    limit: usize,
}

impl<'a> FindRows<'a> {
    /// Asks for all rows of a table that meet a condition, in the order of their keys.
    pub fn of(table: &'a str, filter: Document) -> Self {
        Self { table, filter, sort: doc! { ID: 1 }, limit: usize::MAX }
    }

    /// Sets the order of the rows.
    pub fn sort(self, sort: Document) -> Self {
        Self { sort, ..self }
    }

    /// Limits the number of rows.
    pub fn limit(self, rows: usize) -> Self {
        Self { limit: rows, ..self }
    }
}

impl MongoReader {
    pub(super) fn new(shared: Arc<Connection>, id: ReadModelId, moment: u64) -> Self {
        Self { shared, id, moment, has_answered: false }
    }

    /// Returns the rows that meet a condition now.
    ///
    /// Each row has the value of a commit, at the reader's moment or later. Rows of a commit that
    /// is just being applied may be found before its other rows are.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Rejected`] if the server refuses the condition.
    pub async fn find(&mut self, find: FindRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        check_key(&self.id, find.table, "")?;
        if find.limit == 0 {
            return Ok(Vec::new());
        }
        let (place, id) = (self.shared.place.clone(), self.id.clone());
        let area = Area::Table(find.table.to_owned());
        let rows = place.rows(&id, &area);
        // Remains of deleted rows have no value.
        let filter = doc! { "$and": [{ VALUE: { "$exists": true } }, find.filter] };
        // No limit is 0 for the server.
        let limit = i64::try_from(find.limit).unwrap_or(0);
        let sort = find.sort;
        let work = async move {
            let found: Vec<Document> = within(async {
                rows.find(filter).sort(sort).limit(limit).await?.try_collect().await
            })
            .await?;
            if found.is_empty() {
                marks::confirm_absence(&place, &id, &area).await?;
            }
            found.iter().map(current).collect()
        };
        self.shared.call(work).await
    }

    async fn look_up(&mut self, area: Area, wanted: Wanted) -> Result<Found, DatabaseError> {
        let lookup = Lookup { area, wanted };
        let (place, id) = (self.shared.place.clone(), self.id.clone());
        let (moment, is_first) = (self.moment, !self.has_answered);
        let read = self.shared.call(async move {
            if is_first {
                return look_up(&place, &id, Some(moment), &lookup).await;
            }
            let found = lookup.at(&place, &id, moment).await?;
            if found.is_empty() {
                marks::confirm_absence(&place, &id, &lookup.area).await?;
            }
            Ok((found, moment))
        });
        let (found, moment) = read.await?;
        (self.moment, self.has_answered) = (moment, true);
        Ok(found)
    }
}

fn current(document: &Document) -> Result<Row, CallError> {
    let row = StoredRow::parse(document)?;
    let value = row.cell.as_ref().and_then(super::rows::Cell::value);
    let damaged = || CallError::Damaged(format!("row {:?} is no JSON value", row.key));
    Ok(Row { value: value.ok_or_else(damaged)?, key: row.key.clone() })
}

impl fmt::Debug for MongoReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MongoReader on {}", self.id)
    }
}

impl MongoReader {
    /// Hands all rows to a visitor, at the reader's own moment.
    pub(super) async fn visit_rows<V: VisitRows>(
        &mut self,
        mut visitor: V,
    ) -> Result<V, DatabaseError> {
        let (place, id, moment) = (self.shared.place.clone(), self.id.clone(), self.moment);
        let visited = self.shared.call(async move {
            for collection in live_head(&place, &id).await?.collections {
                let Some(table) = names::table_of(&id, &collection) else { continue };
                visit(&place, (&id, &table), moment, &mut visitor).await?;
            }
            // The rows of a read model that was dropped meanwhile may have been removed.
            live_head(&place, &id).await?;
            Ok(visitor)
        });
        let visitor = visited.await?;
        self.has_answered = true;
        Ok(visitor)
    }
}

impl ReadRows for MongoReader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        check_key(&self.id, table, key)?;
        let area = Area::Table(table.to_owned());
        let found = self.look_up(area, Wanted::Row(key.to_owned())).await?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    async fn get_many_json(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> Result<Vec<Option<Value>>, DatabaseError> {
        check_keys(&self.id, table, keys)?;
        let (area, unchanged) = (Area::Table(table.to_owned()), StagedRows::default());
        let found = self.look_up(area.clone(), unchanged.below_keys(&area, keys)).await?;
        unchanged.over_keys(&area, keys, found)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        check_key(&self.id, list.table, list.prefix)?;
        let area = Area::Table(list.table.to_owned());
        let found = self.look_up(area, Wanted::Range((&list).into())).await?;
        Ok(found.into_iter().map(|(key, value)| Row { key, value }).collect())
    }
}
