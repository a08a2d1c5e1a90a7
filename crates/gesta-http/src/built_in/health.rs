//! Liveness and readiness, for load balancers, orchestrators and operators.
//!
//! A process that answers is live. It is ready (200) while requests are served as promised. The
//! responses `degraded` (200) and unready (503) list every cause with component, name, state and
//! detail. [`gesta::Health`] decides the severity of a cause:
//!
//! | state | status | causes |
//! | --- | --- | --- |
//! | `ready` | 200 | none, or [notices](gesta::Severity::Notice): parts that another node runs |
//! | `degraded` | 200 | a [degraded](gesta::Severity::Degraded) component, such as dead letters |
//! | a problem | 503 | an [unready](gesta::Severity::Unready) component, such as a full store |
//!
//! Degraded: a process instance set aside, dead letters, a halted rebuild whose old read model
//! still answers, an operation being retried, a paused process manager, a reactor that is halted,
//! paused or has dead letters, a clock behind the store, snapshots that are left out, a cache that
//! does not answer, a part of the application's own in trouble ([`gesta::Gesta::watch_part`]).
//! Unready: a store that is stopped, damaged, full or not answering; a projection that is halted,
//! cannot be opened or fills its first read model; a corrupt read model; a halted process manager.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::{HealthCause, Severity};
use serde_json::{Value, json};

use crate::{
    ApiRoute, Describe, GestaState, Operation, Problem, Right, Schema, Schemas,
    requests::personal::{HIDDEN_ERROR, PersonalView},
    wire::cause::CauseDetails,
};

/// Returns the health routes.
pub(crate) fn routes() -> [ApiRoute; 2] {
    [
        ApiRoute::get("/health/live", "Liveness probe").handle(is_live).right(Right::Open),
        ApiRoute::get("/health/ready", "Readiness probe").handle(is_ready).right(Right::Open),
    ]
}

async fn is_live() -> Live {
    // Asks nothing of the store: a restart would not help a process that waits for its disk.
    Live
}

async fn is_ready(state: GestaState, view: PersonalView) -> Result<Ready, Problem> {
    let causes = state.gesta().health().await.causes;
    let causes: Vec<_> = causes.into_iter().map(|cause| shown(cause, &view)).collect();
    let details = causes.iter().map(CauseDetails::of).collect();
    match causes.first() {
        // Sorted by severity, the worst first. Load balancers look only at the status.
        Some(worst) if worst.severity == Severity::Unready => Err(unready(worst, details)),
        Some(_) | None => Ok(Ready(details)),
    }
}

/// Returns a cause as its reader may see it: some quote an error of the application.
fn shown(mut cause: HealthCause, view: &PersonalView) -> HealthCause {
    if view.hides() {
        cause.detail = cause.detail_without_quote(HIDDEN_ERROR).into_owned();
    }
    cause
}

/// Returns a problem with the code of the worst cause, listing all causes.
fn unready(worst: &HealthCause, causes: Vec<CauseDetails>) -> Problem {
    let component = worst.component.as_str();
    let subject = match worst.name.as_str() {
        "" => format!("the {component}"),
        name => format!("{component} {name}"),
    };
    let detail = format!("{subject} is {}: {}", worst.state, worst.detail);
    Problem::unavailable(worst.code(), detail).with_causes(causes)
}

/// The response of the liveness probe: 200.
#[derive(Debug)]
struct Live;

impl IntoResponse for Live {
    fn into_response(self) -> Response {
        Json(json!({ "status": "live" })).into_response()
    }
}

impl Schema for Live {
    fn schema(_: &mut Schemas) -> Value {
        json!({
            "type": "object",
            "properties": { "status": { "const": "live" } },
            "required": ["status"],
            "additionalProperties": false,
        })
    }
}

impl Describe for Live {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Self>(StatusCode::OK, "the process is running");
    }
}

/// The response of a successful readiness probe, with the causes of degradation: 200.
#[derive(Debug)]
struct Ready(Vec<CauseDetails>);

impl IntoResponse for Ready {
    fn into_response(self) -> Response {
        let is_ready = self.0.iter().all(CauseDetails::is_notice);
        let status = if is_ready { "ready" } else { "degraded" };
        Json(json!({ "status": status, "causes": self.0 })).into_response()
    }
}

impl Schema for Ready {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({
            "type": "object",
            "properties": {
                "status": { "enum": ["ready", "degraded"] },
                "causes": Vec::<CauseDetails>::schema(schemas),
            },
            "required": ["status", "causes"],
            "additionalProperties": false,
        })
    }
}

impl Describe for Ready {
    fn describe(operation: &mut Operation<'_>) {
        let about = "requests are served; `degraded` lists what needs attention";
        operation.answers::<Self>(StatusCode::OK, about);
    }
}
