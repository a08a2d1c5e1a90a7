//! Errors of operators' calls, sorted by what the operator does next.

use tonic::{Code, Status};

use crate::address::ServerAddress;

/// The error of a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// No connection: correct the address or start the server.
    #[error("cannot connect to {address}")]
    Unreachable {
        /// The address.
        address: ServerAddress,
        /// The error of the connection.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server was reached and did not answer; the call may have had its effect.
    #[error("{address} did not answer: {reason}")]
    NoAnswer {
        /// The address.
        address: ServerAddress,
        /// The reason, as far as it is known.
        reason: String,
    },
    /// The server wants a user, another password, or a user with more rights.
    #[error("{reason}")]
    Denied {
        /// The server's reason.
        reason: String,
    },
    /// There is no such user, group or projection.
    #[error("{reason}")]
    NotFound {
        /// The server's reason.
        reason: String,
    },
    /// Another server of the store has to be asked.
    #[error("{reason}")]
    Elsewhere {
        /// The server's reason.
        reason: String,
        /// The address of the other server.
        address: ServerAddress,
    },
    /// The state of the server does not allow it: a name that exists, a projection that runs.
    #[error("{reason}")]
    Refused {
        /// The server's reason.
        reason: String,
    },
    /// The request is wrong by itself, or the server has no such call.
    #[error("{reason}")]
    Invalid {
        /// The server's reason.
        reason: String,
    },
    /// The certificates of the client cannot be used.
    #[error("the certificates for the connection cannot be used: {reason}")]
    Certificates {
        /// The reason.
        reason: String,
    },
}

/// Translates the status of a call.
pub(super) fn failed(address: &ServerAddress, status: &Status) -> AdminError {
    if let Some(address) = leader(status) {
        return AdminError::Elsewhere { reason: status.message().to_owned(), address };
    }
    let reason = status.message().to_owned();
    match status.code() {
        Code::NotFound => AdminError::NotFound { reason },
        Code::Unauthenticated | Code::PermissionDenied => AdminError::Denied { reason },
        Code::AlreadyExists | Code::FailedPrecondition => AdminError::Refused { reason },
        Code::InvalidArgument | Code::Unimplemented => AdminError::Invalid { reason },
        // A group with settings that make no sense.
        Code::Internal if exception(status) == Some("persistent-subscription-failed") => {
            AdminError::Invalid { reason }
        }
        Code::Unknown if exception(status) == Some("projection-running") => {
            AdminError::Refused { reason }
        }
        Code::Unknown if exception(status) == Some("projection-cannot-track") => {
            AdminError::Invalid { reason }
        }
        _ => AdminError::NoAnswer { address: address.clone(), reason },
    }
}

fn exception(status: &Status) -> Option<&str> {
    trailer(status, "exception")
}

fn trailer<'a>(status: &'a Status, name: &str) -> Option<&'a str> {
    status.metadata().get(name)?.to_str().ok()
}

/// Returns the address of the server that has to be asked.
fn leader(status: &Status) -> Option<ServerAddress> {
    if exception(status) != Some("not-leader") {
        return None;
    }
    let (host, port) =
        (trailer(status, "leader-endpoint-host")?, trailer(status, "leader-endpoint-port")?);
    match host.contains(':') {
        true => format!("[{host}]:{port}").parse().ok(),
        false => format!("{host}:{port}").parse().ok(),
    }
}
