//! An append while its messages arrive.
//!
//! Owns: [`NewAppend`]. Invariant: its memory is bounded by the store's limit of an append; the
//! event that exceeds it refuses the append.

use gesta_store::{
    Append, Appended, Conflict, EventId, ExpectedRevision, Invalid, Limits, NewEvent, StoreError,
    StreamName, StreamState,
};
use tonic::Status;

use super::{
    metadata_append,
    read::is_of_index,
    repeated::{Recent, Repeated},
    store_append::observed,
};
use crate::{
    access::{Right, Sender},
    incoming::Reserved,
    node::Node,
    wire::{Proposal, new_event, status},
};

/// The stream, the expectation, and the events so far.
#[derive(Debug)]
pub(super) struct NewAppend {
    sender: Sender,
    pub(super) stream: StreamName,
    pub(super) expected: ExpectedRevision,
    events: Vec<NewEvent>,
    limits: Limits,
    bytes: usize,
    /// Kept until the answer: the store has the events until then.
    reserved: Reserved,
}

/// The result of an append that was answered by the store.
pub(super) enum AppendOutcome {
    /// The stream's head, and the position of the last event; `None` without events.
    Appended { head: Option<u64>, position: Option<u64> },
    /// An expectation failed.
    Conflict { head: Option<u64> },
}

impl NewAppend {
    /// Begins an append of a caller who has the right to it. A stream that the index answers takes
    /// none.
    pub(super) async fn new(
        node: &Node,
        sender: Sender,
        stream: StreamName,
        expected: ExpectedRevision,
    ) -> Result<Self, Status> {
        if is_of_index(&stream) {
            return Err(status(&StoreError::from(Invalid::SystemStream { stream })));
        }
        node.access().check_stream(&sender.caller, &stream, Right::Append).await?;
        let limits = node.store().capabilities().limits;
        let reserved = node.incoming().reserve_none();
        Ok(Self { sender, stream, expected, events: Vec::new(), limits, bytes: 0, reserved })
    }

    /// Returns the size of the events so far, as the store's limit counts it.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, proposal: Proposal) -> Result<(), Status> {
        let event = new_event(proposal, &self.limits)?;
        self.bytes +=
            event.content_bytes() + self.stream.as_str().len() + self.limits.event_overhead_bytes;
        let (actual, max) = (self.bytes, self.limits.append_bytes_max);
        if actual > max {
            let limit = Invalid::Limit { limit: "append bytes", actual, max };
            return Err(status(&StoreError::from(limit)));
        }
        self.reserved.resize(self.bytes)?;
        self.events.push(event);
        Ok(())
    }

    /// Appends the events. The error of the store comes with the name of the stream.
    pub(super) async fn run(self, node: &Node) -> Result<AppendOutcome, StoreError> {
        let Self { sender, stream, expected, events, reserved: _reserved, .. } = self;
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let count = ids.len() as u64;
        let counters = node.counters();
        let repeated = Repeated::new(&stream, expected, ids);
        match repeated.find_recent(node).await {
            Recent::New => {}
            Recent::Repeat(found) => {
                counters.appends.add(1);
                return Ok(found.into());
            }
            Recent::Part => {
                counters.appends_refused.add(1);
                let head = node.store().describe_stream(&stream).await?.head;
                return Ok(AppendOutcome::Conflict { head: head.map(|head| head.number()) });
            }
        }
        let mut append = Append::to(stream.clone(), expected, events);
        // Streams of the system, but for metadata, whose content the store checks.
        if stream.is_system() && stream.described_stream().is_none() {
            append = append.privileged();
        }
        let mut changes_rights = false;
        for event in append.events() {
            changes_rights |= node.access().changes_rights(&stream, &event.data).await;
        }
        let appended = metadata_append::append(node.store(), append);
        match observed(node, &stream, count, appended).await {
            Ok(appended) => {
                counters.appends.add(1);
                counters.events_appended.add(count);
                if changes_rights {
                    node.access().record_change_of_rights(&sender, &stream).await;
                }
                repeated.record(node, &appended);
                if count == 0 {
                    let head = node.store().describe_stream(&stream).await?.head;
                    return Ok(AppendOutcome::Appended {
                        head: head.map(|head| head.number()),
                        position: None,
                    });
                }
                Ok(appended.into())
            }
            Err(StoreError::Conflict(conflict)) => {
                let parts = std::slice::from_ref(&repeated);
                if let Some(found) = Repeated::find_all(node, parts).await {
                    counters.appends.add(1);
                    return Ok(found.into());
                }
                counters.appends_refused.add(1);
                refused(node, stream, conflict).await
            }
            Err(error) => {
                counters.appends_refused.add(1);
                Err(error)
            }
        }
    }
}

/// Returns the outcome of an append that is in conflict with its stream.
async fn refused(
    node: &Node,
    stream: StreamName,
    conflict: Conflict,
) -> Result<AppendOutcome, StoreError> {
    let head = match conflict {
        Conflict::Stream { expected: ExpectedRevision::StreamExists, head: None, .. } => {
            // The protocol tells a deleted stream from one that never was.
            match node.store().describe_stream(&stream).await?.state {
                StreamState::Deleted => return Err(StoreError::Deleted { stream }),
                _ => None,
            }
        }
        Conflict::Stream { head, .. } => head,
        // An id was used before: the stream is where it is.
        _ => node.store().describe_stream(&stream).await?.head,
    };
    Ok(AppendOutcome::Conflict { head: head.map(|head| head.number()) })
}

impl From<Appended> for AppendOutcome {
    fn from(appended: Appended) -> Self {
        let head = appended.revisions.first().map(|(_, revision)| revision.number());
        Self::Appended { head, position: Some(appended.position.number()) }
    }
}
