//! The differences between the databases: placeholders, definitions of tables, full-text search.
//!
//! Invariant: a search finds the same rows in every database: those that have all words, each as a
//! prefix, without regard to case and diacritics.

use std::borrow::Cow;

use super::Value;
use crate::search::{SearchText, folded_words};

/// A database's form of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A condition on the column `number`, with the value of its parameter.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) condition: String,
    pub(crate) value: String,
}

/// A statement with the values of its parameters.
#[derive(Debug)]
pub(crate) struct Statement<'v> {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value<'v>>,
}

impl Dialect {
    /// Returns a statement in this dialect.
    pub(super) fn statement(self, sql: &str) -> Cow<'_, str> {
        match self {
            Self::Sqlite => Cow::Borrowed(sql),
            // No statement has a question mark in a literal.
            Self::Postgres => Cow::Owned(sql.replace('?', "$")),
        }
    }

    /// Returns definitions of tables, written for SQLite, in this dialect.
    pub(super) fn definitions(self, tables: &str) -> Cow<'_, str> {
        match self {
            Self::Sqlite => Cow::Borrowed(tables),
            Self::Postgres => Cow::Owned(
                tables
                    .replace(" strict, without rowid", "")
                    .replace(" strict", "")
                    // SQLite's integers have 64 bits, and its texts are compared byte by byte.
                    .replace(" integer", " bigint")
                    .replace(" text", " text collate \"C\""),
            ),
        }
    }

    /// Returns the definition of an index of words.
    pub(super) fn words_definition(self, index: &str) -> String {
        match self {
            Self::Sqlite => format!("create virtual table {index} using fts5(words, content='')"),
            Self::Postgres => format!(
                "create table {index} (number bigint primary key, words tsvector not null);
                 create index {index}_by_word on {index} using gin (words)"
            ),
        }
    }

    /// Returns the statement that adds the words of a row.
    pub(super) fn add_words<'w>(self, index: &str, row: u64, words: &'w str) -> Statement<'w> {
        match self {
            Self::Sqlite => Statement {
                sql: format!("insert into {index} (rowid, words) values (?1, ?2)"),
                values: vec![row.into(), words.into()],
            },
            // Not `to_tsvector`, which would split codes and addresses by rules of its own.
            Self::Postgres => Statement {
                sql: format!(
                    "insert into {index} values (?1, array_to_tsvector(string_to_array(?2, ' ')))"
                ),
                values: vec![row.into(), folded_words(words).join(" ").into()],
            },
        }
    }

    /// Returns the statement that removes the words of a row, which were added before.
    pub(super) fn remove_words<'w>(self, index: &str, row: u64, words: &'w str) -> Statement<'w> {
        match self {
            // The index stores no texts, so the row's words must be given to be removed.
            Self::Sqlite => Statement {
                sql: format!(
                    "insert into {index} ({index}, rowid, words) values ('delete', ?1, ?2)"
                ),
                values: vec![row.into(), words.into()],
            },
            Self::Postgres => Statement {
                sql: format!("delete from {index} where number = ?1"),
                values: vec![row.into()],
            },
        }
    }

    /// Returns the condition that a row's words match; its value is the parameter with this number.
    pub(super) fn search(self, index: &str, text: &SearchText, parameter: usize) -> Search {
        let (condition, value) = match self {
            Self::Sqlite => (
                format!("number in (select rowid from {index} where {index} match ?{parameter})"),
                text.as_fts5(),
            ),
            Self::Postgres => (
                format!(
                    "number in
                         (select number from {index} where words @@ ?{parameter}::text::tsquery)"
                ),
                text.as_tsquery(),
            ),
        };
        Search { condition, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_for_sqlite_become_those_of_postgresql() {
        let tables = "create table t (id text primary key, n integer) strict, without rowid;
            create table u (n integer primary key) strict;";
        assert_eq!(Dialect::Sqlite.definitions(tables), tables);
        assert_eq!(
            Dialect::Postgres.definitions(tables),
            "create table t (id text collate \"C\" primary key, n bigint);
            create table u (n bigint primary key);"
        );
        let sql = "select 1 from t where id = ?1 and n > ?2";
        assert_eq!(Dialect::Postgres.statement(sql), "select 1 from t where id = $1 and n > $2");
    }
}
