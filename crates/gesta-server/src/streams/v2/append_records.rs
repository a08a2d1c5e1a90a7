//! `AppendRecords`: records of any number of streams, and checks of these or other streams.

use gesta_store::{Appended, Conflict, StoreError};
use tonic::Status;

use super::{
    asked::Asked,
    checks::Checks,
    failed_check::{FailedCheck, NO_STREAM, TOMBSTONED},
    joint_append::JointAppend,
    refusals,
};
use crate::{
    access::Sender,
    node::Node,
    proto::streams_v2::{AppendRecordsRequest, AppendRecordsResponse, StreamRevision},
    wire::{refused, status, text_to_write},
};

pub(super) async fn append_records(
    node: &Node,
    sender: &Sender,
    request: AppendRecordsRequest,
) -> Result<AppendRecordsResponse, Status> {
    let AppendRecordsRequest { records, checks } = request;
    if records.is_empty() {
        return Err(refused("at least one record is required"));
    }
    let mut append = JointAppend::new(node);
    for mut record in records {
        let stream = text_to_write(&std::mem::take(&mut record.stream))?;
        append.push(&stream, record)?;
    }
    let checks = Checks::of(checks)?;
    append.check_rights(node, &sender.caller).await?;
    checks.check_rights(node, &sender.caller, &append).await?;
    let appended = checked_append(node, sender, append, &checks).await?;
    let revisions = appended.revisions.iter().map(|(stream, revision)| StreamRevision {
        stream: stream.as_str().to_owned(),
        revision: refusals::signed(revision.number()),
    });
    Ok(AppendRecordsResponse {
        revisions: revisions.collect(),
        position: refusals::signed(appended.position.number()),
    })
}

async fn checked_append(
    node: &Node,
    sender: &Sender,
    mut append: JointAppend,
    checks: &Checks,
) -> Result<Appended, Status> {
    let definite = |error: StoreError| status(&error);
    if !checks.add_to(node, &mut append).await.map_err(definite)? {
        let failing = checks.failing(node).await.map_err(definite)?;
        return Err(refusals::checks_failed(failing));
    }
    match append.run(node, sender).await {
        Ok(appended) => Ok(appended),
        Err((error, asked)) => Err(refusal(node, error, &asked, checks).await),
    }
}

/// Translates the error of an append with checks.
async fn refusal(node: &Node, error: StoreError, asked: &Asked, checks: &Checks) -> Status {
    let refused = match &error {
        StoreError::Conflict(Conflict::Stream { stream, head, .. }) => {
            let actual = head.map_or(NO_STREAM, |head| refusals::signed(head.number()));
            checks.refused_at(stream, actual)
        }
        // A tombstoned stream fails any check if it gets records, and needs none.
        StoreError::Deleted { stream } => {
            let failed = checks.refused_at(stream, TOMBSTONED);
            failed.or_else(|| asked.writes_about(stream).then(|| FailedCheck::tombstoned(stream)))
        }
        _ => None,
    };
    let Some(refused) = refused else { return refusals::of_any(node, error, asked).await };
    match checks.failing(node).await {
        Ok(failing) if !failing.is_empty() => refusals::checks_failed(failing),
        // The streams have changed since.
        _ => refusals::checks_failed(vec![refused]),
    }
}
