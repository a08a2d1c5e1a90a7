//! Responses that the operator's routes share.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Describe, Operation, Paged, Schema, Schemas, wire::problem::RESOURCE_NOT_FOUND};

/// Description of the 409 response of operations.
const RUNS_ELSEWHERE: &str = "another node runs it: `detail` names the node";

/// The response with a complete list: 200.
#[derive(Debug, Serialize)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl<T: Schema> Describe for Listed<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Self>(StatusCode::OK, "success");
    }
}

impl<T: Schema> Schema for Listed<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({
            "type": "object",
            "properties": { "items": Vec::<T>::schema(schemas) },
            "required": ["items"],
            "additionalProperties": false,
        })
    }
}

/// The response with a page of a list, and links to the pages beside it: 200.
#[derive(Debug)]
pub(crate) struct PageOfList<T> {
    pub(crate) page: Paged<T>,
    pub(crate) links: Option<HeaderValue>,
}

impl<T> PageOfList<T> {
    /// Converts the items, in their order, which may become fewer.
    pub(crate) fn map<U>(self, convert: impl FnOnce(Vec<T>) -> Vec<U>) -> PageOfList<U> {
        let Paged { items, next } = self.page;
        PageOfList { page: Paged { items: convert(items), next }, links: self.links }
    }
}

impl<T: Serialize> IntoResponse for PageOfList<T> {
    fn into_response(self) -> Response {
        let links = self.links.map(|links| [(header::LINK, links)]);
        (links, Json(self.page)).into_response()
    }
}

impl<T: Schema> Describe for PageOfList<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Paged<T>>(StatusCode::OK, "a page of the list, possibly empty");
        operation.problem(404, RESOURCE_NOT_FOUND);
        operation.problem(412, "If-Match is set and the resource does not exist");
        operation.problem(422, "rejected: unknown-cursor");
    }
}

/// The response with the current state of something: 200.
#[derive(Debug)]
pub(crate) struct CurrentState<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for CurrentState<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl<T: Schema> Describe for CurrentState<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(StatusCode::OK, "the current state");
        operation.problem(404, RESOURCE_NOT_FOUND);
        operation.problem(412, "If-Match is set and the resource does not exist");
    }
}

/// The response with something that is always there: 200.
#[derive(Debug)]
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl<T: Schema> Describe for Shown<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(StatusCode::OK, "success");
    }
}

/// The response to a completed operation: 204.
#[derive(Debug)]
pub(crate) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Describe for Done {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_nothing(StatusCode::NO_CONTENT, "completed");
        operation.problem(404, RESOURCE_NOT_FOUND);
        operation.problem(409, RUNS_ELSEWHERE);
    }
}

/// The response to an operation that continues in the background: 202.
#[derive(Debug)]
pub(crate) struct Accepted;

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into_response()
    }
}

impl Describe for Accepted {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_nothing(StatusCode::ACCEPTED, "started");
        operation.problem(404, RESOURCE_NOT_FOUND);
        operation.problem(409, RUNS_ELSEWHERE);
    }
}
