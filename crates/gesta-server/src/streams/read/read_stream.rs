//! Reads of one stream.

use gesta_store::{Direction, ReadFrom, ReadStream, Revision, StreamName, StreamState};

use super::{
    answers::{Answers, Ended},
    messages::{first_stream_position, last_stream_position, stream_not_found},
    tombstones::refuse_ended_metadata,
};
use crate::proto::streams::ReadResp;

pub(super) struct ReadOne {
    pub(super) stream: StreamName,
    pub(super) from: ReadFrom<Revision>,
    pub(super) direction: Direction,
    pub(super) limit: u64,
    /// The client wants to know the first and last revision.
    pub(super) is_end_told: bool,
}

pub(super) async fn answer(answers: Answers, read: ReadOne) -> Result<(), Ended> {
    let ReadOne { stream, from, direction, limit, is_end_told } = read;
    refuse_ended_metadata(answers.node.store(), &stream).await?;
    let request = ReadStream::towards(direction, stream.clone()).starting(from).limit(limit);
    let mut pages = answers.node.store().read_stream(request);
    let mut count = 0;
    while count < limit {
        let turn = answers.turn().await?;
        let Some(page) = pages.next().await else { break };
        let page = page?;
        let mut messages = Vec::new();
        if count == 0 && is_end_told && direction == Direction::Forwards {
            messages.extend(page.first().and_then(|first| truncated_to(from, first.revision)));
        }
        count += page.len() as u64;
        messages.extend(answers.events(page).await?);
        answers.send_page(turn, messages).await?;
    }
    let is_at_end = count < limit;
    if count > 0 && !(is_end_told && is_at_end) {
        return Ok(());
    }
    let described = answers.node.store().describe_stream(&stream).await?;
    if count == 0 && matches!(described.state, StreamState::Missing | StreamState::Deleted) {
        return answers.send(vec![stream_not_found(&stream)]).await;
    }
    let Some(head) = described.head.filter(|_| is_end_told && is_at_end) else { return Ok(()) };
    let mut messages = Vec::new();
    // Nothing was found because the beginning is truncated: the client learns where to start.
    let first = described.metadata.first_visible(head);
    if count == 0 && first > Revision::FIRST {
        messages.push(first_stream_position(first.number()));
    }
    messages.push(last_stream_position(head.number()));
    answers.send(messages).await
}

/// Tells a client that its read begins with a later event than it asked for, because the beginning
/// of the stream is truncated.
fn truncated_to(from: ReadFrom<Revision>, first: Revision) -> Option<ReadResp> {
    let asked = match from {
        ReadFrom::Start => Revision::FIRST,
        ReadFrom::At(revision) => revision,
        _ => return None,
    };
    (first > asked).then(|| first_stream_position(first.number()))
}
