//! Expected revisions. Four messages of the protocol have the same choice, each in a type of its
//! own.

use gesta_store::{ExpectedRevision, Revision};
use tonic::Status;

use super::refused;
use crate::proto::streams::{
    append_req::options::ExpectedStreamRevision as OfAppend,
    batch_append_req::options::ExpectedStreamPosition as OfBatch,
    delete_req::options::ExpectedStreamRevision as OfDelete,
    tombstone_req::options::ExpectedStreamRevision as OfTombstone,
};

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
