//! Checks of an append: states that its streams, or others, must have.
//!
//! Owns: [`Checks`]. Invariants: a check is part of the append, so it holds at the moment of the
//! append, unless it can never fail again: a tombstone is forever. All checks that fail are named.
//! Not here: the messages that name them ([`refusals`](super::refusals)).

use gesta_store::{ExpectedRevision, StoreError, StreamDescription, StreamName, StreamState};
use tonic::Status;

use super::{
    failed_check::{DELETED, FailedCheck, NO_STREAM, TOMBSTONED},
    joint_append::JointAppend,
};
use crate::{
    access::{Caller, Right},
    node::Node,
    proto::streams_v2::{
        ConsistencyCheck,
        consistency_check::{StreamStateCheck, Type},
    },
    wire::{expected_of_number, refused, text_to_read, version_number},
};

/// The checks of a request. Several may be of one stream.
#[derive(Debug)]
pub(super) struct Checks(Vec<Check>);

#[derive(Debug)]
struct Check {
    stream: StreamName,
    expected: ExpectedState,
}

#[derive(Clone, Copy, Debug)]
enum ExpectedState {
    /// One that appends can expect.
    Revision(ExpectedRevision),
    Deleted,
    Tombstoned,
}

impl Checks {
    pub(super) fn of(checks: Vec<ConsistencyCheck>) -> Result<Self, Status> {
        let mut known = Vec::new();
        for (place, check) in checks.into_iter().enumerate() {
            let Some(Type::StreamState(check)) = check.r#type else {
                return Err(refused(format!("check {place} has no known type")));
            };
            let StreamStateCheck { stream, expected_state } = check;
            let stream = text_to_read(&stream)?;
            let expected = match expected_state {
                DELETED => ExpectedState::Deleted,
                TOMBSTONED => ExpectedState::Tombstoned,
                number => ExpectedState::Revision(expected_of_number(number)?),
            };
            known.push(Check { stream, expected });
        }
        Ok(Self(known))
    }

    /// Checks the right of the caller to learn about streams that get no records.
    pub(super) async fn check_rights(
        &self,
        node: &Node,
        caller: &Caller,
        append: &JointAppend,
    ) -> Result<(), Status> {
        for check in self.0.iter().filter(|check| !append.writes(&check.stream)) {
            node.access().check_stream(caller, &check.stream, Right::Read).await?;
        }
        Ok(())
    }

    /// Adds the checks to the append. Returns `false` if one of them fails already.
    pub(super) async fn add_to(
        &self,
        node: &Node,
        append: &mut JointAppend,
    ) -> Result<bool, StoreError> {
        for Check { stream, expected } in &self.0 {
            let is_written = append.writes(stream);
            let expected = match expected {
                // An expectation that always holds needs no check.
                ExpectedState::Revision(ExpectedRevision::Any) => continue,
                ExpectedState::Revision(ExpectedRevision::NoStream) if !is_written => {
                    match node.store().describe_stream(stream).await?.state {
                        StreamState::Tombstoned => continue,
                        _ => ExpectedRevision::NoStream,
                    }
                }
                ExpectedState::Revision(expected) => *expected,
                ExpectedState::Tombstoned => {
                    match node.store().describe_stream(stream).await?.state {
                        StreamState::Tombstoned => continue,
                        _ => return Ok(false),
                    }
                }
                ExpectedState::Deleted => {
                    let described = node.store().describe_stream(stream).await?;
                    // It stays deleted for as long as it has this head.
                    match (described.state, described.head) {
                        (StreamState::Deleted, Some(head)) => ExpectedRevision::Exact(head),
                        _ => return Ok(false),
                    }
                }
            };
            append.expect(stream, expected);
        }
        Ok(true)
    }

    /// Returns the checks that fail now.
    pub(super) async fn failing(&self, node: &Node) -> Result<Vec<FailedCheck>, StoreError> {
        let mut failing = Vec::new();
        for (place, Check { stream, expected }) in self.0.iter().enumerate() {
            let described = node.store().describe_stream(stream).await?;
            if !expected.holds(&described) {
                failing.push(FailedCheck {
                    place: Some(place),
                    stream: stream.clone(),
                    expected: expected.number(),
                    actual: state_number(&described),
                });
            }
        }
        Ok(failing)
    }

    /// Returns the first check of a stream or of its metadata that an append was refused for, with
    /// the state that the stream had.
    pub(super) fn refused_at(&self, stream: &StreamName, actual: i64) -> Option<FailedCheck> {
        let mut checks = self.0.iter().enumerate();
        let (place, check) = checks.find(|(_, check)| {
            check.stream == *stream || check.stream.described_stream().as_ref() == Some(stream)
        })?;
        let expected = check.expected.number();
        Some(FailedCheck { place: Some(place), stream: check.stream.clone(), expected, actual })
    }
}

impl ExpectedState {
    fn holds(self, described: &StreamDescription) -> bool {
        match self {
            Self::Revision(ExpectedRevision::Any) => true,
            Self::Revision(ExpectedRevision::NoStream) => described.state != StreamState::Live,
            Self::Revision(ExpectedRevision::StreamExists) => described.state == StreamState::Live,
            Self::Revision(ExpectedRevision::Exact(revision)) => {
                described.state != StreamState::Tombstoned && described.head == Some(revision)
            }
            Self::Deleted => described.state == StreamState::Deleted,
            Self::Tombstoned => described.state == StreamState::Tombstoned,
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Revision(expected) => version_number(expected),
            Self::Deleted => DELETED,
            Self::Tombstoned => TOMBSTONED,
        }
    }
}

/// Returns the state of a stream as a number of the protocol: its last revision, if it has events.
fn state_number(described: &StreamDescription) -> i64 {
    match (described.state, described.head) {
        (StreamState::Tombstoned, _) => TOMBSTONED,
        (StreamState::Deleted, _) => DELETED,
        (StreamState::Live, Some(head)) => version_number(ExpectedRevision::Exact(head)),
        (StreamState::Missing | StreamState::Live, _) => NO_STREAM,
    }
}
