//! Errors of the server, sorted by the reaction of the caller.
//!
//! Owns: the meaning of SQLSTATE codes, and of a connection that breaks. A statement that the
//! server refused changed nothing, because its transaction ended. The outcome of a statement that
//! was cut off is unknown, also if the server's last word was that it ends the connection. Not
//! here: retries ([`connection`](crate::connection), [`append`](crate::append)).

use std::{error::Error, sync::Arc};

use gesta_store::{Damage, Overload, Position, StoreError};
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::{passwords::PasswordOrigin, url::InvalidUrl};

/// An error of opening a store.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be read. Correct it.
    #[error("{0}")]
    Url(#[from] InvalidUrl),
    /// The server refused the connection or a statement, or was not reached. The error says what
    /// to do.
    #[error("{url} did not open: {error}")]
    Server {
        /// The URL, without its password.
        url: String,
        /// The error.
        #[source]
        error: StoreError,
    },
    /// The server is too old. Use PostgreSQL 15 or later.
    #[error("{url} runs PostgreSQL {version}; gesta needs version 15 or later")]
    ServerVersion {
        /// The URL, without its password.
        url: String,
        /// The server's version.
        version: String,
    },
    /// The database does not store Unicode. Create one with the encoding UTF8.
    #[error("the database of {url} has the encoding {encoding}; create one with ENCODING 'UTF8'")]
    Encoding {
        /// The URL, without its password.
        url: String,
        /// The encoding.
        encoding: String,
    },
    /// A newer version of this crate changed the tables. Use that version or a later one.
    #[error(
        "the store {url} has version {found} of the tables, which this version of gesta does not \
         know (it knows up to {known}); use the version that changed the tables, or a later one"
    )]
    NewerSchema {
        /// The URL, without its password.
        url: String,
        /// Version of the tables.
        found: i32,
        /// Newest version that this crate knows.
        known: i32,
    },
    /// There is no store in the schema, and it may not be created.
    #[error(
        "there is no store in schema {schema} of {url}; check the URL's database and `schema`, or \
         create the store by appending to it"
    )]
    NoStore {
        /// The URL, without its password.
        url: String,
        /// Name of the schema.
        schema: String,
    },
    /// An older version of this crate made the tables, and they may not be changed.
    #[error(
        "the store {url} has version {found} of the tables, and this version of gesta has version \
         {known}; start the application with this version once, which changes them, or use the \
         version that made them"
    )]
    OlderSchema {
        /// The URL, without its password.
        url: String,
        /// Version of the tables.
        found: i32,
        /// Version that this crate has.
        known: i32,
    },
    /// Another store is being copied to this one. Continue the copy.
    #[error(
        "another store is being copied to {url}, and the copy is not complete; run the same \
         `gesta copy` again to continue it"
    )]
    UnfinishedCopy {
        /// The URL, without its password.
        url: String,
    },
    /// The schema has tables, but none with a version. Choose another schema.
    #[error(
        "schema {schema} of {url} holds tables of something else; add ?schema=NAME to the URL to \
         keep the store in a schema of its own"
    )]
    ForeignSchema {
        /// The URL, without its password.
        url: String,
        /// Name of the schema.
        schema: String,
    },
    /// A table with events is not where it was put. Restore it.
    #[error(
        "{url} lacks the events from position {first} to {last}: table {table} of schema {schema} \
         is not attached; restore that schema together with the store's"
    )]
    MissingPartition {
        /// The URL, without its password.
        url: String,
        /// The first position.
        first: Position,
        /// The last position.
        last: Position,
        /// Name of the schema of the table.
        schema: String,
        /// Name of the table.
        table: String,
    },
    /// The name of the schema is too long to name the schemas of read models by it. Choose a
    /// shorter one.
    #[error("`schema` of {url} must have at most {max} bytes for read models; got {bytes}")]
    LongSchema {
        /// The URL, without its password.
        url: String,
        /// Length of the name, in bytes.
        bytes: usize,
        /// Maximum length, in bytes.
        max: usize,
    },
    /// The thread of the store did not start.
    #[error("a thread for the store did not start: {0}")]
    Thread(#[source] std::io::Error),
}

/// Code by which the function `append` refuses a timeline that is not the server's.
const OTHER_TIMELINE: &str = "GS001";

/// The driver's text for a server that asks for a password when there is none. It has no code.
const PASSWORD_MISSING: &str = "password missing";

/// The text for a statement whose answer did not come in time.
pub(crate) const NO_ANSWER: &str =
    "the server did not answer in time; look for long transactions and full disks there";

/// The reason why a statement has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused it; nothing changed.
    Refused(StoreError),
    /// The server gave way to another transaction; nothing changed. The same statement may succeed
    /// at once.
    Yielded(StoreError),
    /// The server writes another history than the client knows; nothing changed.
    Promoted(StoreError),
    /// The connection broke, or the answer did not come in time. The statement may take effect.
    Lost(StoreError),
}

impl Failure {
    /// Returns the error of a statement that changes nothing, so that its outcome does not matter.
    pub(crate) fn of_read(self) -> StoreError {
        match self {
            Self::Refused(error)
            | Self::Yielded(error)
            | Self::Promoted(error)
            | Self::Lost(error) => error,
        }
    }

    /// Sorts an error of a statement.
    pub(crate) fn of_statement(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Lost(unreachable(
                "the connection broke during a statement; the store connects again",
                error,
            ));
        };
        // After a fatal error the server closes the connection, and the commit may have happened.
        if refusal.parsed_severity() != Some(Severity::Error) {
            return Self::Lost(unreachable("the server ended the connection", error));
        }
        let again = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        if again.contains(refusal.code()) {
            return Self::Yielded(unreachable("another transaction was in the way", error));
        }
        if refusal.code().code() == OTHER_TIMELINE {
            return Self::Promoted(unreachable("the server was promoted", error));
        }
        Self::Refused(refused(error))
    }

    /// Names the server in the text of the error.
    pub(crate) fn at(self, server: &str) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(at_server(error, server)),
            Self::Yielded(error) => Self::Yielded(at_server(error, server)),
            Self::Promoted(error) => Self::Promoted(at_server(error, server)),
            Self::Lost(error) => Self::Lost(at_server(error, server)),
        }
    }

    /// The error of a statement whose answer did not come in time.
    pub(crate) fn late() -> Self {
        Self::Lost(StoreError::unreachable(NO_ANSWER))
    }
}

/// Sorts an error of connecting. Nothing was sent.
pub(crate) fn of_connecting(
    error: tokio_postgres::Error,
    connections_max: usize,
    password: &PasswordOrigin,
) -> StoreError {
    let Some(refusal) = error.as_db_error() else {
        if error.source().is_some_and(|cause| cause.to_string() == PASSWORD_MISSING) {
            let reason = format!("the server asks for a password; {}", password.remedy());
            return StoreError::Denied { reason };
        }
        return unreachable("no connection; check that the server runs at this address", error);
    };
    match refusal.code() {
        code if *code == SqlState::INVALID_PASSWORD => {
            StoreError::Denied { reason: format!("{}; {}", text_of(refusal), password.remedy()) }
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS => {
            let (reason, max) = (text_of(refusal), connections_max);
            StoreError::Overloaded(Overload::Connections { reason, max })
        }
        // PostgreSQL has it for messages that it does not know, which the driver does not send.
        code if *code == SqlState::PROTOCOL_VIOLATION => {
            unreachable("the connection pooler refused the connection", error)
        }
        code if *code == SqlState::CANNOT_CONNECT_NOW => {
            unreachable("the server is starting or stopping", error)
        }
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            unreachable("the database does not exist; create it with CREATE DATABASE", error)
        }
        _ => refused(error),
    }
}

/// The meaning of a refusal, by its SQLSTATE code.
fn refused(error: tokio_postgres::Error) -> StoreError {
    let Some(refusal) = error.as_db_error() else {
        return unreachable("the server refused a statement", error);
    };
    let reason = text_of(refusal);
    match refusal.code() {
        code if *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            StoreError::Denied {
                reason: format!("{reason}; check user and password of the store's URL"),
            }
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => StoreError::Denied {
            reason: format!("{reason}; grant it to the user of the store's URL"),
        },
        code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            StoreError::ReadOnly { reason: format!("{reason}; use the URL of the primary server") }
        }
        code if *code == SqlState::DISK_FULL => {
            StoreError::Overloaded(Overload::DiskFull { reason })
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS || *code == SqlState::OUT_OF_MEMORY => {
            StoreError::Overloaded(Overload::System { reason })
        }
        code if *code == SqlState::LOCK_NOT_AVAILABLE => unreachable(
            "another session holds the lock of the store for too long; look in pg_stat_activity \
             for a transaction that was left open",
            error,
        ),
        code if *code == SqlState::QUERY_CANCELED => unreachable(
            "the server cancelled the statement, which took too long or was cancelled by hand",
            error,
        ),
        code if *code == SqlState::UNDEFINED_TABLE
            || *code == SqlState::UNDEFINED_FUNCTION
            || *code == SqlState::INVALID_SCHEMA_NAME =>
        {
            StoreError::Stopped {
                reason: format!("{reason}; the tables are gone, restore the schema"),
            }
        }
        code if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
            StoreError::Corrupt(damage(refusal.table().unwrap_or("a table"), reason))
        }
        _ => unreachable("the server refused a statement", error),
    }
}

/// Returns the remedy for an error that the server itself answered with, or `None` for any other.
///
/// ```
/// use gesta_postgres::remedy;
/// use gesta_store::StoreError;
///
/// assert_eq!(remedy(&StoreError::unreachable("no route to the host")), None);
/// ```
#[must_use]
pub fn remedy(error: &StoreError) -> Option<&'static str> {
    let StoreError::Unreachable { source: Some(source), .. } = error else { return None };
    let code = source.downcast_ref::<DriverError>()?.error.code()?;
    Some(remedy_of(code))
}

fn remedy_of(code: &SqlState) -> &'static str {
    match code {
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            "create the database, or correct its name in the URL"
        }
        code if *code == SqlState::CANNOT_CONNECT_NOW => {
            "wait until the server takes connections, then retry"
        }
        code if *code == SqlState::T_R_SERIALIZATION_FAILURE
            || *code == SqlState::T_R_DEADLOCK_DETECTED
            || *code == SqlState::LOCK_NOT_AVAILABLE =>
        {
            "retry; if it goes on, look in pg_stat_activity for a transaction that was left open"
        }
        code if *code == SqlState::QUERY_CANCELED => {
            "retry, or give the statement more time with ?statement_timeout=SECONDS in the URL"
        }
        code if *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN => {
            "look in the server's log why it ended the connection, then retry"
        }
        code if *code == SqlState::CHECK_VIOLATION => {
            "the table of the store takes no such row; look at its partitions with `gesta archive \
             list`, and in the server's log"
        }
        _ => "look up the SQLSTATE, and the statement in the server's log",
    }
}

/// Damage of a table of the store.
pub(crate) fn damage(table: &str, what: impl Into<String>) -> Damage {
    Damage::new(table, 0, what)
}

/// The error of a row that has no valid value in a column.
pub(crate) fn invalid_row(what: impl Into<String>) -> StoreError {
    StoreError::Corrupt(damage("events", what))
}

fn unreachable(summary: &str, error: tokio_postgres::Error) -> StoreError {
    let error = DriverError::new(error);
    StoreError::Unreachable { reason: format!("{summary}: {error}"), source: Some(Arc::new(error)) }
}

/// Names the server in an error of the server, or of the way to it.
pub(crate) fn at_server(mut error: StoreError, server: &str) -> StoreError {
    if let StoreError::Unreachable { reason, .. }
    | StoreError::Denied { reason }
    | StoreError::ReadOnly { reason }
    | StoreError::Stopped { reason }
    | StoreError::Overloaded(
        Overload::DiskFull { reason }
        | Overload::System { reason }
        | Overload::Connections { reason, .. },
    ) = &mut error
    {
        *reason = format!("{server}: {reason}");
    }
    error
}

/// An error of the driver in one line, with its causes. They are not sources as well, because the
/// server's error would then be printed again, with details that may repeat values.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct DriverError {
    text: String,
    error: tokio_postgres::Error,
}

impl DriverError {
    pub(crate) fn new(error: tokio_postgres::Error) -> Self {
        Self { text: described(&error), error }
    }
}

fn described(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return text_of(refusal);
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The server's message and its code. Details and hints may repeat values, so they are left out.
fn text_of(refusal: &DbError) -> String {
    format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_depends_on_the_code_of_the_server() {
        for (code, remedy) in [
            (SqlState::INVALID_CATALOG_NAME, "create the database"),
            (SqlState::CANNOT_CONNECT_NOW, "wait until the server takes connections"),
            (SqlState::T_R_DEADLOCK_DETECTED, "pg_stat_activity"),
            (SqlState::CHECK_VIOLATION, "partitions"),
            (SqlState::QUERY_CANCELED, "statement_timeout"),
            (SqlState::SYNTAX_ERROR, "look up the SQLSTATE"),
        ] {
            assert!(remedy_of(&code).contains(remedy), "{code:?}");
        }
    }
}
