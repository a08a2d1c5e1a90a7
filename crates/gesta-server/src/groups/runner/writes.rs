//! The calls to the store that a group has under way.

use std::{future::Future, pin::Pin, sync::Arc};

use gesta_store::{Revision, StoreError};
use tokio::sync::oneshot;
use tonic::Status;

use super::super::{
    checkpoint,
    configuration::GroupConfig,
    machine::{EventKey, ParkReason},
    parked,
};
use crate::{node::Node, streams::Found};

/// A call under way.
pub(super) type GroupWrite = Pin<Box<dyn Future<Output = WriteDone> + Send>>;

/// A call that has ended.
pub(super) enum WriteDone {
    Parked {
        key: EventKey,
        result: Result<(), StoreError>,
    },
    Checkpointed(Result<Revision, StoreError>),
    Truncated(Result<(), StoreError>),
    /// The end of the parked events that are to be delivered again.
    ParkedEnd {
        end: Result<u64, StoreError>,
        answer: oneshot::Sender<Result<(), Status>>,
    },
    ParkedRead(Result<Vec<Found>, StoreError>),
}

pub(super) fn park(
    node: &Node,
    config: &Arc<GroupConfig>,
    (key, found): (EventKey, Arc<Found>),
    reason: ParkReason,
) -> GroupWrite {
    let (node, config) = (node.clone(), Arc::clone(config));
    Box::pin(async move {
        let result = parked::park(node.store(), &config, (key, &found), &reason).await;
        WriteDone::Parked { key, result }
    })
}

pub(super) fn checkpoint(
    node: &Node,
    config: &Arc<GroupConfig>,
    place: u64,
    last: Option<Revision>,
) -> GroupWrite {
    let (node, config) = (node.clone(), Arc::clone(config));
    Box::pin(async move {
        WriteDone::Checkpointed(checkpoint::write(node.store(), &config.id, place, last).await)
    })
}

pub(super) fn truncate(node: &Node, config: &Arc<GroupConfig>, before: u64) -> GroupWrite {
    let (node, config) = (node.clone(), Arc::clone(config));
    Box::pin(async move {
        WriteDone::Truncated(parked::truncate(node.store(), &config.id, before).await)
    })
}

/// Finds the end of the parked events, or the revision before which the replay stops.
pub(super) fn find_parked(
    node: &Node,
    config: &Arc<GroupConfig>,
    stop_at: Option<u64>,
    answer: oneshot::Sender<Result<(), Status>>,
) -> GroupWrite {
    let (node, config) = (node.clone(), Arc::clone(config));
    Box::pin(async move {
        let end = parked::end(node.store(), &config.id).await;
        let end = end.map(|end| stop_at.map_or(end, |stop_at| stop_at.min(end)));
        WriteDone::ParkedEnd { end, answer }
    })
}

pub(super) fn read_parked(
    node: &Node,
    config: &Arc<GroupConfig>,
    from: u64,
    limit: usize,
) -> GroupWrite {
    let (node, config) = (node.clone(), Arc::clone(config));
    Box::pin(async move {
        WriteDone::ParkedRead(parked::read(node.store(), &config.id, from, limit).await)
    })
}
