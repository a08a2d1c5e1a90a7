//! `/graphql/ws` in the AsyncAPI document.
//!
//! Invariant: the schemas are those of the [`messages`](super::messages). They say nothing of the
//! fields of queries and answers, which the GraphQL schema does.

use gesta_http::DescribedSocket;
use serde_json::{Value, json};

use super::PROTOCOL;

const ABOUT: &str = "Queries, commands and subscriptions over one connection, with the subprotocol \
                     `graphql-transport-ws`. Each `id` is an operation of the client's; `complete` \
                     ends it in either direction. Credentials may be in the handshake, or in the \
                     payload of `connection_init` as `authorization` or `x-api-key`.";

/// Returns the description of the socket.
pub(crate) fn described() -> DescribedSocket {
    let object = || json!({ "type": ["object", "null"] });
    let id = || json!({ "type": "string" });
    let errors = || {
        let message = json!({ "type": "string" });
        let error = json!({
            "type": "object", "properties": { "message": message }, "required": ["message"],
        });
        json!({ "type": "array", "items": error })
    };
    let asked = json!({
        "type": "object",
        "properties": {
            "query": { "type": "string" },
            "operationName": { "type": ["string", "null"] },
            "variables": object(),
        },
        "required": ["query"],
    });
    let answer = json!({
        "type": "object",
        "properties": { "data": object(), "errors": errors(), "extensions": object() },
    });
    let of_operation = |message, payload| {
        schema(message, json!({ "id": id(), "payload": payload }), &["id", "payload"])
    };
    let complete = || schema("complete", json!({ "id": id() }), &["id"]);
    let with_payload = |message| schema(message, json!({ "payload": object() }), &[]);
    DescribedSocket::new("graphql", "/graphql/ws", "GraphQL over a WebSocket")
        .description(ABOUT)
        .protocol(PROTOCOL)
        .receives("connection_init", with_payload("connection_init"))
        .receives("subscribe", of_operation("subscribe", asked))
        .receives("complete", complete())
        .receives("ping", with_payload("ping"))
        .receives("pong", with_payload("pong"))
        .sends("connection_ack", schema("connection_ack", json!({}), &[]))
        .sends("next", of_operation("next", answer))
        .sends("error", of_operation("error", errors()))
        .sends("complete", complete())
        .sends("pong", with_payload("pong"))
}

/// Returns the schema of a message with its type and these further members.
fn schema(message: &str, mut properties: Value, required: &[&str]) -> Value {
    if let Some(members) = properties.as_object_mut() {
        members.insert("type".to_owned(), json!({ "const": message }));
    }
    let required = [&["type"], required].concat();
    json!({ "type": "object", "properties": properties, "required": required })
}
