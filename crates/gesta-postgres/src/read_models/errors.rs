//! Errors of statements on read models, sorted by the reaction of the caller.
//!
//! A statement that blames its text or its values is rejected. Everything that passes with time,
//! or with a change on the server, is unavailable: no event is at fault. Details and hints of the
//! server may repeat values, so they are left out.

use std::{error::Error, io, sync::Arc};

use gesta_store::{DatabaseError, StoreError};
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::errors::{DriverError, Failure};

/// Sorts an error of a statement of a transaction or reader.
pub(super) fn of_statement(error: tokio_postgres::Error) -> DatabaseError {
    let Some(refusal) = error.as_db_error() else {
        return of_driver(error);
    };
    // After a fatal error the server closes the connection.
    if refusal.parsed_severity() != Some(Severity::Error) {
        return unavailable("the server ended the connection", error);
    }
    let code = refusal.code();
    let summary = match code.code() {
        "25006" => "the server is read-only; use the URL of the primary server",
        "42501" => "grant the privilege to the user of the URL",
        "55P03" => "another transaction has the lock",
        "57014" => "the statement took too long, or was cancelled by hand",
        "40001" | "40P01" => "another transaction was in the way",
        "0A000" if refusal.message().starts_with("cached plan") => "a table changed its columns",
        "25P02" => {
            return rejected("an earlier statement of the transaction failed", error);
        }
        "XX001" | "XX002" => {
            let reason = text_of(refusal);
            let source = Some(Arc::new(DriverError::new(error)) as _);
            return DatabaseError::Corrupt { reason, source };
        }
        // Resources, operator intervention, and errors of the system.
        code if ["53", "57", "58", "08", "XX"].contains(&code.get(..2).unwrap_or_default()) => {
            "the server cannot run statements now"
        }
        _ => return rejected("", error),
    };
    unavailable(summary, error)
}

/// Sorts an error without an answer of the server.
fn of_driver(error: tokio_postgres::Error) -> DatabaseError {
    let is_io = error.source().is_some_and(|cause| cause.downcast_ref::<io::Error>().is_some());
    if is_io || error.is_closed() {
        return unavailable("the connection broke", error);
    }
    // A value that cannot be converted, or a wrong number of them.
    rejected("", error)
}

/// Sorts an error of the catalogue's own statements. None of them is at fault.
pub(super) fn of_catalogue(error: StoreError) -> DatabaseError {
    match error {
        // Their own texts speak of the events and of appends.
        StoreError::Unreachable { reason, source } | StoreError::Unavailable { reason, source } => {
            DatabaseError::Unavailable { reason, source }
        }
        StoreError::Denied { reason }
        | StoreError::ReadOnly { reason }
        | StoreError::Stopped { reason } => DatabaseError::unavailable(reason),
        StoreError::Corrupt(_) => {
            DatabaseError::Corrupt { reason: error.to_string(), source: Some(Arc::new(error)) }
        }
        _ => {
            DatabaseError::Unavailable { reason: error.to_string(), source: Some(Arc::new(error)) }
        }
    }
}

pub(super) fn of_failure(failure: Failure) -> DatabaseError {
    match failure.of_read() {
        StoreError::Stopped { reason } => DatabaseError::unavailable(format!(
            "{reason}, or start the application again, which builds the read models anew"
        )),
        error => of_catalogue(error),
    }
}

/// The error of a stored value that cannot be read.
pub(super) fn unreadable(what: &str, error: impl std::fmt::Display) -> DatabaseError {
    DatabaseError::Corrupt { reason: format!("{what}: {error}"), source: None }
}

/// Returns `true` if a table or schema does not exist.
pub(super) fn is_undefined(error: &tokio_postgres::Error) -> bool {
    let absent = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
    error.code().is_some_and(|code| absent.contains(code))
}

fn unavailable(summary: &str, error: tokio_postgres::Error) -> DatabaseError {
    let error = DriverError::new(error);
    let reason = format!("{summary}: {error}");
    DatabaseError::Unavailable { reason, source: Some(Arc::new(error)) }
}

fn rejected(summary: &str, error: tokio_postgres::Error) -> DatabaseError {
    let error = DriverError::new(error);
    let reason = if summary.is_empty() { error.to_string() } else { format!("{summary}: {error}") };
    DatabaseError::Rejected { reason, source: Some(Arc::new(error)) }
}

/// Names the server in an error of the server, or of the way to it.
pub(super) fn at_server(mut error: DatabaseError, server: &str) -> DatabaseError {
    if let DatabaseError::Unavailable { reason, .. }
    | DatabaseError::Rejected { reason, .. }
    | DatabaseError::Corrupt { reason, .. } = &mut error
    {
        *reason = format!("{server}: {reason}");
    }
    error
}

fn text_of(refusal: &DbError) -> String {
    format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code())
}
