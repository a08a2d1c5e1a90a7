//! The credentials in `connection_init`, for pages in browsers, which set no headers.
//!
//! Invariant: a client gives itself only the headers of a token and of an API key. Others, such as
//! those of a trusted proxy, say who the client is without a proof.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use gesta_http::SocketEnd;
use serde_json::Value;

const HEADERS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")];

/// Returns the headers in a payload, whose names may have capital letters. Other members are the
/// client's own.
///
/// # Errors
/// The end of the socket for a header that is no text, or given twice.
pub(super) fn credentials_of(payload: Option<Value>) -> Result<HeaderMap, SocketEnd> {
    let members = match payload {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(refused("`payload` must be an object")),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in members {
        let Some(header) = HEADERS.into_iter().find(|it| name.eq_ignore_ascii_case(it.as_str()))
        else {
            continue;
        };
        let text = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        let Some(mut text) = text else {
            return Err(refused(&format!("`{header}` must be a text in ASCII")));
        };
        text.set_sensitive(true);
        if headers.insert(header.clone(), text).is_some() {
            return Err(refused(&format!("`{header}` is given twice")));
        }
    }
    Ok(headers)
}

fn refused(reason: &str) -> SocketEnd {
    SocketEnd::told(4400, format!("Invalid message: {reason}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_gives_a_token_or_a_key_and_no_other_header() {
        let payload = json!({
            "Authorization": "Bearer a", "X-API-Key": "k", "X-Forwarded-User": "root", "more": 1,
        });
        let headers = credentials_of(Some(payload)).unwrap();
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers["authorization"], "Bearer a");
        assert_eq!(headers["x-api-key"], "k");
        assert!(!format!("{headers:?}").contains("Bearer"), "it is not shown");
        for none in [None, Some(Value::Null), Some(json!({}))] {
            assert!(credentials_of(none).unwrap().is_empty());
        }
    }

    #[test]
    fn a_payload_that_is_unclear_ends_the_socket() {
        for odd in [
            json!([]),
            json!({ "authorization": 7 }),
            json!({ "authorization": "a\nb" }),
            json!({ "authorization": "a", "Authorization": "b" }),
        ] {
            assert!(credentials_of(Some(odd.clone())).is_err(), "{odd}");
        }
    }
}
