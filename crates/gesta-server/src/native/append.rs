//! `POST /v1/append`: events for one or several streams, checks of others, and a condition.
//!
//! Invariants: one request is one append of the contract, so all of its events are recorded or
//! none. A part with events needs the right to append, a check the right to read, a condition the
//! right to read the whole store. An append that takes too long has an unknown outcome. An append
//! with a reason is recorded in the audit stream, with the first stream that gets events.

use std::time::Duration;

use axum::response::Response;
use gesta_store::{Append, Appended, EventQuery, EventType, Invalid, RecordedWhen, StoreError};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    append_body::AppendBody,
    native_call::{NativeCall, json_answer, parse},
    problem::{Problem, ProblemCode},
    rights::{check_all, check_right},
};
use crate::{
    access::Right,
    streams::{is_of_index, run_append},
};

/// Maximum size of the body: the largest append in base64, and what is around it.
pub(super) const APPEND_BODY_BYTES_MAX: usize = 48 << 20;
/// Maximum time until the store answers.
const APPEND_WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
struct AppendAnswer<'a> {
    position: u64,
    streams: Vec<StreamHead<'a>>,
    repeated: bool,
}

#[derive(Debug, Serialize)]
struct StreamHead<'a> {
    stream: &'a str,
    revision: u64,
}

pub(super) async fn append(call: NativeCall) -> Result<Response, Problem> {
    let append = call.read_body(|body| parse::<AppendBody<'_>>(body)?.into_append()).await?;
    check_rights(&call, &append).await?;
    let subject = call.subject()?;
    if let Some(part) = append.streams.iter().find(|part| !part.events.is_empty()) {
        subject.tell("stream", part.stream.as_str());
    }
    let appended = timeout(APPEND_WAIT_MAX, run_append(&call.node, &call.sender(), append)).await;
    let appended = appended.map_err(|_| {
        let seconds = APPEND_WAIT_MAX.as_secs();
        Problem::new(ProblemCode::OutcomeUnknown, format!("no answer within {seconds} s"))
    })?;
    let appended = appended.map_err(|error| Problem::of_append(&error))?;
    appended_answer(&appended)
}

/// Answers with the result of an append.
pub(super) fn appended_answer(appended: &Appended) -> Result<Response, Problem> {
    let heads = appended.revisions.iter().map(|(stream, revision)| StreamHead {
        stream: stream.as_str(),
        revision: revision.number(),
    });
    json_answer(&AppendAnswer {
        position: appended.position.number(),
        streams: heads.collect(),
        repeated: appended.recorded == RecordedWhen::Earlier,
    })
}

/// Refuses types of the server's own events in a condition of those who do not see all of them: the
/// answer would tell of a failed login, for example.
fn check_types(call: &NativeCall, query: &EventQuery) -> Result<(), Problem> {
    let is_of_system = |one: &EventType| one.as_str().starts_with('$');
    let named = query.items().iter().flat_map(|item| item.types()).find(|one| is_of_system(one));
    match named {
        Some(named) if !call.node.access().view(&call.caller).is_whole() => {
            let detail = format!(
                "a condition over the type `{named}`, which begins with `$`, is for members of \
                 `$admins`"
            );
            Err(Problem::new(ProblemCode::Denied, detail))
        }
        _ => Ok(()),
    }
}

async fn check_rights(call: &NativeCall, append: &Append) -> Result<(), Problem> {
    for part in &append.streams {
        let is_check = part.events.is_empty();
        if !is_check && is_of_index(&part.stream) {
            let stream = part.stream.clone();
            return Err(Problem::of_append(&StoreError::from(Invalid::SystemStream { stream })));
        }
        let right = if is_check { Right::Read } else { Right::Append };
        check_right(&call.node, &call.caller, &part.stream, right).await?;
    }
    // The answer tells of events that match.
    if let Some(condition) = &append.condition {
        check_all(&call.node, &call.caller).await?;
        check_types(call, &condition.none_matching)?;
    }
    Ok(())
}
