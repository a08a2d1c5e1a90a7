//! The error of opening a store.

use std::io;

use gesta_store::{SharedError, StoreError};

use crate::{
    errors::{CallError, lacks_credentials},
    url::{DynamoUrl, InvalidUrl},
};

/// The reason why a store in DynamoDB did not open. Texts have no credentials.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is invalid. Correct it.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The server does not answer, or its answer is no clear one. Check the region, the endpoint
    /// and the network, or try again.
    #[error("{server} does not answer: {reason}")]
    Unreachable {
        /// The server.
        server: String,
        /// Description of the failure.
        reason: String,
        /// Error of the client.
        #[source]
        source: Option<SharedError>,
    },
    /// The credentials are missing, are refused, or lack a right. Configure them in the standard
    /// chain, such as `AWS_PROFILE`, and allow the actions of the guide on the table.
    #[error("{server} refuses access to table {table}: {reason}")]
    Denied {
        /// The server.
        server: String,
        /// Name of the table.
        table: String,
        /// The server's reason.
        reason: String,
    },
    /// The table is not one of this crate, or holds a later format. Use another prefix, or a later
    /// version.
    #[error("table {table} cannot be used: {reason}; use another prefix in the URL")]
    Table {
        /// Name of the table.
        table: String,
        /// The part that does not fit.
        reason: String,
    },
    /// There is no store behind the URL, and it may not be created.
    #[error(
        "there is no store in table {table} of {server}; check the region, the prefix and the \
         endpoint in the URL, or create the store by appending to it"
    )]
    NoStore {
        /// The server.
        server: String,
        /// Name of the table.
        table: String,
    },
    /// The operating system gives no thread. Free some, or raise the limit.
    #[error("the store's thread cannot be started: {0}")]
    Thread(#[source] io::Error),
    /// The store was closed while it was opened.
    #[error("the store was closed while it was opened")]
    Closed,
}

impl OpenError {
    pub(crate) fn of(url: &DynamoUrl, table: &str, error: CallError) -> Self {
        let (server, table) = (url.server(), table.to_owned());
        match error {
            CallError::Denied(reason) => Self::Denied { server, table, reason },
            CallError::Invalid(reason)
            | CallError::Damaged(reason)
            | CallError::NoTable(reason) => Self::Table { table, reason },
            CallError::Throttled => {
                let reason = "it limits the rate of requests; try again".to_owned();
                Self::Unreachable { server, reason, source: None }
            }
            CallError::Condition(_) => {
                let reason = "another process has changed the store; try again".to_owned();
                Self::Unreachable { server, reason, source: None }
            }
            CallError::Unreachable(reason, Some(source)) if lacks_credentials(&*source) => {
                Self::Denied { server, table, reason }
            }
            CallError::Unreachable(reason, source) | CallError::Unknown(reason, source) => {
                Self::Unreachable { server, reason, source }
            }
            CallError::Closed => Self::Closed,
        }
    }

    pub(crate) fn of_store(url: &DynamoUrl, error: StoreError) -> Self {
        let server = url.server();
        match error {
            StoreError::Denied { reason } => {
                Self::Denied { server, table: url.table("events"), reason }
            }
            StoreError::Corrupt(damage) => {
                Self::Table { table: url.table("events"), reason: damage.to_string() }
            }
            other => Self::Unreachable { server, reason: other.to_string(), source: None },
        }
    }
}
