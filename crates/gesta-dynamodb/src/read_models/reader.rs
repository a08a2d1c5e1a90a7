//! Readers: lookups of rows, all at one moment.

use std::{fmt, sync::Arc};

use gesta_store::{
    DatabaseError, ListRows, ReadModelId, ReadRows, Row, VisitRows,
    staged::{Area, StagedRows, Wanted},
};
use serde_json::Value;

use super::{
    catalogue,
    connection::Connection,
    head::{self, Head, Moment},
    rows::{self, Found, Lookup, RowError},
};
use crate::{errors::CallError, table::Table};

/// Moments that the first read of a reader tries.
const MOMENTS_MAX: u32 = 8;

/// A connection for queries on a read model. All its reads see one moment, that of its opening or a
/// later one.
///
/// A row keeps one earlier value. A reader that finds a row changed twice since its moment takes a
/// later moment if it has not answered yet, and fails with
/// [`DatabaseError::Unavailable`] otherwise: ask again.
///
/// ```no_run
/// use gesta_dynamodb::DynamoReadModels;
/// use gesta_store::{ReadModelId, ReadModelStore, ReadRows};
///
/// # use gesta_store::DatabaseError;
/// # type Done = Result<(), DatabaseError>;
/// # async fn example(store: DynamoReadModels, id: ReadModelId) -> Done {
/// let mut reader = store.reader(&id).await?;
/// let order = reader.get_json("orders", "order-1").await?;
/// let customer = reader.get_json("customers", "customer-7").await?;
/// # Ok(())
/// # }
/// ```
pub struct DynamoReader {
    shared: Arc<Connection>,
    id: ReadModelId,
    moment: Moment,
    has_answered: bool,
}

impl DynamoReader {
    pub(super) fn new(shared: Arc<Connection>, id: ReadModelId, head: &Head) -> Self {
        Self { shared, id, moment: head.moment(), has_answered: false }
    }
}

impl fmt::Debug for DynamoReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamoReader on {}", self.id)
    }
}

/// Reads at a moment, or at a later one if the rows have changed too often since. Without a moment
/// the read begins at the newest one. Returns the moment of the result.
pub(super) async fn look_up(
    table: &Table,
    id: &ReadModelId,
    first: Option<Moment>,
    lookup: &Lookup,
) -> Result<(Found, Moment), DatabaseError> {
    let mut next = first;
    for _ in 0..MOMENTS_MAX {
        let moment = match next.take() {
            Some(moment) => moment,
            None => {
                let head = head::load(table, id).await.map_err(CallError::into_database)?;
                match head {
                    Some(head) => head.moment(),
                    None => return Err(catalogue::absence(table, id).await?),
                }
            }
        };
        match lookup.at(table, &moment).await {
            Ok(found) => return Ok((found, moment)),
            Err(RowError::Passed) => {}
            Err(error) => return Err(error.into_database()),
        }
    }
    Err(RowError::Passed.into_database())
}

impl DynamoReader {
    async fn look_up(&mut self, area: &Area, wanted: Wanted) -> Result<Found, DatabaseError> {
        let lookup = Lookup::new(&self.id, area, wanted);
        let (rows, id) = (self.shared.table.clone(), self.id.clone());
        let (moment, is_first) = (self.moment.clone(), !self.has_answered);
        let read = self.shared.call(async move {
            if is_first {
                return look_up(&rows, &id, Some(moment), &lookup).await;
            }
            let found = lookup.at(&rows, &moment).await.map_err(RowError::into_database)?;
            Ok((found, moment))
        });
        let (found, moment) = read.await?;
        (self.moment, self.has_answered) = (moment, true);
        Ok(found)
    }
}

impl DynamoReader {
    /// Hands all rows to a visitor, at the reader's own moment.
    pub(super) async fn visit_rows<V: VisitRows>(
        &mut self,
        mut visitor: V,
    ) -> Result<V, DatabaseError> {
        let (rows, id, moment) = (self.shared.table.clone(), self.id.clone(), self.moment.clone());
        let visited = self.shared.call(async move {
            for area in catalogue::live_head(&rows, &id).await?.areas {
                let Some(Area::Table(name)) = Area::parse(&area) else { continue };
                let visited = rows::visit(&rows, (&id, &name), &moment, &mut visitor).await;
                visited.map_err(RowError::into_database)?;
            }
            // The rows of a read model that was dropped meanwhile may have been removed.
            catalogue::live_head(&rows, &id).await?;
            Ok(visitor)
        });
        let visitor = visited.await?;
        self.has_answered = true;
        Ok(visitor)
    }
}

impl ReadRows for DynamoReader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        rows::check(table, key, None)?;
        let area = Area::Table(table.to_owned());
        let found = self.look_up(&area, Wanted::Row(key.to_owned())).await?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    async fn get_many_json(
        &mut self,
        table: &str,
        keys: &[&str],
    ) -> Result<Vec<Option<Value>>, DatabaseError> {
        rows::check_keys(table, keys)?;
        let (area, unchanged) = (Area::Table(table.to_owned()), StagedRows::default());
        let found = self.look_up(&area, unchanged.below_keys(&area, keys)).await?;
        unchanged.over_keys(&area, keys, found)
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        rows::check(list.table, list.prefix, None)?;
        let area = Area::Table(list.table.to_owned());
        let found = self.look_up(&area, Wanted::Range((&list).into())).await?;
        Ok(found.into_iter().map(|(key, value)| Row { key, value }).collect())
    }
}
