//! The messages of a feed over a WebSocket: JSON texts in both directions.
//!
//! They are those of `gesta serve`, with acknowledgements.
//!
//! Invariant: unknown fields are refused, and the problem has the id of the subscription if the
//! message names one.

use std::num::NonZeroU32;

use gesta::{EventType, InvalidName, Position, StreamName, Tag, store::Category};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reader::{FeedItem, Selection};
use crate::{EventDetails, Problem, wire::cursor::invalid_name};

/// Maximum length of the id of a subscription, in bytes.
pub(super) const ID_BYTES_MAX: usize = 100;

/// A message of a client.
#[derive(Debug)]
pub(super) enum ClientFrame {
    Subscribe(SubscribeFrame),
    Acknowledge { id: String, position: u64 },
    Unsubscribe { id: String },
}

/// A subscription to begin.
#[derive(Debug)]
pub(super) struct SubscribeFrame {
    pub(super) id: String,
    pub(super) after: Position,
    pub(super) selection: Selection,
    /// Maximum number of events that the client has not acknowledged.
    pub(super) window: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum FrameBody {
    Subscribe(SubscribeBody),
    Acknowledge { id: String, position: u64 },
    Unsubscribe { id: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SubscribeBody {
    id: String,
    #[serde(default)]
    after: u64,
    streams: Option<Vec<String>>,
    categories: Option<Vec<String>>,
    types: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    window: Option<NonZeroU32>,
}

/// A message that is refused, with the id of its subscription if it could be read.
#[derive(Debug)]
pub(super) struct RefusedFrame {
    pub(super) id: Option<String>,
    pub(super) problem: Problem,
}

impl ClientFrame {
    /// Reads a message.
    pub(super) fn read(text: &str) -> Result<Self, RefusedFrame> {
        let read = serde_json::from_str(text)
            .map_err(|error| Problem::invalid("message", error.to_string()));
        let frame = read.and_then(|body| match body {
            FrameBody::Subscribe(body) => Ok(Self::Subscribe(body.checked()?)),
            FrameBody::Acknowledge { id, position } => Ok(Self::Acknowledge { id, position }),
            FrameBody::Unsubscribe { id } => Ok(Self::Unsubscribe { id }),
        });
        frame.map_err(|problem| RefusedFrame { id: readable_id(text), problem })
    }
}

impl SubscribeBody {
    fn checked(self) -> Result<SubscribeFrame, Problem> {
        if !(1..=ID_BYTES_MAX).contains(&self.id.len()) {
            let reason = format!("must have 1 to {ID_BYTES_MAX} bytes; got {}", self.id.len());
            return Err(Problem::invalid("id", reason));
        }
        let selection = Selection {
            streams: names("streams", self.streams, StreamName::stored)?,
            categories: names("categories", self.categories, Category::new)?,
            types: names("types", self.types, EventType::new)?,
            tags: names("tags", self.tags, Tag::new)?,
        };
        let after = Position::new(self.after);
        Ok(SubscribeFrame { id: self.id, after, selection, window: self.window })
    }
}

fn names<T>(
    field: &str,
    texts: Option<Vec<String>>,
    parse: impl Fn(String) -> Result<T, InvalidName>,
) -> Result<Vec<T>, Problem> {
    let Some(texts) = texts else { return Ok(Vec::new()) };
    if texts.is_empty() {
        // It would select the whole store.
        return Err(Problem::invalid(field, "must not be empty; leave it out"));
    }
    let parsed = texts.into_iter().map(parse);
    parsed.map(|name| name.map_err(|error| invalid_name(field, &error))).collect()
}

/// Returns the id of a message that is refused for another reason.
fn readable_id(text: &str) -> Option<String> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let members = frame.as_object()?.values().next()?;
    let id = members.get("id")?.as_str()?;
    (1..=ID_BYTES_MAX).contains(&id.len()).then(|| id.to_owned())
}

#[derive(Debug, Serialize)]
struct EventFrame<'a> {
    id: &'a str,
    event: EventDetails,
}

/// Returns the message of an item.
pub(super) fn item_frame(id: &str, item: &FeedItem) -> String {
    match item {
        FeedItem::Event(event) => {
            let frame = EventFrame { id, event: EventDetails::of(event) };
            serde_json::to_string(&frame).expect("an event has a JSON form")
        }
        FeedItem::CaughtUp(at) => {
            json!({ "id": id, "caughtUp": { "position": at.number() } }).to_string()
        }
        FeedItem::Passed(at) => {
            json!({ "id": id, "checkpoint": { "position": at.number() } }).to_string()
        }
        FeedItem::Failed(problem) => problem_frame(Some(id), problem),
    }
}

/// Returns the message that confirms a subscription, or its end.
pub(super) fn confirmation_frame(id: &str, what: &str) -> String {
    json!({ "id": id, what: {} }).to_string()
}

/// Returns the message of a problem, which ends the subscription that it names.
pub(super) fn problem_frame(id: Option<&str>, problem: &Problem) -> String {
    match id {
        Some(id) => json!({ "id": id, "problem": problem.to_json() }).to_string(),
        None => json!({ "problem": problem.to_json() }).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_names_its_subscription() {
        for (text, id) in [
            ("", None),
            ("[]", None),
            ("{}", None),
            (r#"{"subscribe":{"id":""}}"#, None),
            (r#"{"subscribe":{"id":"a","streem":[]}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","streams":[""]}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","types":[]}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","window":0}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","after":-1}}"#, Some("a")),
            (r#"{"acknowledge":{"id":"a"}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a"},"unsubscribe":{"id":"a"}}"#, Some("a")),
        ] {
            assert_eq!(ClientFrame::read(text).unwrap_err().id.as_deref(), id, "{text}");
        }
    }
}
