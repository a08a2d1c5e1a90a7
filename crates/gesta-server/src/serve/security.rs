//! The options of a secure server.

use std::net::SocketAddr;

use gesta_tls::Tls;
use tokio::net::TcpListener;

use super::{InvalidListener, listen};
use crate::access::TokenRule;

/// TLS, and whose tokens are accepted besides passwords.
///
/// ```no_run
/// use gesta_server::{Security, Tls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::new(&std::fs::read("server.pem")?, &std::fs::read("server.key")?)?;
/// let security = Security::new(tls);
/// # let _ = security;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Security {
    pub(super) tls: Tls,
    pub(super) tokens: Option<TokenRule>,
}

impl Security {
    /// Serves with TLS to users with passwords, and with certificates if `tls` accepts them.
    #[must_use]
    pub const fn new(tls: Tls) -> Self {
        Self { tls, tokens: None }
    }

    /// Also accepts bearer tokens.
    #[must_use]
    pub fn tokens(self, rule: TokenRule) -> Self {
        Self { tokens: Some(rule), ..self }
    }

    /// Listens on any address. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`InvalidListener::Refused`] if the operating system refuses the address.
    pub async fn bind(&self, address: SocketAddr) -> Result<TcpListener, InvalidListener> {
        listen(address)
    }
}
