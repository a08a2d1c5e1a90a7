//! The handshake of a WebSocket (RFC 6455, section 4.2).
//!
//! Invariant: HTTP/1.1 only, and only with the version of the protocol that has a standard.

use std::fmt;

use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::upgrade::OnUpgrade;
use sha1_smol::Sha1;

use super::text_socket::TextSocket;
use crate::{GestaState, Problem};

/// The text that a server adds to the key of a client (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version of the protocol.
const VERSION: &str = "13";
const KEY_BYTES: usize = 16;

/// A request to open a WebSocket, as an extractor.
///
/// Works over HTTP/1.1, in a router that is served by [`serve`](fn@crate::serve) or `axum::serve`.
/// A request that opens no socket is refused with 426.
///
/// Inside [`HttpRules`](crate::HttpRules) a page in a browser, which sets no headers, sends its
/// token or API key as a subprotocol: `new WebSocket(url, ["echo", "bearer." + token])`. It counts
/// like one in `Authorization`, and is none of the protocols that are offered.
///
/// ```
/// use axum::{Router, routing::get};
/// use gesta::Gesta;
/// use gesta_http::{GestaState, HttpRules, SocketRequest};
///
/// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
/// let state = GestaState::new(Gesta::at("memory:").open().await?);
/// let echo = get(async |request: SocketRequest| {
///     request.open(async |mut socket| {
///         let end = loop {
///             match socket.receive().await {
///                 Ok(text) => match socket.send(text).await {
///                     Ok(()) => {}
///                     Err(end) => break end,
///                 },
///                 Err(end) => break end,
///             }
///         };
///         socket.end(end).await;
///     })
/// });
/// let router = Router::new().route("/echo", echo).layer(HttpRules::new(&state));
/// # let router: Router = router.with_state(state);
/// # drop(router);
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
pub struct SocketRequest {
    upgrade: OnUpgrade,
    key: String,
    offered: Vec<String>,
    /// The subprotocol that the socket has.
    protocol: Option<&'static str>,
    state: GestaState,
}

impl<S> FromRequestParts<S> for SocketRequest
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let key = checked_key(&parts.headers)?;
        // Taken out: whoever keeps the parts must not keep the connection.
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade = upgrade.filter(|_| parts.version == Version::HTTP_11);
        let upgrade = upgrade.ok_or_else(|| refused("needs HTTP/1.1".to_owned()))?;
        let offered = list(&parts.headers, header::SEC_WEBSOCKET_PROTOCOL).map(str::to_owned);
        let offered = offered.collect();
        Ok(Self { upgrade, key, offered, protocol: None, state: GestaState::from_ref(state) })
    }
}

impl SocketRequest {
    /// Returns whether the client offers subprotocols. A browser that does needs one of them.
    #[must_use]
    pub fn offers_protocols(&self) -> bool {
        !self.offered.is_empty()
    }

    /// Selects the subprotocol of the socket.
    ///
    /// # Errors
    /// A problem (426) if the client does not offer it.
    pub fn protocol(self, name: &'static str) -> Result<Self, Problem> {
        if self.offered.iter().any(|offered| offered == name) {
            return Ok(Self { protocol: Some(name), ..self });
        }
        let got = match self.offered.is_empty() {
            true => "none".to_owned(),
            false => format!("`{}`", self.offered.join(", ")),
        };
        Err(refused(format!("needs `Sec-WebSocket-Protocol: {name}` here; got {got}")))
    }

    /// Returns the response that opens the socket, and gives it to a session, which runs on a task
    /// of its own.
    pub fn open<F>(self, session: impl FnOnce(TextSocket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { upgrade, key, protocol, state, .. } = self;
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => session(TextSocket::new(upgraded, state).await).await,
                Err(error) => tracing::debug!(%error, "a WebSocket was not opened"),
            }
        });
        let mut response = (StatusCode::SWITCHING_PROTOCOLS, Body::empty()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted(&key));
        if let Some(protocol) = protocol {
            let protocol = HeaderValue::from_static(protocol);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

impl fmt::Debug for SocketRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketRequest").field("offered", &self.offered).finish_non_exhaustive()
    }
}

/// Checks the headers of the handshake and returns the client's key.
fn checked_key(headers: &HeaderMap) -> Result<String, Problem> {
    let has = |name, word: &str| list(headers, name).any(|one| one.eq_ignore_ascii_case(word));
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(refused("needs `Connection: upgrade` and `Upgrade: websocket`".to_owned()));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, VERSION) {
        return Err(refused(format!("needs `Sec-WebSocket-Version: {VERSION}`")));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let is_key =
        |key: &&str| BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
    let no_key = || refused("needs a `Sec-WebSocket-Key` of 16 bytes in base64".to_owned());
    key.filter(is_key).map(str::to_owned).ok_or_else(no_key)
}

/// Returns the entries of a header that is a list.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

fn refused(what: String) -> Problem {
    let detail = format!("this path opens a WebSocket, which {what}");
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail)
}

fn accepted(key: &str) -> HeaderValue {
    let hash = Sha1::from(format!("{key}{GUID}")).digest().bytes();
    HeaderValue::from_str(&BASE64_STANDARD.encode(hash)).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_standard_is_accepted_with_its_answer() {
        assert_eq!(accepted("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_incomplete_handshake_is_refused() {
        let complete = [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "WebSocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let headers = |without: Option<usize>| -> HeaderMap {
            let kept = complete.iter().enumerate().filter(|(at, _)| Some(*at) != without);
            kept.map(|(_, (name, value))| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        assert!(checked_key(&headers(None)).is_ok());
        for without in 0..complete.len() {
            assert!(checked_key(&headers(Some(without))).is_err(), "{without}");
        }
        let mut short = headers(None);
        short.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("AAAA"));
        assert!(checked_key(&short).is_err());
    }
}
