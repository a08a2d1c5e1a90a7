//! The operator of an operation: the actor of the request, with the reason of its query string.

use axum::{extract::FromRequestParts, http::request::Parts};
use gesta::audit::Operator;

use crate::{Describe, Edge, Operation, Problem, QueryOf};

crate::request! {
    /// The reason for an operation.
    struct Reason {
        /// The reason, for the audit stream.
        reason: Option<String>,
    }
}

/// The operator who orders an operation.
#[derive(Clone, Debug)]
pub(crate) struct OrderedBy(pub(crate) Operator);

impl FromRequestParts<Edge> for OrderedBy {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        let operator = Operator::new(edge.actor_of(parts)?);
        let QueryOf(Reason { reason }) = QueryOf::from_request_parts(parts, edge).await?;
        Ok(Self(match reason {
            Some(reason) => operator.because(reason),
            None => operator,
        }))
    }
}

impl Describe for OrderedBy {
    fn describe(operation: &mut Operation<'_>) {
        QueryOf::<Reason>::describe(operation);
    }
}
