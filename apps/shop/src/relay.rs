//! The relay of a shop that runs: a task that publishes its events until it is stopped.

use std::sync::Arc;

use anyhow::Result;
use gesta::store::EventStore;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::engines::{NewRelay, Place, RelayWatch};

/// A relay that runs until it is stopped.
pub(crate) struct RelayTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    watch: Arc<dyn RelayWatch>,
}

impl RelayTask {
    /// Starts to publish the events of a store.
    pub(crate) fn start(place: &Place, store: Arc<dyn EventStore>) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let NewRelay { work, watch } = place.relay(store, stopped)?;
        let task = tokio::spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(%error, "the relay has ended");
            }
        });
        Ok(Self { stop, task, watch })
    }

    pub(crate) fn watch(&self) -> &Arc<dyn RelayWatch> {
        &self.watch
    }

    /// Finishes the batch that is being published.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the relay has failed");
        }
    }
}
