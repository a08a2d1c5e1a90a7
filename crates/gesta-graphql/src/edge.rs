//! The endpoint: `POST /graphql`, with subscriptions as server-sent events.
//!
//! Invariants:
//! - A document is measured before it is executed.
//! - An error has the code and status of the HTTP interface's problem; a request that is no GraphQL
//!   at all is answered with a problem.
//! - Every request passes the rules of all routes ([`HttpRules`](gesta_http::HttpRules)).
//!
//! Not here: WebSockets ([`socket`](crate::socket)).

use std::{convert::Infallible, sync::Arc};

use async_graphql::{
    Pos, Request as GraphRequest, Response as GraphResponse, ServerError, Value as GraphValue,
    Variables, indexmap::IndexMap, parser::types::OperationType,
};
use axum::{
    Router,
    extract::{FromRequest as _, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, once, unfold},
};
use gesta_http::{GestaState, JsonBody, Problem, Schema, Schemas};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    cost::{GraphQlLimits, check_nesting, measure},
    failure::Failure,
    loader::Loader,
    order::Selections,
    schema::GraphSchema,
};

/// Media type of answers by the standard "GraphQL over HTTP".
const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";
const EVENT_STREAM: &str = "text/event-stream";
/// Maximum number of errors in a response.
const ERRORS_MAX: usize = 500;
/// Maximum length of the message of an error.
const MESSAGE_CHARS_MAX: usize = 1_000;
/// Maximum number of places of an error.
const LOCATIONS_MAX: usize = 10;

/// Everything that a request needs.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) schema: GraphSchema,
    pub(crate) routes: Router,
    pub(crate) state: GestaState,
    pub(crate) limits: GraphQlLimits,
}

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GraphBody {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<Value>,
}

impl Schema for GraphBody {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "object", "required": ["query"] })
    }
}

impl GraphBody {
    /// Takes the variables out.
    ///
    /// # Errors
    /// A problem (400) if they are no object.
    pub(crate) fn take_variables(&mut self) -> Result<Variables, Problem> {
        match self.variables.take() {
            None | Some(Value::Null) => Ok(Variables::default()),
            Some(object @ Value::Object(_)) => Ok(Variables::from_json(object)),
            Some(_) => Err(Problem::invalid("variables", "must be an object")),
        }
    }
}

/// A request that is ready to be executed.
pub(crate) struct ReadyRequest {
    pub(crate) request: GraphRequest,
    selections: Selections,
    caller: Arc<Caller>,
    loader: Arc<Loader>,
    pub(crate) operation: OperationType,
}

impl Edge {
    /// Parses and measures a document.
    ///
    /// # Errors
    /// The errors of the document.
    pub(crate) fn ready(
        &self,
        body: GraphBody,
        variables: Variables,
        parts: Parts,
    ) -> Result<ReadyRequest, Box<ServerError>> {
        let refused = |problem: Problem| Box::new(Failure::from(problem).at(None));
        let GraphBody { query, operation_name, .. } = body;
        check_nesting(&query).map_err(refused)?;
        let document = async_graphql::parser::parse_query(&query);
        let document = document.map_err(|error| unreadable(&error))?;
        let measure = measure(&document, &variables, &self.schema.catalogue, self.limits);
        let measure = measure.map_err(refused)?;
        let caller = Arc::new(Caller::new(self.routes.clone(), parts, measure.commands));
        let loader = Arc::new(Loader::new(Arc::clone(&caller), measure.has_links));
        let mut request = GraphRequest::new(query).variables(variables);
        request = request.data(Arc::clone(&caller)).data(Arc::clone(&loader));
        request.operation_name = operation_name.clone();
        request.set_parsed_query(document.clone());
        let selections = Selections::new(document, operation_name);
        let operation = selections.operation().map_or(OperationType::Query, |it| it.ty);
        Ok(ReadyRequest { request, selections, caller, loader, operation })
    }

    /// Executes a query or commands.
    async fn execute(&self, ready: ReadyRequest) -> GraphResponse {
        let response = self.schema.schema.execute(ready.request).await;
        completed(response, &ready.selections, (&ready.caller, &ready.loader))
    }

    /// Executes a request whose responses are a stream: any number for a subscription, one for
    /// others.
    pub(crate) fn stream(
        &self,
        ready: ReadyRequest,
    ) -> impl Stream<Item = GraphResponse> + Send + use<> {
        let schema = self.schema.schema.clone();
        let (caller, loader, selections) = (ready.caller, ready.loader, ready.selections);
        let responses = match ready.operation {
            OperationType::Subscription => schema.execute_stream(ready.request),
            OperationType::Query | OperationType::Mutation => {
                once(async move { schema.execute(ready.request).await }).boxed()
            }
        };
        let mut last = None;
        let changed = move |response: GraphResponse| {
            let response = completed(response, &selections, (&caller, &loader));
            if loader.compares() {
                let answer = (response.data.clone(), response.errors.clone());
                if last.replace(answer.clone()) == Some(answer) {
                    return std::future::ready(None);
                }
            }
            std::future::ready(Some(response))
        };
        responses.filter_map(changed)
    }
}

/// Adds to a response what is not the library's: the order, codes, errors behind links, and the
/// position.
fn completed(
    mut response: GraphResponse,
    selections: &Selections,
    (caller, loader): (&Caller, &Loader),
) -> GraphResponse {
    response.data = selections.arranged(response.data);
    response.errors.extend(loader.take_errors());
    if response.data == GraphValue::Null && response.errors.is_empty() {
        // Each field was skipped.
        response.data = GraphValue::Object(IndexMap::new());
    }
    with_position(coded(response), caller)
}

/// Answers a request.
pub(crate) async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut caller = parts.clone();
    let body = JsonBody::<GraphBody>::from_request(Request::from_parts(parts, body), &edge.state);
    let JsonBody(mut body) = match body.await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let variables = match body.take_variables() {
        Ok(variables) => variables,
        Err(problem) => return problem.into_response(),
    };
    // A request without a call counts, too.
    if let Err(problem) = edge.state.count_request(&mut caller) {
        return problem.into_response();
    }
    let headers = caller.headers.clone();
    let stream = accepts(&headers, EVENT_STREAM).then(|| edge.state.credentials_end(&caller));
    let ready = match edge.ready(body, variables, caller) {
        Ok(ready) => ready,
        Err(error) => return written(&headers, &GraphResponse::from_errors(vec![*error])),
    };
    if let Some(ended) = stream {
        return event_stream(&edge, ready, ended.boxed());
    }
    if ready.operation == OperationType::Subscription {
        let detail = "a subscription needs the header `Accept: text/event-stream`";
        return Problem::new(StatusCode::NOT_ACCEPTABLE, "subscription-needs-stream", detail)
            .into_response();
    }
    written(&headers, &edge.execute(ready).await)
}

fn unreadable(error: &async_graphql::parser::Error) -> Box<ServerError> {
    let place: Option<Pos> = error.positions().next();
    let problem = Problem::new(StatusCode::BAD_REQUEST, "query-invalid", error.to_string());
    let mut error = Failure::from(problem).at(place);
    bound(&mut error);
    Box::new(error)
}

/// Bounds the size of an error, whose message may quote the document.
fn bound(error: &mut ServerError) {
    let end = error.message.char_indices().nth(MESSAGE_CHARS_MAX).map(|(end, _)| end);
    if let Some(end) = end {
        error.message.truncate(end);
        error.message.push('…');
    }
    error.locations.truncate(LOCATIONS_MAX);
}

/// Adds a code to errors of the library, which it finds when it checks a document, and bounds the
/// size of all errors.
fn coded(mut response: GraphResponse) -> GraphResponse {
    let others = response.errors.len().saturating_sub(ERRORS_MAX);
    response.errors.truncate(ERRORS_MAX);
    if others > 0 {
        let more = format!("{others} other errors are not listed");
        response.errors.push(ServerError::new(more, None));
    }
    for error in &mut response.errors {
        bound(error);
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", "query-invalid");
            extensions.set("status", StatusCode::BAD_REQUEST.as_u16());
        }
    }
    response
}

fn with_position(response: GraphResponse, caller: &Caller) -> GraphResponse {
    match caller.position() {
        Some(position) => response.extension("position", position.into()),
        None => response,
    }
}

/// Writes a response, in the media type that the client asks for.
fn written(headers: &HeaderMap, graph: &GraphResponse) -> Response {
    let is_standard = accepts(headers, GRAPHQL_RESPONSE);
    let media_type = if is_standard { GRAPHQL_RESPONSE } else { "application/json" };
    // Only the newer media type says so by the status (GraphQL over HTTP, section 6.4).
    let is_refused = is_standard && is_refused(graph);
    let status = if is_refused { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let json = serde_json::to_string(graph).expect("a response has a JSON form");
    let mut response = (status, json).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns whether the whole request was refused: an error has no path then.
pub(crate) fn is_refused(graph: &GraphResponse) -> bool {
    let has_no_path = graph.errors.iter().any(|error| error.path.is_empty());
    has_no_path && graph.data == async_graphql::Value::Null
}

/// Writes responses as server-sent events: `next` for each, `complete` at the end (the protocol
/// graphql-sse, distinct connections). A subscription that ends because the server shuts down ends
/// without it. One whose credentials have ended has this as its last response.
fn event_stream(edge: &Edge, ready: ReadyRequest, ended: BoxFuture<'static, Problem>) -> Response {
    let next = |response: GraphResponse| {
        let json = serde_json::to_string(&response).expect("a response has a JSON form");
        Event::default().event("next").data(json)
    };
    let (state, is_subscription) =
        (edge.state.clone(), ready.operation == OperationType::Subscription);
    let end = once(async move {
        // A client that is told `complete` does not subscribe again elsewhere.
        let is_cut = is_subscription && state.closed().now_or_never().is_some();
        (!is_cut).then(|| Event::default().event("complete").data(""))
    });
    let end = end.filter_map(std::future::ready);
    let responses = until_ended(edge.stream(ready).boxed(), ended);
    let events = responses.map(next).chain(end).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Returns responses as long as the credentials hold.
fn until_ended(
    responses: BoxStream<'static, GraphResponse>,
    ended: BoxFuture<'static, Problem>,
) -> impl Stream<Item = GraphResponse> + Send {
    unfold(Some((responses, ended)), async |open| {
        let (mut responses, mut ended) = open?;
        tokio::select! {
            // A busy subscription must not postpone the end.
            biased;
            problem = &mut ended => {
                let refused = Failure::from(problem).at(None);
                Some((GraphResponse::from_errors(vec![refused]), None))
            }
            response = responses.next() => Some((response?, Some((responses, ended)))),
        }
    })
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| range.split(';').next().is_some_and(|it| it.trim() == media_type))
}
