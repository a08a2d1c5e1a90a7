//! Pages of stored events: of a stream, of the whole store, and by an id.
//!
//! Invariant: a page has at most as many events as were asked for, and at most [`PAGE_BYTES_MAX`]
//! of payload unless its first event alone has more.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::{
    Position, Registry, Revision, StreamName,
    store::{
        Direction, Filter, Pages, ReadAll, ReadFrom, ReadStream, RecordedEvent, StreamState,
        Visibility,
    },
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    event::StoredEvent,
    failure::{NOT_SUPPORTED, of_read},
    names::StreamPath,
    places::{Place, Towards, direction, recorded_from},
    selection::StoreRequest,
};
use crate::{
    Describe, GestaState, Operation, PageLimit, PathOf, Problem, QueryOf, RequestFields, Schema,
    Schemas, Time,
    built_in::{identifiers::EventName, program::Program},
    queries::check_reached,
    requests::personal::PersonalView,
    wire::problem::RESOURCE_NOT_FOUND,
};

/// Maximum payload of a page.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Bytes that an event has besides its payload, about.
const EVENT_OVERHEAD_BYTES: usize = 300;

/// A page of a stream.
#[derive(RequestFields, Clone, Debug)]
pub(super) struct StreamQuery {
    /// Start at this revision.
    from: Option<Place>,
    /// Start at this time.
    from_time: Option<Time>,
    /// Direction of the read: `forwards`, which is the default, or `backwards`.
    direction: Option<Towards>,
    /// Maximum number of events.
    limit: Option<PageLimit>,
    /// Add the form in the current version to events of older versions.
    upcast: Option<bool>,
}

impl StreamQuery {
    fn place(&self, direction: Direction) -> Result<ReadFrom<Revision>, Problem> {
        Ok(match (self.from, self.from_time) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("fromTime", "and `from` exclude each other"));
            }
            (Some(Place(revision)), None) => ReadFrom::At(Revision::new(revision)),
            (None, Some(time)) => ReadFrom::Time(recorded_from(time)),
            (None, None) if direction == Direction::Forwards => ReadFrom::Start,
            (None, None) => ReadFrom::End,
        })
    }
}

/// The response with a page of a stream: 200.
#[derive(Debug, Serialize)]
pub(super) struct StreamPage {
    stream: String,
    events: Vec<StoredEvent>,
    next: Option<u64>,
    end: bool,
}

pub(super) async fn read_stream(
    state: GestaState,
    program: Program,
    view: PersonalView,
    path: PathOf<StreamPath>,
    query: QueryOf<StreamQuery>,
) -> Result<StreamPage, Problem> {
    let stream = path.name()?;
    let direction = direction(query.direction);
    let from = query.place(direction)?;
    let limit = u64::from(query.limit.unwrap_or_default().number());
    // One more than asked tells whether the page is the last one.
    let read = ReadStream::towards(direction, stream.clone()).starting(from).limit(limit + 1);
    let CutPage { events, end } =
        CutPage::of(state.gesta().store().read_stream(read), limit).await?;
    if events.is_empty() {
        check_exists(&state, &stream).await?;
    }
    let last = events.last().map(|event| event.revision);
    let next = match (direction, last) {
        (Direction::Forwards, Some(last)) => Some(last.next().number()),
        // A reader that was at the end continues where it was.
        (Direction::Forwards, None) => query.from.map(|Place(from)| from),
        (Direction::Backwards, last) => {
            last.and_then(Revision::previous).filter(|_| !end).map(Revision::number)
        }
    };
    let known = query.upcast.unwrap_or(false).then_some(&program.0.events);
    Ok(StreamPage { stream: stream.to_string(), events: shown(&events, known, &view), next, end })
}

/// Tells a stream without events in this range from one that does not exist.
async fn check_exists(state: &GestaState, stream: &StreamName) -> Result<(), Problem> {
    let described = state.gesta().store().describe_stream(stream).await.map_err(of_read)?;
    let what = match described.state {
        StreamState::Missing => "has no events",
        StreamState::Deleted => "is deleted",
        StreamState::Live | StreamState::Tombstoned => return Ok(()),
    };
    let detail = format!("the stream `{stream}` {what}");
    Err(Problem::new(StatusCode::NOT_FOUND, "not-found", detail))
}

/// The response with a page of the whole store: 200.
#[derive(Debug, Serialize)]
pub(super) struct StorePage {
    events: Vec<StoredEvent>,
    position: u64,
    end: bool,
}

pub(super) async fn read_all(
    state: GestaState,
    view: PersonalView,
    request: StoreRequest,
) -> Result<StorePage, Problem> {
    check_reached(state.gesta(), request.after()).await?;
    let store = state.gesta().store();
    // Before the read, which has at least the events up to it.
    let head = store.head().await?.position;
    let Some(from) = request.start()? else {
        return Ok(StorePage { events: Vec::new(), position: 0, end: true });
    };
    let StoreRequest { direction, limit, filter, .. } = request;
    let visibility = filter.visibility(Visibility::Visible);
    let read = ReadAll::towards(direction).starting(from).filter(filter);
    let read = read.visibility(visibility).limit(limit + 1);
    let CutPage { events, end } = CutPage::of(store.read_all(read), limit).await?;
    let last = events.last().map_or(Position::START, |event| event.position);
    let position = match (direction, end) {
        (Direction::Backwards, true) => Position::START,
        (Direction::Forwards, true) => last.max(head),
        (Direction::Forwards | Direction::Backwards, false) => last,
    };
    Ok(StorePage { events: shown(&events, None, &view), position: position.number(), end })
}

/// The path of an event.
#[derive(RequestFields, Clone, Debug)]
pub(super) struct EventPath {
    /// Id of the event.
    id: EventName,
}

/// The query string of a look-up.
#[derive(RequestFields, Clone, Debug)]
pub(super) struct LookUpQuery {
    /// Add the form in the current version to events of older versions.
    upcast: Option<bool>,
}

/// The response with the events of an id: 200.
#[derive(Debug, Serialize)]
pub(super) struct FoundEvents {
    events: Vec<StoredEvent>,
}

pub(super) async fn find_events(
    state: GestaState,
    program: Program,
    view: PersonalView,
    path: PathOf<EventPath>,
    query: QueryOf<LookUpQuery>,
) -> Result<FoundEvents, Problem> {
    let id = path.id.0;
    let read = ReadAll::forwards().filter(Filter::EventId(id)).visibility(Visibility::Visible);
    let limit = u64::from(PageLimit::MAX);
    let CutPage { events, .. } = CutPage::of(state.gesta().store().read_all(read), limit).await?;
    if events.is_empty() {
        let detail = format!("no event has the id {id}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", detail));
    }
    let known = query.upcast.unwrap_or(false).then_some(&program.0.events);
    Ok(FoundEvents { events: shown(&events, known, &view) })
}

fn shown(
    events: &[RecordedEvent],
    known: Option<&Registry>,
    view: &PersonalView,
) -> Vec<StoredEvent> {
    let shown = events.iter().map(|event| {
        let stored = StoredEvent::of(&view.event(event));
        match known {
            Some(known) => stored.upcast_by(known, event, view),
            None => stored,
        }
    });
    shown.collect()
}

/// The events of a page.
struct CutPage {
    events: Vec<RecordedEvent>,
    /// Nothing comes after it.
    end: bool,
}

impl CutPage {
    /// Takes events of a read as long as there is room.
    async fn of(mut pages: Pages<RecordedEvent>, limit: u64) -> Result<Self, Problem> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(page) = pages.next().await {
            for event in page.map_err(of_read)? {
                bytes += event.data.len() + event.metadata.len() + EVENT_OVERHEAD_BYTES;
                let is_full = events.len() as u64 >= limit;
                if is_full || (bytes > PAGE_BYTES_MAX && !events.is_empty()) {
                    return Ok(Self { events, end: false });
                }
                events.push(event);
            }
        }
        Ok(Self { events, end: true })
    }
}

/// Returns the schema of a page with these members besides its events.
fn page_schema(schemas: &mut Schemas, name: &str, members: &[(&str, Value)]) -> Value {
    schemas.component(name, |schemas| {
        let events = ("events", Vec::<StoredEvent>::schema(schemas));
        let all = || std::iter::once(&events).chain(members);
        let properties: Map<_, _> =
            all().map(|(member, schema)| ((*member).to_owned(), schema.clone())).collect();
        let required: Vec<_> = all().map(|(member, _)| *member).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    })
}

fn number(description: &str) -> Value {
    json!({ "type": ["integer", "null"], "minimum": 0, "description": description })
}

fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

impl Schema for StreamPage {
    fn schema(schemas: &mut Schemas) -> Value {
        let members = [
            ("stream", json!({ "type": "string", "description": "Name of the stream." })),
            ("next", number("`from` of the next page; null if there is none.")),
            ("end", flag("The page ends where the stream does.")),
        ];
        page_schema(schemas, "StreamPage", &members)
    }
}

impl Schema for StorePage {
    fn schema(schemas: &mut Schemas) -> Value {
        let about = "`after` of the next page, or `before` of one backwards.";
        let members = [
            ("position", json!({ "type": "integer", "minimum": 0, "description": about })),
            ("end", flag("Nothing comes after the page now.")),
        ];
        page_schema(schemas, "StorePage", &members)
    }
}

impl Schema for FoundEvents {
    fn schema(schemas: &mut Schemas) -> Value {
        page_schema(schemas, "FoundEvents", &[])
    }
}

macro_rules! answers {
    ($($page:ty: $about:literal, $further:expr;)+) => { $(
        impl IntoResponse for $page {
            fn into_response(self) -> Response {
                Json(self).into_response()
            }
        }

        impl Describe for $page {
            fn describe(operation: &mut Operation<'_>) {
                operation.answers::<Self>(StatusCode::OK, $about);
                let further: &[(u16, &str)] = $further;
                for (status, description) in further {
                    operation.problem(*status, description);
                }
                operation.problem(501, NOT_SUPPORTED);
            }
        }
    )+ };
}
answers!(
    StreamPage: "a page of the stream, possibly empty", &MAY_BE_MISSING;
    StorePage: "a page of the store, possibly empty", &[];
    FoundEvents: "the events", &MAY_BE_MISSING;
);

/// Problems of reads of something that may not exist.
const MAY_BE_MISSING: [(u16, &str); 2] =
    [(404, RESOURCE_NOT_FOUND), (412, "If-Match is set and the resource does not exist")];
