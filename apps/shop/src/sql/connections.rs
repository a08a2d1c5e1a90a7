//! The connections to a database with SQL, on which the shop's statements run.
//!
//! Not here: the statements, and the store of read models that the connections belong to
//! ([`read_models`](crate::read_models)).

use gesta::{
    postgres::{self, Parameter},
    sqlite::{self, rusqlite},
};

use super::{
    Result, Row, Value,
    dialect::{Dialect, Search},
};
use crate::search::SearchText;

/// A transaction of a projection in a database with SQL.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "one is open at a time, and it is moved a few times")]
pub enum SqlTx {
    /// On a read model's file.
    Sqlite(sqlite::Tx),
    /// On a read model's schema.
    Postgres(postgres::Tx),
}

/// A connection of a query in a database with SQL. All its statements read one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub enum SqlReader {
    /// On a read model's file.
    Sqlite(sqlite::Reader),
    /// On a read model's schema.
    Postgres(postgres::Reader),
}

impl SqlTx {
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

impl SqlReader {
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
