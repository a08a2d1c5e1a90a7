//! Repeats that the protocol compares event by event.
//!
//! Owns: [`Repeated`]. Invariant: an append is looked up after the store has refused it, so a
//! look-up that fails leaves the refusal as it is. Not here: repeats of whole appends, which stores
//! recognize.

use gesta_store::{Appended, EventId, EventStore, ExpectedRevision, Revision, StreamName};

/// The events that a refused append has for a stream, with the place where it expects to record
/// them.
#[derive(Debug)]
pub(super) struct Repeated {
    stream: StreamName,
    /// `None` if the append says nothing about the place.
    first: Option<Revision>,
    ids: Vec<EventId>,
}

impl Repeated {
    pub(super) fn new(stream: &StreamName, expected: ExpectedRevision, ids: Vec<EventId>) -> Self {
        let first = match expected {
            ExpectedRevision::NoStream => Some(Revision::FIRST),
            ExpectedRevision::Exact(before) => Some(before.next()),
            ExpectedRevision::Any | ExpectedRevision::StreamExists => None,
        };
        Self { stream: stream.clone(), first, ids }
    }

    /// Returns the answer to an append whose events are all where it expects them: the one that it
    /// would have got if it had recorded them.
    pub(super) async fn find_all(
        store: &dyn EventStore,
        parts: impl IntoIterator<Item = Self>,
    ) -> Option<Appended> {
        let mut whole: Option<Appended> = None;
        for Self { stream, first, ids } in parts {
            let found = store.find_events(&stream, first?, ids).await.ok()??;
            match &mut whole {
                Some(whole) => {
                    whole.position = whole.position.max(found.position);
                    whole.revisions.extend(found.revisions);
                }
                None => whole = Some(found),
            }
        }
        whole
    }
}
