//! Gesta's own request and response headers.
//!
//! Invariants: a header that cannot be read is refused and named in the problem; a single-valued
//! header that is repeated is refused.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use gesta::{CommandId, Position, RecordedWhen, Revision};
use serde_json::{Value, json};

use crate::Problem;

/// In responses, the position that is reflected; in requests, the position that must be.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("gesta-position");
/// In responses to commands, the attempt that recorded the result: `now` or `earlier`.
pub(crate) const RECORDED: HeaderName = HeaderName::from_static("gesta-recorded");
/// The key that makes a retried command the same command.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The conversation of a request.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The last event that the reader of a feed has received.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The API key of a request.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Single-valued headers, with their names as shown in problems. Others, such as `If-Match` and
/// `Accept`, are lists and may be repeated.
const SINGLE: [(HeaderName, &str); 7] = [
    (header::AUTHORIZATION, "Authorization"),
    (API_KEY, "X-Api-Key"),
    (header::CONTENT_TYPE, "Content-Type"),
    (IDEMPOTENCY_KEY, "Idempotency-Key"),
    (POSITION, "Gesta-Position"),
    (LAST_EVENT_ID, "Last-Event-ID"),
    (header::ORIGIN, "Origin"),
];

/// Middleware that refuses repeated single-valued headers (RFC 9110, section 5.3) and malformed
/// positions, even if the handler does not read them.
pub(crate) async fn single(request: Request, next: Next) -> Response {
    if let Some(shown) = repeated(request.headers()) {
        return Problem::invalid(shown, REPEATED).into_response();
    }
    // A client that sends its position with each request must learn that it is none. A valid one
    // holds for changes, too: they decide on the newest events.
    match position(request.headers(), POSITION, "Gesta-Position") {
        Ok(_) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn repeated(headers: &HeaderMap) -> Option<&'static str> {
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    SINGLE.into_iter().find(|(name, _)| is_repeated(name)).map(|(_, shown)| shown)
}

/// The reason for refusing a header or parameter that is given more than once.
pub(crate) const REPEATED: &str = "is given several times; send it once";

/// Returns the text of a header, or `None` if it is absent.
pub(crate) fn text(
    headers: &HeaderMap,
    name: HeaderName,
    shown: &'static str,
) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid(shown, REPEATED));
    }
    match value.to_str() {
        // `to_str` also accepts spaces and tabs.
        Ok(text) if is_token(text) => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => Err(Problem::invalid(
            shown,
            "must have 1 to 255 visible ASCII characters and no spaces",
        )),
    }
}

fn is_token(text: &str) -> bool {
    (1..=CommandId::BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Returns the schema of a header read by [`text`].
pub(crate) fn token_schema() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": CommandId::BYTES_MAX,
        "pattern": "^[!-~]+$",
    })
}

/// Returns the schema of an idempotency key: a token, or a quoted string (RFC 8941).
pub(crate) fn key_schema() -> Value {
    let mut schema = token_schema();
    if let Value::Object(members) = &mut schema {
        let pattern = r#"^([!#-~][!-~]*|"([ !#-\[\]-~]|\\["\\])+")$"#;
        members.insert("pattern".to_owned(), pattern.into());
    }
    schema
}

/// Returns the position in a header, or `None` if it is absent.
pub(crate) fn position(
    headers: &HeaderMap,
    name: HeaderName,
    shown: &'static str,
) -> Result<Option<Position>, Problem> {
    let text = text(headers, name, shown)?;
    text.map(|text| parse_position(shown, &text)).transpose()
}

/// Parses a position.
pub(crate) fn parse_position(field: &str, text: &str) -> Result<Position, Problem> {
    match whole_number(text) {
        Some(number) => Ok(Position::new(number)),
        None => {
            let reason = format!(
                "must be a position: a whole number of up to 18 digits, without leading zeros; \
                 got `{text}`"
            );
            Err(Problem::invalid(field, reason))
        }
    }
}

/// Greatest number that [`whole_number`] parses.
pub(crate) const WHOLE_NUMBER_MAX: u64 = 999_999_999_999_999_999;

/// Parses a whole number without sign and leading zeros, of up to 18 digits: these fit into the
/// signed 64-bit integers of databases.
pub(crate) fn whole_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    // One spelling for each number: caches compare entity tags as texts.
    let canonical = text == "0" || !text.starts_with('0');
    if plain && canonical && text.len() <= 18 { text.parse().ok() } else { None }
}

/// Returns the schema of what [`parse_position`] accepts.
pub(crate) fn position_schema() -> Value {
    json!({ "type": "string", "pattern": "^(0|[1-9][0-9]{0,17})$" })
}

/// Returns a revision as an entity tag. The middleware
/// [`conditional`](crate::requests::preconditions::conditional) adds the incarnation.
pub(crate) fn etag(revision: Revision) -> HeaderValue {
    value(&format!("\"{revision}\""))
}

/// Returns the value of `Gesta-Recorded`.
pub(crate) fn recorded(when: RecordedWhen) -> HeaderValue {
    HeaderValue::from_static(match when {
        RecordedWhen::Earlier => "earlier",
        RecordedWhen::Now => "now",
    })
}

/// Returns the schema of what [`recorded`] returns.
pub(crate) fn recorded_schema() -> Value {
    json!({ "type": "string", "enum": ["now", "earlier"] })
}

/// Returns a text of visible ASCII as a header value.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII makes a header")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut request = Request::builder();
        for value in values {
            request = request.header(name.clone(), *value);
        }
        request.body(()).unwrap().into_parts().0.headers
    }

    #[test]
    fn a_repeated_header_is_refused() {
        let twice = headers(POSITION, &["1", "2"]);
        let problem = position(&twice, POSITION, "Gesta-Position").unwrap_err();
        assert_eq!(problem.to_json()["field"], "Gesta-Position");
    }

    #[test]
    fn a_position_is_digits_and_nothing_else() {
        for text in ["-1", "+1", "1.0", "01", "9999999999999999999"] {
            let odd = headers(POSITION, &[text]);
            assert!(position(&odd, POSITION, "Gesta-Position").is_err(), "{text}");
        }
        let zero = position(&headers(POSITION, &["0"]), POSITION, "Gesta-Position");
        assert_eq!(zero.unwrap(), Some(Position::START));
    }
}
