//! `GET /v1/all` and `POST /v1/query`: a page of the whole store, or of the events that a
//! selection finds.
//!
//! Invariants: the position of an answer is safe as the place to read on from, to subscribe after,
//! and as the `after` of a condition: every selected event up to it was in this page or an earlier
//! one. The right to read the stream `$all` is needed; streams of the system are shown to those who
//! may read them ([`StoreView`](crate::access::StoreView)).

use axum::response::Response;
use gesta_store::{Direction, Position, ReadAll, ReadFrom, RecordedAt, RecordedEvent};
use serde::{Deserialize, Serialize};

use super::{
    event_json::EventJson,
    native_call::{NativeCall, json_answer},
    object::Object,
    page::{Cut, collect_seen, payload_bytes},
    parameters::{AFTER, BEFORE, FROM_TIME, LIMIT_DEFAULT, LIMIT_MAX, NUMBER_MAX, time_of},
    problem::{Problem, ProblemCode},
    rights::check_all,
    selection::{EventSelection, QueryItemBody, Selected, plain},
};

/// Maximum size of the body of a query.
pub(super) const QUERY_BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Serialize)]
struct StorePage<'a> {
    events: Vec<EventJson<'a>>,
    position: u64,
    end: bool,
}

/// The place of a page.
#[derive(Clone, Copy, Debug, Default)]
struct PagePlace {
    after: Option<u64>,
    before: Option<u64>,
    time: Option<RecordedAt>,
    is_backward: bool,
}

/// The body of a query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct QueryBody {
    items: Vec<Object<QueryItemBody>>,
    after: Option<u64>,
    before: Option<u64>,
    from_time: Option<String>,
    direction: Option<DirectionBody>,
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DirectionBody {
    Forwards,
    Backwards,
}

pub(super) async fn read_all(call: NativeCall) -> Result<Response, Problem> {
    let arguments = &call.arguments;
    let place = PagePlace {
        after: arguments.number(&AFTER)?,
        before: arguments.number(&BEFORE)?,
        time: arguments.time(&FROM_TIME)?,
        is_backward: arguments.is_backward()?,
    };
    let selected = EventSelection::of_arguments(arguments)?.select()?;
    answer(&call, place, selected, arguments.limit()?).await
}

pub(super) async fn query(call: NativeCall) -> Result<Response, Problem> {
    let QueryBody { items, after, before, from_time, direction, limit } = call.json()?;
    let place = PagePlace {
        after: within("after", after)?,
        before: within("before", before)?,
        time: from_time.map(|text| time_of("fromTime", &text)).transpose()?,
        is_backward: matches!(direction, Some(DirectionBody::Backwards)),
    };
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let reason = format!("must be from 1 to {LIMIT_MAX}; got {limit}");
        return Err(Problem::invalid("limit", reason));
    }
    if items.is_empty() {
        return Err(Problem::invalid("items", "must have at least 1 item; GET /v1/all has all"));
    }
    let selected = EventSelection { items: plain(items), ..EventSelection::default() }.select()?;
    answer(&call, place, selected, limit).await
}

/// Checks a position of a body.
pub(super) fn within(field: &str, number: Option<u64>) -> Result<Option<u64>, Problem> {
    match number {
        Some(number) if number > NUMBER_MAX => {
            Err(Problem::invalid(field, format!("must be at most {NUMBER_MAX}; got {number}")))
        }
        number => Ok(number),
    }
}

impl PagePlace {
    /// Returns the start of the read, or `None` if nothing lies in its direction.
    fn start(self, head: Position) -> Result<Option<ReadFrom<Position>>, Problem> {
        let Self { after, before, time, is_backward } = self;
        match (is_backward, after, before) {
            (false, _, Some(_)) => {
                return Err(Problem::invalid(BEFORE.name, "needs `direction=backwards`"));
            }
            (true, Some(_), _) => {
                return Err(Problem::invalid(AFTER.name, "needs `direction=forwards`"));
            }
            _ => {}
        }
        Ok(Some(match (after.or(before), time) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid(FROM_TIME.name, "and a position exclude each other"));
            }
            (None, Some(time)) => ReadFrom::Time(time),
            (None, None) if is_backward => ReadFrom::End,
            (None, None) => ReadFrom::Start,
            (Some(before), None) if is_backward => match before.checked_sub(1) {
                None | Some(0) => return Ok(None),
                Some(last) => ReadFrom::At(Position::new(last)),
            },
            (Some(after), None) => {
                let after = Position::new(after);
                check_reached(after, head)?;
                ReadFrom::At(after.next())
            }
        }))
    }
}

/// Refuses a position that the store has not reached.
pub(super) fn check_reached(position: Position, head: Position) -> Result<(), Problem> {
    if position <= head {
        return Ok(());
    }
    let detail = format!("the position {position} is beyond the head {head}");
    let problem = Problem::new(ProblemCode::PositionBeyondHead, detail);
    Err(problem.with("position", head.number()))
}

async fn answer(
    call: &NativeCall,
    place: PagePlace,
    selected: Selected,
    limit: u64,
) -> Result<Response, Problem> {
    check_all(&call.node, &call.caller).await?;
    call.node.counters().reads.add(1);
    let store = call.node.store();
    // Before the read, which has at least the events up to it.
    let head = store.head().await.map_err(|error| Problem::of_read(&error))?.position;
    let Some(from) = place.start(head)? else {
        return json_answer(&StorePage { events: Vec::new(), position: 0, end: true });
    };
    let turn = call.turn().await?;
    let Cut { events, end } = collect_page(call, place, from, selected, limit).await?;
    call.node.counters().events_read.add(events.len() as u64);
    let last = events.last().map(|event| event.position);
    let position = match (place.is_backward, end) {
        (true, true) => Position::START,
        (true, false) => last.unwrap_or(Position::START),
        (false, true) => last.unwrap_or(head).max(head),
        (false, false) => last.unwrap_or(Position::START),
    };
    call.payload_answer(turn, payload_bytes(&events), move || {
        let events = events.iter().map(EventJson::of).collect();
        serde_json::to_vec(&StorePage { events, position: position.number(), end })
    })
    .await
}

async fn collect_page(
    call: &NativeCall,
    place: PagePlace,
    from: ReadFrom<Position>,
    selected: Selected,
    limit: u64,
) -> Result<Cut<RecordedEvent>, Problem> {
    let direction = if place.is_backward { Direction::Backwards } else { Direction::Forwards };
    let Selected { filter, visibility } = selected;
    let visibility = filter.visibility(visibility);
    let read = ReadAll::towards(direction).starting(from).filter(filter).visibility(visibility);
    let view = call.node.access().view(&call.caller);
    // One more than asked tells whether the page is the last one. If events are left out, the
    // store cannot know where the page ends.
    let read = match view.is_whole() {
        true => read.limit(limit + 1),
        false => read,
    };
    let pages = call.node.store().read_all(read);
    collect_seen(pages, limit, view).await
}
