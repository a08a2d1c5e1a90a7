//! Errors of requests, sorted by what they mean for the caller.
//!
//! Owns: [`CallError`], and its translation to the errors of derived data, which name the server.
//! No text is parsed: the server's codes and the client's kinds decide. The client's own texts list
//! its structures, so each kind has words of this module. Not here: retries, which are the
//! client's.

use std::fmt::Display;

use gesta_store::DatabaseError;
use mongodb::error::{
    Error, ErrorKind, InsertManyError, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR,
    WriteFailure,
};

use crate::worker::Ended;

const DUPLICATE_KEY: i32 = 11_000;
const WRITE_CONFLICT: i32 = 112;
const NAMESPACE_EXISTS: i32 = 48;
/// The user is not known, has another password, or lacks a right.
const DENIED: [i32; 3] = [13, 18, 8_000];
/// The server has failed inside.
const INTERNAL_ERROR: i32 = 1;
/// The server stops, is no primary, has lost its network or was too slow.
const TRANSIENT: [i32; 14] =
    [6, 7, 50, 89, 91, 189, 262, 9_001, 10_107, 11_600, 11_602, 13_388, 13_435, 13_436];
/// The server lacks something for every request alike: locks (24, 46), memory (146), cursors and
/// operations that it ended itself (202, 237, 290), writes that operators have blocked (371), or
/// disk space (14031). No event is at fault.
const SHORTAGES: [i32; 8] = [24, 46, 146, 202, 237, 290, 371, 14_031];

/// The error of a request.
#[derive(Clone, Debug)]
pub(crate) enum CallError {
    /// A document with this `_id` is there.
    Duplicate,
    /// Another writer has changed the same document in the meantime.
    Overtaken,
    /// The collection is there already.
    Exists,
    /// No clear answer. The request may have taken effect, or may do so later.
    Unreachable(String),
    /// No server was found that takes requests. The request was not sent.
    NoServer,
    /// The server has failed inside, which may pass. The outcome is unknown.
    Internal(String),
    /// The server refuses the user or the password, or the user lacks a right.
    Denied(String),
    /// The server refuses the request as such.
    Invalid(String),
    /// The document is not what this crate writes.
    Damaged(String),
    /// The thread of the store has ended.
    Closed,
    /// An error that is the caller's as it is.
    Final(DatabaseError),
}

impl From<Ended> for CallError {
    fn from(_: Ended) -> Self {
        Self::Closed
    }
}

impl From<DatabaseError> for CallError {
    fn from(error: DatabaseError) -> Self {
        Self::Final(error)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        let is_transient = error.contains_label(RETRYABLE_WRITE_ERROR)
            || error.contains_label(TRANSIENT_TRANSACTION_ERROR);
        match &*error.kind {
            ErrorKind::Authentication { message, .. } => Self::Denied(message.clone()),
            ErrorKind::Command(command) => {
                Self::of_code(command.code, &command.message, is_transient)
            }
            ErrorKind::Write(WriteFailure::WriteError(write)) => {
                Self::of_code(write.code, &write.message, is_transient)
            }
            ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
                Self::Unreachable(concern.message.clone())
            }
            ErrorKind::InsertMany(many) => Self::of_insert(many, is_transient),
            ErrorKind::ServerSelection { .. } => Self::NoServer,
            ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. } => {
                Self::Invalid(words(&error))
            }
            ErrorKind::Bson(damage) => Self::Damaged(damage.to_string()),
            _ => Self::Unreachable(words(&error)),
        }
    }
}

/// Describes an error of the client in words.
pub(crate) fn words(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Authentication { message, .. }
        | ErrorKind::InvalidArgument { message, .. }
        | ErrorKind::InvalidTlsConfig { message, .. } => message.clone(),
        ErrorKind::Io(cause) => format!("the connection failed: {cause}"),
        ErrorKind::DnsResolve { message, .. } => {
            format!("the name of the host cannot be resolved: {message}")
        }
        // The text of the client repeats the whole error of the other request.
        ErrorKind::ConnectionPoolCleared { .. } => {
            "the connection was closed because another one to this server has failed".to_owned()
        }
        ErrorKind::ServerSelection { .. } => "no server takes requests".to_owned(),
        ErrorKind::InvalidResponse { message, .. } => {
            format!("the answer is not that of a server of MongoDB: {message}")
        }
        ErrorKind::IncompatibleServer { message, .. } => {
            format!("the server lacks what the client needs: {message}")
        }
        ErrorKind::Command(command) => format!("{} (code {})", command.message, command.code),
        ErrorKind::SessionsNotSupported => "the server has no sessions".to_owned(),
        ErrorKind::Shutdown => "the client was shut down".to_owned(),
        ErrorKind::Internal { message, .. } | ErrorKind::Transaction { message, .. } => {
            format!("the client has failed: {message}")
        }
        kind => format!("the client has failed: {kind}"),
    }
}

impl CallError {
    fn of_code(code: i32, message: &str, is_transient: bool) -> Self {
        match code {
            DUPLICATE_KEY => Self::Duplicate,
            WRITE_CONFLICT => Self::Overtaken,
            NAMESPACE_EXISTS => Self::Exists,
            INTERNAL_ERROR => Self::Internal(format!("{message} (code {code})")),
            code if DENIED.contains(&code) => Self::Denied(message.to_owned()),
            code if is_transient || TRANSIENT.contains(&code) || SHORTAGES.contains(&code) => {
                Self::Unreachable(format!("{message} (code {code})"))
            }
            code => Self::Invalid(format!("{message} (code {code})")),
        }
    }

    /// The worst error of an insertion of many documents: a duplicate only if there is no other.
    fn of_insert(many: &InsertManyError, is_transient: bool) -> Self {
        if let Some(concern) = &many.write_concern_error {
            return Self::Unreachable(concern.message.clone());
        }
        let errors = many.write_errors.iter().flatten();
        let sorted = errors.map(|one| Self::of_code(one.code, &one.message, is_transient));
        let mut worst = Self::Duplicate;
        for error in sorted {
            if !matches!(error, Self::Duplicate) {
                worst = error;
            }
        }
        worst
    }

    /// Returns the error for a caller of derived data.
    pub(crate) fn into_database(self, server: &impl Display) -> DatabaseError {
        let unavailable =
            |reason: &dyn Display| DatabaseError::unavailable(format!("{server}: {reason}"));
        match self {
            Self::Duplicate | Self::Overtaken | Self::Exists => unavailable(
                &"another process has changed the same document; nothing was changed here: retry",
            ),
            Self::Unreachable(reason) | Self::Internal(reason) => unavailable(&reason),
            Self::NoServer => unavailable(&"no server takes requests"),
            Self::Denied(reason) => {
                unavailable(&format!("access denied: {reason}; check user, password and rights"))
            }
            Self::Closed => unavailable(&"the store was closed"),
            Self::Invalid(reason) => DatabaseError::rejected(format!("{server}: {reason}")),
            Self::Damaged(reason) => {
                DatabaseError::Corrupt { reason: format!("{server}: {reason}"), source: None }
            }
            Self::Final(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_the_server_passes_and_sets_no_event_aside() {
        for code in SHORTAGES.into_iter().chain(TRANSIENT) {
            let error = CallError::of_code(code, "no space left", false).into_database(&"mongodb");
            assert!(error.is_transient(), "{error}");
            assert_eq!(error.to_string().matches("no space left").count(), 1, "{error}");
        }
        let error = CallError::of_code(2, "bad value", false).into_database(&"mongodb");
        assert!(!error.is_transient(), "{error}");
    }
}
