//! Errors of fields: problems of the HTTP interface as errors of GraphQL.
//!
//! Invariant: an error has the `code` and `status` that the HTTP interface answers with, in its
//! extensions, with the other members of the problem.

use std::fmt;

use async_graphql::{ErrorExtensionValues, Pos, ServerError, Value as GraphValue};
use gesta_http::Problem;
use serde_json::Value;

/// Members of a problem that an error has elsewhere, or that are the same in all problems.
const ELSEWHERE: [&str; 3] = ["type", "title", "detail"];

/// The error of a field.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    message: String,
    /// Members of the extensions.
    members: Vec<(String, Value)>,
}

impl Failure {
    /// Creates the error of an invalid value.
    pub(crate) fn invalid(field: &str, reason: &str) -> Self {
        Problem::invalid(field, reason).into()
    }

    /// Creates an error that the client cannot mend.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", format!("a field cannot be answered: {cause}")).into()
    }

    /// Creates the error of a problem document, with the seconds to wait before a retry.
    pub(crate) fn retried_after(problem: &Value, seconds: Option<u64>) -> Self {
        let mut failure = Self::of_problem(problem);
        if let Some(seconds) = seconds {
            failure.members.push(("retryAfterSeconds".to_owned(), seconds.into()));
        }
        failure
    }

    /// Creates the error of a problem document.
    pub(crate) fn of_problem(problem: &Value) -> Self {
        let members = problem.as_object().into_iter().flatten();
        let members = members.filter(|(name, _)| !ELSEWHERE.contains(&name.as_str()));
        Self {
            message: problem["detail"].as_str().unwrap_or("no detail").to_owned(),
            members: members.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }

    fn extensions(&self) -> ErrorExtensionValues {
        let mut extensions = ErrorExtensionValues::default();
        for (name, value) in &self.members {
            extensions.set(name, GraphValue::from_json(value.clone()).unwrap_or_default());
        }
        extensions
    }

    /// Returns the error at a place in the document.
    pub(crate) fn at(&self, place: Option<Pos>) -> ServerError {
        let mut error = ServerError::new(self.message.clone(), place);
        error.extensions = Some(self.extensions());
        error
    }

    /// Returns the error of a resolver.
    pub(crate) fn into_error(self) -> async_graphql::Error {
        let mut error = async_graphql::Error::new(self.message.clone());
        error.extensions = Some(self.extensions());
        error
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::of_problem(&problem.to_json())
    }
}
