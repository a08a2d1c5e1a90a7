//! Reading a body: its media type, its size and its content coding.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::LengthLimitError;

use crate::{
    GestaState, Problem,
    requests::{body_deadline::BodyTimeout, encoding::ContentCoding},
};

/// Checks that `Content-Type` is JSON in UTF-8 (RFC 8259, section 8.1).
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (essence, parameters) = media_type(content_type.unwrap_or_default());
    let unsupported = |detail: String| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(Problem::new(status, "unsupported-media-type", detail))
    };
    if !essence.eq_ignore_ascii_case("application/json") {
        return unsupported(match essence {
            "" => "`Content-Type` must be application/json; it is missing".to_owned(),
            other => format!("`Content-Type` must be application/json; got {other}"),
        });
    }
    let mut charsets = parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
    match charsets.find(|(_, charset)| !charset.eq_ignore_ascii_case("utf-8")) {
        None => Ok(()),
        Some((_, charset)) => {
            unsupported(format!("the charset of the body must be utf-8; got {charset}"))
        }
    }
}

/// Splits a media type into its essence and its parameters (RFC 9110, section 8.3.1). Values lose
/// their quotes; a parameter without a value gets an empty one.
fn media_type(text: &str) -> (&str, Vec<(&str, String)>) {
    // Not simply split at `;`: a quoted value may contain one.
    let (essence, mut rest) = text.split_once(';').unwrap_or((text, ""));
    let mut parameters = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let (value, behind) = match behind.strip_prefix("=\"") {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, _) = behind.split_once(';').unwrap_or((behind, ""));
                let unquoted = value.strip_prefix('=').unwrap_or(value).trim();
                (unquoted.to_owned(), behind.get(value.len()..).unwrap_or_default())
            }
        };
        if !name.trim().is_empty() {
            parameters.push((name.trim(), value));
        }
        rest = behind.split_once(';').map_or("", |(_, rest)| rest);
    }
    (essence.trim(), parameters)
}

/// Splits off a quoted string whose opening quote is consumed: its text, and the rest after it.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            // A quoted pair stands for its second character (RFC 9110, section 5.6.4).
            '\\' => text.extend(characters.next()),
            plain => text.push(plain),
        }
    }
    (text, characters.as_str())
}

/// Reads and decodes a body of at most [`Limits::body_bytes_max`](crate::Limits).
pub(super) async fn read(request: Request, state: &GestaState) -> Result<Bytes, Problem> {
    let max = state.request_limits().body_bytes_max;
    // Checked before the body is read, like everything in the head: a client that waits for
    // `100-continue` then does not send it.
    let coding = ContentCoding::of(request.headers())?;
    // A declared length refuses the body before anything of it is read.
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if length.is_some_and(|bytes: u64| bytes > max as u64) {
        return Err(too_large(max));
    }
    let wait_max = state.request_limits().body_wait_max;
    let body = read_within(request.into_body(), max, wait_max).await?;
    // The limit applies again: a few bytes of gzip can become many.
    coding.decode(body, max, || too_large(max))
}

async fn read_within(body: Body, max: usize, wait_max: Duration) -> Result<Bytes, Problem> {
    to_bytes(body, max).await.map_err(|error| {
        let error = error.into_inner();
        // A body without a declared length shows its size only while it is read.
        if error.is::<LengthLimitError>() {
            return too_large(max);
        }
        if BodyTimeout::is_in(&*error) {
            let seconds = wait_max.as_secs_f64();
            let detail = format!("the body did not arrive within {seconds} s; send it again");
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-late", detail);
        }
        Problem::invalid("body", "is incomplete: the connection ended before all of it arrived")
    })
}

fn too_large(max: usize) -> Problem {
    let detail = format!("the body is larger than the limit of {max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}
