//! The right to the source of a group, and the caller who needs it.

use tonic::{Request, Status};

use super::super::name::{GroupId, GroupSource};
use crate::{
    access::{CallSubject, Caller, Right},
    node::Node,
};

/// The caller who changes a group, and the place where the audit stream learns which one.
pub(crate) struct GroupAsker {
    pub(super) caller: Caller,
    pub(super) subject: CallSubject,
}

impl GroupAsker {
    pub(crate) fn of<Message>(request: &Request<Message>) -> Self {
        let extensions = request.extensions();
        Self { caller: Caller::of(extensions), subject: CallSubject::of(extensions) }
    }

    /// Says which group the call is about.
    pub(super) fn asks_about(&self, id: &GroupId) {
        self.subject.tell("group", id.to_string());
    }
}

/// Checks that a caller may read the events of a source.
pub(super) async fn check_source(
    node: &Node,
    caller: &Caller,
    source: &GroupSource,
) -> Result<(), Status> {
    match source {
        GroupSource::All => node.access().check_all(caller).await,
        GroupSource::Stream(stream) => {
            node.access().check_stream(caller, stream, Right::Read).await
        }
    }
}
