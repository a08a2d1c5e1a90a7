//! Acts on a group that exists, which calls of the protocol and the HTTP interface ask for alike.
//!
//! Invariant: the audit stream learns which group an act is about before the act fails or succeeds.

use tokio::sync::oneshot;
use tonic::Status;

use super::super::{
    name::{GroupId, GroupSource},
    parked,
    registry::Groups,
    runner::GroupCommand,
};
use crate::{access::CallSubject, wire::status};

/// An act on a group. `stop_at` is the revision of the parked events before which it stops; without
/// one it is their end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GroupAct {
    Delete,
    /// Delivers parked events again. The answer comes when their end is known, not when they are
    /// delivered.
    ReplayParked {
        stop_at: Option<u64>,
    },
    /// Hides parked events without delivering them again. Those that are being replayed are
    /// delivered all the same.
    TruncateParked {
        stop_at: Option<u64>,
    },
}

/// Acts on the group with these names.
pub(crate) async fn act_on_named(
    groups: &Groups,
    subject: &CallSubject,
    (source, name): (&str, &str),
    asked: GroupAct,
) -> Result<(), Status> {
    let id = GroupId::new(GroupSource::named(source)?, name)?;
    act(groups, subject, &id, asked).await
}

pub(super) async fn act(
    groups: &Groups,
    subject: &CallSubject,
    id: &GroupId,
    asked: GroupAct,
) -> Result<(), Status> {
    subject.tell("group", id.to_string());
    match asked {
        GroupAct::Delete => groups.delete(id).await,
        GroupAct::ReplayParked { stop_at } => replay_parked(groups, id, stop_at).await,
        GroupAct::TruncateParked { stop_at } => truncate_parked(groups, id, stop_at).await,
    }
}

async fn replay_parked(groups: &Groups, id: &GroupId, stop_at: Option<u64>) -> Result<(), Status> {
    let group = groups.find(id).await?;
    let (answer, answered) = oneshot::channel();
    let over = |()| Status::unavailable("the group has just ended; try again");
    let command = GroupCommand::Replay { stop_at, answer };
    group.commands.send(command).await.map_err(|_| over(()))?;
    answered.await.map_err(|_| over(()))??;
    Ok(())
}

async fn truncate_parked(
    groups: &Groups,
    id: &GroupId,
    stop_at: Option<u64>,
) -> Result<(), Status> {
    // The server that runs the groups changes their streams.
    groups.find(id).await?;
    let store = groups.node().store();
    let end = parked::end(store, id).await.map_err(|error| status(&error))?;
    let stop_at = stop_at.map_or(end, |stop_at| stop_at.min(end));
    parked::truncate(store, id, stop_at).await.map_err(|error| status(&error))?;
    Ok(())
}
