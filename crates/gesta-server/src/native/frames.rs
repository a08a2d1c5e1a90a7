//! The frames of a WebSocket: JSON texts in both directions.
//!
//! Owns: their fields. Invariant: unknown fields are refused, and the problem has the id of the
//! subscription if the frame names one.

use gesta_store::{Incarnation, StreamName};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    event_json::EventJson,
    feed::{FeedItem, FeedStart, FeedTarget},
    native_call::parse,
    object::Object,
    parameters::time_of,
    problem::Problem,
    read_all::within,
    selection::{EventSelection, QueryItemBody, plain},
};

/// Maximum length of the id of a subscription, in bytes.
const ID_BYTES_MAX: usize = 100;

/// A frame of a client.
#[derive(Debug)]
pub(super) enum Wish {
    Subscribe { id: String, target: FeedTarget, start: FeedStart },
    Unsubscribe { id: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WishBody {
    subscribe: Option<Object<SubscribeBody>>,
    unsubscribe: Option<Object<UnsubscribeBody>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsubscribeBody {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SubscribeBody {
    id: String,
    /// A stream, in place of a selection of the whole store.
    stream: Option<String>,
    after: Option<u64>,
    from_time: Option<String>,
    #[serde(default)]
    at_end: bool,
    incarnation: Option<Uuid>,
    #[serde(default)]
    items: Vec<Object<QueryItemBody>>,
    #[serde(default, deserialize_with = "some_texts")]
    types: Vec<String>,
    #[serde(default, deserialize_with = "some_texts")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "some_texts")]
    streams: Vec<String>,
    #[serde(default, deserialize_with = "some_texts")]
    stream_prefixes: Vec<String>,
    #[serde(default, deserialize_with = "some_texts")]
    categories: Vec<String>,
    #[serde(default, deserialize_with = "some_texts")]
    type_prefixes: Vec<String>,
    stream_pattern: Option<String>,
    type_pattern: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    #[serde(default)]
    hidden: bool,
}

/// Reads a list with entries: an empty one would select the whole store.
fn some_texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Vec::deserialize(deserializer)? {
        texts if texts.is_empty() => {
            Err(serde::de::Error::custom("a list of names must not be empty; leave it out"))
        }
        texts => Ok(texts),
    }
}

/// A refused frame, with the id of its subscription if it could be read.
#[derive(Debug)]
pub(super) struct RefusedWish {
    pub(super) id: Option<String>,
    pub(super) problem: Problem,
}

impl From<Problem> for RefusedWish {
    fn from(problem: Problem) -> Self {
        Self { id: None, problem }
    }
}

impl Wish {
    /// Reads a frame.
    pub(super) fn read(text: &str) -> Result<Self, RefusedWish> {
        let unread = |problem| RefusedWish { id: readable_id(text), problem };
        match parse::<WishBody>(text.as_bytes()).map_err(unread)? {
            WishBody { subscribe: Some(Object(body)), unsubscribe: None } => {
                let id = checked_id(body.id.clone())?;
                body.into_wish().map_err(|problem| RefusedWish { id: Some(id), problem })
            }
            WishBody { subscribe: None, unsubscribe: Some(Object(UnsubscribeBody { id })) } => {
                Ok(Self::Unsubscribe { id: checked_id(id)? })
            }
            _ => {
                let reason = "must have either `subscribe` or `unsubscribe`";
                Err(Problem::invalid("frame", reason).into())
            }
        }
    }
}

/// Returns the id of a frame that is refused for another field.
fn readable_id(text: &str) -> Option<String> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let id = ["subscribe", "unsubscribe"].iter().find_map(|wish| frame.get(wish)?.get("id"));
    checked_id(id?.as_str()?.to_owned()).ok()
}

fn checked_id(id: String) -> Result<String, Problem> {
    match id.len() {
        1..=ID_BYTES_MAX => Ok(id),
        bytes => {
            let reason = format!("must have 1 to {ID_BYTES_MAX} bytes; it has {bytes}");
            Err(Problem::invalid("id", reason))
        }
    }
}

impl SubscribeBody {
    fn into_wish(self) -> Result<Wish, Problem> {
        let time = self.from_time.as_deref().map(|text| time_of("fromTime", text)).transpose()?;
        let start = match (within("after", self.after)?, time, self.at_end) {
            (None, None, false) => FeedStart::Beginning,
            (Some(after), None, false) => FeedStart::After(after),
            (None, Some(time), false) => FeedStart::Time(time),
            (None, None, true) => FeedStart::End,
            _ => {
                let reason = "`fromTime` and `atEnd` exclude each other";
                return Err(Problem::invalid("after", reason));
            }
        };
        let selection = EventSelection {
            items: plain(self.items),
            types: self.types,
            tags: self.tags,
            streams: self.streams,
            stream_prefixes: self.stream_prefixes,
            categories: self.categories,
            type_prefixes: self.type_prefixes,
            stream_pattern: self.stream_pattern,
            type_pattern: self.type_pattern,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            hidden: self.hidden,
        };
        let target = match self.stream {
            None => FeedTarget::All {
                selected: selection.select()?,
                incarnation: self.incarnation.map(Incarnation::new),
            },
            Some(_) if !selection.is_empty() || self.incarnation.is_some() => {
                let reason =
                    "excludes a selection and an incarnation, which are of the whole store";
                return Err(Problem::invalid("stream", reason));
            }
            Some(name) => {
                let name = StreamName::stored(name);
                FeedTarget::Stream(name.map_err(|odd| Problem::invalid_name("stream", &odd))?)
            }
        };
        Ok(Wish::Subscribe { id: self.id, target, start })
    }
}

#[derive(Debug, Serialize)]
struct EventFrame<'a> {
    id: &'a str,
    event: EventJson<'a>,
}

/// Returns the frame of an item of a subscription.
pub(super) fn item_frame(id: &str, item: &FeedItem, is_of_stream: bool) -> String {
    let place = if is_of_stream { "revision" } else { "position" };
    match item {
        FeedItem::Event(event) => {
            let frame = EventFrame { id, event: EventJson::of(event) };
            serde_json::to_string(&frame).expect("an event has a form in JSON")
        }
        FeedItem::CaughtUp(at) => json!({ "id": id, "caughtUp": { place: at } }).to_string(),
        FeedItem::Checkpoint(at) => json!({ "id": id, "checkpoint": { place: at } }).to_string(),
    }
}

/// Returns the frame that confirms a subscription, or its end.
pub(super) fn confirmation_frame(id: &str, what: &str) -> String {
    json!({ "id": id, what: {} }).to_string()
}

/// Returns the frame of a problem, which ends the subscription that it names.
pub(super) fn problem_frame(id: Option<&str>, problem: &Problem) -> String {
    let mut frame = json!({ "problem": problem.to_json() });
    if let (Some(id), Value::Object(members)) = (id, &mut frame) {
        members.insert("id".to_owned(), id.into());
    }
    frame.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_one_wish_with_an_id() {
        let wish = Wish::read(r#"{"subscribe":{"id":"a","stream":"order-1","after":3}}"#).unwrap();
        assert!(matches!(
            wish,
            Wish::Subscribe { target: FeedTarget::Stream(_), start: FeedStart::After(3), .. }
        ));
        let wish = Wish::read(r#"{"subscribe":{"id":"a","types":["paid"],"atEnd":true}}"#).unwrap();
        assert!(matches!(
            wish,
            Wish::Subscribe { target: FeedTarget::All { .. }, start: FeedStart::End, .. }
        ));
        let wish = Wish::read(r#"{"unsubscribe":{"id":"a"}}"#).unwrap();
        assert!(matches!(wish, Wish::Unsubscribe { id } if id == "a"));
    }

    #[test]
    fn a_wrong_frame_is_refused_and_its_subscription_named() {
        for (frame, id) in [
            ("", None),
            ("{}", None),
            ("[]", None),
            (r#"{"subscribe":["a","s-1"]}"#, None),
            (r#"{"unsubscribe":["a"]}"#, None),
            (r#"{"subscribe":{"id":"a","items":[[["paid"],[]]]}}"#, Some("a")),
            (r#"{"subscribe":{"id":""}}"#, None),
            (r#"{"subscribe":{"id":"a","streem":"s-1"}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","types":[]}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a"},"unsubscribe":{"id":"a"}}"#, None),
            (r#"{"subscribe":{"id":"a","stream":""}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","stream":"s-1","types":["x"]}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","after":1,"atEnd":true}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","after":9007199254740992}}"#, Some("a")),
            (r#"{"subscribe":{"id":"a","fromTime":"now"}}"#, Some("a")),
        ] {
            let refused = Wish::read(frame).unwrap_err();
            assert_eq!(refused.id.as_deref(), id, "{frame}");
        }
    }
}
