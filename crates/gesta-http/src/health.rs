//! Health, as load balancers and orchestrators ask for it.
//!
//! Always holds: a process that answers at all is live; it is ready when its store takes writes
//! and no projection is halted.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::{
    Gesta, ProjectionState, StreamName,
    store::{Append, ExpectedRevision},
};
use serde_json::{Value, json};

use crate::{Describe, Edge, Operation, Problem, Route, Schema, Schemas, api};

/// The routes of health.
pub(crate) fn routes() -> [Route; 2] {
    [
        api::get("/health/live", is_live, "Tells that the process answers"),
        api::get("/health/ready", is_ready, "Tells whether requests should be sent here"),
    ]
}

async fn is_live() -> Health {
    Health("live")
}

async fn is_ready(edge: Edge) -> Result<Health, Problem> {
    takes_writes(edge.gesta()).await?;
    for status in edge.gesta().projections().await? {
        let halted = match &status.state {
            ProjectionState::Halted { .. } => true,
            ProjectionState::Rebuilding(rebuild) => rebuild.halted.is_some(),
            ProjectionState::Starting | ProjectionState::Running => false,
        };
        if halted {
            let detail = format!("projection {} is halted", status.name);
            return Err(Problem::unavailable("projection-halted", detail));
        }
    }
    Ok(Health("ready"))
}

/// An append that only checks goes the way of all appends, and leaves nothing behind.
async fn takes_writes(gesta: &Gesta) -> Result<(), Problem> {
    let stream = StreamName::new("health-check").expect("it is a name");
    gesta.store().append(Append::default().checking(stream, ExpectedRevision::Any)).await?;
    Ok(())
}

/// How it is: 200.
#[derive(Debug)]
struct Health(&'static str);

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        Json(json!({ "status": self.0 })).into_response()
    }
}

impl Schema for Health {
    fn schema(_: &mut Schemas) -> Value {
        json!({
            "type": "object",
            "properties": { "status": { "enum": ["live", "ready"] } },
            "required": ["status"],
            "additionalProperties": false,
        })
    }
}

impl Describe for Health {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Self>(StatusCode::OK, "it is");
    }
}
