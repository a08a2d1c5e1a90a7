//! A client for operators: users, rights to streams, consumer groups, projections, verifications,
//! backups and figures of a server.
//!
//! Owns: [`AdminClient`] and [`AdminError`]. Invariants: a call has a time limit; no error has a
//! password; a call of groups that another server of the store has to answer goes there, once.
//!
//! Not here: events and streams, which the clients of KurrentDB have; reading files and connection
//! strings.

mod acl;
mod connection;
mod error;
mod groups;
mod http;
mod projections;
mod proto;
mod upkeep;
mod users;

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tonic::{Request, Status, metadata::AsciiMetadataValue, transport::Channel};

use self::error::failed;
pub use self::{
    acl::StreamAcl,
    connection::ClientTls,
    error::AdminError,
    groups::{GroupDescription, GroupRef, NewGroup},
    projections::{NewProjection, ProjectionDescription},
    users::{NewUser, UserDescription},
};
use crate::address::ServerAddress;

/// Time limit of one call.
const CALL_MAX: Duration = Duration::from_secs(60);

/// A client of one server. Each call makes a connection of its own.
///
/// ```no_run
/// use gesta_server::admin::AdminClient;
///
/// # async fn list() -> Result<(), Box<dyn std::error::Error>> {
/// let client = AdminClient::insecure("127.0.0.1:2113".parse()?);
/// for group in client.groups().await? {
///     println!("{} of {}: {}", group.name, group.source, group.status);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AdminClient {
    address: ServerAddress,
    tls: Option<ClientTls>,
    authorization: Option<Secret>,
}

/// The header of a login and a password.
#[derive(Clone)]
struct Secret(AsciiMetadataValue);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl AdminClient {
    /// Creates a client of a server without TLS and users.
    #[must_use]
    pub const fn insecure(address: ServerAddress) -> Self {
        Self { address, tls: None, authorization: None }
    }

    /// Creates a client of a server with TLS.
    #[must_use]
    pub const fn secure(address: ServerAddress, tls: ClientTls) -> Self {
        Self { address, tls: Some(tls), authorization: None }
    }

    /// Calls as this user.
    #[must_use]
    pub fn user(self, login: &str, password: &str) -> Self {
        let pair = BASE64_STANDARD.encode(format!("{login}:{password}"));
        let mut header = AsciiMetadataValue::try_from(format!("Basic {pair}"))
            .expect("the alphabet of base64 is valid in a header");
        header.set_sensitive(true);
        Self { authorization: Some(Secret(header)), ..self }
    }

    /// Returns the same client of another server.
    fn at(&self, address: ServerAddress) -> Self {
        Self { address, ..self.clone() }
    }

    /// Connects, and makes one call within the time limit.
    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(Channel) -> Result<T, Status>,
    ) -> Result<T, AdminError> {
        let called = async {
            let channel = self.connect().await?;
            match tokio::time::timeout(CALL_MAX, call(channel)).await {
                Ok(answer) => answer.map_err(|status| failed(&self.address, &status)),
                Err(_) => Err(AdminError::NoAnswer {
                    address: self.address.clone(),
                    reason: format!("no answer within {} seconds", CALL_MAX.as_secs()),
                }),
            }
        };
        match called.await {
            Err(error) => Err(self.explained(error).await),
            answered => answered,
        }
    }

    /// Adds the credentials to a message.
    fn request<Message>(&self, message: Message) -> Request<Message> {
        let mut request = Request::new(message);
        if let Some(Secret(header)) = &self.authorization {
            request.metadata_mut().insert("authorization", header.clone());
        }
        request
    }
}
