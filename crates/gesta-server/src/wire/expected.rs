//! Expected revisions. Four messages of the protocol have the same choice, each in a type of its
//! own; the second version of the streams has numbers.

use gesta_store::{ExpectedRevision, Revision};
use tonic::Status;

use super::refused;
use crate::proto::streams::{
    append_req::options::ExpectedStreamRevision as OfAppend,
    batch_append_req::options::ExpectedStreamPosition as OfBatch,
    delete_req::options::ExpectedStreamRevision as OfDelete,
    tombstone_req::options::ExpectedStreamRevision as OfTombstone,
};

/// Reads an expectation that is a revision or one of the protocol's negative constants.
pub(crate) fn expected_of_number(number: i64) -> Result<ExpectedRevision, Status> {
    match number {
        -1 => Ok(ExpectedRevision::NoStream),
        -2 => Ok(ExpectedRevision::Any),
        -4 => Ok(ExpectedRevision::StreamExists),
        _ => {
            let revision = u64::try_from(number).map_err(|_| unknown_constant(number))?;
            Ok(ExpectedRevision::Exact(Revision::new(revision)))
        }
    }
}

fn unknown_constant(number: i64) -> Status {
    refused(format!(
        "an expected revision must be a revision, -1 (no stream), -2 (any) or -4 (stream exists); \
         got {number}"
    ))
}

/// A message's choice of an expectation.
pub(crate) trait ExpectedOption: Sized {
    fn revision(self) -> ExpectedRevision;

    /// Reads the choice; a message must make one.
    fn read(choice: Option<Self>) -> Result<ExpectedRevision, Status> {
        choice
            .map(Self::revision)
            .ok_or_else(|| refused("the expected revision of the stream is missing"))
    }
}

macro_rules! expected_option {
    ($($name:ident with $revision:ident),* $(,)?) => { $(
        impl ExpectedOption for $name {
            fn revision(self) -> ExpectedRevision {
                match self {
                    Self::$revision(number) => ExpectedRevision::Exact(Revision::new(number)),
                    Self::NoStream(_) => ExpectedRevision::NoStream,
                    Self::Any(_) => ExpectedRevision::Any,
                    Self::StreamExists(_) => ExpectedRevision::StreamExists,
                }
            }
        }
    )* };
}

expected_option!(
    OfAppend with Revision,
    OfBatch with StreamPosition,
    OfDelete with Revision,
    OfTombstone with Revision,
);
