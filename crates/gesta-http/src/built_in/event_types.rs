//! The event types that the program knows, with their versions.
//!
//! Owns: their route. Invariant: the list is made from the registry, so it is that of the lock
//! file. Not here: stored events ([`stored`](super::stored)).

use gesta::Registry;
use serde::Serialize;
use serde_json::Value;

use super::{program::Program, responses::Listed};
use crate::{ApiRoute, Right, Schema, requests::personal};

/// Returns the route under a path prefix.
pub(crate) fn route(prefix: &str) -> ApiRoute {
    ApiRoute::get(&format!("{prefix}/event-types"), "Lists event types with their versions")
        .handle(list_event_types)
        .right(Right::Status)
}

/// An event type.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct EventTypeDetails {
    /// Name.
    #[serde(rename = "type")]
    event_type: &'static str,
    /// Versions that the program reads, oldest first. The last one is written, and events of older
    /// ones are upcast to it.
    versions: Vec<VersionDetails>,
    /// Names of its fields with personal data, in any version.
    personal: Vec<&'static str>,
    /// Examples in the current version.
    examples: Vec<Value>,
}

/// A version of an event type.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct VersionDetails {
    /// Schema version, from 1.
    version: u16,
    /// Rust type that reads it.
    rust_type: &'static str,
    /// Content type that it is written as.
    content_type: &'static str,
    /// Places of its JSON form, sorted, with the kinds of their values.
    fields: Vec<FieldDetails>,
}

/// A place in the JSON form of an event.
#[derive(Debug, Serialize, Schema)]
struct FieldDetails {
    /// Path of the place; empty for the whole event.
    place: String,
    /// Kind of its value.
    kind: String,
}

async fn list_event_types(program: Program) -> Listed<EventTypeDetails> {
    Listed { items: details(&program.0.events) }
}

fn details(events: &Registry) -> Vec<EventTypeDetails> {
    let versions = |name| {
        let versions = events.type_shapes(name).into_iter();
        let versions = versions.map(|of| VersionDetails {
            version: of.version,
            rust_type: of.type_name,
            content_type: of.content_type,
            fields: of.shape.places().map(FieldDetails::of).collect(),
        });
        versions.collect()
    };
    let all = events.names().map(|name| EventTypeDetails {
        event_type: name,
        versions: versions(name),
        personal: personal::names(events, name),
        examples: events.examples(name).to_vec(),
    });
    all.collect()
}

impl FieldDetails {
    fn of((place, kind): (&str, &str)) -> Self {
        Self { place: place.to_owned(), kind: kind.to_owned() }
    }
}
