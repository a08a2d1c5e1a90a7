//! Operator routes for projections: status, rebuilds, switch-overs and dead letters.
//!
//! Invariant: every change goes through [`RequestOperator`], so the audit stream records the actor
//! and the optional `?reason=`. A projection's name is percent-encoded in paths; an unknown one is
//! answered with 404.

use std::collections::HashMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::{
    DeadLetterId, OldRows, OperationError, PartitionStatus, PendingSwitch, ProjectionState,
    ProjectionStatus, RebuildProgress, Rehearsal, TableComparison,
    store::{DeadLetter, DeadLetterReason, Position},
};
use serde::Serialize;

use super::{
    identifiers::{LetterId, Name},
    leases::{LeaseDetails, LeasesInForce},
    responses::{Accepted, Done, Listed, PageOfList},
    stuck::StuckQuery,
};
use crate::{
    ApiRoute, Cursor, Describe, GestaState, JsonBody, Operation, PageLimit, PageLinks, PathOf,
    Problem, QueryOf, Repeated, RequestFields, Right, Schema,
    requests::{
        operator::{RebuildOrder, RequestOperator},
        personal::PersonalView,
    },
    wire::{event::recorded_at, problem::RESOURCE_NOT_FOUND},
};

/// Returns the routes under a path prefix.
pub(crate) fn routes(prefix: &str) -> [ApiRoute; 12] {
    let under = |path: &str| format!("{prefix}{path}");
    let rebuild = under("/projections/{name}/rebuild");
    let compare = under("/projections/{name}/compare");
    let confirm = under("/projections/{name}/confirm-switch");
    let roll_back = under("/projections/{name}/roll-back");
    let drop_old = under("/projections/{name}/drop-old-rows");
    let pause = under("/projections/{name}/pause");
    let resume = under("/projections/{name}/resume");
    let try_one = under("/dead-letters/{id}/try");
    let retry = under("/dead-letters/{id}/retry");
    [
        ApiRoute::get(&under("/projections"), "Lists all projections with their status")
            .handle(list_projections)
            .right(Right::Status),
        ApiRoute::post(&rebuild, "Rebuilds a read model while the current one answers queries")
            .handle(rebuild_projection)
            .right(Right::Rebuild),
        ApiRoute::post(
            &compare,
            "Compares a rebuild that awaits confirmation with the current rows",
        )
        .handle(compare_rebuild)
        .right(Right::Rebuild)
        .rejects(&["cannot-compare"]),
        ApiRoute::post(
            &confirm,
            "Confirms the switch to a rebuild that has new dead letters or is held",
        )
        .handle(confirm_switch)
        .right(Right::Rebuild),
        ApiRoute::post(&roll_back, "Switches back to the rows that a rebuild replaced")
            .handle(roll_back_projection)
            .right(Right::Rebuild),
        ApiRoute::post(&drop_old, "Drops the rows that a rebuild replaced")
            .handle(drop_old_rows)
            .right(Right::Rebuild),
        ApiRoute::post(&pause, "Pauses a projection until it is resumed")
            .handle(pause_projection)
            .right(Right::Operate)
            .rejects(&["cannot-pause"]),
        ApiRoute::post(&resume, "Resumes a paused projection")
            .handle(resume_projection)
            .right(Right::Operate),
        ApiRoute::get(&under("/dead-letters"), "Lists dead letters")
            .handle(list_dead_letters)
            .right(Right::Status),
        ApiRoute::post(&try_one, "Tries a dead letter with other data, and changes nothing")
            .handle(try_dead_letter)
            .right(Right::Operate)
            .rejects(&["event-gone"]),
        ApiRoute::post(&retry, "Retries a dead letter")
            .handle(retry_dead_letter)
            .right(Right::Operate)
            .rejects(&["still-fails", "event-gone"]),
        ApiRoute::delete(&under("/dead-letters/{id}"), "Discards a dead letter")
            .handle(discard_dead_letter)
            .right(Right::Operate),
    ]
}

/// A projection and its status.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct ProjectionDetails {
    /// Name.
    name: &'static str,
    /// Version in the running program.
    version: u32,
    /// State: `starting`, `running`, `paused`, `rebuilding`, `awaiting-confirmation`, `halted`,
    /// `corrupt`, or `waiting` while another node runs it.
    state: &'static str,
    /// Position up to which the current read model reflects all events.
    position: u64,
    /// Position of the durable checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<u64>,
    /// Appends apply its events in their own transaction, unless it is behind or has dead letters.
    inline: bool,
    /// Lag in events, if the store can count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    /// Lag in seconds.
    lag_seconds: f64,
    /// Number of dead letters.
    dead_letters: u64,
    /// Progress of the running rebuild.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuild: Option<RebuildDetails>,
    /// Switch-over that awaits confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_switch: Option<PendingSwitchDetails>,
    /// Rows that the last switch-over replaced, until they are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_rows: Option<OldRowsDetails>,
    /// Error that halted the projection, or that it is retrying.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Node that runs it, if several nodes share the work and one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Lease under which it runs, if it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseDetails>,
    /// Its partitions, by index. Empty if it is not divided.
    partitions: Vec<PartitionDetails>,
}

/// A partition of a projection.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct PartitionDetails {
    /// Index, from 0.
    index: u32,
    /// Position up to which its events are handled, on the node that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// Error that it is retrying.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Node that runs it, if several nodes share the work and one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Lease under which it runs, if it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseDetails>,
}

/// Progress of a rebuild.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct RebuildDetails {
    /// Position up to which the new read model reflects all events.
    position: u64,
    /// Head of the store.
    head: u64,
    /// Progress, from 0 to 1.
    fraction: f64,
    /// Estimated remaining time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_seconds: Option<f64>,
}

/// A switch-over that awaits confirmation: the rebuild has new dead letters, or is held.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct PendingSwitchDetails {
    /// Position up to which the new read model reflects all events except its dead letters.
    position: u64,
    /// Number of dead letters of the new read model.
    dead_letters: u64,
    /// Number of dead letters of the current read model.
    dead_letters_before: u64,
    /// The rebuild was asked to wait for its confirmation, also without dead letters.
    held: bool,
}

/// Rows that a switch-over replaced.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct OldRowsDetails {
    /// Build number of their read model.
    build: u64,
    /// Version of the projection that wrote them.
    version: u32,
    /// Position up to which they reflect all events.
    position: u64,
}

impl RebuildDetails {
    fn of(progress: &RebuildProgress) -> Self {
        Self {
            position: progress.position.number(),
            head: progress.head.number(),
            fraction: progress.fraction(),
            remaining_seconds: progress.remaining.map(|time| time.as_secs_f64()),
        }
    }
}

impl PendingSwitchDetails {
    fn of(pending: &PendingSwitch) -> Self {
        Self {
            position: pending.position.number(),
            dead_letters: pending.dead_letters as u64,
            dead_letters_before: pending.dead_letters_before as u64,
            held: pending.held,
        }
    }
}

impl OldRowsDetails {
    fn of(old: &OldRows) -> Self {
        Self { build: old.build, version: old.version, position: old.position.number() }
    }
}

impl ProjectionDetails {
    fn of(status: ProjectionStatus, leases: &LeasesInForce, view: &PersonalView) -> Self {
        let (state, error) = name_of(&status.state);
        // A pause hides neither a rebuild nor an error.
        let of_work = status.resumes_as.as_ref().unwrap_or(&status.state);
        let error = error.or_else(|| name_of(of_work).1);
        let (rebuild, pending_switch) = match of_work {
            ProjectionState::Rebuilding(progress) => (Some(RebuildDetails::of(progress)), None),
            ProjectionState::AwaitingConfirmation(pending) => {
                (None, Some(PendingSwitchDetails::of(pending)))
            }
            _ => (None, None),
        };
        let partitions = status.partitions.into_iter();
        let partitions = partitions.map(|partition| PartitionDetails::of(partition, leases, view));
        Self {
            name: status.name,
            version: status.version,
            state,
            position: status.position.number(),
            checkpoint: status.checkpoint.map(|checkpoint| checkpoint.position.number()),
            inline: status.inline,
            lag_events: status.lag.events,
            lag_seconds: status.lag.time.as_secs_f64(),
            dead_letters: status.dead_letters as u64,
            rebuild,
            pending_switch,
            old_rows: status.old_rows.as_ref().map(OldRowsDetails::of),
            // The error that halts it, or else the one that it is retrying.
            error: error.or(status.trouble).map(|error| view.error(error)),
            node: status.runs_on.map(|node| node.to_string()),
            lease: leases.of(status.lease.as_ref()),
            partitions: partitions.collect(),
        }
    }
}

/// Returns the name of a state, and its error.
fn name_of(state: &ProjectionState) -> (&'static str, Option<String>) {
    match state {
        ProjectionState::Starting => ("starting", None),
        ProjectionState::Waiting => ("waiting", None),
        ProjectionState::Running => ("running", None),
        ProjectionState::Paused => ("paused", None),
        ProjectionState::AwaitingConfirmation(_) => ("awaiting-confirmation", None),
        ProjectionState::Halted { error, .. } => ("halted", Some(error.clone())),
        ProjectionState::Corrupt { error } => ("corrupt", Some(error.clone())),
        ProjectionState::Rebuilding(progress) => ("rebuilding", progress.halted.clone()),
        // `ProjectionState` is non-exhaustive.
        _ => ("other", None),
    }
}

impl PartitionDetails {
    fn of(status: PartitionStatus, leases: &LeasesInForce, view: &PersonalView) -> Self {
        Self {
            index: status.index,
            position: status.position.map(Position::number),
            error: status.trouble.map(|error| view.error(error)),
            node: status.runs_on.map(|node| node.to_string()),
            lease: leases.of(status.lease.as_ref()),
        }
    }
}

async fn list_projections(
    state: GestaState,
    view: PersonalView,
) -> Result<Listed<ProjectionDetails>, Problem> {
    let all = state.gesta().projections().await?;
    let leases = LeasesInForce::read(&state).await;
    let details = all.into_iter().map(|status| ProjectionDetails::of(status, &leases, &view));
    Ok(Listed { items: details.collect() })
}

/// The path of a projection.
#[derive(RequestFields, Clone, Debug)]
struct ProjectionPath {
    /// Name of the projection.
    name: Name,
}

async fn rebuild_projection(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    order: RebuildOrder,
) -> Result<Accepted, Problem> {
    let (gesta, Name(name)) = (state.gesta(), &path.name);
    // Answered once the rebuild has begun: it may take hours, and the list shows its progress.
    match order.is_held {
        true => gesta.rebuild_and_hold(name, &order.operator).await?,
        false => gesta.rebuild(name, &order.operator).await?,
    }
    Ok(Accepted)
}

async fn pause_projection(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    operator: RequestOperator,
) -> Result<Done, Problem> {
    state.gesta().pause_projection(&path.name.0, &operator.0).await?;
    Ok(Done)
}

async fn resume_projection(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    operator: RequestOperator,
) -> Result<Done, Problem> {
    state.gesta().resume_projection(&path.name.0, &operator.0).await?;
    Ok(Done)
}

/// Comparison of a rebuild with the current rows. Both reflect the same events.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct ComparisonDetails {
    /// Both builds have the same rows.
    equal: bool,
    /// Number of the build that answers queries.
    live_build: u64,
    /// Number of the rebuild.
    rebuilt_build: u64,
    /// Position up to which both reflect all events.
    position: u64,
    /// The tables of both, by name.
    tables: Vec<ComparedTable>,
}

/// Comparison of a table.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct ComparedTable {
    /// Name.
    name: String,
    /// Both builds have the same rows.
    equal: bool,
    /// Number of rows that answer queries.
    live_rows: u64,
    /// Number of rows of the rebuild.
    rebuilt_rows: u64,
    /// Rows that only the current build has, as texts of JSON: up to 20, each cut after 4 KiB.
    /// Empty without the right to personal data, if events have any.
    only_live: Vec<String>,
    /// Rows that only the rebuild has, in the same form.
    only_rebuilt: Vec<String>,
    /// There are, or may be, more of either kind.
    more: bool,
}

impl ComparedTable {
    fn of(table: TableComparison, shows_rows: bool) -> Self {
        let rows = |rows: Vec<String>| if shows_rows { rows } else { Vec::new() };
        Self {
            name: table.table,
            equal: table.is_equal,
            live_rows: table.live_rows,
            rebuilt_rows: table.rebuilt_rows,
            only_live: rows(table.only_live),
            only_rebuilt: rows(table.only_rebuilt),
            more: table.has_more,
        }
    }
}

/// The response to a comparison: 200.
#[derive(Debug)]
struct Compared(ComparisonDetails);

impl IntoResponse for Compared {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl Describe for Compared {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<ComparisonDetails>(StatusCode::OK, "compared, and nothing has changed");
        operation.problem(404, RESOURCE_NOT_FOUND);
        let about = "no rebuild awaits confirmation, or another node runs the projection";
        operation.problem(409, about);
    }
}

async fn compare_rebuild(
    state: GestaState,
    view: PersonalView,
    path: PathOf<ProjectionPath>,
) -> Result<Compared, Problem> {
    let compared = state.gesta().compare_rebuild(&path.name.0).await?;
    // Nothing is known of the fields of rows.
    let shows_rows = !view.hides();
    Ok(Compared(ComparisonDetails {
        equal: compared.is_equal(),
        live_build: compared.live,
        rebuilt_build: compared.rebuilt,
        position: compared.position.number(),
        tables: compared
            .tables
            .into_iter()
            .map(|table| ComparedTable::of(table, shows_rows))
            .collect(),
    }))
}

async fn confirm_switch(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    operator: RequestOperator,
) -> Result<SwitchDone, Problem> {
    state.gesta().confirm_switch(&path.name.0, &operator.0).await?;
    Ok(SwitchDone)
}

async fn roll_back_projection(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    operator: RequestOperator,
) -> Result<RollingBack, Problem> {
    state.gesta().roll_back(&path.name.0, &operator.0).await?;
    Ok(RollingBack)
}

async fn drop_old_rows(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    operator: RequestOperator,
) -> Result<SwitchDone, Problem> {
    state.gesta().drop_old_rows(&path.name.0, &operator.0).await?;
    Ok(SwitchDone)
}

/// An event that a projection failed to apply.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct DeadLetterDetails {
    /// Id, for retry and discard.
    id: String,
    /// Name of the projection.
    projection: String,
    /// Position of the event.
    position: u64,
    /// Stream of the event.
    stream: String,
    /// Revision of the event in its stream.
    revision: u64,
    /// Event type.
    #[serde(rename = "type")]
    event_type: String,
    /// Time of the append, by the store's clock (RFC 3339).
    recorded_at: String,
    /// Error of the last attempt.
    reason: String,
    /// Number of attempts; absent if it only waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// Position of the dead letter of the same stream behind which it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_behind: Option<u64>,
    /// Number of the later events of its stream that wait behind it; absent if it waits itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
}

impl DeadLetterDetails {
    fn of(
        (id, letter): (DeadLetterId, DeadLetter),
        waiting: &Waiting,
        view: &PersonalView,
    ) -> Self {
        let (attempts, waits_behind) = match &letter.reason {
            DeadLetterReason::Failed { attempts, .. } => (Some(*attempts), None),
            DeadLetterReason::Behind { first } => (None, Some(first.number())),
        };
        let behind = waits_behind.is_none().then(|| {
            let key = (id.projection.clone(), id.position);
            waiting.get(&key).copied().unwrap_or(0)
        });
        Self {
            id: id.to_string(),
            projection: id.projection,
            position: letter.position.number(),
            stream: letter.stream.to_string(),
            revision: letter.revision.number(),
            event_type: letter.event_type.to_string(),
            recorded_at: recorded_at(letter.recorded_at),
            reason: match &letter.reason {
                DeadLetterReason::Failed { .. } => {
                    view.error_of(&letter.event_type, letter.reason.to_string())
                }
                DeadLetterReason::Behind { .. } => letter.reason.to_string(),
            },
            attempts,
            waits_behind,
            behind,
        }
    }
}

/// Number of dead letters that wait behind one.
type Waiting = HashMap<(String, Position), u64>;

/// Counts the dead letters that wait behind each one.
fn count_waiting(all: &[(DeadLetterId, DeadLetter)]) -> Waiting {
    let mut waiting = Waiting::new();
    for (id, letter) in all {
        if let DeadLetterReason::Behind { first } = letter.reason {
            *waiting.entry((id.projection.clone(), first)).or_default() += 1;
        }
    }
    waiting
}

/// A selection of dead letters.
#[derive(RequestFields, Clone, Debug)]
struct DeadLettersQuery {
    /// Select the dead letters of this projection.
    projection: Option<Name>,
    /// Select the dead letters whose events are in this stream; repeated: in one of them.
    stream: Option<Repeated<Name>>,
    /// Maximum number of dead letters.
    limit: Option<PageLimit>,
    /// `next` of the previous page.
    cursor: Option<Cursor>,
}

async fn list_dead_letters(
    state: GestaState,
    view: PersonalView,
    query: QueryOf<DeadLettersQuery>,
    links: PageLinks,
) -> Result<PageOfList<DeadLetterDetails>, Problem> {
    let DeadLettersQuery { projection, stream, limit, cursor } = query.0;
    let query = StuckQuery { stream, limit, cursor };
    let of = projection.map(|name| name.0);
    // A name with a mistake in it would look like a projection without dead letters.
    if let Some(projection) = &of
        && !state.gesta().projections().await?.iter().any(|one| one.name == projection)
    {
        let projection = projection.clone();
        return Err(OperationError::NotRegistered { projection }.into());
    }
    let all = state.gesta().dead_letters().await?;
    let waiting = count_waiting(&all);
    let selected = all.into_iter().filter(|(id, letter)| {
        of.as_ref().is_none_or(|name| *name == id.projection) && query.has(letter.stream.as_str())
    });
    let key = |(id, _): &(DeadLetterId, DeadLetter)| (id.projection.clone(), id.position.number());
    let page = query.page(selected.collect(), key, "dead-letters", &links)?;
    let details = |letter| DeadLetterDetails::of(letter, &waiting, &view);
    Ok(page.map(|letters| letters.into_iter().map(details).collect()))
}

/// The path of a dead letter.
#[derive(RequestFields, Clone, Debug)]
struct DeadLetterPath {
    /// Id of the dead letter.
    id: LetterId,
}

/// The data to try in place of those of a dead letter's event.
#[derive(RequestFields, Clone, Debug)]
struct TryData {
    /// The data, as a text of JSON, so that each digit is kept.
    #[request(example = "{}")]
    data: String,
}

/// Outcome of a try. The rows are as they were.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct TriedDetails {
    /// The event applies with these data.
    applies: bool,
    /// Error of the event with these data.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Number of the events of its stream that wait behind it and apply after it.
    behind: u64,
    /// Position of the first event behind it that fails then.
    #[serde(skip_serializing_if = "Option::is_none")]
    fails_behind: Option<u64>,
    /// Error of that event.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_behind: Option<String>,
}

async fn try_dead_letter(
    state: GestaState,
    view: PersonalView,
    path: PathOf<DeadLetterPath>,
    JsonBody(body): JsonBody<TryData>,
) -> Result<Tried, Problem> {
    view.check_unmasked("data", &body.data)?;
    let Rehearsal { error, behind, behind_error, .. } =
        state.gesta().rehearse_dead_letter(&path.id.0, body.data).await?;
    let (fails_behind, error_behind) =
        behind_error.map(|(position, error)| (position.number(), view.error(error))).unzip();
    let (applies, behind) = (error.is_none(), behind as u64);
    // The rows that it quotes may be those of other events.
    let error = error.map(|error| view.error(error));
    Ok(Tried(TriedDetails { applies, error, behind, fails_behind, error_behind }))
}

/// The response to a try: 200, also if the event fails.
#[derive(Debug)]
struct Tried(TriedDetails);

impl IntoResponse for Tried {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl Describe for Tried {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<TriedDetails>(StatusCode::OK, "tried, and nothing has changed");
        operation.problem(404, RESOURCE_NOT_FOUND);
        operation.problem(409, "another node runs it: `detail` names the node");
    }
}

async fn retry_dead_letter(
    state: GestaState,
    path: PathOf<DeadLetterPath>,
    operator: RequestOperator,
) -> Result<Done, Problem> {
    state.gesta().retry_dead_letter(&path.id.0, &operator.0).await?;
    Ok(Done)
}

async fn discard_dead_letter(
    state: GestaState,
    path: PathOf<DeadLetterPath>,
    operator: RequestOperator,
) -> Result<Done, Problem> {
    state.gesta().discard_dead_letter(&path.id.0, &operator.0).await?;
    Ok(Done)
}

/// The response to a completed operation that needs old rows or a pending switch-over: 204.
#[derive(Debug)]
struct SwitchDone;

impl IntoResponse for SwitchDone {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Describe for SwitchDone {
    fn describe(operation: &mut Operation<'_>) {
        Done::describe(operation);
        let about = "no switch-over awaits confirmation, no old rows are kept, or another node \
                     runs the projection";
        operation.problem(409, about);
    }
}

/// The response to a roll-back, which continues in the background: 202.
#[derive(Debug)]
struct RollingBack;

impl IntoResponse for RollingBack {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into_response()
    }
}

impl Describe for RollingBack {
    fn describe(operation: &mut Operation<'_>) {
        Accepted::describe(operation);
        let about = "no old rows are kept, another version wrote them, or another node runs the \
                     projection";
        operation.problem(409, about);
    }
}
