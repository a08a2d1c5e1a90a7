//! WebSockets of other protocols in the AsyncAPI document.
//!
//! Not here: the channels of the event feed, which have the events of the registry.

use serde_json::{Map, Value, json};

/// Version of the WebSocket bindings.
const BINDING: &str = "0.1.0";

/// A WebSocket for the AsyncAPI document, with its messages in both directions.
///
/// ```
/// use gesta_http::{Api, DescribedSocket};
/// use serde_json::json;
///
/// let socket = DescribedSocket::new("locks", "/locks/ws", "The locks of all doors")
///     .protocol("locks-v1")
///     .receives("turn", json!({ "type": "object" }))
///     .sends("turned", json!({ "type": "object" }));
/// let document = Api::new("Doors", "1.0").describe_socket(socket).async_document();
/// assert_eq!(document["channels"]["locks"]["address"], "/locks/ws");
/// assert_eq!(document["operations"]["locksSends"]["action"], "send");
/// ```
#[derive(Clone, Debug)]
pub struct DescribedSocket {
    name: &'static str,
    address: String,
    title: &'static str,
    description: &'static str,
    protocol: Option<&'static str>,
    received: Vec<(&'static str, Value)>,
    sent: Vec<(&'static str, Value)>,
}

impl DescribedSocket {
    /// Creates the description of the WebSocket at a path. `name` identifies its channel among
    /// those of the document.
    #[must_use]
    pub fn new(name: &'static str, address: impl Into<String>, title: &'static str) -> Self {
        Self {
            name,
            address: address.into(),
            title,
            description: "",
            protocol: None,
            received: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Sets the description, as CommonMark.
    #[must_use]
    pub fn description(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// Sets the subprotocol that a client has to offer.
    #[must_use]
    pub fn protocol(self, protocol: &'static str) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// Adds a message of clients, with the JSON schema of its text.
    #[must_use]
    pub fn receives(mut self, message: &'static str, payload: Value) -> Self {
        self.received.push((message, payload));
        self
    }

    /// Adds a message of the server, with the JSON schema of its text.
    #[must_use]
    pub fn sends(mut self, message: &'static str, payload: Value) -> Self {
        self.sent.push((message, payload));
        self
    }

    /// Adds the channel, its operations and its messages to a document.
    pub(crate) fn add_to(&self, document: &mut Value) {
        let name = self.name;
        let both = [("receive", "Receives", &self.received), ("send", "Sends", &self.sent)];
        let mut in_channel = Map::new();
        for (action, suffix, messages) in both {
            let mut of_operation = Vec::new();
            for (message, payload) in messages {
                // A message such as a ping has the same name in both directions.
                let key = format!("{name}.{action}.{message}");
                let reference = |place: &str| json!({ "$ref": format!("#/{place}/{key}") });
                of_operation.push(reference(&format!("channels/{name}/messages")));
                in_channel.insert(key.clone(), reference("components/messages"));
                let described = json!({
                    "name": message, "contentType": "application/json", "payload": payload,
                });
                insert(document, "/components/messages", key, described);
            }
            let operation = json!({
                "action": action,
                "channel": { "$ref": format!("#/channels/{name}") },
                "messages": of_operation,
            });
            insert(document, "/operations", format!("{name}{suffix}"), operation);
        }
        let mut binding = json!({ "method": "GET", "bindingVersion": BINDING });
        if let (Some(protocol), Some(members)) = (self.protocol, binding.as_object_mut()) {
            let offered = json!({ "type": "string", "const": protocol });
            let headers = json!({
                "type": "object",
                "properties": { "Sec-WebSocket-Protocol": offered },
                "required": ["Sec-WebSocket-Protocol"],
            });
            members.insert("headers".to_owned(), headers);
        }
        let channel = json!({
            "address": self.address,
            "title": self.title,
            "description": self.description,
            "messages": in_channel,
            "bindings": { "ws": binding },
        });
        insert(document, "/channels", name.to_owned(), channel);
    }
}

fn insert(document: &mut Value, place: &str, key: String, value: Value) {
    let members = document.pointer_mut(place).and_then(Value::as_object_mut);
    let members = members.expect("a document has channels, operations and messages");
    assert!(members.insert(key, value).is_none(), "two sockets of the document have the same name");
}
