//! Extractors of bodies, path parameters and query strings.
//!
//! Invariants:
//! - Input that cannot be read is answered with a problem that names the field.
//! - An unknown field is refused, not ignored.
//! - A body is never read or inflated beyond [`Limits::body_bytes_max`](crate::Limits).

mod body;
mod faults;
mod parsing;
pub(crate) mod repeated;
mod url_value;
pub(crate) mod with_page;
mod wording;

use std::ops::Deref;

use axum::{
    body::Bytes,
    extract::{FromRef, FromRequest, FromRequestParts, RawPathParams, Request},
    http::{Uri, request::Parts},
};
use gesta::InvalidField;
use serde::de::DeserializeOwned;

use self::{
    body::{check_media_type, read},
    parsing::{by_name, of_value, of_values_once, parse},
    wording::worded,
};
use crate::{
    Describe, Fields, GestaState, Operation, Problem, Schema, Schemas,
    wire::{
        operation::{BodyPresence, ParameterIn},
        problem::VALIDATION_FAILED,
    },
};

/// A required JSON body.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// An optional JSON body; an absent one is read as `{}`.
#[derive(Clone, Copy, Debug)]
pub struct OptionalJsonBody<T>(pub T);

/// The path parameters.
#[derive(Clone, Copy, Debug)]
pub struct PathOf<T>(pub T);

/// The query parameters.
#[derive(Clone, Copy, Debug)]
pub struct QueryOf<T>(pub T);

impl<T, S> FromRequest<S> for JsonBody<T>
where
    T: DeserializeOwned + Schema,
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_media_type(request.headers())?;
        let body = read(request, &GestaState::from_ref(state)).await?;
        Ok(Self(parse_or_explain(&body)?))
    }
}

impl<T, S> FromRequest<S> for OptionalJsonBody<T>
where
    T: DeserializeOwned + Schema,
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // The content type matters only if there is a body: clients omit it for an empty one.
        let media_type = check_media_type(request.headers());
        let body = read(request, &GestaState::from_ref(state)).await?;
        if body.is_empty() {
            return Ok(Self(parse_or_explain(b"{}")?));
        }
        media_type?;
        Ok(Self(parse_or_explain(&body)?))
    }
}

/// Reads a body, decoded, within the limits of requests.
pub(crate) async fn decoded_body(request: Request, state: &GestaState) -> Result<Bytes, Problem> {
    read(request, state).await
}

/// Returns whether an absent body is a valid `T`.
pub(crate) fn may_be_absent<T: DeserializeOwned>() -> bool {
    parse::<T>(b"{}").is_ok()
}

fn parse_or_explain<T: DeserializeOwned + Schema>(json: &[u8]) -> Result<T, Problem> {
    // A valid body costs one pass. Only a refused one is searched for further faults.
    parse(json).map_err(|first| Problem::all_invalid(worded(faults::of_body::<T>(json, first))))
}

impl<T: DeserializeOwned + Fields, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let raw = path_parameters(parts).await?;
        // A router that nests this one may have parameters of its own; those are not ours.
        let fields = T::fields(&mut Schemas::default());
        let is_ours = |name: &str| fields.iter().any(|field| field.name == name);
        let pairs: Vec<_> = raw.iter().filter(|(name, _)| is_ours(name)).collect();
        of_pairs(&pairs).map(Self).map_err(Problem::all_invalid)
    }
}

pub(crate) async fn path_parameters(parts: &mut Parts) -> Result<RawPathParams, Problem> {
    // Not axum's `Path`, which reports only the first fault.
    let raw = RawPathParams::from_request_parts(parts, &()).await;
    raw.map_err(|error| Problem::invalid("path", error.body_text()))
}

/// Reads the path parameter `name`.
pub(crate) async fn path_parameter<T: DeserializeOwned>(
    parts: &mut Parts,
    name: &str,
) -> Result<T, Problem> {
    let raw = path_parameters(parts).await?;
    // The innermost router's parameter is the last one.
    let value = raw.iter().filter(|(known, _)| *known == name).last();
    let (_, value) = value.ok_or_else(|| Problem::invalid(name, "is missing"))?;
    of_value(value)
        .map_err(|reason| Problem::all_invalid(worded(vec![InvalidField::new(name, reason)])))
}

impl<T: DeserializeOwned + Fields, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = query_pairs(&parts.uri)?;
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        of_pairs(&pairs).map(Self).map_err(|mut faults| {
            explain_plus(&mut faults, parts.uri.query().unwrap_or_default());
            Problem::all_invalid(faults)
        })
    }
}

/// Adds a hint to the errors of values with a `+`, which a query string decodes as a space. The
/// message alone would not show it: the `+` is typically that of a time's UTC offset.
fn explain_plus(faults: &mut [InvalidField], query: &str) {
    for pair in query.split('&').filter(|pair| pair.contains('+')) {
        let names = form_urlencoded::parse(pair.as_bytes());
        for (name, _) in names {
            // One of several values is `name[1]`.
            let is_of_it =
                |fault: &&mut InvalidField| fault.field.split('[').next() == Some(&*name);
            for fault in faults.iter_mut().filter(is_of_it) {
                fault.reason.push_str("; a `+` in a query string is a space: write it as %2B");
            }
        }
    }
}

/// Decodes the names and values of a query string.
pub(crate) fn query_pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let text = uri.query().unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    // `form_urlencoded` replaces invalid UTF-8 silently.
    let broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    match pairs.iter().find(|(name, value)| broken(name) || broken(value)) {
        Some((name, _)) => Err(Problem::invalid(name.clone(), "must be percent-encoded UTF-8")),
        None => Ok(pairs),
    }
}

fn of_pairs<T: DeserializeOwned + Fields>(pairs: &[(&str, &str)]) -> Result<T, Vec<InvalidField>> {
    let groups = by_name(pairs.iter().copied());
    of_values_once(groups.clone())
        .map_err(|first| worded(faults::of_parameters::<T>(&groups, first)))
}

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
        operation.body::<T>(BodyPresence::Required);
        describe_body_problems(operation);
    }
}

impl<T: Schema> Describe for OptionalJsonBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>(BodyPresence::Optional);
        describe_body_problems(operation);
    }
}

fn describe_body_problems(operation: &mut Operation<'_>) {
    operation.problem(400, VALIDATION_FAILED);
    operation.problem(408, "the body did not arrive in time");
    operation.problem(413, "the body is too large");
    operation.problem(415, "the body is not JSON in UTF-8, or has a coding other than gzip");
}

impl<T: Fields> Describe for PathOf<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters::<T>(ParameterIn::Path);
        operation.problem(400, VALIDATION_FAILED);
    }
}

impl<T: Fields> Describe for QueryOf<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters::<T>(ParameterIn::Query);
        operation.problem(400, VALIDATION_FAILED);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{Repeated, RequestFields};

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
        parse::<Door>(json.as_bytes()).unwrap_err().field
    }

    #[test]
    fn an_invalid_body_is_answered_with_the_field() {
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
    fn an_invalid_parameter_is_answered_with_its_name() {
        let read = |pairs: &[(&str, &str)]| of_values_once::<Door>(by_name(pairs.iter().copied()));
        assert_eq!(read(&[("width", "2"), ("open", "true")]).unwrap().open, Some(true));
        for (pairs, field) in [
            (vec![("width", "wide")], "width"),
            (vec![("width", "")], "width"),
            (vec![("width", "2"), ("open", "1")], "open"),
            (vec![("width", "2"), ("depth", "1")], "depth"),
            (vec![("width", "2"), ("width", "2")], "width"),
            (vec![], "width"),
        ] {
            assert_eq!(read(&pairs).unwrap_err().field, field, "{pairs:?}");
        }
    }

    /// A new window.
    #[derive(RequestFields, Debug)]
    #[expect(dead_code, reason = "only read")]
    struct NewWindow {
        /// Width, in cm.
        width: u8,
        /// Height, in cm.
        height: u8,
        /// Its hinges.
        hinges: Vec<NewHinge>,
        /// The reason for the order.
        reason: Option<String>,
    }

    /// A new hinge.
    #[derive(RequestFields, Debug)]
    #[expect(dead_code, reason = "only read")]
    struct NewHinge {
        /// Number of screws.
        screws: u8,
        /// Material.
        metal: String,
    }

    #[test]
    fn all_faults_of_a_body_are_reported_the_first_one_first() {
        let wrong = r#"{"height": "high", "hinges": [
            {"screws": -1, "metal": "iron"}, {"screws": 1, "metal": "iron"},
            {"screws": 1000}, {"screws": 1, "metal": 5, "nails": 1}
        ], "reason": 7, "depth": 1}"#;
        let problem = parse_or_explain::<NewWindow>(wrong.as_bytes()).unwrap_err().to_json();
        assert_eq!(problem["field"], "height");
        let mut reported: Vec<_> = problem["errors"].as_array().unwrap().iter().collect();
        assert_eq!(reported[0]["field"], "height");
        reported.sort_by_key(|fault| fault["field"].as_str().unwrap());
        let reported: Vec<_> =
            reported.iter().map(|fault| fault["field"].as_str().unwrap()).collect();
        assert_eq!(
            reported,
            [
                "depth",
                "height",
                "hinges[0].screws",
                "hinges[2].metal",
                "hinges[2].screws",
                "hinges[3].metal",
                "hinges[3].nails",
                "reason",
                "width",
            ],
        );
    }

    /// Search for doors.
    #[derive(RequestFields, Debug)]
    struct DoorSearch {
        /// Numbers of doors.
        no: Option<Repeated<u8>>,
        /// Least width.
        width: Option<u8>,
    }

    #[test]
    fn a_repeated_parameter_has_its_values_in_order() {
        let search: DoorSearch = of_pairs(&[("no", "7"), ("width", "80"), ("no", "3")]).unwrap();
        assert_eq!(search.no.unwrap().into_vec(), [7, 3]);
        assert_eq!(search.width, Some(80));
        let search: DoorSearch = of_pairs(&[("no", "7")]).unwrap();
        assert_eq!(search.no.unwrap().into_vec(), [7]);
        assert!(of_pairs::<DoorSearch>(&[]).unwrap().no.is_none());
    }

    #[test]
    fn a_fault_of_a_repeated_parameter_has_its_place() {
        let pairs = [("no", "7"), ("width", "1"), ("no", "x"), ("width", "2")];
        let faults = of_pairs::<DoorSearch>(&pairs).unwrap_err();
        let reported: Vec<_> =
            faults.iter().map(|fault| (fault.field.as_str(), fault.reason.as_str())).collect();
        assert_eq!(
            reported,
            [
                ("no[1]", "must be a whole number from 0 to 255; got `x`"),
                ("width", "is given several times; send it once"),
            ]
        );
        let many: Vec<_> = (0..=Repeated::<u8>::MAX).map(|_| ("no", "7")).collect();
        let faults = of_pairs::<DoorSearch>(&many).unwrap_err();
        assert_eq!(faults[0].field, "no");
        assert_eq!(faults[0].reason, "must be given at most 100 times; got 101 values");
    }

    #[test]
    fn all_faults_of_parameters_are_reported_with_a_hint_where_a_plus_became_a_space() {
        let pairs = [("height", "high"), ("depth", "1"), ("reason", "a b")];
        let faults = of_pairs::<NewWindow>(&pairs).unwrap_err();
        let reported: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(reported, ["height", "depth", "width", "hinges"]);
        let mut faults = vec![InvalidField::new("at", "is no time")];
        explain_plus(&mut faults, "limit=1&at=2011-01-31T12:00:00+01:00");
        assert!(faults[0].reason.contains("%2B"), "{}", faults[0].reason);
    }
}
