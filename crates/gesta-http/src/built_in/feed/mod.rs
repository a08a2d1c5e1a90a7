//! The event feed: a catch-up subscription as server-sent events, or over a WebSocket.
//!
//! Owns: the feed's parameters, and the encoding of deliveries as server-sent events. The events of
//! a feed are read by a [`reader`], and a WebSocket is a [`session`] with [`frames`].
//!
//! Invariants:
//! - A reader that reconnects with `Last-Event-ID`, or with `after`, continues without gaps and
//!   duplicates.
//! - Nothing is buffered for a slow reader beyond one delivery.
//! - Every feed ends when the server shuts down, and when the credentials of its reader end or are
//!   withdrawn; one with `follow=false` also when it has caught up.
//! - A reader without the right to the raw feed sees no event of the framework's own streams.
//! - The end of a feed is never the end of its events: it ends with a `problem`, or without a word
//!   when the server shuts down, after which readers connect again.
//!
//! Not here: catching up and staying live, which the store's subscription does.

pub(crate) mod described;
mod frames;
mod reader;
mod session;

use std::convert::Infallible;

use axum::{
    extract::{FromRef, FromRequestParts, State},
    http::{StatusCode, Uri, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{MethodRouter, get},
};
use futures_util::{Stream, stream::unfold};
use gesta::{EventType, Position, StreamName, Tag, store::Category};
use serde_json::json;

use self::reader::{CredentialsEnd, FeedItem, FeedReader, FeedView, Selection};
use crate::{
    ApiRoute, Describe, EventDetails, Field, GestaState, Operation, Problem, Right, Schema as _,
    SocketRequest,
    requests::extract::query_pairs,
    wire::{
        cursor::invalid_name,
        headers::{self, LAST_EVENT_ID, parse_position, position_schema},
        operation::ParameterIn,
        problem::VALIDATION_FAILED,
    },
};

/// Returns the route of the feed.
pub(crate) fn route(prefix: &str) -> ApiRoute {
    let about = "Streams the events after a position, as server-sent events";
    ApiRoute::get(&format!("{prefix}/events"), about).handle(list_events).right(Right::Feed)
}

/// The operation whose rule holds for the feed, whatever carries it.
pub(crate) const OPERATION: &str = "listEvents";

/// The subprotocol of the feed over WebSockets.
const PROTOCOL: &str = "gesta-events";

/// Returns the path of the feed over WebSockets with its handler. OpenAPI describes no WebSockets.
pub(crate) fn socket_route(prefix: &str) -> (String, MethodRouter<GestaState>) {
    (format!("{prefix}/events/ws"), get(open_socket))
}

async fn open_socket(
    State(state): State<GestaState>,
    view: FeedView,
    ended: CredentialsEnd,
    uri: Uri,
    request: SocketRequest,
) -> Result<Response, Problem> {
    if let Some((name, _)) = query_pairs(&uri)?.into_iter().next() {
        return Err(Problem::invalid(name, "is unknown; subscribe with a message"));
    }
    // Clients that are no browsers need to offer nothing.
    let request = match request.offers_protocols() {
        true => request.protocol(PROTOCOL)?,
        false => request,
    };
    Ok(request.open(move |socket| session::run(socket, state, view, ended)))
}

async fn list_events(feed: Feed) -> Result<EventStream, Problem> {
    feed.begin().await
}

/// The request for a feed.
struct Feed {
    state: GestaState,
    after: Position,
    selection: Selection,
    view: FeedView,
    ended: CredentialsEnd,
    end: FeedEnd,
}

/// The end of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FeedEnd {
    /// It goes on with new events.
    Never,
    /// After the events that the store has.
    CaughtUp,
}

impl<S> FromRequestParts<S> for Feed
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let state = GestaState::from_ref(state);
        let view = FeedView::of(&state, parts)?;
        let ended = CredentialsEnd::of(&state, parts);
        let mut selection = Selection::default();
        let (mut after, mut end) = (None, None);
        // Not `QueryOf`: these parameters may be given several times.
        for (name, value) in query_pairs(&parts.uri)? {
            let bad = |error| invalid_name(&name, &error);
            match name.as_str() {
                "stream" => selection.streams.push(StreamName::stored(value).map_err(bad)?),
                "category" => selection.categories.push(Category::new(value).map_err(bad)?),
                "type" => selection.types.push(EventType::new(value).map_err(bad)?),
                "tag" => selection.tags.push(Tag::new(value).map_err(bad)?),
                "after" if after.is_none() => after = Some(parse_position("after", &value)?),
                "follow" if end.is_none() => end = Some(read_follow(&value)?),
                "after" | "follow" => return Err(Problem::invalid(name, headers::REPEATED)),
                _ => {
                    return Err(Problem::invalid(
                        name,
                        "is unknown; use `stream`, `category`, `type`, `tag`, `after` or `follow`",
                    ));
                }
            }
        }
        let seen = headers::position(&parts.headers, LAST_EVENT_ID, "Last-Event-ID")?;
        // A browser reconnects with the same URL and adds the id of the last event (HTML standard,
        // section 9.2), which is later than `after`.
        let after = seen.or(after).unwrap_or(Position::START);
        let end = end.unwrap_or(FeedEnd::Never);
        Ok(Self { state, after, selection, view, ended, end })
    }
}

fn read_follow(value: &str) -> Result<FeedEnd, Problem> {
    match value {
        "true" => Ok(FeedEnd::Never),
        "false" => Ok(FeedEnd::CaughtUp),
        _ => Err(Problem::invalid("follow", format!("must be true or false; got `{value}`"))),
    }
}

impl Feed {
    async fn begin(self) -> Result<EventStream, Problem> {
        let Self { state, after, selection, view, ended, end } = self;
        Ok(EventStream {
            end,
            reader: FeedReader::begin(&state, after, selection, view, ended).await?,
            // Proxies close silent connections, and only a write shows that the reader is gone.
            keep_alive: KeepAlive::new()
                .interval(state.request_limits().keep_alive)
                .text("keep-alive"),
        })
    }
}

/// Encodes an item. Each moves the id of the reader, which must not see events again after a
/// reconnect.
fn sse_event(item: &FeedItem) -> Event {
    match item {
        FeedItem::Event(event) => {
            let json = serde_json::to_string(&EventDetails::of(event));
            let json = json.expect("a view has a JSON form");
            // The id is what comes back as `Last-Event-ID`.
            let message = Event::default().id(event.position.to_string());
            // Without a name it is a `message`.
            let message = match name_of(event.event_type.as_str()) {
                Some(name) => message.event(name),
                None => message,
            };
            message.data(json)
        }
        FeedItem::CaughtUp(position) => progress(CAUGHT_UP, *position),
        FeedItem::Passed(position) => progress(CHECKPOINT, *position),
        FeedItem::Failed(problem) => {
            Event::default().event(PROBLEM).data(problem.to_json().to_string())
        }
    }
}

const CAUGHT_UP: &str = "caught-up";
const CHECKPOINT: &str = "checkpoint";
const PROBLEM: &str = "problem";
/// The names of messages that are no events. Events of these types have no name.
const OWN_NAMES: [&str; 3] = [CAUGHT_UP, CHECKPOINT, PROBLEM];

/// Returns the name of the message of an event, or `None` if its type can be none: an older store
/// may have types with line breaks.
fn name_of(event_type: &str) -> Option<&str> {
    let is_name = !OWN_NAMES.contains(&event_type) && !event_type.contains(char::is_control);
    is_name.then_some(event_type)
}

/// Returns a message that moves the reader's `Last-Event-ID` forward without being an event.
fn progress(name: &str, position: Position) -> Event {
    let data = json!({ "position": position.number() });
    Event::default().event(name).id(position.to_string()).data(data.to_string())
}

/// The response with a stream of events.
struct EventStream {
    reader: FeedReader,
    end: FeedEnd,
    keep_alive: KeepAlive,
}

impl EventStream {
    fn events(reader: FeedReader, end: FeedEnd) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(Some(reader), move |reader: Option<FeedReader>| async move {
            let mut reader = reader?;
            let item = reader.next().await?;
            let is_last = end == FeedEnd::CaughtUp && matches!(item, FeedItem::CaughtUp(_));
            Some((Ok(sse_event(&item)), (!is_last).then_some(reader)))
        })
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        let events = Self::events(self.reader, self.end);
        Sse::new(events).keep_alive(self.keep_alive).into_response()
    }
}

/// Characters that no stream's name has, for a regular expression's class.
const ZERO: &str = r"\u0000";
/// Characters that no event type and no tag has.
const CONTROL: &str = r"\u0000-\u001F\u007F-\u009F";
/// Characters that no category has.
const DASH: &str = r"\u0000-\u001F\u007F-\u009F\-";

impl Describe for Feed {
    fn describe(operation: &mut Operation<'_>) {
        for (parameter, about, except, most) in [
            ("stream", "Select events of these streams.", ZERO, StreamName::BYTES_MAX),
            ("category", "Select events of these categories.", DASH, Category::BYTES_MAX),
            ("type", "Select events of these types.", CONTROL, EventType::BYTES_MAX),
            ("tag", "Select events that have all of these tags.", CONTROL, Tag::BYTES_MAX),
        ] {
            // The limits are in bytes of UTF-8, but a schema counts characters: a long name that is
            // not ASCII may pass the schema and be refused.
            let name = json!({
                "type": "string",
                "minLength": 1,
                "maxLength": most,
                "pattern": format!("^[^{except}]+$"),
            });
            let schema = json!({ "type": "array", "items": name });
            operation.optional(ParameterIn::Query, parameter, about, schema);
        }
        let about = "Position after which the feed starts. If 0 or absent, the feed starts with \
                     the first event.";
        operation.optional(ParameterIn::Query, "after", about, position_schema());
        let about = "If `false`, the feed ends after the events that the store has; by default it \
                     goes on with new ones.";
        // The example ends: a page that shows an answer waits for its end.
        let follow = Field::named::<Option<bool>>("follow", about, operation.schemas());
        operation.parameter(ParameterIn::Query, follow.with_example(false));
        let about = "Id of the last event received; takes precedence over `after`.";
        operation.header("Last-Event-ID", about, position_schema());
        operation.problem(400, VALIDATION_FAILED);
        operation.problem(412, "the position is beyond the head of the store");
    }
}

impl Describe for EventStream {
    fn describe(operation: &mut Operation<'_>) {
        let about = "a stream, endless with `follow`. A message has the type of its event as its name, and an \
                     `EventDetails` as JSON as its data. `caught-up` says that further events \
                     are new, `checkpoint` that nothing is selected up to its id, and `problem` \
                     ends the stream with the reason";
        EventDetails::schema(operation.schemas());
        let schema = json!({ "type": "string" });
        operation.answers_with(StatusCode::OK, about, "text/event-stream", schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_would_pass_for_another_message_is_no_name() {
        assert_eq!(name_of("order-placed"), Some("order-placed"));
        for odd in ["problem", "caught-up", "checkpoint", "a\nid: 9", "a\rb", "a\u{0}"] {
            assert_eq!(name_of(odd), None, "{odd:?}");
        }
    }
}
