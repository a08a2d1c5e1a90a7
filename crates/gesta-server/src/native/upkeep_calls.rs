//! Endpoints about verifications and backups of the store.

use axum::response::Response;
use serde_json::json;

use super::{
    native_call::{NativeCall, json_answer},
    parameters::{BACKUP_NAME, UPKEEP_ID},
    problem::{Problem, ProblemCode},
};
use crate::upkeep::{UpkeepRefusal, UpkeepStatus, UpkeepTask};

/// Answers with the last verification.
pub(super) async fn last_verification(call: NativeCall) -> Result<Response, Problem> {
    let upkeep = call.node.upkeep();
    let last = upkeep.last_verification().map(|last| last.to_json());
    json_answer(&json!({ "supported": upkeep.verifies(), "last": last }))
}

/// Starts a verification.
pub(super) async fn start_verification(call: NativeCall) -> Result<Response, Problem> {
    call.subject()?;
    started(call.node.start_upkeep(UpkeepTask::Verify))
}

/// Ends a verification, and answers when it has ended.
pub(super) async fn stop_verification(call: NativeCall) -> Result<Response, Problem> {
    let id = call.arguments.uuid(&UPKEEP_ID)?.unwrap_or_default();
    call.subject()?.tell("verification", id.to_string());
    stopped(call.node.upkeep().stop_verification(id).await, "verification", id)
}

/// Answers with the last backup, and the list of all.
pub(super) async fn list_backups(call: NativeCall) -> Result<Response, Problem> {
    let upkeep = call.node.upkeep();
    let last = upkeep.last_backup().map(|last| last.to_json());
    let backups = upkeep.backups().await;
    let backups = backups.map_err(|error| Problem::new(ProblemCode::NotNow, error))?;
    json_answer(&json!({ "supported": upkeep.backs_up(), "last": last, "backups": backups }))
}

/// Starts a backup.
pub(super) async fn start_backup(call: NativeCall) -> Result<Response, Problem> {
    let name = call.arguments.text(&BACKUP_NAME).unwrap_or_default().to_owned();
    call.subject()?.tell("backup", name.clone());
    let task = call.node.upkeep().backup_task(&name);
    started(task.and_then(|task| call.node.start_upkeep(task)))
}

/// Ends a backup, and answers when it has ended.
pub(super) async fn stop_backup(call: NativeCall) -> Result<Response, Problem> {
    let id = call.arguments.uuid(&UPKEEP_ID)?.unwrap_or_default();
    call.subject()?.tell("backup", id.to_string());
    stopped(call.node.upkeep().stop_backup(id).await, "backup", id)
}

fn started(started: Result<UpkeepStatus, UpkeepRefusal>) -> Result<Response, Problem> {
    let refusal = match started {
        Ok(started) => return json_answer(&started.to_json()),
        Err(refusal) => refusal,
    };
    Err(match refusal {
        UpkeepRefusal::Unsupported => Problem::new(
            ProblemCode::NotSupported,
            "only a store in a directory is verified and backed up by its server; others have \
             tools of their databases",
        ),
        UpkeepRefusal::NoDirectory => Problem::new(
            ProblemCode::NotSupported,
            "the server has no directory for backups; start it with `--backups DIRECTORY`",
        ),
        UpkeepRefusal::BadName(reason) => Problem::invalid(BACKUP_NAME.name, reason),
        UpkeepRefusal::BadTarget(reason) => Problem::invalid(BACKUP_NAME.name, reason),
        UpkeepRefusal::Busy(what) => {
            Problem::new(ProblemCode::NotNow, format!("{what} is running; stop it, or wait"))
        }
        UpkeepRefusal::Ending => Problem::new(ProblemCode::Closing, "the server is shutting down"),
    })
}

fn stopped(stopped: Option<UpkeepStatus>, what: &str, id: uuid::Uuid) -> Result<Response, Problem> {
    let missing = || Problem::new(ProblemCode::NotFound, format!("the last {what} is not {id}"));
    json_answer(&stopped.ok_or_else(missing)?.to_json())
}
