//! The operator behind a request: its actor, with the reason from the query string.
//!
//! Every route that changes the state of projections, process managers or reactors takes
//! [`RequestOperator`], so that the audit stream records who changed it and why.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use gesta::audit::Operator;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::{Describe, GestaState, Operation, Problem, QueryOf, RequestFields, Schema, Schemas};

/// Maximum length of a reason, in characters.
const REASON_CHARS_MAX: usize = 1_000;

/// The query parameters of an operator's request.
#[derive(RequestFields, Clone, Debug)]
struct OrderQuery {
    /// Reason, recorded in the stream `audit-operations`.
    #[request(example = "a try")]
    reason: Option<Reason>,
}

/// A non-empty text of up to [`REASON_CHARS_MAX`] characters.
#[derive(Clone, Debug)]
struct Reason(String);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // In characters, as the schema counts.
        match text.chars().count() {
            1..=REASON_CHARS_MAX => Ok(Self(text)),
            count => Err(D::Error::custom(format!(
                "must have 1 to {REASON_CHARS_MAX} characters; got {count}"
            ))),
        }
    }
}

impl Schema for Reason {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": REASON_CHARS_MAX })
    }
}

/// An extractor of the operator.
#[derive(Clone, Debug)]
pub(crate) struct RequestOperator(pub(crate) Operator);

impl<S> FromRequestParts<S> for RequestOperator
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // First: a request without a valid actor learns nothing about its parameters.
        let operator = Operator::new(GestaState::from_ref(state).request_actor(parts)?);
        let QueryOf(OrderQuery { reason }) = QueryOf::from_request_parts(parts, state).await?;
        Ok(Self(match reason {
            Some(Reason(reason)) => operator.because(reason),
            None => operator,
        }))
    }
}

/// The query parameters of the order of a rebuild.
#[derive(RequestFields, Clone, Debug)]
struct RebuildQuery {
    /// Reason, recorded in the stream `audit-operations`.
    #[request(example = "a try")]
    reason: Option<Reason>,
    /// Hold the switch-over: the rebuild waits for its confirmation, also without dead letters.
    hold: Option<bool>,
}

/// An extractor of the operator of a rebuild, with the moment of its switch-over.
#[derive(Clone, Debug)]
pub(crate) struct RebuildOrder {
    pub(crate) operator: Operator,
    pub(crate) is_held: bool,
}

impl<S> FromRequestParts<S> for RebuildOrder
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let operator = Operator::new(GestaState::from_ref(state).request_actor(parts)?);
        // Each of two extractors of query parameters would refuse those of the other.
        let QueryOf(query) = QueryOf::<RebuildQuery>::from_request_parts(parts, state).await?;
        let operator = match query.reason {
            Some(Reason(reason)) => operator.because(reason),
            None => operator,
        };
        Ok(Self { operator, is_held: query.hold.unwrap_or(false) })
    }
}

impl Describe for RebuildOrder {
    fn describe(operation: &mut Operation<'_>) {
        QueryOf::<RebuildQuery>::describe(operation);
    }
}

impl Describe for RequestOperator {
    fn describe(operation: &mut Operation<'_>) {
        QueryOf::<OrderQuery>::describe(operation);
    }
}
