//! The shop's events in Kafka.

use std::{future::Future, pin::Pin, sync::Arc};

use anyhow::{Context as _, Result};
#[cfg(feature = "everything")]
use gesta::kafka::RelayState;
use gesta::{
    PartStatus, Position,
    kafka::{KafkaFeed, KafkaUrl, Relay, RelayOptions, RelayProgress, RelayStatus},
    store::{EventStore, without_password},
};
use tokio::sync::oneshot;

#[cfg(feature = "everything")]
use super::driver::RelayLook;
use super::driver::{Driver, NewRelay, RelayWatch};

pub(super) struct KafkaDriver;

impl Driver for KafkaDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        let parsed = url.parse::<KafkaUrl>().map_err(|error| error.to_string())?;
        RelayOptions::of_url(&parsed).map_err(|error| error.to_string())?;
        Ok(without_password(url).into_owned())
    }

    /// Brokers that are away are waited for. The batch that is being published is finished.
    fn relay(
        &self,
        url: &str,
        store: Arc<dyn EventStore>,
        stopped: oneshot::Receiver<()>,
    ) -> Result<NewRelay> {
        let url: KafkaUrl = url.parse()?;
        let relay = Relay::new(store, &url, RelayOptions::of_url(&url)?);
        let watch = Arc::new(relay.progress());
        let stopped = async { drop(stopped.await) };
        Ok(NewRelay { work: Box::pin(async move { Ok(relay.run_until(stopped).await?) }), watch })
    }

    /// The options of the URL are those of the relay.
    fn feed(&self, url: &str) -> Result<Arc<dyn EventStore>> {
        let url: KafkaUrl = url.split('?').next().unwrap_or(url).parse()?;
        Ok(Arc::new(KafkaFeed::at(&url).context("cannot read what the relay publishes")?))
    }
}

impl RelayWatch for RelayProgress {
    fn status(&self) -> PartStatus {
        let RelayStatus { position, trouble, .. } = RelayProgress::status(self);
        let mut part = PartStatus::default();
        (part.position, part.trouble) = (position, trouble);
        part
    }

    #[cfg(feature = "everything")]
    fn look(&self) -> RelayLook {
        let status = RelayProgress::status(self);
        let state = match status.state {
            RelayState::Starting => "starting",
            RelayState::Running => "running",
            RelayState::Retrying => "retrying",
            RelayState::Stopped => "stopped",
            // `RelayState` is non-exhaustive.
            _ => "other",
        };
        RelayLook {
            state,
            position: status.position,
            published: status.published_events,
            trouble: status.trouble,
        }
    }

    fn reached(&self, position: Position) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        let mut progress = self.clone();
        Box::pin(async move { RelayProgress::reached(&mut progress, position).await })
    }
}
