//! The places from which a group continues, read from its streams.

use std::{collections::BTreeSet, sync::Arc};

use gesta_store::{Revision, StoreError};

use super::super::{
    checkpoint, configuration::GroupConfig, machine::GroupStart, parked, repeated::until_known,
    source,
};
use crate::node::Node;

/// The stored state of a group.
pub(super) struct StoredStart {
    pub(super) start: GroupStart,
    /// Head of the stream of checkpoints.
    pub(super) checkpoint_revision: Option<Revision>,
    /// Places after the checkpoint whose events are parked already.
    pub(super) parked_places: BTreeSet<u64>,
}

/// Reads the state, and repeats that while the store cannot be reached.
pub(super) async fn read(
    node: &Node,
    config: &Arc<GroupConfig>,
) -> Result<StoredStart, StoreError> {
    until_known(|| read_once(node, config)).await
}

async fn read_once(node: &Node, config: &Arc<GroupConfig>) -> Result<StoredStart, StoreError> {
    let store = node.store();
    let stored = checkpoint::read(store, &config.id).await?;
    let head = source::head(node, &config.id.source).await?;
    if stored.place > head {
        // The store was restored to an earlier state, or the stream was made anew.
        tracing::warn!(group = %config.id, "the checkpoint is beyond the head; starting there");
    }
    let checkpoint = stored.place.min(head);
    let parked = parked::read_at_start(store, &config.id, checkpoint).await?;
    let start =
        GroupStart { checkpoint, before_first: config.before_first, parked_before: parked.hidden };
    Ok(StoredStart { start, checkpoint_revision: stored.revision, parked_places: parked.places })
}
