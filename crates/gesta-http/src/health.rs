//! Health, for load balancers, orchestrators and operators.
//!
//! Invariants: a process that answers at all is live. It is ready (200) as long as requests are
//! served as promised, and every trouble is told in either case: `ready` has no causes, `degraded`
//! (200) and a problem (503) name each with component, name, state and detail. Which cause makes an
//! application degraded and which unready is the rule of [`gesta::Health`]:
//!
//! | state | status | causes |
//! | --- | --- | --- |
//! | `ready` | 200 | none |
//! | `degraded` | 200 | a process set aside, dead letters, a rebuild that stands still beside a read model that goes on, something that is tried again, a paused process manager, a clock behind the store, no snapshots |
//! | a problem | 503 | a store that is stopped, damaged, full or silent; a projection that is halted, cannot be opened or is filled for the first time; a corrupt read model; a process manager that does nothing |

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::{Health, HealthCause, Severity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Describe, GestaState, Operation, Problem, Route, Schema, Schemas, api};

/// The routes of health.
pub(crate) fn routes() -> [Route; 2] {
    [
        api::get("/health/live", is_live, "Tells that the process answers"),
        api::get("/health/ready", is_ready, "Tells whether requests should be sent here"),
    ]
}

async fn is_live() -> Live {
    Live
}

async fn is_ready(state: GestaState) -> Result<Ready, Problem> {
    let Health { causes } = state.gesta().health().await;
    let details = causes.iter().map(CauseDetails::of).collect();
    match causes.first() {
        Some(worst) if worst.severity == Severity::Unready => Err(unready(worst, details)),
        Some(_) | None => Ok(Ready(details)),
    }
}

/// The problem is named for the worst cause, and has all of them.
fn unready(worst: &HealthCause, causes: Vec<CauseDetails>) -> Problem {
    let component = worst.component.as_str();
    let subject = match worst.name.as_str() {
        "" => format!("the {component}"),
        name => format!("{component} {name}"),
    };
    let detail = format!("{subject} is {}: {}", worst.state, worst.detail);
    Problem::unavailable(worst.code(), detail).with_causes(causes)
}

/// A cause as it is answered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CauseDetails {
    component: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    state: &'static str,
    severity: &'static str,
    detail: String,
}

impl CauseDetails {
    fn of(cause: &HealthCause) -> Self {
        Self {
            component: cause.component.as_str(),
            name: cause.name.clone(),
            state: cause.state,
            severity: match cause.severity {
                Severity::Degraded => "degraded",
                Severity::Unready => "unready",
            },
            detail: cause.detail.clone(),
        }
    }
}

impl Schema for CauseDetails {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.component("HealthCause", |_| {
            let text = |description: &str| json!({ "type": "string", "description": description });
            json!({
                "type": "object",
                "description": "One thing that is wrong.",
                "properties": {
                    "component": text("`store`, `clock`, `projection`, `read-models`, `process-manager`, `process`."),
                    "name": text("The projection, the process manager, or the process's stream."),
                    "state": text("A stable word, such as `halted`."),
                    "severity": {
                        "enum": ["degraded", "unready"],
                        "description": "`unready`: requests cannot be served as promised.",
                    },
                    "detail": text("For people."),
                },
                "required": ["component", "state", "severity", "detail"],
                "additionalProperties": false,
            })
        })
    }
}

/// The process answers: 200.
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
        operation.answers::<Self>(StatusCode::OK, "the process answers");
    }
}

/// Requests are served, with what waits for an operator: 200.
#[derive(Debug)]
struct Ready(Vec<CauseDetails>);

impl IntoResponse for Ready {
    fn into_response(self) -> Response {
        let status = if self.0.is_empty() { "ready" } else { "degraded" };
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
        let about = "requests are served; `degraded` names what waits for an operator or for time";
        operation.answers::<Self>(StatusCode::OK, about);
    }
}
