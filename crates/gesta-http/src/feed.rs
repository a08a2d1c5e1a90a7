//! The feed of events: server-sent events from a position on, and live from then on.
//!
//! Owns: what a reader may ask for, and how deliveries are said. Always holds: the `id` of what a
//! reader got last, given back as `Last-Event-ID`, goes on without a gap and without repeating;
//! nothing is held for a reader that does not read; every feed ends when serving is to end. Not
//! here: catching up and staying live; the store's subscription does that.

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    extract::FromRequestParts,
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
    Describe, EventDetails, GestaState, Operation, Problem, Route, Schema as _, api,
    cursor::invalid_name,
    extract::query_pairs,
    headers::{self, LAST_EVENT_ID, parse_position, position_schema},
    operation::ParameterIn,
    queries::check_reached,
};

/// The route of the feed.
pub(crate) fn route(prefix: &str) -> Route {
    let about = "Follows events from a position on (server-sent events)";
    api::get(&format!("{prefix}/events"), list_events, about)
}

async fn list_events(feed: Feed) -> Result<EventStream, Problem> {
    feed.begin().await
}

/// What a reader wants to follow.
#[derive(Debug)]
struct Feed {
    state: GestaState,
    after: Position,
    wanted: Wanted,
}

/// Which events: of any of the streams, any of the categories and any of the types that are
/// named, with all of the tags.
#[derive(Debug, Default)]
struct Wanted {
    streams: Vec<StreamName>,
    categories: Vec<Category>,
    types: Vec<EventType>,
    tags: Vec<Tag>,
}

impl FromRequestParts<GestaState> for Feed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &GestaState) -> Result<Self, Problem> {
        let mut wanted = Wanted::default();
        let mut after = None;
        for (name, value) in query_pairs(&parts.uri)? {
            let bad = |error| invalid_name(&name, &error);
            match name.as_str() {
                "stream" => wanted.streams.push(StreamName::stored(value).map_err(bad)?),
                "category" => wanted.categories.push(Category::new(value).map_err(bad)?),
                "type" => wanted.types.push(EventType::new(value).map_err(bad)?),
                "tag" => wanted.tags.push(Tag::new(value).map_err(bad)?),
                "after" if after.is_none() => after = Some(parse_position("after", &value)?),
                "after" => return Err(Problem::invalid(name, headers::REPEATED)),
                _ => return Err(Problem::invalid(name, "is not a parameter of the feed")),
            }
        }
        let seen = headers::position(parts, LAST_EVENT_ID, "Last-Event-ID")?;
        let after = seen.or(after).unwrap_or(Position::START);
        Ok(Self { state: state.clone(), after, wanted })
    }
}

impl Wanted {
    /// What the store looks up, and what is left to check of what it finds.
    fn filters(self) -> (Filter, Vec<Filter>) {
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
        check_reached(self.state.gesta(), self.after).await?;
        let (looked_up, checked) = self.wanted.filters();
        let subscribe = Subscribe::to_all().after(self.after).filter(looked_up);
        let subscription = self.state.gesta().store().subscribe(subscribe);
        let closing = self.state.closing();
        Ok(EventStream {
            following: Following { subscription, checked, closing, ready: VecDeque::new() },
            keep_alive: KeepAlive::new()
                .interval(self.state.request_limits().keep_alive)
                .text("still here"),
        })
    }
}

/// A subscription on its way to a reader.
#[derive(Debug)]
struct Following {
    subscription: Subscription,
    checked: Vec<Filter>,
    closing: watch::Receiver<bool>,
    /// The rest of one delivery.
    ready: VecDeque<Event>,
}

impl Following {
    /// The next thing to say; nothing at the end.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        while self.ready.is_empty() {
            let delivery = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing) => return None,
                delivery = self.subscription.next() => delivery?,
            };
            match delivery {
                Ok(Delivery::Events(page)) => self.take(&page),
                Ok(Delivery::CaughtUp(position)) => self.ready.push_back(passed(position, "live")),
                Ok(Delivery::Checkpoint(position)) => {
                    self.ready.push_back(passed(position, "nothing"));
                }
                Err(error) => {
                    let problem = Problem::from(error).to_json().to_string();
                    // After an error a subscription has no more to say, so this is the last.
                    self.ready.push_back(Event::default().event("problem").data(problem));
                }
            }
        }
        let event = self.ready.pop_front()?;
        Some((Ok(event), self))
    }

    fn take(&mut self, page: &[RecordedEvent]) {
        let wanted =
            |event: &&RecordedEvent| self.checked.iter().all(|filter| filter.matches(event));
        self.ready.extend(page.iter().filter(wanted).map(said));
        let (last, last_wanted) = (page.last(), page.iter().rfind(wanted));
        if let Some(last) = last.filter(|last| last_wanted.is_none_or(|it| it != *last)) {
            self.ready.push_back(passed(last.position, "nothing"));
        }
    }
}

fn said(event: &RecordedEvent) -> Event {
    let told = serde_json::to_string(&EventDetails::of(event)).expect("a view has a JSON form");
    Event::default().id(event.position.to_string()).data(told)
}

/// Moves the reader's `Last-Event-ID` on, and is no event.
fn passed(position: Position, what: &str) -> Event {
    Event::default().id(position.to_string()).comment(what)
}

/// Events without end.
struct EventStream {
    following: Following,
    keep_alive: KeepAlive,
}

impl EventStream {
    fn events(following: Following) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(following, Following::next)
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        Sse::new(Self::events(self.following)).keep_alive(self.keep_alive).into_response()
    }
}

impl Describe for Feed {
    fn describe(operation: &mut Operation<'_>) {
        let name = |most: usize| json!({ "type": "string", "minLength": 1, "maxLength": most });
        for (parameter, about, schema) in [
            ("stream", "Only of these streams.", name(StreamName::BYTES_MAX)),
            ("category", "Only of these categories.", name(Category::BYTES_MAX)),
            ("type", "Only of these types.", name(EventType::BYTES_MAX)),
            ("tag", "Only with all of these tags.", name(Tag::BYTES_MAX)),
        ] {
            let schema = json!({ "type": "array", "items": schema });
            operation.optional(ParameterIn::Query, parameter, about, schema);
        }
        let about = "Only after this position.";
        operation.optional(ParameterIn::Query, "after", about, position_schema());
        let about = "Only after the event with this id; goes before `after`.";
        operation.header("Last-Event-ID", about, position_schema());
        operation.problem(400, "the field that is named makes no sense");
        operation.problem(412, "the position is beyond the head of the store");
    }
}

impl Describe for EventStream {
    fn describe(operation: &mut Operation<'_>) {
        let about = "events without end; the data of each is an `Event` as JSON";
        EventDetails::schema(operation.schemas());
        let schema = json!({ "type": "string" });
        operation.answers_with(StatusCode::OK, about, "text/event-stream", schema);
    }
}
