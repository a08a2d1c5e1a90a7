//! Validation of the `Host` header (RFC 9112, section 3.2), and refusal of foreign hosts.
//!
//! An HTTP/1.1 request has exactly one `Host`, an earlier one at most one; its value is a host with
//! an optional port. Applies to connections only: a router that is called directly needs no `Host`.
//!
//! Invariant: a listener on loopback serves no request for a host that is neither loopback nor
//! allowed. A browser on this machine reaches such a listener, and a site whose name resolves to
//! loopback (DNS rebinding) would pass for the server's own origin.

use std::net::{IpAddr, Ipv6Addr};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Version, header},
    middleware::Next,
    response::Response,
};

use crate::{
    GestaState, Problem,
    requests::correlation,
    wire::{
        headers::REPEATED,
        host_name::{HostNames, is_loopback, without_port},
        origin::Origins,
    },
};

/// The hosts that a listener serves.
#[derive(Clone, Debug)]
pub(crate) enum HostRule {
    /// All: the listener is for other machines, which know it by names that it does not know.
    Any,
    /// Loopback, and what is configured.
    Loopback { hosts: HostNames, origins: Origins },
}

impl HostRule {
    /// Returns the rule of a listener on this address.
    pub(crate) fn new(address: IpAddr, state: &GestaState) -> Self {
        if address.to_canonical().is_loopback() {
            Self::Loopback { hosts: state.hosts().clone(), origins: state.origins().clone() }
        } else {
            Self::Any
        }
    }

    fn check(&self, host: &str) -> Result<(), Problem> {
        let Self::Loopback { hosts, origins } = self else { return Ok(()) };
        let host = without_port(host);
        // An empty host is none (RFC 9110, section 7.2); browsers always send one.
        if host.is_empty() || is_loopback(host) || hosts.has(host) || origins.has_host(host) {
            return Ok(());
        }
        let detail = format!(
            "`Host` must be localhost or a loopback address, because this server listens on \
             loopback only; got `{host}`. If `{host}` is a name of this server, add it to its \
             allowed hosts, or its origin to the allowed origins"
        );
        Err(Problem::new(StatusCode::FORBIDDEN, "foreign-host", detail))
    }
}

/// Middleware around the router of a connection that refuses requests without a valid `Host`.
pub(crate) async fn check_host(
    State(rule): State<HostRule>,
    request: Request,
    next: Next,
) -> Response {
    match check(&request, &rule) {
        Ok(()) => next.run(request).await,
        // This runs around the router, so no other middleware has added the correlation id.
        Err(problem) => correlation::refuse(request.headers(), problem),
    }
}

fn check(request: &Request, rule: &HostRule) -> Result<(), Problem> {
    let mut values = request.headers().get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        // A target with a host goes before the header (RFC 9112, section 3.2.2).
        (Some(host), None) if is_host(host) => match request.uri().authority() {
            Some(target) => rule.check(target.as_str()),
            None => rule.check(host.to_str().unwrap_or_default()),
        },
        (Some(_), None) => {
            Err(invalid("must be a host with an optional port, such as example.org:8080"))
        }
        // A proxy may have routed by one of them, and an application may use the other.
        (Some(_), Some(_)) => Err(invalid(REPEATED)),
        // `Host` came with HTTP/1.1.
        (None, _) if request.version() < Version::HTTP_11 => Ok(()),
        (None, _) => Err(invalid("is missing; HTTP/1.1 requires it")),
    }
}

fn invalid(reason: &str) -> Problem {
    Problem::invalid("Host", reason)
}

/// Checks for `uri-host [ ":" port ]` (RFC 3986, section 3.2); the host may be empty.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    // The colons of an IPv6 address are not a port's, hence its brackets (RFC 3986, section 3.2.2).
    if let Some(literal) = text.strip_prefix('[') {
        let Some((address, rest)) = literal.split_once(']') else { return false };
        let has_port = rest.strip_prefix(':').is_some_and(is_port);
        return (rest.is_empty() || has_port) && is_address(address);
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    is_port(port) && is_name(name)
}

/// Checks for an IPv6 address, or a future version's (`IPvFuture`).
fn is_address(text: &str) -> bool {
    let is_future = || {
        let (version, address) = text.strip_prefix(['v', 'V'])?.split_once('.')?;
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit());
        let plain = |byte: u8| is_plain(byte) || byte == b':';
        Some(is_version && !address.is_empty() && address.bytes().all(plain))
    };
    text.parse::<Ipv6Addr>().is_ok() || is_future().unwrap_or(false)
}

fn is_name(text: &str) -> bool {
    let mut parts = text.split('%');
    let first_is_plain = parts.next().is_none_or(|part| part.bytes().all(is_plain));
    // Each part after the first follows a `%`, so it starts with two hexadecimal digits.
    let is_escaped = |part: &str| {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        Some(digits.iter().all(u8::is_ascii_hexdigit) && rest.iter().copied().all(is_plain))
    };
    first_is_plain && parts.all(|part| is_escaped(part).unwrap_or(false))
}

/// Checks for a byte that needs no escape in a name: `unreserved` or `sub-delims`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}
