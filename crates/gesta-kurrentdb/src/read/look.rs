//! Short reads: the end of a stream or of the whole store, and single events.

use futures_util::FutureExt as _;
use gesta_store::{
    Direction, ExpectedRevision, Filter, Position, RecordedEvent, Revision, StoreError, StreamName,
};

use super::request::{Place, ReadTarget, finite};
use crate::{
    core::{Core, MESSAGE_BYTES_MAX},
    failure::{Failure, Subject, conflict},
    proto::streams::{ReadReq, read_resp::Content, streams_client::StreamsClient},
    wire::recorded,
};

/// The end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// No visible event: the stream is deleted, or never was.
    Empty,
    Live(Revision),
    Tombstoned,
}

/// Returns the end of a stream.
pub(crate) async fn tail(core: &Core, stream: &StreamName) -> Result<Tail, StoreError> {
    let target = ReadTarget::Stream(stream.clone());
    let contents = match messages(core, finite(&target, Direction::Backwards, Place::End, 1)).await
    {
        Ok(contents) => contents,
        Err(failure) if failure.is_tombstoned() => return Ok(Tail::Tombstoned),
        Err(failure) => return Err(failure.of_read(&Subject::of_stream(stream))),
    };
    let mut found = Tail::Empty;
    for content in contents {
        match content {
            Content::Event(read) => found = Tail::Live(recorded(read)?.revision),
            // Every event is hidden by its age, or their number.
            Content::LastStreamPosition(last) => found = Tail::Live(Revision::new(last)),
            _ => {}
        }
    }
    Ok(found)
}

/// Waits for the answer to a change. Servers refuse alike for a tombstone and for a stream that is
/// deleted where one is expected, which a look at the stream distinguishes.
pub(crate) async fn change_answer<T>(
    core: &Core,
    subject: &Subject,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, StoreError> {
    let failure = match answer.await {
        Ok(answer) => return Ok(answer),
        Err(failure) => failure,
    };
    match failure.of_change(subject) {
        StoreError::Deleted { stream }
            if subject.expected == Some(ExpectedRevision::StreamExists)
                && matches!(tail(core, &stream).await, Ok(Tail::Empty | Tail::Live(_))) =>
        {
            Err(conflict(subject, stream, None))
        }
        error => Err(error),
    }
}

/// Returns the last event of a stream.
pub(crate) async fn last_event(
    core: &Core,
    stream: &StreamName,
) -> Result<Option<RecordedEvent>, StoreError> {
    let target = ReadTarget::Stream(stream.clone());
    let request = finite(&target, Direction::Backwards, Place::End, 1);
    one(core, request, &Subject::of_stream(stream)).await
}

/// Returns the position of the last event of the whole store.
pub(crate) async fn last_position(core: &Core) -> Result<Position, StoreError> {
    let target = ReadTarget::All(Filter::Everything);
    let request = finite(&target, Direction::Backwards, Place::End, 1);
    let last = one(core, request, &Subject::default()).await?;
    Ok(last.map_or(Position::START, |event| event.position))
}

/// Returns the event at a position.
pub(crate) async fn event_at(
    core: &Core,
    position: Position,
) -> Result<Option<RecordedEvent>, StoreError> {
    let target = ReadTarget::All(Filter::Everything);
    let start = Place::at(position.number());
    let request = finite(&target, Direction::Forwards, start, 1);
    let found = one(core, request, &Subject::default()).await?;
    Ok(found.filter(|event| event.position == position))
}

/// Returns the event of a stream at a revision, if it is visible.
pub(crate) async fn event_in(
    core: &Core,
    stream: &StreamName,
    revision: Revision,
) -> Result<Option<RecordedEvent>, StoreError> {
    let target = ReadTarget::Stream(stream.clone());
    let start = Place::at(revision.number());
    let request = finite(&target, Direction::Forwards, start, 1);
    let found = one(core, request, &Subject::of_stream(stream)).await?;
    Ok(found.filter(|event| event.revision == revision))
}

/// Returns `true` if the server's filter lets an event after `after` and up to `end` through.
pub(crate) async fn has_match(
    core: &Core,
    filter: &Filter,
    after: Position,
    end: Position,
) -> Result<bool, StoreError> {
    let target = ReadTarget::All(filter.clone());
    let start = if after == Position::START { Place::Start } else { Place::at(after.number()) };
    // The event at the start comes, too.
    let contents = messages(core, finite(&target, Direction::Forwards, start, 2)).await;
    let contents = contents.map_err(|failure| failure.of_read(&Subject::of_filter(filter)))?;
    for content in contents {
        if let Content::Event(read) = content {
            let position = recorded(read)?.position;
            if position > after && position <= end {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

async fn one(
    core: &Core,
    request: ReadReq,
    subject: &Subject,
) -> Result<Option<RecordedEvent>, StoreError> {
    let contents = messages(core, request).await.map_err(|failure| failure.of_read(subject))?;
    for content in contents {
        if let Content::Event(read) = content {
            let event = recorded(read)?;
            core.see(event.position);
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// Reads all messages of a short answer.
async fn messages(core: &Core, request: ReadReq) -> Result<Vec<Content>, Failure> {
    let read = |request: ReadReq| {
        core.cluster.call(move |lease| {
            let origin = lease.link.origin();
            let mut client = StreamsClient::with_origin(lease.link.clone(), origin)
                .max_decoding_message_size(MESSAGE_BYTES_MAX);
            async move {
                let mut answer = client.read(request).await?.into_inner();
                let mut contents = Vec::new();
                while let Some(message) = answer.message().await? {
                    contents.extend(message.content);
                }
                drop(lease);
                Ok(contents)
            }
            .boxed()
        })
    };
    match read(request.clone()).await {
        // A look changes nothing, so it is repeated once on another connection.
        Err(failure) if failure.is_passing() => read(request).await,
        answer => answer,
    }
}
