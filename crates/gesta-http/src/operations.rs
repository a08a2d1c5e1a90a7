//! Operating the read side: how projections are, rebuilding them, dead letters.
//!
//! Invariant: every operation has an operator, the actor of the request, and may have a reason
//! (`?reason=`); both are in the audit stream. Names of projections are whatever the library takes,
//! percent-encoded: one that is not known is not found.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::{
    DeadLetterId, OldRows, PendingSwitch, ProjectionState, ProjectionStatus, RebuildProgress,
    check_projection_name, store::DeadLetter,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, json};

use crate::{
    Describe, GestaState, Operation, PathOf, Problem, Route, Schema, Schemas, api,
    event::recorded_at, headers::whole_number, operator::OrderedBy,
};

/// The routes of operation.
pub(crate) fn routes(prefix: &str) -> [Route; 8] {
    let under = |path: &str| format!("{prefix}{path}");
    let rebuild = under("/projections/{name}/rebuild");
    let confirm = under("/projections/{name}/confirm-switch");
    let roll_back = under("/projections/{name}/roll-back");
    let drop_old = under("/projections/{name}/drop-old-rows");
    let retry = under("/dead-letters/{id}/retry");
    [
        api::get(&under("/projections"), list_projections, "Tells how every projection is"),
        api::post(&rebuild, rebuild_projection, "Fills a read model anew, beside the old one"),
        api::post(&confirm, confirm_switch, "Lets a rebuild answer that has set events aside"),
        api::post(&roll_back, roll_back_projection, "Lets the rows before a switch-over answer"),
        api::post(&drop_old, drop_old_rows, "Drops the rows from before a switch-over"),
        api::get(&under("/dead-letters"), list_dead_letters, "Lists events that were set aside"),
        api::post(&retry, retry_dead_letter, "Applies an event again that was set aside")
            .rejects(&["still-fails", "event-gone"]),
        api::delete(&under("/dead-letters/{id}"), discard_dead_letter, "Forgets a dead letter"),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProjectionDetails {
    name: &'static str,
    version: u32,
    state: &'static str,
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    lag_seconds: f64,
    dead_letters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuild: Option<RebuildDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_switch: Option<PendingSwitchDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_rows: Option<OldRowsDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

crate::response! {
    /// How a projection is.
    ProjectionDetails {
        /// Its name.
        name: &'static str,
        /// The version that the program has.
        version: u32,
        /// What it does: `starting`, `running`, `rebuilding`, `awaiting-confirmation`, `halted` or
        /// `corrupt`.
        state: &'static str,
        /// Everything up to here is in the read model that answers.
        position: u64,
        /// How far it durably is.
        checkpoint: Option<u64>,
        /// How many events it is behind, where the store counts them.
        lag_events: Option<u64>,
        /// How many seconds it is behind.
        lag_seconds: f64,
        /// How many events it has set aside.
        dead_letters: u64,
        /// How far a rebuild is, while there is one.
        rebuild: Option<RebuildDetails>,
        /// The switch-over that awaits confirmation, if one does.
        pending_switch: Option<PendingSwitchDetails>,
        /// The rows from before the last switch-over, until they are dropped.
        old_rows: Option<OldRowsDetails>,
        /// What keeps it from going on, or what it is trying again.
        error: Option<String>,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RebuildDetails {
    position: u64,
    head: u64,
    fraction: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_seconds: Option<f64>,
}

crate::response! {
    /// How far a rebuild is.
    RebuildDetails {
        /// Everything up to here is in the new read model.
        position: u64,
        /// Where the store is.
        head: u64,
        /// How much of it is done, from 0 to 1.
        fraction: f64,
        /// How long it will take, as far as one can tell.
        remaining_seconds: Option<f64>,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PendingSwitchDetails {
    position: u64,
    dead_letters: u64,
    dead_letters_before: u64,
}

crate::response! {
    /// A switch-over that awaits confirmation, because the rebuild has set events aside.
    PendingSwitchDetails {
        /// Everything up to here is in the new read model or set aside by it.
        position: u64,
        /// Events that the new read model has set aside.
        dead_letters: u64,
        /// Events that the read model that answers has set aside.
        dead_letters_before: u64,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OldRowsDetails {
    build: u64,
    version: u32,
    position: u64,
}

crate::response! {
    /// Rows from before a switch-over.
    OldRowsDetails {
        /// The build number of their read model.
        build: u64,
        /// The version of the projection that filled them.
        version: u32,
        /// Everything up to here is in them.
        position: u64,
    }
}

impl RebuildDetails {
    fn of(progress: &RebuildProgress) -> Self {
        Self {
            position: progress.position.number(),
            head: progress.head.number(),
            fraction: progress.fraction().min(1.0),
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
        }
    }
}

impl OldRowsDetails {
    fn of(old: &OldRows) -> Self {
        Self { build: old.build, version: old.version, position: old.position.number() }
    }
}

impl ProjectionDetails {
    fn of(status: ProjectionStatus) -> Self {
        let (state, error) = match &status.state {
            ProjectionState::Starting => ("starting", None),
            ProjectionState::Running => ("running", None),
            ProjectionState::AwaitingConfirmation(_) => ("awaiting-confirmation", None),
            ProjectionState::Halted { error, .. } => ("halted", Some(error.clone())),
            ProjectionState::Corrupt { error } => ("corrupt", Some(error.clone())),
            ProjectionState::Rebuilding(progress) => ("rebuilding", progress.halted.clone()),
            _ => ("other", None),
        };
        let (rebuild, pending_switch) = match &status.state {
            ProjectionState::Rebuilding(progress) => (Some(RebuildDetails::of(progress)), None),
            ProjectionState::AwaitingConfirmation(pending) => {
                (None, Some(PendingSwitchDetails::of(pending)))
            }
            _ => (None, None),
        };
        Self {
            name: status.name,
            version: status.version,
            state,
            position: status.position.number(),
            checkpoint: status.checkpoint.map(|checkpoint| checkpoint.position.number()),
            lag_events: status.lag.events,
            lag_seconds: status.lag.time.as_secs_f64(),
            dead_letters: status.dead_letters as u64,
            rebuild,
            pending_switch,
            old_rows: status.old_rows.as_ref().map(OldRowsDetails::of),
            error: error.or(status.trouble),
        }
    }
}

async fn list_projections(state: GestaState) -> Result<Listed<ProjectionDetails>, Problem> {
    let all = state.gesta().projections().await?;
    Ok(Listed { items: all.into_iter().map(ProjectionDetails::of).collect() })
}

crate::request! {
    /// Which projection.
    struct ProjectionPath {
        /// Its name.
        name: ProjectionName,
    }
}

async fn rebuild_projection(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    by: OrderedBy,
) -> Result<Begun, Problem> {
    state.gesta().rebuild(&path.name.0, &by.0).await?;
    Ok(Begun)
}

async fn confirm_switch(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    by: OrderedBy,
) -> Result<Settled, Problem> {
    state.gesta().confirm_switch(&path.name.0, &by.0).await?;
    Ok(Settled)
}

async fn roll_back_projection(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    by: OrderedBy,
) -> Result<RollingBack, Problem> {
    state.gesta().roll_back(&path.name.0, &by.0).await?;
    Ok(RollingBack)
}

async fn drop_old_rows(
    state: GestaState,
    path: PathOf<ProjectionPath>,
    by: OrderedBy,
) -> Result<Settled, Problem> {
    state.gesta().drop_old_rows(&path.name.0, &by.0).await?;
    Ok(Settled)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterDetails {
    id: String,
    projection: String,
    position: u64,
    stream: String,
    revision: u64,
    #[serde(rename = "type")]
    event_type: String,
    recorded_at: String,
    reason: String,
}

crate::response! {
    /// An event that a projection has set aside.
    DeadLetterDetails {
        /// What to retry or discard it by.
        id: String,
        /// The projection.
        projection: String,
        /// The event's place in the store.
        position: u64,
        /// The event's stream.
        stream: String,
        /// The event's place in the stream.
        revision: u64,
        /// The event's type.
        event_type as "type": String,
        /// When the store took the event (RFC 3339).
        recorded_at: String,
        /// Why it was set aside.
        reason: String,
    }
}

impl DeadLetterDetails {
    fn of((id, letter): (DeadLetterId, DeadLetter)) -> Self {
        Self {
            id: id.to_string(),
            projection: id.projection,
            position: letter.position.number(),
            stream: letter.stream.to_string(),
            revision: letter.revision.number(),
            event_type: letter.event_type.to_string(),
            recorded_at: recorded_at(letter.recorded_at),
            reason: letter.reason.to_string(),
        }
    }
}

async fn list_dead_letters(state: GestaState) -> Result<Listed<DeadLetterDetails>, Problem> {
    let all = state.gesta().dead_letters().await?;
    Ok(Listed { items: all.into_iter().map(DeadLetterDetails::of).collect() })
}

crate::request! {
    /// Which dead letter.
    struct DeadLetterPath {
        /// Its id.
        id: LetterId,
    }
}

async fn retry_dead_letter(
    state: GestaState,
    path: PathOf<DeadLetterPath>,
    by: OrderedBy,
) -> Result<Done, Problem> {
    state.gesta().retry_dead_letter(&path.id.0, &by.0).await?;
    Ok(Done)
}

async fn discard_dead_letter(
    state: GestaState,
    path: PathOf<DeadLetterPath>,
    by: OrderedBy,
) -> Result<Done, Problem> {
    state.gesta().discard_dead_letter(&path.id.0, &by.0).await?;
    Ok(Done)
}

/// A projection's name in a path.
#[derive(Clone, Debug)]
struct ProjectionName(String);

impl<'de> Deserialize<'de> for ProjectionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        check_projection_name(&text).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

impl Schema for ProjectionName {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A dead letter's id in a path.
#[derive(Clone, Debug)]
struct LetterId(DeadLetterId);

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.rsplit_once('@').filter(|(name, _)| check_projection_name(name).is_ok());
        let position = parts.and_then(|(_, digits)| whole_number(digits));
        let id = position.and_then(|_| text.parse().ok());
        id.map(Self).ok_or_else(|| D::Error::custom("is not the id of a dead letter"))
    }
}

impl Schema for LetterId {
    fn schema(_: &mut Schemas) -> Value {
        let pattern = "^.+@(0|[1-9][0-9]{0,17})$";
        json!({ "type": "string", "pattern": pattern })
    }
}

/// All of something: 200.
#[derive(Debug, Serialize)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl<T: Schema> Describe for Listed<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Self>(StatusCode::OK, "all of them");
    }
}

impl<T: Schema> Schema for Listed<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({
            "type": "object",
            "properties": { "items": Vec::<T>::schema(schemas) },
            "required": ["items"],
            "additionalProperties": false,
        })
    }
}

/// It is done: 204.
#[derive(Debug)]
pub(crate) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Describe for Done {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_nothing(StatusCode::NO_CONTENT, "it is done");
        operation.problem(404, "there is no such thing");
    }
}

/// It is done, and there was something to do it to: 204.
#[derive(Debug)]
struct Settled;

impl IntoResponse for Settled {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Describe for Settled {
    fn describe(operation: &mut Operation<'_>) {
        Done::describe(operation);
        operation.problem(409, "there is nothing to do it to");
    }
}

/// The old rows are going on: 202.
#[derive(Debug)]
struct RollingBack;

impl IntoResponse for RollingBack {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into_response()
    }
}

impl Describe for RollingBack {
    fn describe(operation: &mut Operation<'_>) {
        Begun::describe(operation);
        operation.problem(409, "no old rows are kept, or they are of another version");
    }
}

/// It has begun: 202.
#[derive(Debug)]
struct Begun;

impl IntoResponse for Begun {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into_response()
    }
}

impl Describe for Begun {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_nothing(StatusCode::ACCEPTED, "it has begun");
        operation.problem(404, "there is no such thing");
    }
}
