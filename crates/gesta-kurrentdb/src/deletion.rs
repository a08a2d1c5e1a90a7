//! Deleting and tombstoning, by the calls that the protocol has for them.
//!
//! Invariants: what there is to hide is decided by the server at one moment; a deletion that finds
//! nothing to hide changes nothing. Not here: metadata, which are appended as the contract has it.

use futures_util::FutureExt as _;
use gesta_store::{
    Appended, Conflict, DeleteStream, ExpectedRevision, Overload, Position, Revision, StoreError,
    StreamState, TombstoneStream,
};

use crate::{
    core::Core,
    describe::describe,
    failure::Subject,
    head::head,
    proto::{
        shared::Empty,
        streams::{
            DeleteReq, TombstoneReq, delete_req, delete_resp, streams_client::StreamsClient,
            tombstone_req, tombstone_resp,
        },
    },
    read::change_answer,
    wire::{identifier, malformed},
};

/// Rounds of a deletion whose stream is changed by others all the time.
const ROUNDS_MAX: usize = 16;

/// Hides the events that a stream has now.
pub(crate) async fn delete(core: &Core, delete: DeleteStream) -> Result<Appended, StoreError> {
    let DeleteStream { stream, expected, .. } = &delete;
    for _ in 0..ROUNDS_MAX {
        let found = describe(core, stream).await?;
        let live = match found.state {
            StreamState::Tombstoned => return Err(StoreError::Deleted { stream: stream.clone() }),
            StreamState::Live => found.head,
            StreamState::Missing | StreamState::Deleted => None,
        };
        // Only an exact revision also holds on a deleted stream.
        let compared = match expected {
            ExpectedRevision::Exact(_) => found.head,
            _ => live,
        };
        if !expected.admits(compared) {
            let (stream, expected) = (stream.clone(), *expected);
            return Err(Conflict::Stream { stream, expected, head: compared }.into());
        }
        if live.is_none() {
            return Ok(Appended::new(head(core).await?, Vec::new()));
        }
        match send_delete(core, &delete).await {
            Ok(position) => {
                core.see(position);
                let revision = describe(core, stream).await?.metadata_revision;
                let metadata = stream.metadata_stream().ok();
                return Ok(Appended::new(position, metadata.zip(revision).into_iter().collect()));
            }
            // Deleted by another one in between: there is nothing left to hide.
            Err(StoreError::Conflict(_)) if *expected == ExpectedRevision::Any => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Overloaded(Overload::Throttled { retry_after: None }))
}

async fn send_delete(core: &Core, delete: &DeleteStream) -> Result<Position, StoreError> {
    use delete_req::options::ExpectedStreamRevision as Expected;
    let subject = Subject { expected: Some(delete.expected), ..Subject::of_stream(&delete.stream) };
    let options = delete_req::Options {
        stream_identifier: Some(identifier(&delete.stream)),
        expected_stream_revision: Some(match delete.expected {
            ExpectedRevision::Any => Expected::Any(Empty {}),
            ExpectedRevision::NoStream => Expected::NoStream(Empty {}),
            ExpectedRevision::StreamExists => Expected::StreamExists(Empty {}),
            ExpectedRevision::Exact(revision) => Expected::Revision(revision.number()),
        }),
    };
    let request = DeleteReq { options: Some(options) };
    let answer = core.cluster.call(|lease| {
        let origin = lease.link.origin();
        let mut client = StreamsClient::with_origin(lease.link.clone(), origin);
        async move {
            let answer = client.delete(request).await;
            drop(lease);
            answer.map(tonic::Response::into_inner)
        }
        .boxed()
    });
    let answer = change_answer(core, &subject, answer).await?;
    match answer.position_option {
        Some(delete_resp::PositionOption::Position(at)) => Ok(Position::new(at.commit_position)),
        Some(delete_resp::PositionOption::NoPosition(_)) | None => {
            Err(malformed(0, "a deletion has no position"))
        }
    }
}

/// Hides the events of a stream, and refuses its name forever.
pub(crate) async fn tombstone(
    core: &Core,
    tombstone: TombstoneStream,
) -> Result<Appended, StoreError> {
    use tombstone_req::options::ExpectedStreamRevision as Expected;
    let subject =
        Subject { expected: Some(tombstone.expected), ..Subject::of_stream(&tombstone.stream) };
    let options = tombstone_req::Options {
        stream_identifier: Some(identifier(&tombstone.stream)),
        expected_stream_revision: Some(match tombstone.expected {
            ExpectedRevision::Any => Expected::Any(Empty {}),
            ExpectedRevision::NoStream => Expected::NoStream(Empty {}),
            ExpectedRevision::StreamExists => Expected::StreamExists(Empty {}),
            ExpectedRevision::Exact(revision) => Expected::Revision(revision.number()),
        }),
    };
    let request = TombstoneReq { options: Some(options) };
    let answer = core.cluster.call(|lease| {
        let origin = lease.link.origin();
        let mut client = StreamsClient::with_origin(lease.link.clone(), origin);
        async move {
            let answer = client.tombstone(request).await;
            drop(lease);
            answer.map(tonic::Response::into_inner)
        }
        .boxed()
    });
    let answer = change_answer(core, &subject, answer).await?;
    let position = match answer.position_option {
        Some(tombstone_resp::PositionOption::Position(at)) => Position::new(at.commit_position),
        Some(tombstone_resp::PositionOption::NoPosition(_)) | None => core.seen(),
    };
    core.see(position);
    // The protocol does not say which revision the end has.
    let no_revisions: Vec<(_, Revision)> = Vec::new();
    Ok(Appended::new(position, no_revisions))
}
