//! The headers of requests and answers, beside those that every HTTP server knows.
//!
//! Always holds: a header that cannot be read is named in the problem, and none is guessed at; a
//! header that may stand once is refused when it stands twice.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use gesta::{CommandId, Position, Revision};
use serde_json::{Value, json};

use crate::Problem;

/// In answers: how far the store was; in requests: how far a read model has to be.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("gesta-position");
/// The id that makes a repeated command the same command.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Which conversation a request belongs to.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The last event that a feed's reader has seen.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Headers that are no lists, and are named to clients like this.
const SINGLE: [(HeaderName, &str); 4] = [
    (header::CONTENT_TYPE, "Content-Type"),
    (IDEMPOTENCY_KEY, "Idempotency-Key"),
    (POSITION, "Gesta-Position"),
    (LAST_EVENT_ID, "Last-Event-ID"),
];

/// Around all handlers: refuses a request with two headers of which it may have one, whether its
/// handler reads them or not (RFC 9110, section 5.3).
pub(crate) async fn single(request: Request, next: Next) -> Response {
    match doubled(request.headers()) {
        Some(shown) => Problem::invalid(shown, TWICE).into_response(),
        None => next.run(request).await,
    }
}

fn doubled(headers: &HeaderMap) -> Option<&'static str> {
    let is_doubled = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    SINGLE.into_iter().find(|(name, _)| is_doubled(name)).map(|(_, shown)| shown)
}

const TWICE: &str = "stands more than once";

/// The text of a header, if there is one.
pub(crate) fn text(
    headers: &HeaderMap,
    name: HeaderName,
    shown: &'static str,
) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid(shown, TWICE));
    }
    match value.to_str() {
        Ok(text) if is_token(text) => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => Err(Problem::invalid(shown, "is not 1 to 255 visible ASCII characters")),
    }
}

fn is_token(text: &str) -> bool {
    (1..=CommandId::BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What [`text`] accepts.
pub(crate) fn token_schema() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": CommandId::BYTES_MAX,
        "pattern": "^[!-~]+$",
    })
}

/// The position of a header, if there is one.
pub(crate) fn position(
    parts: &Parts,
    name: HeaderName,
    shown: &'static str,
) -> Result<Option<Position>, Problem> {
    let text = text(&parts.headers, name, shown)?;
    text.map(|text| parse_position(shown, &text)).transpose()
}

/// A position from its digits.
pub(crate) fn parse_position(field: &str, text: &str) -> Result<Position, Problem> {
    match whole_number(text) {
        Some(number) => Ok(Position::new(number)),
        None => Err(Problem::invalid(field, "is not a position, which is a whole number")),
    }
}

/// No sign, no leading zeros, as many digits as a database's integers have for sure.
pub(crate) fn whole_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if plain && canonical && text.len() <= 18 { text.parse().ok() } else { None }
}

/// What [`parse_position`] accepts.
pub(crate) fn position_schema() -> Value {
    json!({ "type": "string", "pattern": "^(0|[1-9][0-9]{0,17})$" })
}

/// A revision as an entity tag, which gets its incarnation on the way out.
pub(crate) fn etag(revision: Revision) -> HeaderValue {
    value(&format!("\"{revision}\""))
}

/// A text of visible ASCII as a header's value.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII makes a header")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(name: HeaderName, values: &[&str]) -> Parts {
        let mut request = Request::builder();
        for value in values {
            request = request.header(name.clone(), *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_header_that_stands_twice_is_refused() {
        let twice = parts(POSITION, &["1", "2"]);
        let problem = position(&twice, POSITION, "Gesta-Position").unwrap_err();
        assert_eq!(problem.to_json()["field"], "Gesta-Position");
    }

    #[test]
    fn a_position_is_digits_and_nothing_else() {
        for odd in ["-1", "+1", "1.0", "01", "9999999999999999999"] {
            let odd_parts = parts(POSITION, &[odd]);
            assert!(position(&odd_parts, POSITION, "Gesta-Position").is_err(), "{odd}");
        }
        let zero = position(&parts(POSITION, &["0"]), POSITION, "Gesta-Position");
        assert_eq!(zero.unwrap(), Some(Position::START));
    }
}
