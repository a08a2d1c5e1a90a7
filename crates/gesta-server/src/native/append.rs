//! `POST /v1/append`: events for one or several streams, checks of others, and a condition.
//!
//! Invariants: one request is one append of the contract, so all of its events are recorded or
//! none. A part with events needs the right to append, a check the right to read, a condition the
//! right to read the whole store. An append that takes too long has an unknown outcome.

use std::time::Duration;

use axum::response::Response;
use gesta_store::{Append, Appended, Invalid, RecordedWhen, StoreError};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    append_body::AppendBody,
    native_call::{NativeCall, json_answer},
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
    let append = call.json::<AppendBody<'_>>()?.into_append()?;
    check_rights(&call, &append).await?;
    let appended = timeout(APPEND_WAIT_MAX, run_append(&call.node, &call.caller, append)).await;
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
    if append.condition.is_some() {
        check_all(&call.node, &call.caller).await?;
    }
    Ok(())
}
