//! `Append`: the first message says where, each further one is an event.

use tonic::{Status, Streaming};

use super::{
    append_answer,
    new_append::{AppendOutcome, NewAppend},
};
use crate::{
    access::Sender,
    node::Node,
    proto::streams::{
        AppendReq, AppendResp,
        append_req::{Content, Options},
    },
    wire::{ExpectedOption, name_to_write, refused, status},
};

pub(super) async fn append(
    node: &Node,
    sender: Sender,
    mut messages: Streaming<AppendReq>,
) -> Result<AppendResp, Status> {
    let first = messages.message().await?.and_then(|message| message.content);
    let Some(Content::Options(options)) = first else {
        return Err(refused("the first message of an append must be its options"));
    };
    let Options { stream_identifier, expected_stream_revision } = options;
    let stream = name_to_write(stream_identifier.as_ref())?;
    let expected = ExpectedOption::read(expected_stream_revision)?;
    let mut append = NewAppend::new(node, sender, stream, expected).await?;
    while let Some(message) = messages.message().await? {
        match message.content {
            Some(Content::ProposedMessage(proposed)) => append.push(proposed.into())?,
            Some(Content::Options(_)) => {
                return Err(refused("an append has options in its first message only"));
            }
            None => return Err(refused("a message of an append is empty")),
        }
    }
    match append.run(node).await {
        Ok(AppendOutcome::Appended { head, position }) => {
            Ok(append_answer::success(head, position))
        }
        Ok(AppendOutcome::Conflict { head }) => Ok(append_answer::conflict(expected, head)),
        Err(error) => Err(status(&error)),
    }
}
