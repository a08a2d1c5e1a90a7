//! The checkpoints of a relay, which are records of a topic of their own.
//!
//! Invariants: the committed record with the greatest position is the checkpoint; a session may
//! have begun at an earlier one, because its broker did not show the last ones yet. Every event up
//! to its position that the relay publishes is before the offsets that it has. Generations grow:
//! each start of a relay takes the next one, so an earlier one that still runs is noticed.

use std::{collections::BTreeMap, time::Duration};

use gesta_store::{Incarnation, Position};
use rdkafka::{Message, Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaError};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::cluster::{BrokerError, Cluster, REQUEST_MAX, Reader, is_passing};

/// Version of the form of a record.
const FORMAT: u64 = 1;

/// Number of offsets before the end in which the last checkpoint is looked for first.
const TAIL_OFFSETS: i64 = 64;
/// Factor by which the range grows if there is none: aborted transactions leave gaps.
const TAIL_GROWTH: i64 = 16;

/// Returns the name of the topic with the checkpoints of a relay.
pub(crate) fn topic_of(relay: &str) -> String {
    format!("{relay}.relay")
}

/// The place that a relay has reached: a position, and an offset in each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelayCheckpoint {
    /// Every event up to this position is published, or is not to be.
    pub(crate) position: Position,
    /// The incarnation of the store that the position belongs to.
    pub(crate) incarnation: Incarnation,
    /// Number of the relay's start, from 1.
    pub(crate) generation: u64,
    /// Identity of the relay's start.
    pub(crate) session: Uuid,
    /// Offset after the last event, for each partition of each topic.
    pub(crate) topics: BTreeMap<String, Vec<i64>>,
}

impl RelayCheckpoint {
    /// Returns the value of the record.
    pub(crate) fn value(&self) -> String {
        json!({
            "format": FORMAT,
            "position": self.position.number(),
            "incarnation": self.incarnation.to_string(),
            "generation": self.generation,
            "session": self.session.to_string(),
            "topics": self.topics,
        })
        .to_string()
    }

    /// Reads the value of a record. The error says what is wrong.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, String> {
        let json: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let missing = |field: &str| format!("it has no `{field}`");
        let number = |field: &str| json.get(field)?.as_u64();
        match number("format") {
            Some(FORMAT) => {}
            Some(later) => {
                return Err(format!(
                    "it has format {later}, and this version reads {FORMAT}; use a later one"
                ));
            }
            None => return Err(missing("format")),
        }
        let id = |field: &str| Uuid::parse_str(json.get(field)?.as_str()?).ok();
        let topics = || {
            let topics = json.get("topics")?.as_object()?.iter().map(|(topic, offsets)| {
                let offsets = offsets.as_array()?.iter().map(Value::as_i64);
                Some((topic.clone(), offsets.collect::<Option<Vec<_>>>()?))
            });
            topics.collect::<Option<_>>()
        };
        Ok(Self {
            position: number("position").map(Position::new).ok_or_else(|| missing("position"))?,
            incarnation: id("incarnation")
                .map(Incarnation::new)
                .ok_or_else(|| missing("incarnation"))?,
            generation: number("generation").ok_or_else(|| missing("generation"))?,
            session: id("session").ok_or_else(|| missing("session"))?,
            topics: topics().ok_or_else(|| missing("topics"))?,
        })
    }

    /// Returns the offset after the last event of a partition, or 0 if it has none.
    pub(crate) fn end_of(&self, topic: &str, partition: i32) -> i64 {
        let offsets = self.topics.get(topic);
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        offsets.and_then(|offsets| offsets.get(partition)).copied().unwrap_or(0)
    }
}

/// A checkpoint with the offset of its record.
#[derive(Clone, Debug)]
pub(crate) struct StoredCheckpoint {
    pub(crate) offset: i64,
    pub(crate) checkpoint: RelayCheckpoint,
}

/// Reads the checkpoint of a relay, with the generation of its last session. `None` if the topic
/// has no record. Blocks for at most [`REQUEST_MAX`] for each request.
///
/// A broker that has just started may not show its last records yet, so [`later_between`] looks
/// once more after a session has written its first record.
///
/// A topic that does not exist is an error: a broker that has just started may not know its topics
/// yet, and a relay that took this for a beginning would publish everything again.
pub(crate) fn read_last(
    cluster: &Cluster,
    relay: &str,
) -> Result<Option<StoredCheckpoint>, BrokerError> {
    let (low, high) = marks(cluster, relay)?;
    let mut tail = TAIL_OFFSETS;
    loop {
        let start = low.max(high.saturating_sub(tail));
        let (mut last, mut generation) = (None, 0);
        scan(cluster, relay, start, |stored| {
            generation = stored.checkpoint.generation.max(generation);
            take_if_later(&mut last, stored);
        })?;
        if last.is_some() || start == low {
            return Ok(last.map(|mut last| {
                last.checkpoint.generation = generation;
                last
            }));
        }
        tail = tail.saturating_mul(TAIL_GROWTH);
    }
}

fn take_if_later(last: &mut Option<StoredCheckpoint>, stored: StoredCheckpoint) {
    let position = stored.checkpoint.position;
    if last.as_ref().is_none_or(|last| position >= last.checkpoint.position) {
        *last = Some(stored);
    }
}

/// Returns the offset of the first checkpoint of a relay, and that after the last one. Blocks for
/// at most [`REQUEST_MAX`].
fn marks(cluster: &Cluster, relay: &str) -> Result<(i64, i64), BrokerError> {
    let reader = cluster.reader()?;
    let doing = || format!("read the checkpoint of relay {relay}");
    let marks = reader.fetch_watermarks(&topic_of(relay), 0, REQUEST_MAX);
    marks.map_err(|error| reader.failed(cluster, doing(), &error))
}

/// Returns the checkpoint beyond a position, if there is one between the record that a session
/// began with (`None`: the begin of the topic) and the one that it wrote. Blocks as [`read_last`]
/// does.
pub(crate) fn later_between(
    cluster: &Cluster,
    relay: &str,
    (begun_with, position): (Option<i64>, Position),
    written: i64,
) -> Result<Option<StoredCheckpoint>, BrokerError> {
    let start = match begun_with {
        Some(offset) => offset + 1,
        None => marks(cluster, relay)?.0,
    };
    let limit = Instant::now() + REQUEST_MAX;
    loop {
        let (mut last, mut is_written_seen) = (None, false);
        scan(cluster, relay, start, |stored| {
            is_written_seen |= stored.offset >= written;
            if stored.offset < written && stored.checkpoint.position > position {
                take_if_later(&mut last, stored);
            }
        })?;
        // A transaction that the broker has not completed yet hides what is behind its begin.
        if is_written_seen {
            return Ok(last);
        }
        if Instant::now() > limit {
            let reason = "the broker has not completed an earlier transaction yet";
            return Err(cluster.reasoned(format!("read the checkpoint of relay {relay}"), reason));
        }
    }
}

/// Reads the checkpoints from an offset to the end. Blocks as [`read_last`] does.
pub(crate) fn read_from(
    cluster: &Cluster,
    relay: &str,
    offset: i64,
) -> Result<Vec<RelayCheckpoint>, BrokerError> {
    let mut all = Vec::new();
    scan(cluster, relay, offset, |stored| all.push(stored.checkpoint))?;
    Ok(all)
}

/// Gives the committed records from an offset to the end to a function.
fn scan(
    cluster: &Cluster,
    relay: &str,
    start: i64,
    mut take: impl FnMut(StoredCheckpoint),
) -> Result<(), BrokerError> {
    let topic = topic_of(relay);
    let doing = || format!("read the checkpoint of relay {relay}");
    let reader = cluster.reader()?;
    let assigned = assign(&reader, [(&*topic, 0, start)]);
    assigned.map_err(|error| reader.failed(cluster, doing(), &error))?;
    let limit = Instant::now() + REQUEST_MAX;
    loop {
        match reader.poll(Duration::from_millis(100)) {
            // Other programs may write there by mistake; what a relay writes has its name.
            Some(Ok(record)) if record.key() != Some(relay.as_bytes()) => {
                let offset = record.offset();
                tracing::warn!(%topic, offset, "a record that no relay has written is left out");
            }
            Some(Ok(record)) => {
                let offset = record.offset();
                let parsed = RelayCheckpoint::parse(record.payload().unwrap_or_default());
                let unread = |reason| {
                    let reason = format!(
                        "the record at offset {offset} of {topic} is no checkpoint: {reason}; start \
                         a relay of another name, with another topic"
                    );
                    cluster.reasoned(doing(), reason)
                };
                take(StoredCheckpoint { offset, checkpoint: parsed.map_err(unread)? });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(reader.failed(cluster, doing(), &error)),
            None => {}
        }
        if Instant::now() > limit {
            let seen = reader.failed_connection();
            return Err(cluster.timed_out(doing(), REQUEST_MAX, seen));
        }
    }
}

/// Lets a consumer read further partitions, from these offsets on.
pub(crate) fn assign<'t>(
    reader: &Reader,
    places: impl IntoIterator<Item = (&'t str, i32, i64)>,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in places {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    reader.incremental_assign(&list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_from_its_record() {
        let checkpoint = RelayCheckpoint {
            position: Position::new(u64::MAX),
            incarnation: Incarnation::new(Uuid::from_u128(7)),
            generation: 3,
            session: Uuid::from_u128(8),
            topics: [("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![0])].into(),
        };
        assert_eq!(RelayCheckpoint::parse(checkpoint.value().as_bytes()), Ok(checkpoint.clone()));
        assert_eq!(checkpoint.end_of("a", 1), 2);
        assert_eq!(checkpoint.end_of("c", 0), 0);
    }

    #[test]
    fn a_record_of_a_later_version_is_refused() {
        let error = RelayCheckpoint::parse(br#"{"format":2}"#).unwrap_err();
        assert!(error.contains("format 2, and this version reads 1"), "{error}");
        assert_eq!(RelayCheckpoint::parse(b"{}").unwrap_err(), "it has no `format`");
        assert!(RelayCheckpoint::parse(b"position").is_err());
    }
}
