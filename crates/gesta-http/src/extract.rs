//! What requests say: bodies, paths, query strings.
//!
//! Always holds: what cannot be read is answered with a problem that names the field; a field that
//! nobody knows is refused, not left out; a body is never read beyond the limit.

use std::ops::Deref;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use http_body_util::LengthLimitError;
use serde::de::{
    DeserializeOwned,
    value::{Error as ValueError, MapDeserializer},
};

use crate::{
    Describe, Edge, Fields, Operation, Problem, Schema,
    operation::{Place, Required},
};

/// A body of JSON.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// A body of JSON that may be left out when every field of it may.
#[derive(Clone, Copy, Debug)]
pub struct OptionalJsonBody<T>(pub T);

/// The parameters of a path.
#[derive(Clone, Copy, Debug)]
pub struct PathOf<T>(pub T);

/// The parameters of a query string.
#[derive(Clone, Copy, Debug)]
pub struct QueryOf<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Edge> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Problem> {
        check_media_type(request.headers())?;
        let body = read(request, edge).await?;
        Ok(Self(parse(&body)?))
    }
}

impl<T: DeserializeOwned> FromRequest<Edge> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Problem> {
        let media_type = check_media_type(request.headers());
        let body = read(request, edge).await?;
        if body.is_empty() {
            return Ok(Self(parse(b"{}")?));
        }
        media_type?;
        Ok(Self(parse(&body)?))
    }
}

/// `application/json`, or a subtype that ends with `+json`; in UTF-8, if a charset is said.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = said.and_then(|text| text.split(';').next()).unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    if essence == "application/json" {
        return Ok(());
    }
    let detail = "the body has to be application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

async fn read(request: Request, edge: &Edge) -> Result<Bytes, Problem> {
    let max = edge.limits_of().body_bytes_max;
    let said = request.headers().get(header::CONTENT_LENGTH);
    let said = said.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if said.is_some_and(|bytes: u64| bytes > max as u64) {
        return Err(too_large(max));
    }
    read_within(request.into_body(), max).await
}

async fn read_within(body: Body, max: usize) -> Result<Bytes, Problem> {
    to_bytes(body, max).await.map_err(|error| {
        if error.into_inner().is::<LengthLimitError>() {
            return too_large(max);
        }
        Problem::invalid("body", "ended before it was complete")
    })
}

fn too_large(max: usize) -> Problem {
    let detail = format!("a body has at most {max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        if error.inner().is_syntax() || error.inner().is_eof() {
            return Problem::invalid("body", error.inner().to_string());
        }
        let field = field_of(&error.path().to_string(), &error.inner().to_string());
        Problem::invalid(field, error.inner().to_string())
    })?;
    deserializer.end().map_err(|error| Problem::invalid("body", error.to_string()))?;
    Ok(value)
}

/// The path to what could not be read. What is missing or not known has no path of its own, but
/// serde's message names it in backquotes.
fn field_of(path: &str, message: &str) -> String {
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    match (path, named) {
        (".", None) => "body".to_owned(),
        (".", Some(name)) => name.to_owned(),
        (path, Some(name)) if path.rsplit('.').next() != Some(name) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    }
}

impl<T: DeserializeOwned> FromRequestParts<Edge> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        let raw = RawPathParams::from_request_parts(parts, edge).await;
        let raw = raw.map_err(|error| Problem::invalid("path", error.body_text()))?;
        Ok(Self(of_pairs(raw.iter())?))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Edge> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Edge) -> Result<Self, Problem> {
        let pairs = query_pairs(parts)?;
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Ok(Self(of_pairs(pairs)?))
    }
}

/// The names and values of a query string.
pub(crate) fn query_pairs(parts: &Parts) -> Result<Vec<(String, String)>, Problem> {
    let text = parts.uri.query().unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    match pairs.iter().find(|(name, value)| broken(name) || broken(value)) {
        Some((name, _)) => Err(Problem::invalid(name.clone(), "is not UTF-8")),
        None => Ok(pairs),
    }
}

fn of_pairs<'p, T: DeserializeOwned>(
    pairs: impl Iterator<Item = (&'p str, &'p str)>,
) -> Result<T, Problem> {
    let values = pairs.map(|(name, value)| (name, Text(value)));
    let deserializer = MapDeserializer::<_, ValueError>::new(values);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let message = error.inner().to_string();
        Problem::invalid(field_of(&error.path().to_string(), &message), message)
    })
}

/// A value of a URL: a text, or a number or a truth that is written as one.
struct Text<'p>(&'p str);

mod text;

impl<T> Deref for PathOf<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for QueryOf<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Schema> Describe for JsonBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(Required::Yes);
        describe_body_problems(operation);
    }
}

impl<T: Schema> Describe for OptionalJsonBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(Required::No);
        describe_body_problems(operation);
    }
}

fn describe_body_problems(operation: &mut Operation<'_>) {
    operation.problem(400, "the field that is named makes no sense");
    operation.problem(413, "the body is too large");
    operation.problem(415, "the body is not application/json");
}

impl<T: Fields> Describe for PathOf<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters::<T>(Place::Path);
        operation.problem(400, "the field that is named makes no sense");
    }
}

impl<T: Fields> Describe for QueryOf<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters::<T>(Place::Query);
        operation.problem(400, "the field that is named makes no sense");
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Door {
        width: u8,
        open: Option<bool>,
        hinges: Option<Vec<Hinge>>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Hinge {
        screws: u8,
    }

    fn field_of_body(json: &str) -> String {
        let problem = parse::<Door>(json.as_bytes()).unwrap_err();
        problem.to_json()["field"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_body_that_cannot_be_read_is_answered_with_the_field() {
        for (json, field) in [
            (r#"{"width": "2"}"#, "width"),
            (r#"{"open": true}"#, "width"),
            (r#"{"width": 2, "depth": 1}"#, "depth"),
            (r#"{"width": 2, "width": 1}"#, "width"),
            (r#"{"width": 2, "hinges": [{"screws": 1}, {"screws": -1}]}"#, "hinges[1].screws"),
            (r#"{"width": 2, "hinges": [{}]}"#, "hinges[0].screws"),
            (r#"{"width": 2, "hinges": [{"screws": 1, "nails": 1}]}"#, "hinges[0].nails"),
            (r#"{"width": 2"#, "body"),
            ("{", "body"),
            ("[]", "body"),
            (r#"{"width": 2} {}"#, "body"),
        ] {
            assert_eq!(field_of_body(json), field, "{json}");
        }
    }

    #[test]
    fn a_parameter_that_cannot_be_read_is_answered_with_its_name() {
        let read = |pairs: &[(&str, &str)]| of_pairs::<Door>(pairs.iter().copied());
        assert_eq!(read(&[("width", "2"), ("open", "true")]).unwrap().open, Some(true));
        for (pairs, field) in [
            (vec![("width", "wide")], "width"),
            (vec![("width", "")], "width"),
            (vec![("width", "2"), ("open", "1")], "open"),
            (vec![("width", "2"), ("depth", "1")], "depth"),
            (vec![("width", "2"), ("width", "2")], "width"),
            (vec![], "width"),
        ] {
            assert_eq!(read(&pairs).unwrap_err().to_json()["field"], field, "{pairs:?}");
        }
    }
}
