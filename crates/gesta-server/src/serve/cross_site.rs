//! Requests that pages of other sites send (cross-site request forgery).
//!
//! A browser sends some requests across sites without asking the server first, with the credentials
//! that it has. It marks them by `Sec-Fetch-Site` (Fetch Metadata) or `Origin` (RFC 6454); other
//! clients send neither. A handshake of a WebSocket has `Origin` always, and a browser lets any
//! page read what comes over it.
//!
//! Invariants: a request with a foreign origin is refused, also a read; so is a change that a
//! browser marks as foreign. A link to a page of this server works, and a request without both
//! headers is not refused.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Method, header},
};

/// The relation of the page to this server: `same-origin`, `same-site`, `cross-site` or `none`.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns `true` for a request of a page that is not of this server.
pub(super) fn is_foreign(request: &Request) -> bool {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    is_from_elsewhere(request.method(), request.headers(), authority)
}

fn is_from_elsewhere(method: &Method, headers: &HeaderMap, authority: Option<&str>) -> bool {
    // Asked first, because a browser knows the server's public name, which a proxy may hide from
    // `Host`. `none` is a request of the user, such as from the address bar.
    let site = headers.get(FETCH_SITE);
    if site.is_some_and(|site| site == "same-origin" || site == "none") {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        return site.is_some() && !is_safe;
    };
    // The scheme is not compared: behind a proxy the server does not know its own.
    let page = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(authority);
    !matches!((page, host), (Some((_, page)), Some(host)) if page.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(method: Method, pairs: &[(HeaderName, &str)]) -> bool {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        is_from_elsewhere(&method, &pairs.collect(), Some("events.example"))
    }

    #[test]
    fn pages_of_other_origins_are_refused_and_own_pages_and_programs_are_not() {
        let host = (header::HOST, "localhost:2113");
        let origin = |text| (header::ORIGIN, text);
        let site = |text| (FETCH_SITE, text);
        for method in [Method::GET, Method::POST] {
            let refused = |pairs: &[_]| is_refused(method.clone(), pairs);
            assert!(!refused(std::slice::from_ref(&host)));
            assert!(!refused(&[host.clone(), origin("http://LOCALHOST:2113")]));
            assert!(!refused(&[origin("https://events.example")]));
            assert!(!refused(&[host.clone(), origin("https://a.example"), site("same-origin")]));
            assert!(refused(&[host.clone(), origin("http://localhost:3000")]));
            assert!(refused(&[host.clone(), origin("null")]));
            assert!(refused(&[host.clone(), origin("https://a.example"), site("cross-site")]));
        }
        assert!(!is_refused(Method::GET, &[host.clone(), site("cross-site")]), "a link");
        assert!(is_refused(Method::DELETE, &[host, site("same-site")]));
    }
}
