//! The header `Host` (RFC 9112, section 3.2).
//!
//! Owns the rule of messages as connections carry them: a request of HTTP/1.1 has one `Host`, an
//! earlier one has at most one, and its value is a host with an optional port. Not here: any
//! meaning of the host; a router that is called without a connection needs none.

use std::net::Ipv6Addr;

use axum::{
    extract::Request,
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::Response,
};

use crate::{Problem, correlation};

/// Around the router of a connection: refuses requests without the `Host` that they have to have.
pub(crate) async fn hosts(request: Request, next: Next) -> Response {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => correlation::refuse(request.headers(), problem),
    }
}

fn check(request: &Request) -> Result<(), Problem> {
    let mut values = request.headers().get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (Some(host), None) if is_host(host) => Ok(()),
        (Some(_), None) => Err(invalid("is no host with an optional port")),
        (Some(_), Some(_)) => Err(invalid("stands more than once")),
        (None, _) if request.version() < Version::HTTP_11 => Ok(()),
        (None, _) => Err(invalid("is missing, which HTTP/1.1 asks for")),
    }
}

fn invalid(reason: &str) -> Problem {
    Problem::invalid("Host", reason)
}

/// `uri-host [ ":" port ]` (RFC 3986, section 3.2). It may be empty.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(literal) = text.strip_prefix('[') {
        let Some((address, rest)) = literal.split_once(']') else { return false };
        let has_port = rest.strip_prefix(':').is_some_and(is_port);
        return (rest.is_empty() || has_port) && is_address(address);
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    is_port(port) && is_name(name)
}

/// An address of IPv6, or of a version to come.
fn is_address(text: &str) -> bool {
    let of_the_future = || {
        let (version, address) = text.strip_prefix(['v', 'V'])?.split_once('.')?;
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_hexdigit());
        let plain = |byte: u8| is_plain(byte) || byte == b':';
        Some(is_version && !address.is_empty() && address.bytes().all(plain))
    };
    text.parse::<Ipv6Addr>().is_ok() || of_the_future().unwrap_or(false)
}

fn is_name(text: &str) -> bool {
    let mut parts = text.split('%');
    let first_is_plain = parts.next().is_none_or(|part| part.bytes().all(is_plain));
    // Behind each `%` stand two hexadecimal digits.
    let is_escaped = |part: &str| {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        Some(digits.iter().all(u8::is_ascii_hexdigit) && rest.iter().copied().all(is_plain))
    };
    first_is_plain && parts.all(|part| is_escaped(part).unwrap_or(false))
}

/// A byte that stands for itself in a name: `unreserved` and `sub-delims`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}
