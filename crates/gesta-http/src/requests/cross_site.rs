//! Refusal of changes that pages of other sites send (cross-site request forgery), and of their
//! WebSockets.
//!
//! A browser sends some changes across sites without asking the server first: forms, and requests
//! without a body. It withholds the response, but the change has happened. A browser marks such
//! requests with `Sec-Fetch-Site` (Fetch Metadata) or `Origin` (RFC 6454); other clients send
//! neither. A page may also read and write a WebSocket at any site: browsers leave the check of the
//! origin to the server (RFC 6455, section 10.2).
//!
//! Invariants:
//! - A change, or a handshake of a WebSocket, with a foreign origin that is not allowed never
//!   reaches a handler.
//! - A request without both headers is not refused.
//!
//! Not here: reads, whose responses the browser withholds ([`cors`](super::cors)), and names of
//! other sites that resolve to this machine ([`serve`](mod@crate::serve)).

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{GestaState, Problem};

/// The relation of the page to this server: `same-origin`, `same-site`, `cross-site` or `none`.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Middleware that refuses changes from pages of other origins.
pub(crate) async fn same_site(
    State(state): State<GestaState>,
    request: Request,
    next: Next,
) -> Response {
    let opens_socket = opens_socket(request.headers());
    let is_allowed = (is_safe(request.method()) && !opens_socket)
        || state.origins().allowed(request.headers()).is_some()
        || is_own(request.headers(), request.uri());
    if is_allowed {
        return next.run(request).await;
    }
    let what = if opens_socket { "open a WebSocket" } else { "change anything" };
    refusal(request.headers(), what).into_response()
}

/// Returns whether a request is the handshake of a WebSocket.
pub(crate) fn opens_socket(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::UPGRADE).into_iter();
    let mut protocols = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Safe methods change nothing (RFC 9110, section 9.2.1).
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Returns whether a request comes from a page of this server, or from no page.
fn is_own(headers: &HeaderMap, uri: &Uri) -> bool {
    // First, because a browser knows the server's public name, which a proxy may hide from `Host`.
    // `none` is a request of the user, such as from the address bar.
    if let Some(site) = headers.get(FETCH_SITE) {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    // The scheme is not compared: behind a proxy the server does not know its own.
    let page = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    // A target with a host goes before the header (RFC 9112, section 3.2.2).
    let target = uri.authority().map(|authority| authority.as_str());
    let host = target.or_else(|| headers.get(header::HOST)?.to_str().ok());
    matches!((page, host), (Some((_, page)), Some(host)) if page.eq_ignore_ascii_case(host))
}

fn refusal(headers: &HeaderMap, what: &str) -> Problem {
    let origin = headers.get(header::ORIGIN).map(|it| String::from_utf8_lossy(it.as_bytes()));
    let detail = match origin {
        Some(origin) => format!(
            "a page of `{origin}` may not {what} here; if it should, add `{origin}` to \
             the allowed origins of the server"
        ),
        None => format!(
            "a page of another site may not {what} here; if it should, add its origin to the \
             allowed origins of the server"
        ),
    };
    Problem::new(StatusCode::FORBIDDEN, "cross-site", detail)
}
