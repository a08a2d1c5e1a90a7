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
    read::is_of_index, repeated::Repeated, soft_deletion::SoftDeletion, store_append::observed,
};
use crate::{
    access::{Access, Caller, Right},
    incoming::Reserved,
    node::Node,
    wire::{Proposal, new_event, status},
};

/// The stream, the expectation, and the events so far.
#[derive(Debug)]
pub(super) struct NewAppend {
    caller: Caller,
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
        caller: Caller,
        stream: StreamName,
        expected: ExpectedRevision,
    ) -> Result<Self, Status> {
        if is_of_index(&stream) {
            return Err(status(&StoreError::from(Invalid::SystemStream { stream })));
        }
        node.access().check_stream(&caller, &stream, Right::Append).await?;
        let limits = node.store().capabilities().limits;
        let reserved = node.incoming().reserve_none();
        Ok(Self { caller, stream, expected, events: Vec::new(), limits, bytes: 0, reserved })
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
        let Self { caller, stream, expected, events, reserved: _reserved, .. } = self;
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let count = ids.len() as u64;
        let mut append = Append::to(stream.clone(), expected, events);
        // Streams of the system, but for metadata, whose content the store checks.
        if stream.is_system() && stream.described_stream().is_none() {
            append = append.privileged();
        }
        let changes_rights =
            append.events().any(|event| Access::changes_rights(&stream, &event.data));
        let counters = node.counters();
        let outcome = match SoftDeletion::of(append) {
            Ok(deletion) => deletion.append(node.store()).await,
            Err(append) => observed(node, &stream, count, node.store().append(append)).await,
        };
        match outcome {
            Ok(appended) => {
                counters.appends.add(1);
                counters.events_appended.add(count);
                if changes_rights {
                    node.access().record_change_of_rights(&caller, &stream).await;
                }
                if ids.is_empty() {
                    let head = node.store().describe_stream(&stream).await?.head;
                    return Ok(AppendOutcome::Appended {
                        head: head.map(|head| head.number()),
                        position: None,
                    });
                }
                Ok(appended.into())
            }
            Err(StoreError::Conflict(conflict)) => {
                let part = [Repeated::new(&stream, expected, ids)];
                if let Some(found) = Repeated::find_all(node.store(), part).await {
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
