//! The AsyncAPI document: the feed as server-sent events and over a WebSocket.
//!
//! Invariant: every version of every event of the registry is a message of both channels.
//!
//! Not here: operations with one answer, which OpenAPI describes.

use serde_json::{Map, Value, json};

use super::frames::ID_BYTES_MAX;
use crate::{
    EventDetails, Problem, Schema as _, Schemas,
    wire::{
        event_schemas::{EventSchema, EventSchemas},
        headers::WHOLE_NUMBER_MAX,
    },
};

/// Version of the WebSocket bindings.
const WS_BINDING: &str = "0.1.0";

/// Returns the AsyncAPI 3.0 document of an application with these events. Without a `prefix` it has
/// no feed, and the document no channels.
pub(crate) fn async_document(info: &Value, prefix: Option<&str>, events: &EventSchemas) -> Value {
    let mut schemas = Schemas::default();
    let details = EventDetails::schema(&mut schemas);
    let problem = Problem::schema(&mut schemas);
    let mut messages = Map::new();
    let mut of_events = Vec::new();
    for event in events.iter() {
        let name = event.component();
        messages.insert(name.clone(), event_message(event, &details));
        of_events.push(name);
    }
    if of_events.is_empty() {
        messages.insert("event".to_owned(), any_event_message(&details));
        of_events.push("event".to_owned());
    }
    messages.insert("problem".to_owned(), problem_message(&problem));
    messages.extend(frame_messages(&of_events, &messages, &problem));
    let mut components = match schemas.into_json() {
        Value::Object(components) => components,
        _ => Map::new(),
    };
    events.add_to(&mut components);
    let (channels, operations) = match prefix {
        Some(prefix) => (channels(prefix, &of_events), operations(&of_events)),
        None => (json!({}), json!({})),
    };
    json!({
        "asyncapi": "3.0.0",
        "info": info,
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "schemas": components, "messages": messages },
    })
}

/// Messages of server-sent events besides those of events.
const OVER_HTTP: [&str; 3] = ["feedCaughtUp", "feedCheckpoint", "problem"];
/// Messages that the server sends over a WebSocket besides those of events.
const TOLD: [&str; 5] =
    ["subscribed", "caughtUp", "checkpoint", "unsubscribed", "subscriptionProblem"];
/// Messages that a client sends.
const ASKED: [&str; 3] = ["subscribe", "acknowledge", "unsubscribe"];

fn channels(prefix: &str, events: &[String]) -> Value {
    let progress = OVER_HTTP.iter().map(|name| (*name).to_owned());
    let over_http = events.iter().cloned().chain(progress);
    let over_socket = events.iter().map(|event| framed(event));
    let over_socket = over_socket.chain(TOLD.iter().chain(&ASKED).map(|name| (*name).to_owned()));
    json!({
        "events": {
            "address": format!("{prefix}/events"),
            "title": "The feed as server-sent events",
            "description": "The parameters of a request are those of `GET` in openapi.json. The id \
                            of each event is its position; a reader that reconnects sends it as \
                            `Last-Event-ID`. `caught-up` says that further events are new, and \
                            `checkpoint` that nothing is selected up to its id.",
            "messages": references(over_http, "components/messages"),
        },
        "eventsSocket": {
            "address": format!("{prefix}/events/ws"),
            "title": "The feed over a WebSocket",
            "description": "Any number of subscriptions, as JSON texts in both directions.",
            "messages": references(over_socket, "components/messages"),
            "bindings": { "ws": { "method": "GET", "bindingVersion": WS_BINDING } },
        },
    })
}

fn operations(events: &[String]) -> Value {
    let channel = |name: &str| json!({ "$ref": format!("#/channels/{name}") });
    let of = |channel: &str, names: Vec<String>| -> Vec<Value> {
        let place = format!("channels/{channel}/messages");
        names.iter().map(|name| reference(&place, name)).collect()
    };
    let sent = events.iter().cloned().chain(["problem".to_owned()]).collect();
    let told = events.iter().map(|event| framed(event));
    let told = told.chain(TOLD.map(str::to_owned)).collect();
    json!({
        "streamEvents": {
            "action": "send",
            "summary": "Sends the selected events after a position",
            "channel": channel("events"),
            "messages": of("events", sent),
        },
        "receiveFrames": {
            "action": "receive",
            "summary": "Begins, acknowledges and ends subscriptions",
            "channel": channel("eventsSocket"),
            "messages": of("eventsSocket", ASKED.map(str::to_owned).to_vec()),
        },
        "sendFrames": {
            "action": "send",
            "summary": "Sends the events and the progress of subscriptions",
            "channel": channel("eventsSocket"),
            "messages": of("eventsSocket", told),
        },
    })
}

fn reference(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/{place}/{name}") })
}

fn references(names: impl Iterator<Item = String>, place: &str) -> Value {
    names.map(|name| (name.clone(), reference(place, &name))).collect::<Map<_, _>>().into()
}

/// Returns the name of the message that carries another one over a WebSocket.
fn framed(event: &str) -> String {
    format!("frame.{event}")
}

/// Returns the message of one version of an event: an `EventDetails` with its type and its data.
fn event_message(event: &EventSchema, details: &Value) -> Value {
    let EventSchema { event: name, version, is_json, examples, .. } = event;
    let mut properties = json!({
        "type": { "const": name },
        "schemaVersion": { "const": version },
    });
    if let (true, Some(members)) = (*is_json, properties.as_object_mut()) {
        members.insert("data".to_owned(), event.reference());
    }
    let mut message = json!({
        "name": name,
        "title": format!("{name}, version {version}"),
        "contentType": "application/json",
        "payload": { "allOf": [details, { "type": "object", "properties": properties }] },
    });
    let examples: Vec<_> = examples.iter().filter(|_| *is_json).collect();
    if let (Some(example), Some(members)) = (examples.first(), message.as_object_mut()) {
        let payload = example_of(name, *version, example);
        members.insert("examples".to_owned(), json!([{ "payload": payload }]));
    }
    message
}

/// Returns an example of an event in a feed.
fn example_of(name: &str, version: u16, data: &Value) -> Value {
    json!({
        "position": 42,
        "stream": "example-1",
        "revision": 0,
        "type": name,
        "schemaVersion": version,
        "id": "0192d3f0-7c1e-7000-8000-3f1c5a7b9e21",
        "recordedAt": "2011-01-31T12:00:00Z",
        "tags": [],
        "data": data,
    })
}

fn any_event_message(details: &Value) -> Value {
    json!({
        "title": "An event",
        "contentType": "application/json",
        "payload": details,
    })
}

fn problem_message(problem: &Value) -> Value {
    json!({
        "name": "problem",
        "title": "A problem, which ends the feed",
        "contentType": "application/json",
        "payload": problem,
    })
}

/// Returns the messages of a WebSocket: one for each event, and those that begin, confirm and end
/// subscriptions.
fn frame_messages(
    events: &[String],
    messages: &Map<String, Value>,
    problem: &Value,
) -> Vec<(String, Value)> {
    let id = json!({ "type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX });
    let position = json!({ "type": "integer", "minimum": 0, "maximum": WHOLE_NUMBER_MAX });
    let place = closed(&json!({ "position": position }), &["position"]);
    let nothing = closed(&json!({}), &[]);
    let told = |name: &str, member: &str, content: &Value| {
        let properties = json!({ "id": id, member: content });
        (name.to_owned(), message(name, &closed(&properties, &["id", member])))
    };
    let asked = |name: &str, content: &Value| {
        let properties = json!({ name: content });
        (name.to_owned(), message(name, &closed(&properties, &[name])))
    };
    let mut frames: Vec<_> = events
        .iter()
        .filter_map(|event| {
            let payload = messages.get(event)?.get("payload")?;
            Some(told(&framed(event), "event", payload))
        })
        .collect();
    frames.extend([
        ("feedCaughtUp".to_owned(), message("caught-up", &place)),
        ("feedCheckpoint".to_owned(), message("checkpoint", &place)),
        told("subscribed", "subscribed", &nothing),
        told("caughtUp", "caughtUp", &place),
        told("checkpoint", "checkpoint", &place),
        told("unsubscribed", "unsubscribed", &nothing),
        subscription_problem(&id, problem),
        asked("subscribe", &subscribe_schema(&id, &position)),
        asked(
            "acknowledge",
            &closed(&json!({ "id": id, "position": position }), &["id", "position"]),
        ),
        asked("unsubscribe", &closed(&json!({ "id": id }), &["id"])),
    ]);
    frames
}

/// Returns the message of a problem, which ends the subscription that it names.
fn subscription_problem(id: &Value, problem: &Value) -> (String, Value) {
    let name = "subscriptionProblem";
    let payload = closed(&json!({ "id": id, "problem": problem }), &["problem"]);
    (name.to_owned(), message(name, &payload))
}

fn subscribe_schema(id: &Value, position: &Value) -> Value {
    let names = |about: &str| {
        let name = json!({ "type": "string", "minLength": 1 });
        json!({ "type": "array", "items": name, "minItems": 1, "description": about })
    };
    let properties = json!({
        "id": id,
        "after": position,
        "streams": names("Select events of these streams."),
        "categories": names("Select events of these categories."),
        "types": names("Select events of these types."),
        "tags": names("Select events that have all of these tags."),
        "window": {
            "type": "integer",
            "minimum": 1,
            "maximum": u32::MAX,
            "description": "Maximum number of events that are not acknowledged.",
        },
    });
    closed(&properties, &["id"])
}

fn closed(properties: &Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn message(name: &str, payload: &Value) -> Value {
    json!({ "name": name, "contentType": "application/json", "payload": payload })
}
