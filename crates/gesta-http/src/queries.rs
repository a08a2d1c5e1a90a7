//! Queries over HTTP, with read-your-writes by position.
//!
//! Owns: [`Queries`] and the responses [`QueryResponse`], [`Resource`] and [`Versioned`].
//!
//! Invariants:
//! - A response reflects every event up to the position in the request's `Gesta-Position`, or is a
//!   problem.
//! - A response reflects every event up to the position in its own `Gesta-Position`.

use std::time::UNIX_EPOCH;

use axum::{
    Json,
    extract::{FromRef, FromRequestParts},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use gesta::{Answer, AsOf, Gesta, OnRead, Position, RecordedAt, Revision, store::ReadAll};
use serde::Serialize;

use crate::{
    Cursor, Describe, GestaState, Operation, PageLinks, Problem, Schema,
    requests::preconditions::{condition_schema, etag_schema},
    wire::{
        event::recorded_at,
        failure::beyond_head,
        headers::{self, POSITION},
        problem::{RESOURCE_NOT_FOUND, VALIDATION_FAILED},
    },
};

/// An extractor that answers queries, no older than the request's `Gesta-Position`.
#[derive(Clone, Debug)]
pub struct Queries {
    state: GestaState,
    at_least: Position,
}

impl<S> FromRequestParts<S> for Queries
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let state = GestaState::from_ref(state);
        state.permit(parts)?;
        let wanted = headers::position(&parts.headers, POSITION, "Gesta-Position")?;
        let at_least = wanted.unwrap_or(Position::START);
        check_reached(state.gesta(), at_least).await?;
        Ok(Self { state, at_least })
    }
}

/// Refuses a position beyond the head: no response has ever carried it, so waiting cannot help.
pub(crate) async fn check_reached(gesta: &Gesta, position: Position) -> Result<(), Problem> {
    if position == Position::START {
        return Ok(());
    }
    let head = gesta.store().head().await?.position;
    if position > head {
        let detail = format!("position {position} is beyond the head of the store, {head}");
        return Err(beyond_head("position-beyond-head", &detail));
    }
    Ok(())
}

/// Refuses a point in the future: its state is not final, and a later query would differ.
pub(crate) async fn check_moment(gesta: &Gesta, as_of: AsOf) -> Result<(), Problem> {
    match as_of {
        // Callers check the revision against the stream's head.
        AsOf::Now | AsOf::Revision(_) => Ok(()),
        AsOf::Position(position) => check_reached(gesta, position).await,
        AsOf::Time(time) => check_past(gesta, time).await,
        // `AsOf` is non-exhaustive; `Moment` parses no other point.
        _ => Ok(()),
    }
}

/// Refuses a time in the future.
///
/// The store's clock may be ahead of the application's, so times up to the last event's are past.
async fn check_past(gesta: &Gesta, time: RecordedAt) -> Result<(), Problem> {
    let since_1970 = gesta.clock().now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
    if time.micros() <= now {
        return Ok(());
    }
    // The event store's clock may be ahead: compare with the time of its last event.
    let last = ReadAll::backwards().limit(1);
    let last = gesta.store().read_all(last).collect_events().await?;
    let now = last.first().map_or(now, |event| event.recorded_at.micros().max(now));
    if time.micros() <= now {
        return Ok(());
    }
    let now = recorded_at(RecordedAt::from_micros(now));
    let detail = format!("{} is in the future; the time is now {now}", recorded_at(time));
    Err(beyond_head("time-in-future", &detail))
}

impl Queries {
    /// Returns the application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        self.state.gesta()
    }

    /// Queries a read model once it has reached the request's `Gesta-Position`.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn ask<Q, Conn>(&self, query: Q) -> Result<QueryResponse<Q::Answer>, Problem>
    where
        Q: Answer<Conn>,
        Conn: Send + 'static,
    {
        // Waits within the limit of requests, unless an answer is cached.
        let ask = self.gesta().ask(query).at_least_position(self.at_least);
        let found = ask.within(self.state.request_limits().wait_max).with_position().await?;
        Ok(QueryResponse::new(found.answer, found.position.max(self.at_least)))
    }

    /// Folds an on-read projection from its stream, or returns `None` if the stream has no events.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn read<P: OnRead>(
        &self,
        id: &P::Id,
        as_of: AsOf,
    ) -> Result<Option<Versioned<P::Row>>, Problem> {
        // The head is read first, so the fold reflects at least every event up to it.
        let seen = self.gesta().store().head().await?.position;
        check_moment(self.gesta(), as_of).await?;
        let fresh = self.gesta().read_on_demand::<P>(id, as_of).await?;
        // A fold ends at the head, so it may show an earlier revision than the one that was asked
        // for.
        if let (AsOf::Revision(wanted), Some(fresh)) = (as_of, &fresh)
            && fresh.revision < wanted
        {
            let head = fresh.revision;
            let detail = format!("revision {wanted} is beyond the head of the stream, {head}");
            return Err(beyond_head("revision-beyond-head", &detail).at_revision(Some(head)));
        }
        Ok(fresh.map(|fresh| Versioned {
            answer: QueryResponse::new(fresh.row, seen),
            revision: fresh.revision,
        }))
    }
}

/// The response to a query: 200, with the position it reflects in `Gesta-Position`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueryResponse<T> {
    /// The body.
    pub value: T,
    /// Every event up to this position is reflected; later ones may be.
    pub position: Position,
    /// Value of the `Link` header, for a page with neighbours.
    pub links: Option<HeaderValue>,
}

/// The response with one resource that exists: 200.
#[derive(Clone, Debug)]
pub struct Resource<T>(QueryResponse<T>);

/// The response with one resource and its revision as the `ETag`: 200, or 304.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Versioned<T> {
    /// The body and its position.
    pub answer: QueryResponse<T>,
    /// The revision of the resource.
    pub revision: Revision,
}

impl<T> QueryResponse<T> {
    pub(crate) fn new(value: T, position: Position) -> Self {
        Self { value, position, links: None }
    }

    /// Converts the body.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> QueryResponse<U> {
        let Self { value, position, links } = self;
        QueryResponse { value: make(value), position, links }
    }

    /// Adds the links of a page to its neighbours. `next` returns the cursor of the next page.
    #[must_use]
    pub fn linked(self, links: &PageLinks, next: impl FnOnce(&T) -> Option<&Cursor>) -> Self {
        let links = links.header(next(&self.value));
        Self { links, ..self }
    }
}

impl<T> QueryResponse<Option<T>> {
    /// Returns the resource; `what` is its kind, such as "order".
    ///
    /// # Errors
    /// A 404 if there is none.
    pub fn found(self, what: &str) -> Result<Resource<T>, Problem> {
        let Self { value, position, links } = self;
        let value = value.ok_or_else(|| Problem::not_found(what))?;
        Ok(Resource(QueryResponse { value, position, links }))
    }
}

impl<T> Resource<T> {
    /// Returns the body.
    pub fn value(&self) -> &T {
        &self.0.value
    }

    /// Converts the body.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Resource<U> {
        Resource(self.0.map(make))
    }

    /// Adds the links of a page to its neighbours. `next` returns the cursor of the next page.
    #[must_use]
    pub fn linked(self, links: &PageLinks, next: impl FnOnce(&T) -> Option<&Cursor>) -> Self {
        Self(self.0.linked(links, next))
    }

    /// Adds the revision of the resource.
    pub fn at(self, revision: Revision) -> Versioned<T> {
        Versioned { answer: self.0, revision }
    }
}

impl<T> Versioned<T> {
    /// Converts the body.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Versioned<U> {
        Versioned { answer: self.answer.map(make), revision: self.revision }
    }
}

impl<T> Versioned<Option<T>> {
    /// Returns the resource, or `None` if the body is `None`.
    pub fn present(self) -> Option<Versioned<T>> {
        let QueryResponse { value, position, links } = self.answer;
        let answer = QueryResponse { value: value?, position, links };
        Some(Versioned { answer, revision: self.revision })
    }
}

impl<T: Serialize> IntoResponse for QueryResponse<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.value).into_response();
        let position = headers::value(&self.position.to_string());
        response.headers_mut().insert(POSITION, position);
        // A cached response would break read-your-writes.
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, never);
        if let Some(links) = self.links {
            response.headers_mut().insert(header::LINK, links);
        }
        response
    }
}

impl<T: Serialize> IntoResponse for Resource<T> {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        response.headers_mut().insert(header::ETAG, headers::etag(self.revision));
        response
    }
}

impl Describe for Queries {
    fn describe(operation: &mut Operation<'_>) {
        let description = "The response must reflect every event up to this position, such as the \
                           `Gesta-Position` of a command's response.";
        operation.header("Gesta-Position", description, headers::position_schema());
        operation.problem(400, VALIDATION_FAILED);
        operation.problem(412, "the position, revision or time is beyond the head of the store");
    }
}

impl<T: Schema> Describe for QueryResponse<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(StatusCode::OK, "success");
        let description = "Every event up to this position is reflected in the response.";
        let schema = headers::position_schema();
        operation.answer_header(StatusCode::OK, "Gesta-Position", description, schema);
    }
}

impl<T: Schema> Describe for Resource<T> {
    fn describe(operation: &mut Operation<'_>) {
        QueryResponse::<T>::describe(operation);
        operation.problem(404, RESOURCE_NOT_FOUND);
        operation.problem(412, "If-Match is set and the resource does not exist");
    }
}

impl<T: Schema> Describe for Versioned<T> {
    fn describe(operation: &mut Operation<'_>) {
        Resource::<T>::describe(operation);
        let description = "Entity tag of the revision, for If-Match.";
        let schema = etag_schema();
        operation.answer_header(StatusCode::OK, "ETag", description, schema);
        let wanted = "Fails with 412 unless the resource exists (`*`), or its current ETag is in \
                      this list.";
        operation.header("If-Match", wanted, condition_schema());
        let known = "The ETags of cached responses: 304 if one of them is current.";
        operation.header("If-None-Match", known, condition_schema());
        operation.answers_nothing(StatusCode::NOT_MODIFIED, "the cached response is current");
        let description = "Entity tag of the revision.";
        operation.answer_header(StatusCode::NOT_MODIFIED, "ETag", description, etag_schema());
    }
}
