//! Repeats that the protocol compares event by event.
//!
//! Owns: [`Repeated`]. Invariant: an answer comes from the stream itself, whose recorded events
//! keep their revisions. A look-up that fails finds nothing, so the answer of the store stands. Not
//! here: repeats of whole appends, which stores recognize.

use gesta_store::{Appended, EventId, ExpectedRevision, Revision, StreamName};

use crate::node::Node;

/// The events that an append has for a stream, with the place where it expects to record them.
#[derive(Debug)]
pub(super) struct Repeated {
    stream: StreamName,
    /// `None` if the append says nothing about the place.
    first: Option<Revision>,
    ids: Vec<EventId>,
}

/// The events of an append without an expected revision, compared with the recent ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recent {
    /// The first event is not known.
    New,
    /// All events are where the first one is.
    Repeat(Appended),
    /// The first event is there, and others are not behind it.
    Part,
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

    /// Adds events that follow.
    pub(super) fn extend(&mut self, ids: &[EventId]) {
        self.ids.extend(ids);
    }

    /// Looks for the events of an append that says nothing about their place, before it is given to
    /// the store, which would record a part of an earlier append again.
    pub(super) async fn find_recent(&self, node: &Node) -> Recent {
        let Some(known) = self.known_first(node).filter(|_| self.first.is_none()) else {
            return Recent::New;
        };
        if let Some(found) = self.find_at(node, known, self.ids.clone()).await {
            return Recent::Repeat(found);
        }
        // A hidden event is not found, and the store decides.
        let first = self.ids.first().copied().into_iter().collect();
        match self.find_at(node, known, first).await {
            Some(_) => Recent::Part,
            None => Recent::New,
        }
    }

    /// The same for an append to several streams, if all of their events are recent ones.
    pub(super) async fn find_all_recent(node: &Node, parts: &[Self]) -> Option<Appended> {
        let is_known = |part: &Self| part.first.is_none() && part.known_first(node).is_some();
        match parts.iter().all(is_known) {
            true => Self::find_all(node, parts).await,
            false => None,
        }
    }

    /// Notes the places of events that an append has recorded: a part of them may come again
    /// without an expected revision.
    pub(super) fn record(&self, node: &Node, appended: &Appended) {
        let head = appended.revisions.iter().find(|(stream, _)| *stream == self.stream);
        if let Some((stream, head)) = head {
            node.recent_events().add(stream, *head, &self.ids);
        }
    }

    /// Returns the answer to an append whose events are all where it expects them, or where the
    /// recent ones are: the answer that it would have got if it had recorded them.
    pub(super) async fn find_all(node: &Node, parts: &[Self]) -> Option<Appended> {
        let mut whole: Option<Appended> = None;
        for part in parts {
            let first = part.first.or_else(|| part.known_first(node))?;
            let found = part.find_at(node, first, part.ids.clone()).await?;
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

    fn known_first(&self, node: &Node) -> Option<Revision> {
        node.recent_events().revision_of(&self.stream, *self.ids.first()?)
    }

    async fn find_at(&self, node: &Node, first: Revision, ids: Vec<EventId>) -> Option<Appended> {
        node.store().find_events(&self.stream, first, ids).await.ok()?
    }
}
