//! The place of a relay's topics, and its last checkpoint.

use gesta_store::StoreError;

use crate::{
    checkpoint::{self, StoredCheckpoint},
    cluster::Cluster,
};

/// The place of a relay's topics.
#[derive(Clone, Debug)]
pub(crate) struct FeedPlace {
    pub(crate) cluster: Cluster,
    pub(crate) relay: String,
}

impl FeedPlace {
    /// Returns the last checkpoint of the relay.
    pub(crate) fn last_checkpoint(&self) -> Result<StoredCheckpoint, StoreError> {
        let last = match checkpoint::read_last(&self.cluster, &self.relay) {
            Err(error) if error.is_missing() => None,
            last => last?,
        };
        last.ok_or_else(|| {
            StoreError::unreachable(format!(
                "no relay {} has published at {}; start it, or correct the name",
                self.relay, self.cluster
            ))
        })
    }
}
