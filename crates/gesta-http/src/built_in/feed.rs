//! The event feed: a catch-up subscription as server-sent events.
//!
//! Owns: the feed's parameters, and the encoding of deliveries.
//!
//! Invariants:
//! - A reader that reconnects with `Last-Event-ID` continues without gaps and duplicates.
//! - Nothing is buffered for a slow reader beyond one delivery.
//! - Every feed ends when the server shuts down.
//!
//! Not here: catching up and staying live, which the store's subscription does.

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream::unfold};
use gesta::{
    EventType, Position, StreamName, Tag,
    store::{
        Category, Delivery, EventQuery, Filter, QueryItem, RecordedEvent, Subscribe, Subscription,
    },
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    ApiRoute, Describe, EventDetails, GestaState, Operation, Problem, Schema as _,
    queries::check_reached,
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
    ApiRoute::get(&format!("{prefix}/events"), about).handle(list_events)
}

async fn list_events(feed: Feed) -> Result<EventStream, Problem> {
    feed.begin().await
}

/// The request for a feed.
#[derive(Debug)]
struct Feed {
    state: GestaState,
    after: Position,
    selection: Selection,
}

/// The requested events: of any of the streams, any of the categories and any of the types, with
/// all of the tags. An empty list selects everything.
#[derive(Debug, Default)]
struct Selection {
    streams: Vec<StreamName>,
    categories: Vec<Category>,
    types: Vec<EventType>,
    tags: Vec<Tag>,
}

impl<S> FromRequestParts<S> for Feed
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let state = GestaState::from_ref(state);
        let mut selection = Selection::default();
        let mut after = None;
        // Not `QueryOf`: these parameters may be given several times.
        for (name, value) in query_pairs(&parts.uri)? {
            let bad = |error| invalid_name(&name, &error);
            match name.as_str() {
                "stream" => selection.streams.push(StreamName::stored(value).map_err(bad)?),
                "category" => selection.categories.push(Category::new(value).map_err(bad)?),
                "type" => selection.types.push(EventType::new(value).map_err(bad)?),
                "tag" => selection.tags.push(Tag::new(value).map_err(bad)?),
                "after" if after.is_none() => after = Some(parse_position("after", &value)?),
                "after" => return Err(Problem::invalid(name, headers::REPEATED)),
                _ => {
                    return Err(Problem::invalid(
                        name,
                        "is unknown; use `stream`, `category`, `type`, `tag` or `after`",
                    ));
                }
            }
        }
        let seen = headers::position(&parts.headers, LAST_EVENT_ID, "Last-Event-ID")?;
        // A browser reconnects with the same URL and adds the id of the last event (HTML standard,
        // section 9.2), which is later than `after`.
        let after = seen.or(after).unwrap_or(Position::START);
        Ok(Self { state, after, selection })
    }
}

impl Selection {
    /// Returns the filter for the store, and the filters to apply to the events that it
    /// delivers: the store accepts only one.
    fn filters(self) -> (Filter, Vec<Filter>) {
        // Roughly from the most to the least selective: the store reads by the first one.
        let mut filters = Vec::new();
        if !self.streams.is_empty() {
            filters.push(Filter::Streams(self.streams));
        }
        if !self.types.is_empty() || !self.tags.is_empty() {
            let item = QueryItem::every().of_types(self.types).tagged(self.tags);
            filters.push(Filter::Query(EventQuery::of(item)));
        }
        if !self.categories.is_empty() {
            filters.push(Filter::Categories(self.categories));
        }
        if filters.is_empty() {
            return (Filter::Everything, filters);
        }
        (filters.remove(0), filters)
    }
}

impl Feed {
    async fn begin(self) -> Result<EventStream, Problem> {
        // A subscription that starts beyond the head stays silent, and its reader cannot see why.
        check_reached(self.state.gesta(), self.after).await?;
        let (indexed, remaining) = self.selection.filters();
        let subscribe = Subscribe::to_all().after(self.after).filter(indexed);
        let subscription = self.state.gesta().store().subscribe(subscribe.into());
        let closing = self.state.closing();
        Ok(EventStream {
            reader: FeedReader { subscription, remaining, closing, ready: VecDeque::new() },
            // Proxies close silent connections, and only a write shows that the reader is gone.
            keep_alive: KeepAlive::new()
                .interval(self.state.request_limits().keep_alive)
                .text("keep-alive"),
        })
    }
}

/// Reads a subscription and encodes its deliveries.
#[derive(Debug)]
struct FeedReader {
    subscription: Subscription,
    /// Filters that the store does not apply.
    remaining: Vec<Filter>,
    closing: watch::Receiver<bool>,
    /// Encoded events of the current delivery.
    ready: VecDeque<Event>,
}

impl FeedReader {
    /// Returns the next server-sent event, or `None` at the end of the feed.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        while self.ready.is_empty() {
            let delivery = tokio::select! {
                // A busy store must not postpone the end of the feed.
                biased;
                _ = self.closing.wait_for(|closing| *closing) => return None,
                delivery = self.subscription.next() => delivery?,
            };
            match delivery {
                Ok(Delivery::Events(page)) => self.encode(&page),
                Ok(Delivery::CaughtUp(position)) => {
                    self.ready.push_back(checkpoint(position, "live"))
                }
                Ok(Delivery::Checkpoint(position)) => {
                    self.ready.push_back(checkpoint(position, "nothing"));
                }
                // Neither events nor progress.
                Ok(_) => {}
                Err(error) => {
                    let problem = Problem::from(error).to_json().to_string();
                    // A subscription ends after an error, so this is the last event of the feed.
                    self.ready.push_back(Event::default().event("problem").data(problem));
                }
            }
        }
        let event = self.ready.pop_front()?;
        Some((Ok(event), self))
    }

    fn encode(&mut self, page: &[RecordedEvent]) {
        // Only regular expressions can fail, and a feed has none.
        let wanted = |event: &&RecordedEvent| {
            self.remaining.iter().all(|filter| filter.matches(event).unwrap_or(false))
        };
        // All of one page. The next is read only when this one is sent, so a slow reader holds up
        // nothing but its own subscription.
        self.ready.extend(page.iter().filter(wanted).map(sse_event));
        // A reader must not see filtered events again after a reconnect: move its id past them.
        let (last, last_wanted) = (page.last(), page.iter().rfind(wanted));
        if let Some(last) = last.filter(|last| last_wanted.is_none_or(|it| it != *last)) {
            self.ready.push_back(checkpoint(last.position, "nothing"));
        }
    }
}

fn sse_event(event: &RecordedEvent) -> Event {
    let json = serde_json::to_string(&EventDetails::of(event)).expect("a view has a JSON form");
    // The id is what comes back as `Last-Event-ID`. Without an `event` field it is a `message`.
    Event::default().id(event.position.to_string()).data(json)
}

/// Returns a comment that moves the reader's `Last-Event-ID` forward without being an event.
fn checkpoint(position: Position, comment: &str) -> Event {
    Event::default().id(position.to_string()).comment(comment)
}

/// The response with an endless stream of events.
struct EventStream {
    reader: FeedReader,
    keep_alive: KeepAlive,
}

impl EventStream {
    fn events(reader: FeedReader) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(reader, FeedReader::next)
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        Sse::new(Self::events(self.reader)).keep_alive(self.keep_alive).into_response()
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
        let about = "Id of the last event received; takes precedence over `after`.";
        operation.header("Last-Event-ID", about, position_schema());
        operation.problem(400, VALIDATION_FAILED);
        operation.problem(412, "the position is beyond the head of the store");
    }
}

impl Describe for EventStream {
    fn describe(operation: &mut Operation<'_>) {
        let about = "an endless stream; the data of each event is an `EventDetails` as JSON";
        EventDetails::schema(operation.schemas());
        let schema = json!({ "type": "string" });
        operation.answers_with(StatusCode::OK, about, "text/event-stream", schema);
    }
}
