//! Connections for queries on a read model.

use std::fmt;

use gesta_store::{DatabaseError, ListRows, ReadRows, Row, VisitRows};
use serde_json::Value;

use super::{
    rows,
    session::{Parameter, Session},
    walk,
};

/// A read-only connection to one read model. All its statements read one snapshot.
///
/// Names without a schema are those of the read model. The snapshot is taken when the reader is
/// opened. The server cancels a statement after 30 s, and ends a reader that does nothing for a
/// minute.
///
/// ```no_run
/// use gesta_postgres::PostgresReadModels;
/// use gesta_store::{CreateReadModel, ReadModelStore, Stage, conformance::block_on};
///
/// # block_on(async {
/// let store = PostgresReadModels::connect("postgres://ann:secret@localhost/shop").await?;
/// let names = store.create_read_model(CreateReadModel::new("names", 1, Stage::Live)).await?;
/// let mut reader = store.reader(&names).await?;
/// let sum = reader.find("select 1 + $1::int", &[&1], |row| row.try_get::<_, i32>(0)).await?;
/// assert_eq!(sum, Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
pub struct Reader {
    session: Session,
}

impl Reader {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Returns the first row of a statement's result, or `None` if the result is empty.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if the server refuses the statement or a value.
    pub async fn find<T>(
        &mut self,
        sql: &str,
        values: &[Parameter<'_>],
        read: impl FnMut(&tokio_postgres::Row) -> Result<T, tokio_postgres::Error> + Send,
    ) -> Result<Option<T>, DatabaseError> {
        self.session.find(sql, values, read).await
    }

    /// Returns all rows of a statement's result.
    ///
    /// # Errors
    ///
    /// The same as [`find`](Self::find).
    pub async fn query<T>(
        &mut self,
        sql: &str,
        values: &[Parameter<'_>],
        read: impl FnMut(&tokio_postgres::Row) -> Result<T, tokio_postgres::Error> + Send,
    ) -> Result<Vec<T>, DatabaseError> {
        self.session.read(sql, values, read).await
    }

    pub(super) async fn visit_rows<V: VisitRows>(
        &mut self,
        mut visitor: V,
    ) -> Result<V, DatabaseError> {
        walk::visit_rows(&mut self.session, &mut visitor).await?;
        Ok(visitor)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres::Reader on {}", self.session.read_model)
    }
}

impl ReadRows for Reader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        rows::get(&mut self.session, table, key).await
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        rows::list(&mut self.session, list).await
    }
}
