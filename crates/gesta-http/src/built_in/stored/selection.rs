//! The request for a page of the whole store: its place, and the events that it selects.
//!
//! Invariant: at most one kind of filter, because a store evaluates one; types with tags are one.

use axum::{extract::FromRequestParts, http::request::Parts};
use gesta::{
    CausationId, CorrelationId, EventType, InvalidName, Position, StreamName, Tag,
    store::{Category, Direction, EventQuery, Filter, QueryItem, ReadFrom, RecordedAt},
};
use serde_json::{Value, json};

use super::places::{CONTROL, DASH, Place, Towards, ZERO, direction, name_schema, recorded_from};
use crate::{
    Describe, Operation, PageLimit, Problem, Schema as _, Time,
    requests::extract::query_pairs,
    wire::{
        cursor::invalid_name,
        headers::{REPEATED, position_schema, whole_number},
        operation::ParameterIn,
        problem::VALIDATION_FAILED,
    },
};

/// A request for a page of the whole store.
#[derive(Debug)]
pub(super) struct StoreRequest {
    place: StorePlace,
    pub(super) direction: Direction,
    pub(super) limit: u64,
    pub(super) filter: Filter,
}

/// The place at which a page begins.
#[derive(Clone, Copy, Debug, Default)]
struct StorePlace {
    after: Option<u64>,
    before: Option<u64>,
    time: Option<RecordedAt>,
}

/// The values of a query string, by their names.
#[derive(Debug, Default)]
struct Given(Vec<(String, String)>);

/// Parameters that may be given several times.
const LISTS: [&str; 5] = ["type", "tag", "stream", "streamPrefix", "category"];
/// Parameters that are given once.
const SINGLE: [&str; 7] =
    ["after", "before", "fromTime", "direction", "limit", "correlationId", "causationId"];

impl Given {
    fn of(parts: &Parts) -> Result<Self, Problem> {
        let pairs = query_pairs(&parts.uri)?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            let name = name.as_str();
            let is_repeated = pairs.iter().skip(at + 1).any(|(other, _)| other == name);
            if SINGLE.contains(&name) && is_repeated {
                return Err(Problem::invalid(name, REPEATED));
            }
            if !SINGLE.contains(&name) && !LISTS.contains(&name) {
                let known = [SINGLE.as_slice(), LISTS.as_slice()].concat().join(", ");
                return Err(Problem::invalid(name, format!("is unknown; use one of {known}")));
            }
        }
        Ok(Self(pairs))
    }

    /// Takes the names of a list.
    fn names<N>(
        &self,
        field: &str,
        read: impl Fn(String) -> Result<N, InvalidName>,
    ) -> Result<Vec<N>, Problem> {
        let texts = self.0.iter().filter(|(name, _)| name == field);
        let names = texts.map(|(_, text)| read(text.clone()));
        names.collect::<Result<_, _>>().map_err(|error| invalid_name(field, &error))
    }

    /// Reads the value of a parameter.
    fn value<T: serde::de::DeserializeOwned>(&self, field: &str) -> Result<Option<T>, Problem> {
        let Some((_, text)) = self.0.iter().find(|(name, _)| name == field) else {
            return Ok(None);
        };
        // A number is written as one in JSON; everything else is a text.
        let number = whole_number(text).filter(|_| field == "limit").map(Value::from);
        let read = serde_json::from_value(number.unwrap_or_else(|| Value::from(text.as_str())));
        read.map(Some).map_err(|error| Problem::invalid(field, error.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for StoreRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let given = Given::of(parts)?;
        let place = StorePlace {
            after: given.value("after")?.map(|Place(after)| after),
            before: given.value("before")?.map(|Place(before)| before),
            time: given.value::<Time>("fromTime")?.map(recorded_from),
        };
        let limit = given.value::<PageLimit>("limit")?.unwrap_or_default();
        Ok(Self {
            place,
            direction: direction(given.value::<Towards>("direction")?),
            limit: u64::from(limit.number()),
            filter: filter(&given)?,
        })
    }
}

fn filter(given: &Given) -> Result<Filter, Problem> {
    let mut filters = Vec::new();
    let types = given.names("type", EventType::new)?;
    let tags = given.names("tag", Tag::new)?;
    if !tags.is_empty() {
        let item = QueryItem::every().of_types(types).tagged(tags);
        filters.push(Filter::Query(EventQuery::of(item)));
    } else if !types.is_empty() {
        filters.push(Filter::EventTypes(types));
    }
    let streams = given.names("stream", StreamName::stored)?;
    if !streams.is_empty() {
        filters.push(Filter::Streams(streams));
    }
    // A beginning of a name is judged as a name is.
    let prefixes = given.names("streamPrefix", StreamName::stored)?;
    if !prefixes.is_empty() {
        let prefixes = prefixes.iter().map(ToString::to_string);
        filters.push(Filter::StreamPrefixes(prefixes.collect()));
    }
    let categories = given.names("category", Category::new)?;
    if !categories.is_empty() {
        filters.push(Filter::Categories(categories));
    }
    if let Some(id) = given.names("correlationId", CorrelationId::stored)?.pop() {
        filters.push(Filter::Correlation(id));
    }
    if let Some(id) = given.names("causationId", CausationId::stored)?.pop() {
        filters.push(Filter::Causation(id));
    }
    match (filters.pop(), filters.is_empty()) {
        (None, _) => Ok(Filter::Everything),
        (Some(filter), true) => Ok(filter),
        (Some(_), false) => {
            let reason = "has several kinds of filters; use one kind, or types with tags";
            Err(Problem::invalid("selection", reason))
        }
    }
}

impl StoreRequest {
    /// Returns the start of the read, or `None` if nothing lies in its direction.
    pub(super) fn start(&self) -> Result<Option<ReadFrom<Position>>, Problem> {
        let StorePlace { after, before, time } = self.place;
        let is_backward = self.direction == Direction::Backwards;
        match (is_backward, after, before) {
            (false, _, Some(_)) => {
                return Err(Problem::invalid("direction", "must be `backwards` with `before`"));
            }
            (true, Some(_), _) => {
                return Err(Problem::invalid("direction", "must be `forwards` with `after`"));
            }
            _ => {}
        }
        Ok(Some(match (after.or(before), time) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("fromTime", "and a position exclude each other"));
            }
            (None, Some(time)) => ReadFrom::Time(time),
            (None, None) if is_backward => ReadFrom::End,
            (None, None) => ReadFrom::Start,
            (Some(before), None) if is_backward => match before.checked_sub(1) {
                None | Some(0) => return Ok(None),
                Some(last) => ReadFrom::At(Position::new(last)),
            },
            (Some(after), None) => ReadFrom::At(Position::new(after).next()),
        }))
    }

    /// Returns the position that the store must have reached.
    pub(super) fn after(&self) -> Position {
        Position::new(self.place.after.unwrap_or_default())
    }
}

impl Describe for StoreRequest {
    fn describe(operation: &mut Operation<'_>) {
        let mut query = |name, about, schema| {
            operation.optional(ParameterIn::Query, name, about, schema);
        };
        query("after", "Start after this position.", position_schema());
        query("before", "Start before this position, backwards.", position_schema());
        let list = |bytes, except| json!({ "type": "array", "items": name_schema(bytes, except) });
        let of_streams = || list(StreamName::BYTES_MAX, ZERO);
        query("type", "Select events of these types.", list(EventType::BYTES_MAX, CONTROL));
        let of_tags = "Select events that have all of these tags.";
        query("tag", of_tags, list(Tag::BYTES_MAX, CONTROL));
        query("stream", "Select events of these streams.", of_streams());
        let prefixes = "Select events of streams whose names start with one of these texts.";
        query("streamPrefix", prefixes, of_streams());
        let of_categories = "Select events of these categories.";
        query("category", of_categories, list(Category::BYTES_MAX, DASH));
        let of_conversation = "Select events of this conversation.";
        query("correlationId", of_conversation, name_schema(CorrelationId::BYTES_MAX, ZERO));
        let of_cause = "Select events that this event or command caused.";
        query("causationId", of_cause, name_schema(CausationId::BYTES_MAX, ZERO));
        let time = Time::schema(operation.schemas());
        let mut query = |name, about, schema| {
            operation.optional(ParameterIn::Query, name, about, schema);
        };
        query("fromTime", "Start at this time.", time);
        let directions = json!({ "type": "string", "enum": ["forwards", "backwards"] });
        query("direction", "Direction of the read; `forwards` by default.", directions);
        let limit = PageLimit::schema(operation.schemas());
        operation.optional(ParameterIn::Query, "limit", "Maximum number of events.", limit);
        operation.problem(400, VALIDATION_FAILED);
        operation.problem(412, "the position is beyond the head of the store");
    }
}
