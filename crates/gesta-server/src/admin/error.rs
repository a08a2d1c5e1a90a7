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
    /// The server speaks TLS, and the client does not: make a client with TLS.
    #[error("{address} speaks TLS, and this connection has none")]
    NeedsTls {
        /// The address.
        address: ServerAddress,
    },
    /// The client speaks TLS, and the server does not: make a client without TLS, or correct the
    /// address.
    #[error("{address} does not speak TLS")]
    LacksTls {
        /// The address.
        address: ServerAddress,
        /// The error of the handshake.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No authority of the client has signed the server's certificate: name the right one.
    #[error("the certificate of {address} is of an authority that is not trusted")]
    UnknownAuthority {
        /// The address.
        address: ServerAddress,
        /// The error of the handshake.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server's certificate has other names: use one of them, or another certificate.
    #[error("the certificate of {address} is for other names")]
    OtherName {
        /// The address.
        address: ServerAddress,
        /// The error of the handshake.
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
    /// The server has not taken the call, for example because it has too many connections, and
    /// nothing was done: wait a little, and call again.
    #[error("{reason}")]
    Busy {
        /// The server's reason.
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
        Code::Unavailable if exception(status) == Some("server-full") => {
            AdminError::Busy { reason }
        }
        Code::Unknown if exception(status) == Some("projection-running") => {
            AdminError::Refused { reason: for_people(reason) }
        }
        Code::Unknown if exception(status) == Some("projection-cannot-track") => {
            AdminError::Invalid { reason: for_people(reason) }
        }
        _ => AdminError::NoAnswer { address: address.clone(), reason },
    }
}

/// Words that clients of other languages look for at the begin of a reason.
const FOR_CLIENTS: [&str; 2] = [
    "Envelope callback expected Updated, received OperationFailed instead: ",
    "Exception was thrown by handler. ",
];

/// Returns a reason without the words that are for programs.
fn for_people(reason: String) -> String {
    let rest = FOR_CLIENTS.iter().find_map(|words| reason.strip_prefix(words)).map(str::to_owned);
    rest.unwrap_or(reason)
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
