//! `AppendSession`: each message is one stream with its expectation and its records.

use tonic::{Status, Streaming};

use super::{joint_append::JointAppend, refusals};
use crate::{
    access::Sender,
    node::Node,
    proto::streams_v2::{AppendRequest, AppendResponse, AppendSessionResponse},
    wire::{expected_of_number, refused, text_to_write},
};
use gesta_store::ExpectedRevision;

pub(super) async fn append_session(
    node: &Node,
    sender: &Sender,
    mut messages: Streaming<AppendRequest>,
) -> Result<AppendSessionResponse, Status> {
    let mut append = JointAppend::new(node);
    while let Some(request) = messages.message().await? {
        let AppendRequest { stream, records, expected_revision } = request;
        let stream = text_to_write(&stream)?;
        let expected = expected_revision.map_or(Ok(ExpectedRevision::Any), expected_of_number)?;
        if records.is_empty() {
            return Err(refused(format!(
                "the request for the stream `{stream}` has no records; to check a stream that \
                 gets none, use AppendRecords"
            )));
        }
        if !append.add(&stream, expected) {
            return Err(refusals::stream_twice(&stream));
        }
        for record in records {
            append.push(&stream, record)?;
        }
    }
    if append.is_empty() {
        return Err(Status::failed_precondition("the session has no requests"));
    }
    append.check_rights(node, &sender.caller).await?;
    let appended = match append.run(node, sender).await {
        Ok(appended) => appended,
        Err((error, asked)) => return Err(refusals::of_session(node, error, &asked).await),
    };
    let output = appended.revisions.iter().map(|(stream, revision)| AppendResponse {
        stream: stream.as_str().to_owned(),
        stream_revision: refusals::signed(revision.number()),
        position: None,
    });
    Ok(AppendSessionResponse {
        output: output.collect(),
        position: refusals::signed(appended.position.number()),
    })
}
