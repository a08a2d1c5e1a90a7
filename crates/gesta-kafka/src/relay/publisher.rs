//! The producer of a relay's session: batches of events, each with its checkpoint.
//!
//! Invariants: a checkpoint is written after the events that it covers were acknowledged, or in
//! their transaction. A session that failed is not used again, so a batch with an unknown outcome
//! is decided by the checkpoint that the next session reads.
//!
//! Every call blocks, and runs on a thread for blocking work.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Deref,
    sync::Arc,
    thread,
    time::Duration,
};

use gesta_store::{Incarnation, Position, RecordedEvent};
use rdkafka::{
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    RelayGuarantee, RelayOptions,
    deliveries::{Deliveries, Ends, NotDelivered},
    error::{RelayError, SessionEnd},
};
use crate::{
    checkpoint::{self, RelayCheckpoint, StoredCheckpoint},
    cluster::{BrokerError, Cluster, REQUEST_MAX, Reader, close_in_background},
    envelope, partition_of,
    topics::{self, Retention, TopicState, WantedTopic},
};

/// Time after which the cluster aborts the transaction of a relay that has stopped. Also the
/// longest time for which consumers wait for it.
const TRANSACTION_MAX: Duration = Duration::from_secs(60);

/// Size of data and metadata from which an event is published alone. A topic may refuse it: Kafka's
/// limit is 1 MiB by default, and rarely lower than this.
const LARGE_BYTES: usize = 64 << 10;

/// Events of one batch, each with its topic.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<(String, RecordedEvent)>,
    /// Every event of the store up to here is in this batch, in an earlier one, or left out.
    pub(crate) up_to: Position,
}

impl Batch {
    /// Divides the batch so that each large event is alone. While its topic refuses it, no attempt
    /// publishes the events before it again, and no event after it is published before it.
    pub(crate) fn parts(self) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        let mut is_open = false;
        for (topic, event) in self.events {
            let is_large = event.data.len() + event.metadata.len() >= LARGE_BYTES;
            let mut part = match is_open && !is_large {
                true => parts.pop().unwrap_or_default(),
                false => Self::default(),
            };
            part.up_to = event.position;
            part.events.push((topic, event));
            parts.push(part);
            is_open = !is_large;
        }
        let mut last = parts.pop().unwrap_or_default();
        last.up_to = self.up_to;
        parts.push(last);
        parts
    }
}

/// A session's producer.
pub(crate) struct Publisher {
    cluster: Cluster,
    options: Arc<RelayOptions>,
    producer: RelayProducer,
    /// For metadata and offsets. A transaction that was committed when its broker crashed is
    /// completed some time after the start, and its records count as published until then.
    reader: Reader,
    checkpoint_topic: String,
    /// The checkpoint that this session has written last.
    checkpoint: RelayCheckpoint,
    /// Offset of its record.
    checkpoint_offset: i64,
}

impl Publisher {
    /// Returns the last checkpoint of a relay of this name, and replaces no session.
    pub(crate) fn look(
        cluster: &Cluster,
        options: &RelayOptions,
    ) -> Result<Option<RelayCheckpoint>, SessionEnd> {
        ensure_checkpoint_topic(cluster, &cluster.uncommitted_reader()?, options)?;
        let last = checkpoint::read_last(cluster, &options.name)?;
        Ok(last.map(|last| last.checkpoint))
    }

    /// Connects, replaces earlier sessions, and writes the first checkpoint of this one.
    pub(crate) fn open(
        cluster: Cluster,
        options: Arc<RelayOptions>,
        incarnation: Incarnation,
    ) -> Result<Self, SessionEnd> {
        let reader = cluster.uncommitted_reader()?;
        let checkpoint_topic = checkpoint::topic_of(&options.name);
        ensure_checkpoint_topic(&cluster, &reader, &options)?;
        let producer = create_producer(&cluster, &options)?;
        if options.guarantee == RelayGuarantee::ExactlyOnce {
            // Completes or aborts the transaction of an earlier session, so that the checkpoint
            // that is read next is the last one.
            let started = producer.init_transactions(options.publish_max);
            started.map_err(|error| failed(&cluster, &producer, "begin to publish", &error))?;
        }
        let stored = checkpoint::read_last(&cluster, &options.name)?;
        let begun_with = stored.as_ref().map(|stored| stored.offset);
        let checkpoint = next_session(stored, incarnation);
        let mut publisher = Self {
            cluster,
            options,
            producer,
            reader,
            checkpoint_topic,
            checkpoint,
            checkpoint_offset: -1,
        };
        publisher.check_topics()?;
        publisher.begin(begun_with)?;
        Ok(publisher)
    }

    /// Writes the first checkpoint of this session. Continues at a later one that the broker had
    /// hidden until then.
    fn begin(&mut self, mut begun_with: Option<i64>) -> Result<(), SessionEnd> {
        loop {
            let position = self.checkpoint.position;
            self.publish(&Batch { events: Vec::new(), up_to: position })?;
            let (relay, written) = (&self.options.name, self.checkpoint_offset);
            let begun = (begun_with, position);
            let hidden = checkpoint::later_between(&self.cluster, relay, begun, written)?;
            let Some(hidden) = hidden else { return Ok(()) };
            let RelayCheckpoint { generation, session, incarnation, .. } = self.checkpoint;
            let next = next_session(Some(hidden), incarnation);
            let generation = next.generation.max(generation);
            self.checkpoint = RelayCheckpoint { generation, session, ..next };
            self.check_topics()?;
            begun_with = Some(written);
        }
    }

    pub(crate) fn checkpoint(&self) -> &RelayCheckpoint {
        &self.checkpoint
    }

    /// Sets the incarnation of the store that later checkpoints belong to.
    pub(crate) fn belongs_to(&mut self, incarnation: Incarnation) {
        self.checkpoint.incarnation = incarnation;
    }

    /// Publishes a batch with its checkpoint.
    pub(crate) fn publish(&mut self, batch: &Batch) -> Result<(), SessionEnd> {
        let limit = Instant::now() + self.options.publish_max;
        for (topic, _) in &batch.events {
            self.ensure_topic(topic)?;
        }
        let is_transaction = self.options.guarantee == RelayGuarantee::ExactlyOnce;
        if is_transaction {
            let begun = self.producer.begin_transaction();
            begun.map_err(|error| self.failed("begin a transaction", &error))?;
        }
        for (topic, event) in &batch.events {
            self.send(topic, event, limit)?;
        }
        let ends = self.delivered("publish events", batch.events.len(), limit)?;
        for ((topic, partition), end) in ends {
            let partition = usize::try_from(partition).unwrap_or(usize::MAX);
            let offsets = self.checkpoint.topics.get_mut(&topic);
            if let Some(known) = offsets.and_then(|offsets| offsets.get_mut(partition)) {
                if end <= *known {
                    // A broker that creates topics by itself has created a deleted one anew.
                    let (relay, published) = (self.options.name.clone(), *known);
                    let lost = RelayError::RecordsLost { relay, topic, partition, end, published };
                    return Err(lost.into());
                }
                *known = end;
            }
        }
        self.checkpoint.position = batch.up_to;
        let previous = self.checkpoint_offset;
        self.write_checkpoint(limit)?;
        if is_transaction {
            let committed = self.producer.commit_transaction(remaining(limit));
            committed.map_err(|error| self.failed("commit a transaction", &error))?;
        } else if previous >= 0 && self.checkpoint_offset != previous + 1 {
            // Another relay has written in between.
            self.check_generation(previous + 1)?;
        }
        Ok(())
    }

    fn send(&self, topic: &str, event: &RecordedEvent, limit: Instant) -> Result<(), SessionEnd> {
        let partitions = self.checkpoint.topics.get(topic).map_or(1, Vec::len);
        let partition = partition_of(&event.stream, u32::try_from(partitions).unwrap_or(1));
        let mut record = BaseRecord::to(topic)
            .partition(i32::try_from(partition).unwrap_or(0))
            .key(event.stream.as_str())
            .payload(&event.data[..])
            .timestamp(i64::try_from(event.recorded_at.micros() / 1_000).unwrap_or(i64::MAX))
            .headers(envelope::headers_of(event, &self.options.source));
        loop {
            let (error, returned) = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || Instant::now() > limit {
                let doing =
                    format!("publish the event at position {} to topic {topic}", event.position);
                return Err(self.failed(doing, &error).into());
            }
            record = returned;
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn write_checkpoint(&mut self, limit: Instant) -> Result<(), SessionEnd> {
        let value = self.checkpoint.value();
        let record = BaseRecord::to(&self.checkpoint_topic)
            .partition(0)
            .key(&self.options.name)
            .payload(&value);
        let sent = self.producer.send(record).map_err(|(error, _)| error);
        sent.map_err(|error| self.failed("publish a checkpoint", &error))?;
        let ends = self.delivered("publish a checkpoint", 1, limit)?;
        let end = ends.get(&(self.checkpoint_topic.clone(), 0));
        self.checkpoint_offset = end.map_or(-1, |end| end - 1);
        Ok(())
    }

    fn delivered(&self, doing: &str, records: usize, limit: Instant) -> Result<Ends, BrokerError> {
        let waited = self.producer.context().wait(records, remaining(limit));
        let ends = waited.map_err(|missing| match missing {
            NotDelivered::Refused(error) => self.failed(doing, &error),
            NotDelivered::TimedOut { seen } => {
                self.cluster.timed_out(doing, self.options.publish_max, seen)
            }
        })?;
        // The library counts a record for a moment after its acknowledgement. A commit would take
        // a tenth of a second to look again.
        while self.producer.in_flight_count() > 0 && Instant::now() < limit {
            thread::yield_now();
        }
        Ok(ends)
    }

    /// Creates the topic of an event if it is new to this relay.
    fn ensure_topic(&mut self, topic: &str) -> Result<(), SessionEnd> {
        if self.checkpoint.topics.contains_key(topic) {
            return Ok(());
        }
        let wanted = WantedTopic {
            name: topic,
            partitions: self.options.partitions,
            replication: self.options.replication,
            retention: Retention::Everything,
        };
        let partitions = topics::ensure(&self.cluster, &self.reader, &wanted)?;
        if let Entry::Vacant(new) = self.checkpoint.topics.entry(topic.to_owned()) {
            new.insert(vec![0; partitions]);
        }
        Ok(())
    }

    /// Refuses topics that are not as the earlier session has left them.
    fn check_topics(&self) -> Result<(), SessionEnd> {
        let relay = || self.options.name.clone();
        for (topic, offsets) in &self.checkpoint.topics {
            let found = self.partitions_of(topic)?;
            topics::check_kept(&self.cluster, topic)?;
            let (topic, known) = (topic.clone(), offsets.len());
            if found != known {
                let relay = relay();
                return Err(RelayError::PartitionsChanged { relay, topic, known, found }.into());
            }
            for (partition, published) in offsets.iter().copied().enumerate() {
                let end = self.end_at_least(&topic, partition, published)?;
                if end < published {
                    let relay = relay();
                    let lost = RelayError::RecordsLost { relay, topic, partition, end, published };
                    return Err(lost.into());
                }
            }
        }
        Ok(())
    }

    /// Looks whether the brokers answer, also if nothing was published yet, and whether the topics
    /// are still there.
    pub(crate) fn look_at_topics(&self) -> Result<(), SessionEnd> {
        // The next session creates it if it is missing.
        topics::state(&self.cluster, &self.reader, &self.checkpoint_topic)?;
        for topic in self.checkpoint.topics.keys() {
            self.partitions_of(topic)?;
        }
        Ok(())
    }

    /// Returns the number of partitions of a topic that this relay has published to. A broker that
    /// has just started may not know the topic yet, or not lead it, so the error may pass.
    fn partitions_of(&self, topic: &str) -> Result<usize, BrokerError> {
        let reason = match topics::state(&self.cluster, &self.reader, topic)? {
            TopicState::Ready(partitions) => return Ok(partitions),
            TopicState::WithoutLeader => "a partition has no leader",
            TopicState::Missing => {
                "the topic does not exist; if it was deleted, start a relay of another name, which \
                 publishes all events"
            }
        };
        Err(self.cluster.reasoned(format!("use topic {topic}"), reason))
    }

    /// Returns the end of a partition, once it is at least this offset or some seconds are over: a
    /// new leader learns the end from its followers.
    fn end_at_least(
        &self,
        topic: &str,
        partition: usize,
        published: i64,
    ) -> Result<i64, BrokerError> {
        let limit = Instant::now() + REQUEST_MAX;
        loop {
            let end = self.end_of(topic, partition)?;
            if end >= published || Instant::now() > limit {
                return Ok(end);
            }
            thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn end_of(&self, topic: &str, partition: usize) -> Result<i64, BrokerError> {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let marks = self.reader.fetch_watermarks(topic, number, REQUEST_MAX);
        let doing = || format!("look up the end of partition {partition} of topic {topic}");
        let failed = |error| self.reader.failed(&self.cluster, doing(), &error);
        marks.map(|(_, high)| high).map_err(failed)
    }

    /// Ends this session if a later one has written a checkpoint from an offset on.
    fn check_generation(&self, offset: i64) -> Result<(), SessionEnd> {
        let written = checkpoint::read_from(&self.cluster, &self.options.name, offset)?;
        let mut later =
            written.iter().filter_map(|one| replaced_by(one, &self.options.name, &self.checkpoint));
        later.next().map_or(Ok(()), |error| Err(error.into()))
    }

    fn failed(&self, doing: impl Into<String>, error: &KafkaError) -> BrokerError {
        failed(&self.cluster, &self.producer, doing, error)
    }
}

/// The producer of a session. Closes in the background, which takes some tenths of a second.
struct RelayProducer {
    /// `None` while it is dropped.
    producer: Option<ThreadedProducer<Deliveries>>,
}

impl Deref for RelayProducer {
    type Target = ThreadedProducer<Deliveries>;

    fn deref(&self) -> &Self::Target {
        self.producer.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for RelayProducer {
    fn drop(&mut self) {
        close_in_background(self.producer.take());
    }
}

/// Returns the error of a relay if a checkpoint is that of a later session.
pub(crate) fn replaced_by(
    checkpoint: &RelayCheckpoint,
    relay: &str,
    own: &RelayCheckpoint,
) -> Option<RelayError> {
    let is_later = checkpoint.session != own.session && checkpoint.generation >= own.generation;
    let generation = checkpoint.generation;
    is_later.then(|| RelayError::Replaced { relay: relay.to_owned(), generation })
}

/// Returns the checkpoint with which a session begins.
fn next_session(stored: Option<StoredCheckpoint>, incarnation: Incarnation) -> RelayCheckpoint {
    let session = Uuid::new_v4();
    match stored {
        Some(StoredCheckpoint { checkpoint, .. }) => {
            RelayCheckpoint { generation: checkpoint.generation + 1, session, ..checkpoint }
        }
        None => RelayCheckpoint {
            position: Position::START,
            incarnation,
            generation: 1,
            session,
            topics: BTreeMap::new(),
        },
    }
}

fn ensure_checkpoint_topic(
    cluster: &Cluster,
    reader: &Reader,
    options: &RelayOptions,
) -> Result<(), SessionEnd> {
    let wanted = WantedTopic {
        name: &checkpoint::topic_of(&options.name),
        partitions: 1,
        replication: options.replication,
        retention: Retention::Compacted,
    };
    topics::ensure(cluster, reader, &wanted)?;
    Ok(())
}

fn create_producer(
    cluster: &Cluster,
    options: &RelayOptions,
) -> Result<RelayProducer, BrokerError> {
    let mut config = cluster.producer_config()?;
    config.set("compression.type", "zstd");
    // The batch is complete when it is sent, so nothing is gained by waiting for more.
    config.set("linger.ms", "1");
    config.set("message.timeout.ms", options.publish_max.as_millis().to_string());
    if options.guarantee == RelayGuarantee::ExactlyOnce {
        config.set("transactional.id", format!("gesta-relay-{}", options.name));
        let limit = TRANSACTION_MAX.max(options.publish_max);
        config.set("transaction.timeout.ms", limit.as_millis().to_string());
    }
    let created = config.create_with_context(Deliveries::default());
    let created = created.map_err(|error| cluster.error("create a producer", &error))?;
    Ok(RelayProducer { producer: Some(created) })
}

/// Makes the error of a producer's call. A fatal error of the client is the cause of all that
/// follow it.
fn failed(
    cluster: &Cluster,
    producer: &ThreadedProducer<Deliveries>,
    doing: impl Into<String>,
    error: &KafkaError,
) -> BrokerError {
    if let Some((code, _)) = producer.client().fatal_error() {
        return cluster.error(doing, &KafkaError::Global(code));
    }
    let seen = producer.context().take_last();
    match (seen, error.rdkafka_error_code()) {
        (
            Some(seen),
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::MessageSizeTooLarge),
        ) => cluster.reasoned(doing, format!("{error}; {seen}")),
        _ => cluster.error(doing, error),
    }
}

fn remaining(limit: Instant) -> Duration {
    limit.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use gesta_store::{EventId, EventType, NewEvent, RecordedAt, Revision, StreamName};

    use super::*;

    fn event_at(position: u64, bytes: usize) -> (String, RecordedEvent) {
        let (happened, data) = (EventType::new("happened").unwrap(), "x".repeat(bytes));
        let event = NewEvent::json(EventId::random(), happened, data);
        let (stream, revision) = (StreamName::stored("order-1").unwrap(), Revision::FIRST);
        let (position, at) = (Position::new(position), RecordedAt::from_micros(0));
        ("orders".to_owned(), RecordedEvent::new(event, stream, revision, position, at))
    }

    #[test]
    fn a_large_event_is_a_part_of_its_own_and_the_last_part_has_the_end_of_the_batch() {
        let sizes = [1, 2, LARGE_BYTES, LARGE_BYTES, 3, 4];
        let events = (1_u64..).zip(sizes).map(|(nth, bytes)| event_at(10 * nth, bytes)).collect();
        let parts = Batch { events, up_to: Position::new(77) }.parts();
        let ends: Vec<_> = parts.iter().map(|part| part.up_to.number()).collect();
        let counts: Vec<_> = parts.iter().map(|part| part.events.len()).collect();
        assert_eq!((ends, counts), (vec![20, 30, 40, 77], vec![2, 1, 1, 2]));
    }

    #[test]
    fn a_batch_without_events_is_one_part() {
        let parts = Batch { events: Vec::new(), up_to: Position::new(7) }.parts();
        let ends: Vec<_> = parts.iter().map(|part| part.up_to.number()).collect();
        assert_eq!(ends, [7]);
    }
}
