//! Names of hosts, as in the `Host` header and in origins.
//!
//! Owns: [`HostName`], the set of allowed ones, and which hosts are loopback. Not here: the syntax
//! and the refusal of `Host` ([`serve`](mod@crate::serve)).

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

/// The name or address of a host, without a port: `shop.example`, `10.0.0.7` or `[::1]`.
///
/// ```
/// use gesta_http::HostName;
///
/// let shop: HostName = "Shop.example".parse()?;
/// assert_eq!(shop.to_string(), "shop.example");
/// assert!("https://shop.example".parse::<HostName>().is_err());
/// assert!("shop.example:443".parse::<HostName>().is_err());
/// # Ok::<(), gesta_http::ParseHostNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

/// A text that is not the name of a host.
///
/// ```
/// use gesta_http::{HostName, ParseHostNameError};
///
/// let error: ParseHostNameError = "shop.example:443".parse::<HostName>().unwrap_err();
/// assert!(error.to_string().starts_with("`shop.example:443` is not the name of a host"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of a host; expected one such as shop.example, without a port")]
#[non_exhaustive]
pub struct ParseHostNameError {
    /// The text that was parsed.
    pub text: String,
}

impl FromStr for HostName {
    type Err = ParseHostNameError;

    fn from_str(text: &str) -> Result<Self, ParseHostNameError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = !text.is_empty() && text.bytes().all(plain);
        if is_name || address(text).is_some() {
            Ok(Self(normal(text)))
        } else {
            Err(ParseHostNameError { text: text.to_owned() })
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The allowed hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostNames(Arc<[HostName]>);

impl HostNames {
    pub(crate) fn new(hosts: impl IntoIterator<Item = HostName>) -> Self {
        Self(hosts.into_iter().collect())
    }

    /// Returns whether a host is allowed; it has no port.
    pub(crate) fn has(&self, host: &str) -> bool {
        let host = normal(host);
        self.0.iter().any(|known| known.0 == host)
    }
}

/// Returns the host of `host[:port]`.
pub(crate) fn without_port(authority: &str) -> &str {
    // The colons of an IPv6 address are inside its brackets.
    let end = authority.rfind(']').unwrap_or(0);
    match authority.get(end..).and_then(|rest| rest.rfind(':')) {
        Some(colon) => authority.get(..end + colon).unwrap_or(authority),
        None => authority,
    }
}

/// Returns whether a host, without a port, always is this machine. A name server is never asked for
/// such a host (RFC 6761, section 6.3), so another site cannot make its own name one of them.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = normal(host);
    let is_address = address(&host).is_some_and(|address| address.to_canonical().is_loopback());
    is_address || host == "localhost" || host.ends_with(".localhost")
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// Host names are compared without case, and without the dot of the root (RFC 3986, section 3.2.2).
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_host_is_after_the_address() {
        for (authority, host) in [
            ("shop.example:80", "shop.example"),
            ("shop.example", "shop.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:", "127.0.0.1"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }

    #[test]
    fn only_names_that_no_name_server_answers_are_loopback() {
        for host in ["localhost", "LocalHost.", "shop.localhost", "127.0.0.1", "127.9.9.9", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "127.0.0.1.example", "10.0.0.7", "[::2]"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
