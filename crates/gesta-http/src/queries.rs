//! Queries as requests: how fresh an answer has to be, and how fresh it is.
//!
//! Always holds: an answer contains the effect of every event up to the position that the request
//! names, or is a problem; the position that an answer names, it contains.

use std::time::UNIX_EPOCH;

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use gesta::{Answer, AsOf, Gesta, OnRead, Position, Query, RecordedAt, Revision, store::ReadAll};
use serde::Serialize;

use crate::{
    Describe, GestaState, Operation, Problem, Schema,
    event::recorded_at,
    failure::beyond_head,
    headers::{self, POSITION},
    preconditions::{condition_schema, etag_schema},
};

/// Asks the queries of a request.
#[derive(Clone, Debug)]
pub struct Queries {
    state: GestaState,
    at_least: Position,
}

impl FromRequestParts<GestaState> for Queries {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &GestaState) -> Result<Self, Problem> {
        let wanted = headers::position(parts, POSITION, "Gesta-Position")?;
        let at_least = wanted.unwrap_or(Position::START);
        check_reached(state.gesta(), at_least).await?;
        Ok(Self { state: state.clone(), at_least })
    }
}

/// Nobody can have got a position that was never given out, so waiting for it is no use.
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

/// A state of a moment that has not come yet would be another one tomorrow.
async fn check_moment(gesta: &Gesta, as_of: AsOf) -> Result<(), Problem> {
    match as_of {
        // Whether there is such a revision, the stream tells when it is read.
        AsOf::Now | AsOf::Revision(_) => Ok(()),
        AsOf::Position(position) => check_reached(gesta, position).await,
        AsOf::Time(time) => check_past(gesta, time).await,
    }
}

/// The store's clock may be ahead of the application's: what is recorded has been.
async fn check_past(gesta: &Gesta, time: RecordedAt) -> Result<(), Problem> {
    let since_1970 = gesta.clock().now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
    if time.micros() <= now {
        return Ok(());
    }
    let last = ReadAll::backwards().limit(1);
    let last = gesta.store().read_all(last).collect_events().await?;
    let now = last.first().map_or(now, |event| event.recorded_at.micros().max(now));
    if time.micros() <= now {
        return Ok(());
    }
    let now = recorded_at(RecordedAt::from_micros(now));
    let detail = format!("{} has not come yet, it is {now}", recorded_at(time));
    Err(beyond_head("time-in-future", &detail))
}

impl Queries {
    /// The application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        self.state.gesta()
    }

    /// Asks a read model, once it has seen what the request wants it to have seen.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn ask<Q, Conn>(&self, query: Q) -> Result<QueryResponse<Q::Answer>, Problem>
    where
        Q: Answer<Conn>,
        Conn: Send + 'static,
    {
        let gesta = self.gesta();
        let wait = gesta.wait_for_position::<<Q as Query>::Reads>(self.at_least);
        wait.within(self.state.request_limits().wait_max).await?;
        let seen = gesta.reached::<<Q as Query>::Reads>().unwrap_or(Position::START);
        let value = gesta.ask(query).at_least_position(self.at_least).await?;
        Ok(QueryResponse { value, position: seen.max(self.at_least) })
    }

    /// Reads a projection on read, which has always seen everything.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn read<P: OnRead>(
        &self,
        id: &P::Id,
        as_of: AsOf,
    ) -> Result<Option<Versioned<P::Row>>, Problem> {
        let seen = self.gesta().store().head().await?.position;
        check_moment(self.gesta(), as_of).await?;
        let fresh = self.gesta().read_on_demand::<P>(id, as_of).await?;
        if let (AsOf::Revision(wanted), Some(fresh)) = (as_of, &fresh)
            && fresh.revision < wanted
        {
            let head = fresh.revision;
            let detail = format!("revision {wanted} is beyond the head of the stream, {head}");
            return Err(beyond_head("revision-beyond-head", &detail).at_revision(Some(head)));
        }
        Ok(fresh.map(|fresh| Versioned {
            answer: QueryResponse { value: fresh.row, position: seen },
            revision: fresh.revision,
        }))
    }
}

/// An answer, and how fresh it is: 200.
#[derive(Clone, Debug)]
pub struct QueryResponse<T> {
    /// The answer.
    pub value: T,
    /// It contains the effect of every event up to here, and maybe of later ones.
    pub position: Position,
}

/// An answer about one thing, which might not have been there: 200.
#[derive(Clone, Debug)]
pub struct Resource<T>(QueryResponse<T>);

/// An answer about one thing, and at which revision that is: 200.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    /// The answer.
    pub answer: QueryResponse<T>,
    /// The revision.
    pub revision: Revision,
}

impl<T> QueryResponse<T> {
    /// Something made of the answer.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> QueryResponse<U> {
        QueryResponse { value: make(self.value), position: self.position }
    }
}

impl<T> QueryResponse<Option<T>> {
    /// The answer, if there is one.
    ///
    /// # Errors
    /// The [`Problem`] that there is no such thing.
    pub fn found(self, what: &str) -> Result<Resource<T>, Problem> {
        let position = self.position;
        let value = self.value.ok_or_else(|| Problem::not_found(what))?;
        Ok(Resource(QueryResponse { value, position }))
    }
}

impl<T> Resource<T> {
    /// The answer.
    pub fn value(&self) -> &T {
        &self.0.value
    }

    /// Something made of the answer.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Resource<U> {
        Resource(self.0.map(make))
    }

    /// With the revision of what it is about.
    pub fn at(self, revision: Revision) -> Versioned<T> {
        Versioned { answer: self.0, revision }
    }
}

impl<T> Versioned<Option<T>> {
    /// The answer, if there is one.
    pub fn present(self) -> Option<Versioned<T>> {
        let QueryResponse { value, position } = self.answer;
        Some(Versioned {
            answer: QueryResponse { value: value?, position },
            revision: self.revision,
        })
    }
}

impl<T: Serialize> IntoResponse for QueryResponse<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.value).into_response();
        let position = headers::value(&self.position.to_string());
        response.headers_mut().insert(POSITION, position);
        // What was so is no answer to what is so.
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, never);
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
        let description = "The answer has to have seen everything up to this position, such as \
                           the one that a command was answered with.";
        operation.header("Gesta-Position", description, headers::position_schema());
        operation.problem(400, "the field that is named makes no sense");
        operation.problem(412, "the moment or position is beyond the head of the store");
    }
}

impl<T: Schema> Describe for QueryResponse<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(StatusCode::OK, "the answer");
        let description = "The answer has seen everything up to here.";
        let schema = headers::position_schema();
        operation.answer_header(StatusCode::OK, "Gesta-Position", description, schema);
    }
}

impl<T: Schema> Describe for Resource<T> {
    fn describe(operation: &mut Operation<'_>) {
        QueryResponse::<T>::describe(operation);
        operation.problem(404, "there is no such thing");
        operation.problem(412, "If-Match: there is nothing that it could match");
    }
}

impl<T: Schema> Describe for Versioned<T> {
    fn describe(operation: &mut Operation<'_>) {
        Resource::<T>::describe(operation);
        let description = "Its revision, for If-Match.";
        let schema = etag_schema();
        operation.answer_header(StatusCode::OK, "ETag", description, schema);
        let wanted = "Only if it is there (*), or at the revision of one of these ETags.";
        operation.header("If-Match", wanted, condition_schema());
        let known = "The ETags of answers that the client has: if one is still right, 304.";
        operation.header("If-None-Match", known, condition_schema());
        operation.answers_nothing(StatusCode::NOT_MODIFIED, "the client has the answer already");
        let description = "Its revision.";
        operation.answer_header(StatusCode::NOT_MODIFIED, "ETag", description, etag_schema());
    }
}
