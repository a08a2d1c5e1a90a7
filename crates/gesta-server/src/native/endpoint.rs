//! An endpoint: everything about it in one value, from which route and description are made.
//!
//! Owns: [`Endpoint`], and the route of one. Invariant: the parameters, the body and the statuses
//! that the description lists are those that the route takes and gives.

use std::{future::Future, pin::Pin};

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, MethodRouter, on},
};

use super::{
    native_call::{NativeCall, NativeState, Reading},
    parameters::Parameter,
    problem::Problem,
};

/// Begin of all paths.
pub(super) const OWN_PATHS: &str = "/v1/";

/// The result of a handler.
pub(super) type Handled = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// A method that endpoints have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// A body of a request, by the name of its schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenBody {
    pub(super) schema: &'static str,
    pub(super) bytes_max: usize,
}

/// The successful answer of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given {
    /// JSON, by the name of its schema.
    Json(&'static str),
    /// No body.
    Nothing,
    /// Server-sent events.
    EventStream,
    /// A WebSocket.
    Socket,
    /// Anything, of this media type.
    Document(&'static str),
}

/// One method of one path.
pub(super) struct Endpoint {
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    pub(super) about: &'static str,
    /// A command of a shell that calls it, at the server `$GESTA`.
    pub(super) example: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) takes: Option<TakenBody>,
    pub(super) gives: Given,
    /// Statuses of its problems, besides those of every endpoint.
    pub(super) problems: &'static [u16],
    pub(super) handle: fn(NativeCall) -> Handled,
}

/// Answers a call. A page that finds no memory at once is read again when there is a place for it.
async fn answered(
    mut call: NativeCall,
    handle: fn(NativeCall) -> Handled,
) -> Result<Response, Problem> {
    loop {
        let again = call.clone();
        let answer = handle(call).await;
        if answer.is_ok() || !again.is_to_be_made_again().await {
            return answer;
        }
        call = again;
    }
}

impl Endpoint {
    /// Returns the route of the method.
    pub(super) fn route(&'static self) -> MethodRouter<NativeState> {
        let body_bytes_max = self.takes.map_or(0, |body| body.bytes_max);
        let reading = Reading { parameters: self.parameters, body_bytes_max };
        let handle = self.handle;
        on(self.verb.filter(), async move |State(state): State<NativeState>, request: Request| {
            let answer = match NativeCall::read(state, reading, request).await {
                Ok(call) => answered(call, handle).await,
                Err(problem) => Err(problem),
            };
            answer.unwrap_or_else(Problem::into_response)
        })
    }
}
