//! An open WebSocket: any number of operations over one connection.
//!
//! Invariants:
//! - The next message is made when the client has taken the last one, so a slow client holds up
//!   nothing but its own operations, and holds no more than one message.
//! - The credentials of `connection_init` hold for each operation, like those of the handshake. The
//!   socket ends with them.
//! - Operations take turns; no message of an operation follows its end.
//! - When the server shuts down, commands and queries are answered first. Subscriptions get no
//!   `complete`, by which clients would take them for ended: they subscribe again elsewhere.

use std::{collections::HashMap, pin::pin, sync::Arc};

use async_graphql::{ServerError, parser::types::OperationType};
use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, request::Parts},
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Abortable, BoxFuture},
    stream::{BoxStream, SelectAll, once, unfold},
};
use gesta::{CorrelationId, EventId};
use gesta_http::{GestaState, LateCredentials, Problem, SocketEnd, TextSocket};
use serde_json::Value;
use tokio::{select, time::sleep};

use super::credentials::credentials_of;
use super::messages::{
    ClientMessage, acknowledgement, completion, pong, refusal, response_message,
};
use crate::{
    edge::{Edge, GraphBody, ReadyRequest},
    failure::Failure,
};

/// The code of a socket whose credentials are refused.
const FORBIDDEN: u16 = 4403;
const CORRELATION_ID: &str = "x-correlation-id";

/// Maximum size of a refusal, which is this program's own.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// The state of one socket.
pub(super) struct Session {
    edge: Arc<Edge>,
    /// Head of the handshake.
    parts: Parts,
    is_acknowledged: bool,
    is_closing: bool,
    running: HashMap<String, RunningOperation>,
    messages: SelectAll<BoxStream<'static, OperationMessage>>,
}

struct RunningOperation {
    /// Ends its messages.
    abort: AbortHandle,
    is_subscription: bool,
}

/// A message of an operation.
struct OperationMessage {
    id: String,
    text: String,
    is_last: bool,
}

impl Session {
    pub(super) fn new(edge: Arc<Edge>, parts: Parts) -> Self {
        let (running, messages) = (HashMap::new(), SelectAll::new());
        Self { edge, parts, is_acknowledged: false, is_closing: false, running, messages }
    }

    /// Serves a socket until it ends.
    pub(super) async fn run(mut self, mut socket: TextSocket) {
        let end = self.serve(&mut socket).await;
        // Ends the operations, which nobody hears any more.
        drop(self);
        socket.end(end).await;
    }

    async fn serve(&mut self, socket: &mut TextSocket) -> SocketEnd {
        let state = self.edge.state.clone();
        let mut closed = pin!(state.closed());
        let mut too_late = pin!(sleep(self.edge.limits.socket_init_max));
        let mut ended = self.end_of_credentials();
        loop {
            let text = select! {
                received = socket.receive() => {
                    let was_acknowledged = self.is_acknowledged;
                    let reply = match received {
                        Ok(text) => self.take(&text).await,
                        Err(end) => Err(end),
                    };
                    // The first message may have brought credentials. Others must not, because each
                    // would postpone the next check.
                    if self.is_acknowledged != was_acknowledged {
                        ended = self.end_of_credentials();
                    }
                    match reply {
                        Ok(reply) => reply,
                        Err(end) => return end,
                    }
                }
                Some(message) = self.messages.next() => {
                    if self.is_end_by_the_stop(&message, &state) {
                        self.close();
                        None
                    } else {
                        Some(self.passed(message))
                    }
                }
                () = &mut too_late, if !self.is_acknowledged => {
                    return SocketEnd::told(4408, "Connection initialisation timeout");
                }
                _ = &mut ended => {
                    let reason = "Unauthorized: the credentials have ended; connect with new ones";
                    return SocketEnd::told(SocketEnd::UNAUTHENTICATED, reason);
                }
                () = &mut closed, if !self.is_closing => {
                    self.close();
                    None
                }
            };
            if let Some(text) = text
                && let Err(end) = socket.send(text).await
            {
                return end;
            }
            if self.is_closing && self.running.is_empty() {
                return SocketEnd::told(SocketEnd::GOING_AWAY, "The server is shutting down");
            }
        }
    }

    /// Carries out a message of the client, and returns the answer if there is one at once.
    async fn take(&mut self, text: &str) -> Result<Option<String>, SocketEnd> {
        match ClientMessage::read(text)? {
            ClientMessage::ConnectionInit { .. } if self.is_acknowledged => {
                Err(SocketEnd::told(4429, "Too many initialisation requests"))
            }
            ClientMessage::ConnectionInit { payload } => {
                self.identify(payload).await?;
                self.is_acknowledged = true;
                Ok(Some(acknowledgement()))
            }
            ClientMessage::Ping { payload } => Ok(Some(pong(payload))),
            ClientMessage::Pong {} => Ok(None),
            ClientMessage::Complete { id } => {
                // An unknown one has ended while the message was on its way.
                if let Some(operation) = self.running.remove(&id) {
                    operation.abort.abort();
                }
                Ok(None)
            }
            ClientMessage::Subscribe { .. } if !self.is_acknowledged => {
                Err(SocketEnd::told(4401, "Unauthorized: send connection_init first"))
            }
            ClientMessage::Subscribe { id, .. } if self.running.contains_key(&id) => {
                Err(SocketEnd::told(4409, format!("Subscriber for {id} already exists")))
            }
            // The client learns from the close frame that it was not executed.
            ClientMessage::Subscribe { .. } if self.is_closing => Ok(None),
            ClientMessage::Subscribe { id, payload } => {
                let begun = self.begin(&id, payload);
                Ok(begun.err().map(|error| refusal(&id, &[*error])))
            }
        }
    }

    /// Checks the credentials of `connection_init`, which hold from here on.
    async fn identify(&mut self, payload: Option<Value>) -> Result<(), SocketEnd> {
        let credentials = credentials_of(payload)?;
        self.parts.headers.extend(credentials.clone());
        if let Some(late) = self.parts.extensions.remove::<LateCredentials>() {
            // Also without credentials: no tenant is answered then.
            self.edge = edge_of_tenant(&self.parts, &late).await?;
        } else if credentials.is_empty() {
            // Those of the handshake were checked there.
            return Ok(());
        }
        let identified = self.edge.state.identify(&mut self.parts).await;
        identified.map_err(|problem| forbidden(&problem.to_json()))
    }

    /// Returns a future that is ready when the credentials have ended.
    fn end_of_credentials(&self) -> BoxFuture<'static, Problem> {
        self.edge.state.credentials_end(&self.parts).boxed()
    }

    fn begin(&mut self, id: &str, mut body: GraphBody) -> Result<(), Box<ServerError>> {
        let max = self.edge.limits.socket_operations_max;
        let refused = |problem: Problem| Box::new(Failure::from(problem).at(None));
        if self.running.len() >= max {
            let detail = format!(
                "this WebSocket has {max} operations already; complete one, or open another socket"
            );
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(refused(Problem::new(status, "too-many-operations", detail)));
        }
        let variables = body.take_variables().map_err(refused)?;
        let mut parts = self.operation_parts();
        self.edge.state.count_request(&mut parts).map_err(refused)?;
        let ready = self.edge.ready(body, variables, parts)?;
        let is_subscription = ready.operation == OperationType::Subscription;
        let (abort, registration) = AbortHandle::new_pair();
        let messages = operation_messages(&self.edge, id.to_owned(), ready);
        self.messages.push(Abortable::new(messages, registration).boxed());
        self.running.insert(id.to_owned(), RunningOperation { abort, is_subscription });
        Ok(())
    }

    /// Returns the head of the request that an operation would be over HTTP.
    fn operation_parts(&self) -> Parts {
        let mut parts = self.parts.clone();
        if !parts.headers.contains_key(CORRELATION_ID) {
            // The socket has an id that no client asked for. Operations are told apart.
            let id = CorrelationId::new(EventId::random().to_string());
            parts.extensions.insert(id.expect("an event id makes a correlation id"));
        }
        parts
    }

    /// Returns `true` for the last message of a subscription that the stop of the server has ended.
    /// The session may learn of the stop later than the subscription.
    fn is_end_by_the_stop(&self, message: &OperationMessage, state: &GestaState) -> bool {
        let operation = self.running.get(&message.id);
        let ends = message.is_last && operation.is_some_and(|operation| operation.is_subscription);
        ends && state.closed().now_or_never().is_some()
    }

    fn passed(&mut self, message: OperationMessage) -> String {
        if message.is_last {
            self.running.remove(&message.id);
        }
        message.text
    }

    /// Ends subscriptions, and lets the other operations finish.
    fn close(&mut self) {
        self.is_closing = true;
        self.running.retain(|_, operation| {
            if operation.is_subscription {
                operation.abort.abort();
            }
            !operation.is_subscription
        });
    }
}

/// Returns the messages of an operation, of which one is the last.
fn operation_messages(
    edge: &Edge,
    id: String,
    ready: ReadyRequest,
) -> BoxStream<'static, OperationMessage> {
    let responses = edge.stream(ready).map(Some).chain(once(async { None })).boxed();
    let messages = unfold(Some((responses, id)), async |state| {
        let (mut responses, id) = state?;
        let (text, is_last) = match responses.next().await? {
            Some(response) => response_message(&id, &response),
            None => (completion(&id), true),
        };
        let message = OperationMessage { id: id.clone(), text, is_last };
        Some((message, (!is_last).then_some((responses, id))))
    });
    messages.boxed()
}

/// Returns the end of a socket whose credentials are refused by a problem.
fn forbidden(problem: &Value) -> SocketEnd {
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or_default();
    SocketEnd::told(FORBIDDEN, format!("Forbidden: {detail}"))
}

/// Asks for the application of the tenant whose credentials a request has.
async fn edge_of_tenant(parts: &Parts, late: &LateCredentials) -> Result<Arc<Edge>, SocketEnd> {
    let mut answer = late.ask(Request::from_parts(parts.clone(), Body::empty())).await;
    if let Some(edge) = answer.extensions_mut().remove::<Arc<Edge>>() {
        return Ok(edge);
    }
    let body = to_bytes(answer.into_body(), PROBLEM_BYTES_MAX).await.unwrap_or_default();
    Err(forbidden(&serde_json::from_slice(&body).unwrap_or_default()))
}
