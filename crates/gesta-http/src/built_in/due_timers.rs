//! Pending timers of all instances of a process manager, by time.
//!
//! Owns: their route. Not here: the timers of one instance ([`processes`](super::processes)).

use gesta::DueTimer;
use serde::Serialize;

use super::{
    identifiers::Name,
    responses::{CurrentState, Listed},
};
use crate::{
    ApiRoute, GestaState, PageLimit, PathOf, Problem, QueryOf, RequestFields, Right, Schema,
    wire::event::recorded_at,
};

/// Returns the route under a path prefix.
pub(crate) fn route(prefix: &str) -> ApiRoute {
    let path = format!("{prefix}/processes/{{process}}/timers");
    ApiRoute::get(&path, "Lists the pending timers of a process manager by due time")
        .handle(list_due_timers)
        .right(Right::Status)
}

/// The path of a process manager's timers.
#[derive(RequestFields, Clone, Debug)]
struct TimersPath {
    /// Name of the process manager.
    process: Name,
}

/// The query string of a list of timers.
#[derive(RequestFields, Clone, Debug)]
struct TimersQuery {
    /// Maximum number of timers.
    limit: Option<PageLimit>,
}

/// A pending timer of an instance.
#[derive(Debug, Serialize, Schema)]
struct DueTimerDetails {
    /// Id of the instance.
    instance: String,
    /// Id of the timer, for firing it now.
    id: String,
    /// Due time (RFC 3339).
    due: String,
}

impl DueTimerDetails {
    fn of(timer: DueTimer) -> Self {
        let (id, due) = (timer.timer.to_string(), recorded_at(timer.due));
        Self { instance: timer.instance, id, due }
    }
}

async fn list_due_timers(
    state: GestaState,
    path: PathOf<TimersPath>,
    query: QueryOf<TimersQuery>,
) -> Result<CurrentState<Listed<DueTimerDetails>>, Problem> {
    let limit = usize::from(query.limit.unwrap_or_default().number());
    let timers = state.gesta().process_timers(&path.process.0, limit).await?;
    Ok(CurrentState(Listed { items: timers.into_iter().map(DueTimerDetails::of).collect() }))
}
