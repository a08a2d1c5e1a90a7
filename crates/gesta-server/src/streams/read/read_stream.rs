//! Reads of one stream.

use gesta_store::{Direction, ReadFrom, ReadStream, Revision, StreamName, StreamState};

use super::{
    answers::{Answers, Ended},
    messages::{first_stream_position, last_stream_position, stream_not_found},
    tombstones::refuse_ended_metadata,
};

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
    while let Some(page) = pages.next().await {
        let page = page?;
        count += page.len() as u64;
        answers.send(answers.events(page).await?).await?;
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
