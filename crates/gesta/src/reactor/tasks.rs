//! The tasks of a reactor that run next to its loop, and their results.
//!
//! Not here: the use of the results ([`intake`](super::intake), [`control`](super::control)).

use std::sync::Arc;

use gesta_store::{
    EventStore, EventType, NewEvent, ReadStream, RecordedEvent, Revision, StoreError, StreamName,
};

use super::{
    Reactor,
    attempt::{FailedAttempt, ReactorDeps, attempt},
    held::HeldStream,
    operation::ReactorReply,
    trouble::ReactorTrouble,
};

/// Result of a reactor's task.
pub(super) enum ReactorTask {
    Tried(Tried),
    /// An operator's retry of a dead letter.
    Retried(Box<RetriedLetter>),
    /// Further events of a held stream.
    Loaded(StreamName, Result<HeldPage, StoreError>),
}

/// An attempt of an event's effect.
pub(super) struct Tried {
    pub(super) event: Arc<RecordedEvent>,
    pub(super) attempt: u32,
    pub(super) outcome: Result<(), FailedAttempt>,
}

/// A retry of a dead letter.
pub(super) struct RetriedLetter {
    pub(super) stream: StreamName,
    /// The event, or the reason why it was not attempted.
    pub(super) event: Result<Arc<RecordedEvent>, LetterUnread>,
    pub(super) outcome: Result<(), FailedAttempt>,
    pub(super) record: NewEvent,
    pub(super) reply: ReactorReply,
}

/// The reason why the event of a dead letter was not read.
pub(super) enum LetterUnread {
    /// The stream no longer shows it.
    Gone,
    Store(StoreError),
}

/// Events of a held stream.
pub(super) struct HeldPage {
    pub(super) events: Vec<RecordedEvent>,
    /// Revision behind the events that were read.
    pub(super) next: Revision,
}

/// Reads a page of a stream with events of some types, or up to the stream's end.
pub(super) async fn load(
    store: &dyn EventStore,
    stream: &StreamName,
    from: Revision,
    types: &[EventType],
) -> Result<HeldPage, StoreError> {
    let mut read = HeldPage { events: Vec::new(), next: from };
    let mut pages = store.read_stream(ReadStream::forwards(stream.clone()).from(from));
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            // A tombstoned stream shows no events, so none of them has an effect.
            Err(StoreError::Deleted { .. }) => break,
            Err(error) => return Err(error),
        };
        for event in page {
            read.next = event.revision.next();
            if types.contains(&event.event_type) {
                read.events.push(event);
            }
        }
        if !read.events.is_empty() {
            break;
        }
    }
    Ok(read)
}

/// Reads the event of a dead letter and attempts its effect once.
pub(super) async fn retry<R: Reactor>(
    deps: &ReactorDeps<R>,
    stream: &StreamName,
    held: &HeldStream,
) -> (Result<Arc<RecordedEvent>, LetterUnread>, Result<(), FailedAttempt>) {
    let event = match find(deps.store().as_ref(), stream, held).await {
        Ok(Some(event)) => Arc::new(event),
        Ok(None) => return (Err(LetterUnread::Gone), Ok(())),
        Err(error) => return (Err(LetterUnread::Store(error)), Ok(())),
    };
    let attempts = held.letter.as_ref().map_or(0, |letter| letter.attempts);
    let outcome = attempt(deps, &event, attempts.saturating_add(1)).await;
    (Ok(event), outcome)
}

/// Finds the event of a dead letter: at its revision or, in a store with other revisions, anywhere
/// in its stream.
async fn find(
    store: &dyn EventStore,
    stream: &StreamName,
    held: &HeldStream,
) -> Result<Option<RecordedEvent>, StoreError> {
    let at = ReadStream::forwards(stream.clone()).from(held.next).limit(1);
    for read in [at, ReadStream::forwards(stream.clone())] {
        let mut pages = store.read_stream(read);
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(StoreError::Deleted { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Some(event) = page.into_iter().find(|event| held.is_of(&event.id)) {
                return Ok(Some(event));
            }
        }
    }
    Ok(None)
}

/// Returns a task's result, or the reason why it ended early.
pub(super) fn joined(
    task: Result<ReactorTask, tokio::task::JoinError>,
) -> Result<ReactorTask, ReactorTrouble> {
    task.map_err(|error| ReactorTrouble::Task { message: error.to_string() })
}
