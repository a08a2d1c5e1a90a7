//! Bearer tokens in the handshake of a WebSocket.
//!
//! A browser sets no header of a handshake but the list of subprotocols. A token may therefore be
//! one of them: `bearer.TOKEN`, beside the protocol that the socket is to speak. A token in the
//! first message would come too late: sockets would be open before anybody vouches for them, and
//! each protocol would need such a message.
//!
//! Invariants:
//! - The token counts like one in `Authorization`, and no handler and no answer sees it in the
//!   list.
//! - A handshake with a token in both places is refused.
//!
//! Not here: the check of the token ([`authenticate`](super::authenticate)), and pages of other
//! sites ([`cross_site`](super::cross_site)).

use axum::http::{HeaderMap, HeaderValue, header};

use super::cross_site::opens_socket;
use crate::Problem;

const BEARER: &str = "bearer.";
const FIELD: &str = "Sec-WebSocket-Protocol";

/// Moves the token of a handshake into `Authorization`.
///
/// # Errors
/// A 400 for a token that is empty, not the only one, or the only entry of the list.
pub(crate) fn take_socket_token(headers: &mut HeaderMap) -> Result<(), Problem> {
    if !opens_socket(headers) {
        return Ok(());
    }
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let entries = values.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    let entries = entries.map(str::trim).filter(|entry| !entry.is_empty());
    let (tokens, protocols): (Vec<_>, Vec<_>) =
        entries.partition(|entry| entry.starts_with(BEARER));
    let Some(token) = tokens.first() else { return Ok(()) };
    if tokens.len() > 1 || headers.contains_key(header::AUTHORIZATION) {
        return Err(Problem::invalid(FIELD, "has a token, and there is another one; send one"));
    }
    if protocols.is_empty() {
        // A browser fails a socket that answers with none of the protocols that it has offered.
        let reason = "has a token alone; add the protocol of the socket to the list";
        return Err(Problem::invalid(FIELD, reason));
    }
    let token = token.strip_prefix(BEARER).unwrap_or_default();
    let malformed = || Problem::invalid(FIELD, "has `bearer.` without a token");
    let bearer = (!token.is_empty()).then(|| HeaderValue::from_str(&format!("Bearer {token}")));
    let mut bearer = bearer.and_then(Result::ok).ok_or_else(malformed)?;
    bearer.set_sensitive(true);
    let protocols = HeaderValue::from_str(&protocols.join(", ")).map_err(|_| malformed())?;
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
    headers.insert(header::AUTHORIZATION, bearer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        for protocol in protocols {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_in_the_list_becomes_one_of_the_header() {
        for list in [&["gesta-events, bearer.a.b-c"][..], &["bearer.a.b-c", "gesta-events"]] {
            let mut headers = handshake(list);
            take_socket_token(&mut headers).unwrap();
            assert_eq!(headers[header::AUTHORIZATION], "Bearer a.b-c");
            assert!(headers[header::AUTHORIZATION].is_sensitive());
            assert_eq!(headers[header::SEC_WEBSOCKET_PROTOCOL], "gesta-events");
            assert_eq!(headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().count(), 1);
        }
    }

    #[test]
    fn a_handshake_without_a_token_stays_as_it_is() {
        let mut headers = handshake(&["gesta-events, bearer"]);
        take_socket_token(&mut headers).unwrap();
        assert_eq!(headers, handshake(&["gesta-events, bearer"]));
        let mut no_socket = handshake(&["bearer.a"]);
        no_socket.remove(header::UPGRADE);
        take_socket_token(&mut no_socket).unwrap();
        assert!(!no_socket.contains_key(header::AUTHORIZATION));
    }

    #[test]
    fn an_unclear_token_is_refused() {
        for list in ["bearer.a", "x, bearer.", "x, bearer.a, bearer.b"] {
            assert!(take_socket_token(&mut handshake(&[list])).is_err(), "{list}");
        }
        let mut both = handshake(&["x, bearer.a"]);
        both.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert!(take_socket_token(&mut both).is_err());
    }
}
