//! Creation of topics, and their numbers of partitions.
//!
//! Not here: the choice of a topic for an event (`relay/options.rs`).

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::Consumer as _,
    error::RDKafkaErrorCode,
};
use tokio::{runtime::Handle, time::Instant};

use crate::cluster::{BrokerError, Cluster, QuietContext, REQUEST_MAX, Reader, is_missing};

const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";

/// A topic that is created if it does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedTopic<'t> {
    pub(crate) name: &'t str,
    pub(crate) partitions: u32,
    /// `None` for the default of the cluster.
    pub(crate) replication: Option<u32>,
    pub(crate) retention: Retention,
}

/// The records that a topic keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Retention {
    /// All of them.
    Everything,
    /// The last of each key.
    Compacted,
}

impl Retention {
    /// Settings of the topic.
    const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Everything => &[(CLEANUP_POLICY, "delete"), ("retention.ms", "-1")],
            // Small segments: only closed ones are compacted.
            Self::Compacted => &[(CLEANUP_POLICY, COMPACT), ("segment.bytes", "1048576")],
        }
    }
}

/// Returns the number of partitions of a topic, which is created if it does not exist. Refuses one
/// that keeps less than it should. Blocks, and runs in the blocking part of a tokio runtime.
pub(crate) fn ensure(
    cluster: &Cluster,
    reader: &Reader,
    wanted: &WantedTopic<'_>,
) -> Result<usize, BrokerError> {
    if let Some(partitions) = partitions(cluster, reader, wanted.name)? {
        if matches!(wanted.retention, Retention::Everything) {
            check_kept(cluster, wanted.name)?;
        }
        return Ok(partitions);
    }
    create(cluster, wanted)?;
    let limit = Instant::now() + REQUEST_MAX;
    // Other brokers learn of the topic a moment later.
    loop {
        if let Some(partitions) = partitions(cluster, reader, wanted.name)? {
            return Ok(partitions);
        }
        if Instant::now() > limit {
            let doing = format!("see the new topic {}", wanted.name);
            return Err(cluster.timed_out(doing, REQUEST_MAX, None));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The state of a topic, as brokers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicState {
    /// No broker knows it. One that has just started may not know it yet.
    Missing,
    /// Some of its partitions have no leader.
    WithoutLeader,
    /// It can be used, and has this number of partitions.
    Ready(usize),
}

/// Returns the number of partitions of a topic whose partitions all have a leader. `None` if there
/// is no such topic.
pub(crate) fn partitions(
    cluster: &Cluster,
    reader: &Reader,
    topic: &str,
) -> Result<Option<usize>, BrokerError> {
    Ok(match state(cluster, reader, topic)? {
        TopicState::Ready(partitions) => Some(partitions),
        TopicState::Missing | TopicState::WithoutLeader => None,
    })
}

/// Returns the state of a topic.
pub(crate) fn state(
    cluster: &Cluster,
    reader: &Reader,
    topic: &str,
) -> Result<TopicState, BrokerError> {
    let doing = || format!("look up topic {topic}");
    let metadata = match reader.fetch_metadata(Some(topic), REQUEST_MAX) {
        Ok(metadata) => metadata,
        Err(error) if is_missing(&error) => return Ok(TopicState::Missing),
        Err(error) => return Err(reader.failed(cluster, doing(), &error)),
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(TopicState::Missing);
    };
    if let Some(error) = found.error() {
        let code = RDKafkaErrorCode::from(error);
        return match code {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                Ok(TopicState::Missing)
            }
            RDKafkaErrorCode::LeaderNotAvailable => Ok(TopicState::WithoutLeader),
            _ => Err(cluster.reasoned(doing(), code.to_string())),
        };
    }
    let has_leaders = found.partitions().iter().all(|partition| partition.leader() >= 0);
    if found.partitions().is_empty() || !has_leaders {
        return Ok(TopicState::WithoutLeader);
    }
    Ok(TopicState::Ready(found.partitions().len()))
}

/// Refuses a topic that is compacted: only the last record of each key would stay, so events of a
/// stream would be lost without a sign for consumers. Blocks, as [`ensure`] does.
pub(crate) fn check_kept(cluster: &Cluster, topic: &str) -> Result<(), BrokerError> {
    let doing = || format!("look up the settings of topic {topic}");
    let resource = ResourceSpecifier::Topic(topic);
    let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
    let admin = admin(cluster, doing)?;
    let described = Handle::current().block_on(admin.describe_configs([&resource], &options));
    for outcome in described.map_err(|error| cluster.error(doing(), &error))? {
        let settings = match outcome {
            Ok(settings) => settings,
            Err(code) => {
                // To look is a right of its own, which a user of an earlier version may lack.
                tracing::debug!(topic, %code, "the settings of the topic are not known");
                continue;
            }
        };
        let policy = settings.get(CLEANUP_POLICY).and_then(|entry| entry.value.as_deref());
        if policy.is_some_and(|policy| policy.contains(COMPACT)) {
            let reason = "its cleanup.policy is compact, which removes all but the last record of \
                          each key; set cleanup.policy=delete and retention.ms=-1";
            return Err(cluster.reasoned(format!("publish to topic {topic}"), reason));
        }
    }
    Ok(())
}

fn admin(
    cluster: &Cluster,
    doing: impl Fn() -> String,
) -> Result<AdminClient<QuietContext>, BrokerError> {
    let created = cluster.config()?.create_with_context(QuietContext::default());
    created.map_err(|error| cluster.error(doing(), &error))
}

fn create(cluster: &Cluster, wanted: &WantedTopic<'_>) -> Result<(), BrokerError> {
    let doing = || format!("create topic {}", wanted.name);
    let admin = admin(cluster, doing)?;
    let signed = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(wanted.replication.map_or(-1, signed));
    let mut topic = NewTopic::new(wanted.name, signed(wanted.partitions), replication);
    for (name, value) in wanted.retention.settings() {
        topic = topic.set(name, value);
    }
    let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
    let created = Handle::current().block_on(admin.create_topics([&topic], &options));
    for outcome in created.map_err(|error| cluster.error(doing(), &error))? {
        match outcome {
            // Another program was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(cluster.reasoned(doing(), code.to_string())),
        }
    }
    Ok(())
}
