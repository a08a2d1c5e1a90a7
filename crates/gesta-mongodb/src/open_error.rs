//! The error of opening a store.

use std::io;

use crate::{errors::CallError, url::InvalidUrl};

/// The reason why a store in MongoDB did not open. Texts have no password.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is invalid. Correct it.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The server does not answer. Check host, port and network, or try again.
    #[error("{server} does not answer: {reason}")]
    Unreachable {
        /// The server.
        server: String,
        /// Description of the failure.
        reason: String,
    },
    /// The server refuses the user or the password. Correct them in the URL; `authSource` names the
    /// database that has the user.
    #[error("{server} refuses the user or the password: {reason}")]
    Denied {
        /// The server.
        server: String,
        /// The server's reason.
        reason: String,
    },
    /// The server lacks what was asked for, or its answers are not those of MongoDB.
    #[error("{server} cannot be used: {reason}")]
    Server {
        /// The server.
        server: String,
        /// The part that does not fit.
        reason: String,
    },
    /// The operating system gives no thread. Free some, or raise the limit.
    #[error("the store's thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

impl OpenError {
    pub(crate) fn of(server: &str, error: CallError) -> Self {
        let server = server.to_owned();
        match error {
            CallError::Denied(reason) => Self::Denied { server, reason },
            CallError::Invalid(reason) | CallError::Damaged(reason) => {
                Self::Server { server, reason }
            }
            CallError::Unreachable(reason) | CallError::Internal(reason) => {
                Self::Unreachable { server, reason }
            }
            CallError::NoServer => {
                Self::Unreachable { server, reason: "no server takes requests".to_owned() }
            }
            CallError::Final(error) => Self::Server { server, reason: error.to_string() },
            CallError::Closed => {
                let reason = "the thread of the store has ended".to_owned();
                Self::Unreachable { server, reason }
            }
            CallError::Duplicate | CallError::Overtaken | CallError::Exists => {
                let reason = "another process has changed the store; try again".to_owned();
                Self::Unreachable { server, reason }
            }
        }
    }
}
