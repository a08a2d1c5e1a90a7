//! States of aggregates, now and at earlier moments, for the console.
//!
//! Owns: their routes. Invariants:
//! - Only aggregates that the application has registered are shown; the others are a 404.
//! - Without the right to personal data, the members of a state that hold some are masked. A state
//!   of events with personal fields whose members nobody has named is refused.
//! - A moment that is not past is refused, because its state is not final.
//!
//! Not here: the fold of a state ([`states`](super::states)), the events
//! ([`stored`](super::stored)), and the differences between two states, which the console computes.

use gesta::{
    AsOf, Gesta, Position, Revision, StreamName,
    store::{ReadAll, ReadStream, RecordedEvent},
};
use serde::Serialize;

use super::{
    identifiers::Name,
    program::Program,
    responses::{CurrentState, Listed},
    states::PersonalMembers,
};
use crate::{
    ApiRoute, GestaState, Moment, PathOf, Problem, QueryOf, RequestFields, Right, Schema,
    StoredJson,
    queries::check_moment,
    requests::personal::PersonalView,
    wire::{event::recorded_at, failure::beyond_head},
};

/// Returns the routes under a path prefix.
pub(crate) fn routes(prefix: &str) -> [ApiRoute; 2] {
    let one = format!("{prefix}/aggregates/{{category}}/{{id}}");
    [
        ApiRoute::get(&format!("{prefix}/aggregates"), "Lists the aggregates whose state is shown")
            .handle(list_aggregates),
        ApiRoute::get(&one, "Shows the state of an aggregate, now or at an earlier moment")
            .handle(show_aggregate),
    ]
    .map(|route| route.right(Right::Inspect))
}

/// A kind of aggregates.
#[derive(Debug, Serialize, Schema)]
struct AggregateKind {
    /// Category of their streams.
    category: &'static str,
}

async fn list_aggregates(program: Program) -> Listed<AggregateKind> {
    let kinds = program.0.aggregates.categories();
    Listed { items: kinds.map(|category| AggregateKind { category }).collect() }
}

/// The path of an aggregate.
#[derive(RequestFields, Clone, Debug)]
struct AggregatePath {
    /// Category of its stream.
    category: Name,
    /// Its id.
    id: Name,
}

/// The moment of a state.
#[derive(RequestFields, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct StateQuery {
    /// State as of a time, a revision or a position, such as `2011-01-31T12:00:00Z`, `revision:3`
    /// or `position:42`. Now by default.
    as_of: Option<Moment>,
}

/// The state of an aggregate at a moment.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct AggregateState {
    /// Category of its stream.
    category: &'static str,
    /// Its id.
    id: String,
    /// Name of its own stream.
    stream: String,
    /// Last event that the state has.
    last_event: StateEvent,
    /// Revision of the newest event of its stream. Absent if the aggregate reads several streams,
    /// so that its states have no revisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
    /// State as JSON. Without the right to personal data, members that hold some are `[personal]`.
    data: StoredJson,
}

/// The last event of a state.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct StateEvent {
    /// Name of its stream.
    stream: String,
    /// Revision in its stream.
    revision: u64,
    /// Position in the store.
    position: u64,
    /// Event type.
    #[serde(rename = "type")]
    event_type: String,
    /// Time of the append, by the store's clock (RFC 3339).
    recorded_at: String,
}

impl StateEvent {
    fn of(event: &RecordedEvent) -> Self {
        Self {
            stream: event.stream.to_string(),
            revision: event.revision.number(),
            position: event.position.number(),
            event_type: event.event_type.to_string(),
            recorded_at: recorded_at(event.recorded_at),
        }
    }
}

async fn show_aggregate(
    state: GestaState,
    program: Program,
    view: PersonalView,
    path: PathOf<AggregatePath>,
    query: QueryOf<StateQuery>,
) -> Result<CurrentState<AggregateState>, Problem> {
    let (Name(category), Name(id)) = (&path.category, &path.id);
    let shown = program.0.aggregates.find(category);
    let shown = shown.ok_or_else(|| Problem::not_found("aggregate with a shown state"))?;
    if let PersonalMembers::Any = shown.personal {
        view.check_sees(&format!("the state of `{category}`"))?;
    }
    let (gesta, as_of) = (state.gesta(), query.as_of.map_or(AsOf::Now, |moment| moment.0));
    check_moment(gesta, as_of).await?;
    let folded = (shown.load)(gesta, id, as_of).await?;
    let last_event = event_at(gesta, folded.position).await?;
    let head = match folded.has_revisions {
        true => newest_revision(gesta, &folded.stream).await?,
        false => None,
    };
    if let (AsOf::Revision(wanted), Some(head)) = (as_of, head)
        && wanted > head
    {
        let detail = format!("revision {wanted} is beyond the head of the stream, {head}");
        return Err(beyond_head("revision-beyond-head", &detail));
    }
    Ok(CurrentState(AggregateState {
        category: shown.category,
        id: id.clone(),
        stream: folded.stream.to_string(),
        last_event: StateEvent::of(&last_event),
        head: head.map(Revision::number),
        data: match &shown.personal {
            PersonalMembers::Named(names) => view.state(&folded.state, names),
            PersonalMembers::None | PersonalMembers::Any => {
                StoredJson::of(&folded.state).expect("what was written as JSON is JSON")
            }
        },
    }))
}

/// Returns the event that was folded last.
async fn event_at(gesta: &Gesta, position: Position) -> Result<RecordedEvent, Problem> {
    let read = ReadAll::backwards().from(position).limit(1);
    let found = gesta.store().read_all(read).collect_events().await?;
    // Deleted since it was folded.
    found.into_iter().next().ok_or_else(|| Problem::not_found("last event of the state"))
}

async fn newest_revision(gesta: &Gesta, stream: &StreamName) -> Result<Option<Revision>, Problem> {
    let read = ReadStream::backwards(stream.clone()).limit(1);
    let found = gesta.store().read_stream(read).collect_events().await?;
    Ok(found.first().map(|event| event.revision))
}
