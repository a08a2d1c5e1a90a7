//! `Delete` and `Tombstone`.

use gesta_store::{
    DeleteStream, ExpectedRevision, StoreError, StreamDescription, StreamName, StreamState,
    TombstoneStream,
};
use tonic::Status;

use crate::{
    access::{Right, Sender},
    node::Node,
    proto::streams::{
        DeleteReq, DeleteResp, TombstoneReq, TombstoneResp, delete_resp, tombstone_resp,
    },
    wire::{ExpectedOption, name_to_read, refused, status, wrong_expected_version},
};

/// Hides the events of a stream. A later append revives it.
pub(super) async fn delete(
    node: &Node,
    sender: &Sender,
    request: DeleteReq,
) -> Result<DeleteResp, Status> {
    let options = request.options.ok_or_else(|| refused("the options are missing"))?;
    let stream = name_to_read(options.stream_identifier.as_ref())?;
    node.access().check_stream(&sender.caller, &stream, Right::Delete).await?;
    let expected = ExpectedOption::read(options.expected_stream_revision)?;
    let described = node.store().describe_stream(&stream).await.map_err(|error| status(&error))?;
    // The protocol refuses to delete a stream that never was, whatever is expected. The contract
    // has nothing to do then.
    if described.state == StreamState::Missing {
        return Err(wrong_expected_version(&stream, expected, None));
    }
    refuse_deleted(&stream, expected, &described)?;
    let changes_rights = node.access().changes_rights(&stream, &[]).await;
    let deleted = node.store().delete_stream(DeleteStream::new(stream.clone(), expected)).await;
    let position = deleted.map_err(|error| status(&error))?.position.number();
    if changes_rights {
        node.access().record_change_of_rights(sender, &stream).await;
    }
    let position = delete_resp::Position { commit_position: position, prepare_position: position };
    Ok(DeleteResp { position_option: Some(delete_resp::PositionOption::Position(position)) })
}

/// Hides the events of a stream and forbids its name forever.
pub(super) async fn tombstone(
    node: &Node,
    sender: &Sender,
    request: TombstoneReq,
) -> Result<TombstoneResp, Status> {
    let options = request.options.ok_or_else(|| refused("the options are missing"))?;
    let stream = name_to_read(options.stream_identifier.as_ref())?;
    node.access().check_stream(&sender.caller, &stream, Right::Delete).await?;
    let expected = ExpectedOption::read(options.expected_stream_revision)?;
    let described = node.store().describe_stream(&stream).await.map_err(|error| status(&error))?;
    refuse_deleted(&stream, expected, &described)?;
    let changes_rights = node.access().changes_rights(&stream, &[]).await;
    let tombstone = TombstoneStream::new(stream.clone(), expected);
    let tombstoned = node.store().tombstone_stream(tombstone).await;
    let position = tombstoned.map_err(|error| status(&error))?.position.number();
    if changes_rights {
        node.access().record_change_of_rights(sender, &stream).await;
    }
    let position =
        tombstone_resp::Position { commit_position: position, prepare_position: position };
    Ok(TombstoneResp { position_option: Some(tombstone_resp::PositionOption::Position(position)) })
}

/// Refuses a stream that is deleted where one is expected. The protocol tells it from a stream that
/// never was.
fn refuse_deleted(
    stream: &StreamName,
    expected: ExpectedRevision,
    described: &StreamDescription,
) -> Result<(), Status> {
    if expected == ExpectedRevision::StreamExists && described.state == StreamState::Deleted {
        return Err(status(&StoreError::Deleted { stream: stream.clone() }));
    }
    Ok(())
}
