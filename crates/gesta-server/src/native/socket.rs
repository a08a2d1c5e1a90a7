//! `GET /v1/socket`: the handshake of a WebSocket (RFC 6455).
//!
//! Invariant: HTTP/1.1 only. Pages of other origins were refused before. Not here: the session
//! ([`session`](super::session)).

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, Version, header},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{
    native_call::NativeCall,
    problem::{Problem, ProblemCode},
    session,
};

/// The text that a server adds to the key of a client (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version of the protocol.
const VERSION: &str = "13";
const KEY_BYTES: usize = 16;

pub(super) async fn open_socket(mut call: NativeCall) -> Result<Response, Problem> {
    let key = checked_key(&call.headers)?;
    let upgrade = call.upgrade.take().filter(|_| call.version == Version::HTTP_11);
    let upgrade = upgrade.ok_or_else(|| refused("needs HTTP/1.1".to_owned()))?;
    let accept = accept_key(&key);
    let (node, caller) = (call.node, call.caller);
    let open = node.count_upgraded();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => session::run(TokioIo::new(upgraded), node, caller).await,
            Err(error) => tracing::debug!(%error, "a WebSocket was not opened"),
        }
        drop(open);
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty());
    response.map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()))
}

fn refused(what: String) -> Problem {
    Problem::new(ProblemCode::UpgradeRequired, format!("a WebSocket {what}"))
}

/// Checks the headers of the handshake and returns the client's key.
fn checked_key(headers: &HeaderMap) -> Result<String, Problem> {
    let has = |name: header::HeaderName, word: &str| {
        let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(refused("needs `Connection: upgrade` and `Upgrade: websocket`".to_owned()));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, VERSION) {
        return Err(refused(format!("needs `Sec-WebSocket-Version: {VERSION}`")));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let key =
        key.filter(|key| BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES));
    let refused = || refused("needs a `Sec-WebSocket-Key` of 16 bytes in base64".to_owned());
    key.map(str::to_owned).ok_or_else(refused)
}

fn accept_key(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(hash.as_ref())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_key_of_the_standard_is_accepted_with_its_answer() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
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
