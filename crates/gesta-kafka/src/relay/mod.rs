//! The relay: events of a store, published to topics in order.
//!
//! Invariants: events of one stream are published in the order of their revisions, to one partition
//! each. No event is passed before the brokers have acknowledged it. A relay that another one of
//! its name replaces stops.
//!
//! A relay works in sessions. Every failure that may pass ends the session; the next one reads the
//! checkpoint and continues there. Not here: leases. A lease keeps a second relay from starting,
//! and a generation stops the first one if it did (`gesta::LeasedTask` is the way to take one).

mod deliveries;
mod error;
mod options;
mod progress;
mod publisher;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use gesta_store::{
    Checkpoint, Delivery, EventStore, Invalid, StoreError, Subscribe, Subscription, Visibility,
};
use tokio::{task::spawn_blocking, time::sleep};

pub use self::{
    error::RelayError,
    options::{RelayGuarantee, RelayOptions, RelayTopics},
    progress::{RelayProgress, RelayState, RelayStatus},
};
use self::{
    error::{SessionEnd, SessionTrouble},
    progress::ProgressWriter,
    publisher::{Batch, Publisher, replaced_by},
};
use crate::{KafkaUrl, checkpoint, checkpoint::RelayCheckpoint, cluster::Cluster};

/// Events of a batch from which no more are gathered.
const BATCH_EVENTS_MAX: usize = 1_000;
/// Bytes of data of a batch from which no more events are gathered.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The first pause after a failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Time without events after which a relay looks whether the brokers and its topics are there.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Pause after another producer has taken this one's place, so that it can write its checkpoint.
const FENCED_PAUSE: Duration = Duration::from_secs(2);

/// Publishes the events of a store to topics of a Kafka cluster.
///
/// Events of a stream are in one partition, in their order; see
/// [`partition_of`](crate::partition_of).
/// Hidden events and those of system streams are left out, so deletions are not seen by consumers.
///
/// # Examples
///
/// ```no_run
/// use std::{future::pending, sync::Arc};
///
/// use gesta_kafka::{Relay, RelayOptions};
/// use gesta_store::{EventStore, memory::MemoryStore};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
/// let url = "kafka://127.0.0.1:9092/shop?delivery=exactly-once".parse()?;
/// let relay = Relay::new(store, &url, RelayOptions::of_url(&url)?);
/// let progress = relay.progress();
/// tokio::spawn(relay.run_until(pending()));
/// println!("{:?}", progress.status());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Relay {
    store: StoreHandle,
    cluster: Cluster,
    options: Arc<RelayOptions>,
    progress: ProgressWriter,
}

struct StoreHandle(Arc<dyn EventStore>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStore")
    }
}

impl Relay {
    /// Creates a relay. Connects to nothing yet. Of the URL only the brokers count here.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, url: &KafkaUrl, options: RelayOptions) -> Self {
        Self {
            store: StoreHandle(store),
            cluster: Cluster::of(url),
            options: Arc::new(options),
            progress: ProgressWriter::new(),
        }
    }

    /// Returns a view of the progress.
    #[must_use]
    pub fn progress(&self) -> RelayProgress {
        self.progress.view()
    }

    /// Publishes until `stop` is ready or an error ends the relay.
    ///
    /// Runs on tokio. Brokers that are away, and a store that cannot be reached, are waited for;
    /// the [progress](Self::progress) names them. The batch that is being published when
    /// `stop` becomes ready is finished first, within
    /// [its time limit](RelayOptions::publish_within). Dropping the future stops the relay at once,
    /// without harm: the next one continues at the checkpoint.
    ///
    /// # Errors
    ///
    /// [`RelayError`] if the relay cannot continue before someone acts.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<(), RelayError> {
        let mut stop = pin!(stop.fuse());
        let mut pause = PAUSE_MIN;
        loop {
            self.progress.starting();
            let mut has_run = false;
            let end = match self.session(&mut stop, &mut has_run).await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            match end {
                SessionEnd::Stopped => {
                    self.progress.stopped(None);
                    return Ok(());
                }
                SessionEnd::Final(error) => {
                    self.progress.stopped(Some(error.to_string()));
                    return Err(error);
                }
                SessionEnd::Again(trouble) => {
                    tracing::warn!(relay = %self.options.name, %trouble, "the relay starts again");
                    self.progress.retrying(trouble.to_string());
                }
            }
            pause = if has_run { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                () = &mut stop => {
                    self.progress.stopped(None);
                    return Ok(());
                }
                () = sleep(pause) => {}
            }
        }
    }

    async fn session(
        &self,
        stop: &mut (impl Future<Output = ()> + Unpin),
        has_run: &mut bool,
    ) -> Result<std::convert::Infallible, SessionEnd> {
        let head = self.store.0.head().await.map_err(|error| self.store_end(error, None))?;
        self.check_store(stop).await?;
        let (cluster, options) = (self.cluster.clone(), Arc::clone(&self.options));
        let opening = blocking(move || Publisher::open(cluster, options, head.incarnation));
        let mut publisher = tokio::select! {
            () = &mut *stop => return Err(SessionEnd::Stopped),
            opened = opening => opened?,
        };
        let begin = publisher.checkpoint().clone();
        self.progress.running_at(begin.position, 0);
        *has_run = true;
        let mut subscription = self.subscribe(&begin);
        loop {
            let first = tokio::select! {
                biased;
                () = &mut *stop => return Err(SessionEnd::Stopped),
                delivery = subscription.next() => delivery,
                () = sleep(LOOK_INTERVAL) => {
                    publisher = blocking(move || {
                        publisher.look_at_topics()?;
                        Ok(publisher)
                    })
                    .await?;
                    continue;
                }
            };
            let known = publisher.checkpoint().position;
            let mut batch = Batch { up_to: known, ..Batch::default() };
            self.gather(&mut batch, first, &mut subscription, &begin)?;
            // The store has accepted the checkpoint, so it has everything up to it.
            publisher.belongs_to(head.incarnation);
            if batch.up_to == known {
                continue;
            }
            let own = publisher.checkpoint().clone();
            publisher = match self.publish(publisher, batch).await {
                Ok(publisher) => publisher,
                Err(SessionEnd::Again(trouble)) if trouble.is_fenced() => {
                    return Err(self.fenced(trouble, own, stop).await);
                }
                Err(end) => return Err(end),
            };
        }
    }

    async fn publish(
        &self,
        mut publisher: Publisher,
        batch: Batch,
    ) -> Result<Publisher, SessionEnd> {
        for part in batch.parts() {
            let (events, up_to) = (part.events.len(), part.up_to);
            let published = blocking(move || {
                publisher.publish(&part)?;
                Ok(publisher)
            });
            publisher = published.await?;
            self.progress.running_at(up_to, events as u64);
        }
        Ok(publisher)
    }

    /// Refuses a store that lacks what a relay of this name has published, before this session
    /// replaces that relay: one that is started with another store by mistake must not stop it.
    async fn check_store(
        &self,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<(), SessionEnd> {
        let (cluster, options) = (self.cluster.clone(), Arc::clone(&self.options));
        let looking = blocking(move || Publisher::look(&cluster, &options));
        let last = tokio::select! {
            () = &mut *stop => return Err(SessionEnd::Stopped),
            last = looking => last?,
        };
        let Some(last) = last else { return Ok(()) };
        // The store answers a place that it does not have with an error, and any other with its
        // events or the news that there are none.
        let first = tokio::select! {
            () = &mut *stop => return Err(SessionEnd::Stopped),
            first = async { self.subscribe(&last).next().await } => first,
        };
        let ended = || StoreError::unreachable("the subscription ended without an error");
        let first = first.unwrap_or_else(|| Err(ended()));
        first.map(drop).map_err(|error| self.store_end(error, Some(&last)))
    }

    fn subscribe(&self, begin: &RelayCheckpoint) -> Subscription {
        let from = Checkpoint { position: begin.position, incarnation: begin.incarnation };
        let subscribe = Subscribe::to_all()
            .filter(self.options.filter.clone())
            .visibility(Visibility::Visible)
            .resume(from);
        self.store.0.subscribe(subscribe.into())
    }

    /// Adds a delivery to the batch, and those that are there without a wait.
    fn gather(
        &self,
        batch: &mut Batch,
        first: Option<Result<Delivery, StoreError>>,
        subscription: &mut Subscription,
        begin: &RelayCheckpoint,
    ) -> Result<(), SessionEnd> {
        let mut next = Some(first);
        let mut bytes = 0;
        while let Some(delivery) = next {
            let ended = || StoreError::unreachable("the subscription ended without an error");
            let delivery = delivery.unwrap_or_else(|| Err(ended()));
            match delivery.map_err(|error| self.store_end(error, Some(begin)))? {
                Delivery::Events(page) => {
                    batch.up_to = page.last().map_or(batch.up_to, |last| last.position);
                    for event in page {
                        let Some(topic) = self.options.topics.topic_of(&event) else { continue };
                        bytes += event.data.len() + event.metadata.len();
                        batch.events.push((topic, event));
                    }
                }
                Delivery::CaughtUp(position) | Delivery::Checkpoint(position) => {
                    batch.up_to = batch.up_to.max(position);
                }
                // Neither events nor progress.
                _ => {}
            }
            let is_full = batch.events.len() >= BATCH_EVENTS_MAX || bytes >= BATCH_BYTES_MAX;
            next = if is_full { None } else { subscription.next().now_or_never() };
        }
        Ok(())
    }

    /// Decides whether another relay has taken over, or this one's transaction took too long.
    async fn fenced(
        &self,
        trouble: SessionTrouble,
        own: RelayCheckpoint,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> SessionEnd {
        tokio::select! {
            () = &mut *stop => return SessionEnd::Stopped,
            () = sleep(FENCED_PAUSE) => {}
        }
        let (cluster, options) = (self.cluster.clone(), Arc::clone(&self.options));
        let looked = blocking(move || {
            let last = checkpoint::read_last(&cluster, &options.name)?;
            Ok(last.and_then(|last| replaced_by(&last.checkpoint, &options.name, &own)))
        });
        match looked.await {
            Ok(Some(error)) => error.into(),
            Ok(None) => trouble.into(),
            Err(end) => end,
        }
    }

    /// Sorts an error of the store.
    fn store_end(&self, error: StoreError, begin: Option<&RelayCheckpoint>) -> SessionEnd {
        let relay = || self.options.name.clone();
        match (&error, begin) {
            (
                StoreError::Rejected(Invalid::BeyondHead { .. } | Invalid::OtherIncarnation { .. }),
                Some(begin),
            ) => {
                RelayError::AheadOfStore { relay: relay(), position: begin.position, error }.into()
            }
            _ if error.is_transient() => SessionTrouble::Store(error).into(),
            _ => RelayError::Store { relay: relay(), error }.into(),
        }
    }
}

/// Runs work that blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SessionEnd> + Send + 'static,
) -> Result<T, SessionEnd> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(failed) => Err(SessionTrouble::Task(failed.to_string()).into()),
    }
}
