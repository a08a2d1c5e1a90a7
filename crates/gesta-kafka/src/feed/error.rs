//! Errors of a feed, as those of a store.

use gesta_store::{Damage, Invalid, StoreError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::{
    BrokerError, UnreadableRecord,
    cluster::{Cluster, Reader, is_missing},
};

impl From<BrokerError> for StoreError {
    fn from(error: BrokerError) -> Self {
        Self::Unreachable { reason: error.to_string(), source: None }
    }
}

/// Converts an error of a consumer that reads a relay's topics.
pub(crate) fn reading(
    (cluster, relay): (&Cluster, &str),
    reader: &Reader,
    error: &KafkaError,
) -> StoreError {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
        return refused(format!(
            "{cluster} has deleted records of relay {relay} before they were read; set \
             retention.ms=-1 for its topics, and fill the read model from the store or from a \
             relay of another name"
        ));
    }
    if is_missing(error) {
        return refused(format!(
            "a topic of relay {relay} is missing at {cluster}, as after its deletion: {error}; \
             start a relay of another name, which publishes all events, and read that one"
        ));
    }
    reader.failed(cluster, format!("read the topics of relay {relay}"), error).into()
}

pub(crate) fn refused(reason: String) -> StoreError {
    Invalid::Refused { reason }.into()
}

/// The error for a relayed record that cannot be read.
pub(crate) fn damaged(
    topic: &str,
    partition: i32,
    offset: i64,
    error: &UnreadableRecord,
) -> StoreError {
    let offset = u64::try_from(offset).unwrap_or(0);
    let damage = Damage::new(format!("partition {partition} of topic {topic}"), offset, {
        format!("the record is no relayed event: {error}")
    });
    StoreError::Corrupt(damage)
}
