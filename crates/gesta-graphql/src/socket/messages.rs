//! The messages of `graphql-transport-ws`
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
//!
//! Invariant: messages of other protocols, such as `start` of `subscriptions-transport-ws`, are
//! refused.

use async_graphql::{Response as GraphResponse, ServerError};
use gesta_http::SocketEnd;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::edge::{GraphBody, is_refused};

/// A message of a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage {
    ConnectionInit { payload: Option<Value> },
    Subscribe { id: String, payload: GraphBody },
    Complete { id: String },
    Ping { payload: Option<Value> },
    Pong {},
}

/// A message of the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerMessage<'a> {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    Next {
        id: &'a str,
        payload: &'a GraphResponse,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

impl ClientMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// The end of the socket, as the protocol wants it.
    pub(super) fn read(text: &str) -> Result<Self, SocketEnd> {
        serde_json::from_str(text)
            .map_err(|error| SocketEnd::told(4400, format!("Invalid message: {error}")))
    }
}

impl ServerMessage<'_> {
    fn text(&self) -> String {
        serde_json::to_string(self).expect("a message has a JSON form")
    }
}

/// Returns the answer to `connection_init`.
pub(super) fn acknowledgement() -> String {
    ServerMessage::ConnectionAck.text()
}

/// Returns the answer to a ping.
pub(super) fn pong(payload: Option<Value>) -> String {
    ServerMessage::Pong { payload }.text()
}

/// Returns the message of a response, and whether it ends its operation.
pub(super) fn response_message(id: &str, response: &GraphResponse) -> (String, bool) {
    match is_refused(response) {
        true => (refusal(id, &response.errors), true),
        false => (ServerMessage::Next { id, payload: response }.text(), false),
    }
}

/// Returns the message of an operation that is refused as a whole. No other one follows.
pub(super) fn refusal(id: &str, errors: &[ServerError]) -> String {
    ServerMessage::Error { id, payload: errors }.text()
}

/// Returns the message of an operation that has ended.
pub(super) fn completion(id: &str) -> String {
    ServerMessage::Complete { id }.text()
}
