//! The topic that the relay publishes to: its brokers and offsets.
//!
//! Invariant: at most one look asks the brokers at a time, on a thread for blocking calls.

use std::{
    sync::{Arc, Mutex, TryLockError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use gesta::kafka::{
    KafkaUrl,
    rdkafka::{
        ClientConfig,
        config::RDKafkaLogLevel,
        consumer::{BaseConsumer, Consumer as _},
    },
};

use crate::engines::Place;

/// Time limit of a question to the brokers. A look asks two of them.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A topic, with a client that joins no group.
pub(super) struct Topic {
    name: String,
    client: Arc<Mutex<BaseConsumer>>,
}

/// A topic as its brokers describe it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicState {
    pub(super) brokers: usize,
    pub(super) partitions: usize,
    /// Sum of the offsets behind the last record of each partition.
    pub(super) end_offsets: i64,
}

impl Topic {
    /// Returns the topic of a relay. Connects in the background.
    pub(super) fn of(relay: &Place) -> Result<Self> {
        let url: KafkaUrl = relay.url().parse()?;
        let name = url.relay().context("--relay has no name of a relay")?;
        let name = url.option("topic").map_or_else(|| format!("{name}.events"), str::to_owned);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", url.brokers()).set("client.id", "shop-page");
        // Required by the library, although such a consumer joins no group.
        config.set("group.id", "shop-page").set("enable.auto.commit", "false");
        config.set("reconnect.backoff.max.ms", "1000");
        config.set_log_level(RDKafkaLogLevel::Emerg);
        Ok(Self { name, client: Arc::new(Mutex::new(config.create()?)) })
    }

    /// Asks the brokers.
    pub(super) async fn look(&self) -> Result<TopicState, String> {
        let (client, name) = (Arc::clone(&self.client), self.name.clone());
        let looked = tokio::task::spawn_blocking(move || look(&client, &name)).await;
        looked.unwrap_or_else(|error| Err(error.to_string()))
    }
}

fn look(client: &Mutex<BaseConsumer>, name: &str) -> Result<TopicState, String> {
    let client = match client.try_lock() {
        Ok(client) => client,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Err("the brokers have not answered yet".to_owned()),
    };
    let text = |error: gesta::kafka::rdkafka::error::KafkaError| error.to_string();
    let metadata = client.fetch_metadata(Some(name), ANSWER_WITHIN).map_err(text)?;
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    let mut end_offsets = 0;
    for partition in partitions {
        let (_, end) =
            client.fetch_watermarks(name, partition.id(), ANSWER_WITHIN).map_err(text)?;
        end_offsets += end;
    }
    let (brokers, partitions) = (metadata.brokers().len(), partitions.len());
    Ok(TopicState { brokers, partitions, end_offsets })
}
