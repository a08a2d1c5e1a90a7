//! The program as its console and its readers of events know it.
//!
//! Owns: [`Program`]. Not here: its description for a caller ([`console`](super::console)).

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use gesta::Registry;

use super::states::Aggregates;
use crate::{Describe, Operation, Problem, Right};

/// A program with a console: a request extension that the router sets.
#[derive(Clone, Debug)]
pub(crate) struct Program(pub(crate) Arc<ProgramParts>);

#[derive(Debug)]
pub(crate) struct ProgramParts {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) environment: Option<String>,
    /// Path prefix of the operator's routes, with a slash at its begin.
    pub(crate) prefix: String,
    /// Operations that the console may use, with their rights.
    pub(crate) operations: Vec<(String, Right)>,
    pub(crate) events: Registry,
    pub(crate) aggregates: Aggregates,
}

impl<S: Send + Sync> FromRequestParts<S> for Program {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only in a router that was not built by `Api`.
        parts.extensions.get().cloned().ok_or_else(|| Problem::not_found("program"))
    }
}

impl Describe for Program {
    fn describe(_: &mut Operation<'_>) {}
}
