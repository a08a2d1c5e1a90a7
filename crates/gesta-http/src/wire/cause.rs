//! The JSON of a health cause, in problems and in the readiness probe's response.

use gesta::{HealthCause, Severity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::wire::schema::{Schema, Schemas};

/// A cause of degraded or missing readiness.
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
    pub(crate) fn of(cause: &HealthCause) -> Self {
        Self {
            component: cause.component.as_str(),
            name: cause.name.clone(),
            state: cause.state,
            severity: match cause.severity {
                Severity::Notice => "notice",
                Severity::Degraded => "degraded",
                Severity::Unready => "unready",
                // `Severity` is non-exhaustive.
                _ => "other",
            },
            detail: cause.detail.clone(),
        }
    }

    /// Returns whether nothing has to be done about it.
    pub(crate) fn is_notice(&self) -> bool {
        self.severity == "notice"
    }
}

impl Schema for CauseDetails {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.component("HealthCause", |_| {
            let text = |description: &str| json!({ "type": "string", "description": description });
            json!({
                "type": "object",
                "description": "A cause of degraded or missing readiness.",
                "properties": {
                    "component": text(
                        "`store`, `clock`, `projection`, `read-models`, `process-manager`, \
                         `process` or `reactor`.",
                    ),
                    "name": text(
                        "Name of the projection, process manager or reactor, or stream of the \
                         process.",
                    ),
                    "state": text("Stable identifier of the state, such as `halted`."),
                    "severity": {
                        "enum": ["notice", "degraded", "unready"],
                        "description": "`unready` makes the readiness probe fail; `degraded` does \
                                        not; a `notice` needs no attention.",
                    },
                    "detail": text("Explanation for people."),
                },
                "required": ["component", "state", "severity", "detail"],
                "additionalProperties": false,
            })
        })
    }
}
