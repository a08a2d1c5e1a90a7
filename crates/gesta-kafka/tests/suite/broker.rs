//! A broker as tests see it: topics of their own, and consumers of any program.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use gesta_kafka::{
    KafkaUrl,
    rdkafka::{
        ClientConfig, Message as _, Offset, TopicPartitionList,
        admin::{
            AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
        },
        client::DefaultClientContext,
        consumer::{BaseConsumer, Consumer as _},
        error::KafkaError,
        message::OwnedMessage,
        producer::{BaseProducer, BaseRecord, Producer as _},
    },
    recorded_event,
};
use gesta_store::RecordedEvent;
use uuid::Uuid;

/// Time in which everything that a test waits for happens.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// Returns the URL of the broker that tests share, with a relay of this test's own.
pub(crate) fn shared_or_skip() -> Option<KafkaUrl> {
    let url = gesta_services::url_or_skip("kafka")?;
    Some(format!("{url}/{}", unique("relay")).parse().unwrap())
}

/// Returns a name that no other test has used, also not in an earlier run.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{number}", Uuid::new_v4().simple())
}

fn config(url: &KafkaUrl) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url.brokers());
    config
}

/// Reads all records of a topic, in the order of partitions and offsets. Waits until there are at
/// least this many: what was committed is shown a moment later.
pub(crate) fn records_of(url: &KafkaUrl, topic: &str, least: usize) -> Vec<OwnedMessage> {
    let mut config = config(url);
    config.set("group.id", unique("reader")).set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "50");
    config.set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), WAIT_MAX).unwrap();
    let partitions = metadata.topics().first().unwrap().partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions).unwrap() {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut records, mut ended) = (Vec::new(), HashSet::new());
    while ended.len() < partitions || records.len() < least {
        match consumer.poll(WAIT_MAX).expect("the broker answers in time") {
            Ok(record) => {
                ended.remove(&record.partition());
                records.push(record.detach());
            }
            Err(KafkaError::PartitionEOF(partition)) => drop(ended.insert(partition)),
            Err(error) => panic!("{error}"),
        }
    }
    records.sort_by_key(|record| (record.partition(), record.offset()));
    records
}

/// Reads all events of a topic, in the order of partitions and offsets.
pub(crate) fn events_of(url: &KafkaUrl, topic: &str, least: usize) -> Vec<RecordedEvent> {
    let records = records_of(url, topic, least);
    records.iter().map(|record| recorded_event(record).unwrap()).collect()
}

/// Returns the events of each stream, in the order in which its partition has them.
pub(crate) fn by_stream(events: &[RecordedEvent]) -> BTreeMap<String, Vec<RecordedEvent>> {
    let mut streams: BTreeMap<String, Vec<RecordedEvent>> = BTreeMap::new();
    for event in events {
        streams.entry(event.stream.to_string()).or_default().push(event.clone());
    }
    streams
}

/// Creates a topic.
pub(crate) async fn create_topic(url: &KafkaUrl, topic: &str, partitions: i32) {
    create_replicated_topic(url, topic, partitions, 1).await;
}

/// Creates a topic that this many brokers have.
pub(crate) async fn create_replicated_topic(
    url: &KafkaUrl,
    topic: &str,
    partitions: i32,
    replication: i32,
) {
    let admin: AdminClient<DefaultClientContext> = config(url).create().unwrap();
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    for outcome in admin.create_topics([&new], &options).await.unwrap() {
        outcome.unwrap();
    }
}

/// Gives a topic these settings, and its defaults for all others.
pub(crate) async fn change_topic(url: &KafkaUrl, topic: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config(url).create().unwrap();
    let mut changed = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (name, value) in settings {
        changed = changed.set(name, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    for outcome in admin.alter_configs([&changed], &options).await.unwrap() {
        outcome.unwrap();
    }
}

/// Deletes a topic.
pub(crate) async fn delete_topic(url: &KafkaUrl, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = config(url).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    for outcome in admin.delete_topics(&[topic], &options).await.unwrap() {
        outcome.unwrap();
    }
}

/// Deletes a consumer group with its offsets.
pub(crate) async fn forget_group(url: &KafkaUrl, group: &str) {
    let admin: AdminClient<DefaultClientContext> = config(url).create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(WAIT_MAX));
    for outcome in admin.delete_groups(&[group], &options).await.unwrap() {
        outcome.unwrap();
    }
}

/// Produces records with these keys and values, and waits until the broker has them.
pub(crate) fn produce(url: &KafkaUrl, topic: &str, records: &[(String, String)]) {
    produce_with(config(url), topic, records);
}

/// Produces records by a client with these settings.
pub(crate) fn produce_with(config: ClientConfig, topic: &str, records: &[(String, String)]) {
    let producer: BaseProducer = config.create().unwrap();
    for (key, value) in records {
        let sent = producer.send(BaseRecord::to(topic).key(key).payload(value));
        sent.map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WAIT_MAX).unwrap();
}

/// Produces records a second time, as they are.
pub(crate) fn produce_again(url: &KafkaUrl, records: &[OwnedMessage]) {
    let producer: BaseProducer = config(url).create().unwrap();
    for record in records {
        let again = BaseRecord::to(record.topic())
            .partition(record.partition())
            .key(record.key().unwrap())
            .payload(record.payload().unwrap())
            .headers(record.headers().unwrap().clone());
        producer.send(again).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WAIT_MAX).unwrap();
}

/// Begins a transaction that has a record in each partition of a topic.
pub(crate) fn open_transaction(url: &KafkaUrl, topic: &str, partitions: i32) -> BaseProducer {
    let mut config = config(url);
    let producer: BaseProducer = config.set("transactional.id", unique("open")).create().unwrap();
    producer.init_transactions(WAIT_MAX).unwrap();
    producer.begin_transaction().unwrap();
    for partition in 0..partitions {
        let record = BaseRecord::to(topic).partition(partition).key("open").payload("");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WAIT_MAX).unwrap();
    producer
}
