//! The mapping from the framework's errors to problems.
//!
//! Invariants:
//! - Conflicts, rejections, missing resources and unknown outcomes differ in status or code.
//! - A problem has `Retry-After` only if a retry may succeed without an operator.

use std::{error::Error, time::Duration};

use axum::http::StatusCode;
use gesta::{
    AskError, DecodeError, EncodeError, ExecuteError, LoadError, OperationError, ProcessError,
    QueryError, ReactorError, ReadOnDemandError, Rejection, TruncatedHistory, UndecodableEvent,
    WaitError,
    store::{DatabaseError, Invalid, StoreError},
};

use crate::Problem;

/// Value of `Retry-After` for transient errors.
const PAUSE: Duration = Duration::from_secs(1);

impl<R: Rejection> From<ExecuteError<R>> for Problem {
    fn from(error: ExecuteError<R>) -> Self {
        let detail = error.to_string();
        match error {
            ExecuteError::Rejected(rejection) => {
                Self::rejected(rejection.code(), rejection.to_string())
            }
            ExecuteError::Invalid(field) => field.into(),
            ExecuteError::Unauthorized(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            ExecuteError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            ExecuteError::AlreadyExists { .. } => conflict("already-exists", detail),
            // The revision is the one of `If-Match`, so this is a failed condition and no conflict.
            ExecuteError::RevisionMismatch { head, .. } => {
                let mismatch =
                    Self::new(StatusCode::PRECONDITION_FAILED, "revision-mismatch", detail);
                mismatch.at_revision(head)
            }
            // Over HTTP the caller chooses command ids by keys only.
            ExecuteError::CommandIdReused { .. } => conflict(
                "command-id-reused",
                "the `Idempotency-Key` was already used for another request; send this one with \
                 another key"
                    .to_owned(),
            ),
            // The pipeline has retried already. Once there is less contention, a later attempt may
            // win.
            ExecuteError::Conflict(_) => conflict("conflict", detail).retry_after(PAUSE),
            // Refused before anything was written, so that a retry is safe.
            ExecuteError::Overloaded { retry_after, .. } => {
                Self::unavailable("overloaded", detail).retry_after(retry_after.unwrap_or(PAUSE))
            }
            // The append may have happened. Only a retry with the same command id finds out.
            ExecuteError::Unavailable { .. } => {
                let open = Self::unavailable("outcome-unknown", detail);
                open.with_unknown_outcome().retry_after(PAUSE)
            }
            ExecuteError::Undecodable(error) => undecodable(&error),
            ExecuteError::Truncated(error) => truncated(&error),
            ExecuteError::Unencodable(error) => unencodable(&error),
            // A tombstoned stream never accepts events again. Reads map the same error to a 404.
            ExecuteError::Store(StoreError::Deleted { .. }) => conflict("tombstoned", detail),
            ExecuteError::Store(error) => error.into(),
            // No `Retry-After`: this process does not open its store again.
            ExecuteError::Closed => Self::unavailable("closed", detail),
            ExecuteError::OtherRole(_) => other_role(detail),
            // `ExecuteError` is non-exhaustive. An error that is not known here may be of any kind.
            _ => Self::unavailable("outcome-unknown", detail).with_unknown_outcome(),
        }
    }
}

/// Maps an event that cannot be encoded. Errors of its encoding and of names come from the
/// command's values (such as a NaN from a division by zero), so they are rejections; the others are
/// bugs of the program.
fn unencodable(error: &EncodeError) -> Problem {
    match error {
        EncodeError::Json { .. } | EncodeError::Codec { .. } | EncodeError::Name(_) => {
            tracing::warn!(error = error as &dyn Error, "cannot encode the events of a decision");
            Problem::unprocessable("unencodable", error.to_string())
        }
        _ => Problem::internal(error),
    }
}

/// Maps a stored event that cannot be decoded. The client cannot fix it; the detail gives an
/// operator the event and its position.
fn undecodable(error: &UndecodableEvent) -> Problem {
    tracing::error!(error = error as &dyn Error, "cannot decode a stored event");
    let advice = match &error.source {
        DecodeError::UnknownEvent { event_type } => format!(
            "; deploy code that can decode this event, or skip it with \
             `#[events(ignore(\"{event_type}\"))]` on the event set"
        ),
        _ => String::new(),
    };
    let detail = format!("{error}: {}{advice}", error.source);
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "undecodable-event", detail)
}

fn truncated(error: &TruncatedHistory) -> Problem {
    tracing::error!(error = error as &dyn Error, "cannot fold a truncated stream");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "truncated-history", error.to_string())
}

fn other_role(detail: String) -> Problem {
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "other-role", detail)
}

fn conflict(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, detail)
}

impl From<StoreError> for Problem {
    /// Maps the error of a read: errors of appends arrive as [`ExecuteError`].
    fn from(error: StoreError) -> Self {
        let (detail, pause) = (error.to_string(), error.retry_after());
        match error {
            StoreError::Conflict(_) => conflict("conflict", detail).retry_after(PAUSE),
            StoreError::Rejected(invalid) => refused(&invalid),
            StoreError::Overloaded(_) | StoreError::Unreachable { .. } => {
                Self::unavailable("overloaded", detail).retry_after(pause.unwrap_or(PAUSE))
            }
            StoreError::Unavailable { .. } => {
                Self::unavailable("store-unavailable", detail).retry_after(PAUSE)
            }
            StoreError::Stopped { .. } | StoreError::Corrupt(_) => {
                tracing::error!(
                    error = &error as &dyn Error,
                    "the store has stopped accepting writes"
                );
                Self::unavailable(
                    "store-stopped",
                    "the store has stopped; an operator must check its files and restart it",
                )
            }
            StoreError::Deleted { .. } => Self::new(StatusCode::NOT_FOUND, "deleted", detail),
            // No `Retry-After`: only another configuration helps.
            StoreError::Denied { .. } | StoreError::ReadOnly { .. } => {
                tracing::error!(error = &error as &dyn Error, "the store refuses this program");
                Self::unavailable("store-refused", detail)
            }
            // No `Retry-After`: only an operator brings the event back.
            StoreError::Archived { .. } => {
                tracing::error!(error = &error as &dyn Error, "an archived event is needed");
                Self::unavailable("events-archived", detail)
            }
            StoreError::Unsupported { .. } => Self::internal(&error),
            other => Self::internal(&other),
        }
    }
}

fn refused(invalid: &Invalid) -> Problem {
    match invalid {
        // Well-formed, but not of the store's current incarnation, such as from before a restore.
        Invalid::BeyondHead { .. } | Invalid::OtherIncarnation { .. } => {
            beyond_head("position-beyond-head", invalid)
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "invalid", invalid.to_string()),
    }
}

/// Returns the problem of a position, revision or time that the store has not reached.
pub(crate) fn beyond_head(code: &'static str, detail: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, code, detail.to_string())
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Wait(error) => error.into(),
            AskError::Query(QueryError::Database(error)) => error.into(),
            // The query is the application's code: its failure is a bug, not the client's mistake.
            AskError::Query(QueryError::Failed(error)) => Self::internal(error.as_ref()),
            AskError::OtherDatabase { .. } => Self::internal(&error),
            // `AskError` and `QueryError` are non-exhaustive.
            other => Self::internal(&other),
        }
    }
}

impl From<WaitError> for Problem {
    fn from(error: WaitError) -> Self {
        let detail = error.to_string();
        match error {
            WaitError::NotRegistered { .. } => Self::internal(&error),
            WaitError::Halted { .. } => Self::unavailable("projection-halted", detail),
            WaitError::OtherRole(_) => other_role(detail),
            WaitError::Closed { .. } => Self::unavailable("closing", detail),
            WaitError::TimedOut { .. } => {
                Self::unavailable("not-yet-visible", detail).retry_after(PAUSE)
            }
            // `WaitError` is non-exhaustive.
            other => Self::internal(&other),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable { .. }
            | DatabaseError::CheckpointConflict { .. }
            | DatabaseError::Fenced { .. }
            | DatabaseError::Missing { .. } => {
                Self::unavailable("read-model-unavailable", error.to_string()).retry_after(PAUSE)
            }
            DatabaseError::Corrupt { .. } => {
                tracing::error!(error = &error as &dyn Error, "a read model is corrupt");
                Self::unavailable(
                    "read-model-corrupt",
                    "the read model is corrupt; an operator must rebuild it",
                )
            }
            DatabaseError::Rejected { .. } => Self::internal(&error),
            // `DatabaseError` is non-exhaustive.
            other => Self::internal(&other),
        }
    }
}

impl From<ReadOnDemandError> for Problem {
    fn from(error: ReadOnDemandError) -> Self {
        match error {
            ReadOnDemandError::NotRegistered { .. } => Self::internal(&error),
            ReadOnDemandError::Undecodable(error) => undecodable(&error),
            ReadOnDemandError::Truncated(error) => truncated(&error),
            ReadOnDemandError::Name(error) => Self::invalid("id", error.to_string()),
            ReadOnDemandError::Store(error) => error.into(),
            // `ReadOnDemandError` is non-exhaustive.
            other => Self::internal(&other),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Name(error) => Self::invalid("id", error.to_string()),
            LoadError::Undecodable(error) => undecodable(&error),
            LoadError::Truncated(error) => truncated(&error),
            LoadError::NoRevision { .. } => Self::invalid("asOf", error.to_string()),
            LoadError::Store(error) => error.into(),
            // `LoadError` is non-exhaustive.
            other => Self::internal(&other),
        }
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let (kind, detail) = (error.kind(), error.to_string());
        match error {
            OperationError::NotRegistered { .. } | OperationError::NoSuchDeadLetter { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not-found", detail)
            }
            OperationError::EventGone { .. }
            | OperationError::StillFails { .. }
            | OperationError::CannotPause { .. }
            | OperationError::CannotCompare { .. } => Self::unprocessable(kind, detail),
            OperationError::RunsElsewhere(_)
            | OperationError::NothingToConfirm { .. }
            | OperationError::NothingToCompare { .. }
            | OperationError::NoOldRows { .. }
            | OperationError::OtherVersion { .. } => conflict(kind, detail),
            OperationError::Database(error) => error.into(),
            OperationError::Store(error) => error.into(),
            OperationError::Unavailable { .. } => {
                Self::unavailable("projection-unavailable", detail).retry_after(PAUSE)
            }
            // `OperationError` is non-exhaustive.
            _ => Self::internal(&error),
        }
    }
}

impl From<ProcessError> for Problem {
    fn from(error: ProcessError) -> Self {
        let detail = error.to_string();
        match error {
            ProcessError::ProcessNotRegistered(_)
            | ProcessError::NoSuchInstance { .. }
            | ProcessError::NotSetAside { .. }
            | ProcessError::NoSuchInput { .. }
            | ProcessError::NoSuchTimer { .. }
            | ProcessError::NoSuchRefusedCommand { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not-found", detail)
            }
            ProcessError::RunsElsewhere(_) => conflict("runs-elsewhere", detail),
            // The instance exists; its state does not allow the operation.
            ProcessError::Ended { .. } => Self::unprocessable("instance-ended", detail),
            ProcessError::IsSetAside { .. } => Self::unprocessable("instance-set-aside", detail),
            ProcessError::StillFails { .. } => Self::unprocessable("still-fails", detail),
            ProcessError::Unusable { .. } => Self::unprocessable("instance-unusable", detail),
            ProcessError::Store(error) => error.into(),
            ProcessError::Unavailable { .. } => {
                Self::unavailable("process-manager-unavailable", detail).retry_after(PAUSE)
            }
            // `ProcessError` is non-exhaustive.
            other => Self::internal(&other),
        }
    }
}

impl From<ReactorError> for Problem {
    fn from(error: ReactorError) -> Self {
        let detail = error.to_string();
        match error {
            ReactorError::NotRegistered { .. } | ReactorError::NoSuchDeadLetter { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not-found", detail)
            }
            ReactorError::RunsElsewhere(_) => conflict("runs-elsewhere", detail),
            ReactorError::StillFails { .. } => Self::unprocessable("still-fails", detail),
            ReactorError::Unavailable { .. } => {
                Self::unavailable("reactor-unavailable", detail).retry_after(PAUSE)
            }
            // `ReactorError` is non-exhaustive.
            other => Self::internal(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::response::IntoResponse as _;
    use gesta::{
        Position,
        store::{Damage, Overload},
    };

    use super::*;

    fn of_command(error: ExecuteError<Infallible>) -> (u16, String) {
        let problem = Problem::from(error);
        (problem.status().as_u16(), problem.code().to_owned())
    }

    #[test]
    fn only_an_unavailable_store_leaves_the_outcome_unknown() {
        let open = of_command(ExecuteError::unavailable("no answer"));
        assert_eq!(open, (503, "outcome-unknown".to_owned()));
        let busy =
            of_command(ExecuteError::Overloaded { reason: "full".to_owned(), retry_after: None });
        assert_eq!(busy, (503, "overloaded".to_owned()));
    }

    #[test]
    fn each_error_of_a_store_has_a_code_and_says_if_a_retry_may_succeed() {
        let reason = || "a reason".to_owned();
        let throttled = Overload::Throttled { retry_after: Some(Duration::from_secs(60)) };
        let connections = Overload::Connections { reason: "too many".to_owned(), max: 8 };
        for (error, of_read, of_command, pause) in [
            (StoreError::unreachable("no route"), "overloaded", "overloaded", Some("1")),
            (
                StoreError::unavailable("no answer"),
                "store-unavailable",
                "outcome-unknown",
                Some("1"),
            ),
            (StoreError::Overloaded(throttled), "overloaded", "overloaded", Some("60")),
            (StoreError::Overloaded(connections), "overloaded", "overloaded", Some("1")),
            (StoreError::Denied { reason: reason() }, "store-refused", "store-refused", None),
            (StoreError::ReadOnly { reason: reason() }, "store-refused", "store-refused", None),
            (StoreError::Stopped { reason: reason() }, "store-stopped", "store-stopped", None),
            (
                StoreError::Archived { position: Position::new(7), reason: reason() },
                "events-archived",
                "events-archived",
                None,
            ),
        ] {
            let command = Problem::from(ExecuteError::<Infallible>::from(error.clone()));
            for (problem, code) in [(Problem::from(error), of_read), (command, of_command)] {
                assert_eq!((problem.status().as_u16(), problem.code()), (503, code));
                let response = problem.into_response();
                let told = response.headers().get("retry-after");
                assert_eq!(told.map(|value| value.to_str().unwrap()), pause, "{code}");
            }
        }
    }

    #[test]
    fn a_stopped_store_has_no_retry_after() {
        let damage = Damage::new("1".to_owned(), 0, "bits".to_owned());
        let stopped = Problem::from(StoreError::Corrupt(damage));
        assert_eq!((stopped.status().as_u16(), stopped.code()), (503, "store-stopped"));
    }

    #[test]
    fn a_full_disk_is_an_overload() {
        let full = Problem::from(StoreError::Overloaded(Overload::DiskFull {
            reason: "/data".to_owned(),
        }));
        assert_eq!((full.status().as_u16(), full.code()), (503, "overloaded"));
    }

    #[test]
    fn a_halted_projection_and_a_late_one_have_different_codes() {
        let (projection, reached, wanted) = ("doors", Position::new(1), Position::new(2));
        let halted = Problem::from(WaitError::Halted { projection, reached, wanted });
        let late = Problem::from(WaitError::TimedOut { projection, reached, wanted });
        assert_eq!((halted.code(), late.code()), ("projection-halted", "not-yet-visible"));
    }
}
