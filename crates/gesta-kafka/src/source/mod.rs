//! The source: records of topics, turned into commands or events by a handler.
//!
//! Invariants: an offset is committed after its record was handled or set aside, so no record is
//! lost. Records of a partition are handled in order. A record that cannot be handled does not hold
//! up the ones after it for longer than its attempts take.
//!
//! Not here: effects that must happen once. Handlers make them idempotent with the ids of records.

mod append;
mod dead_letter;
mod group;
mod handler;
mod options;
mod place;
mod progress;
mod record;
mod worker;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::FutureProducer,
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval, sleep},
};

pub use self::{
    append::{AppendRecords, RecordEvents},
    dead_letter::DeadLetterNote,
    handler::{HandleError, HandleRecord},
    options::{SourceBegin, SourceOptions},
    place::RecordPlace,
    progress::{SourceProgress, SourceStatus},
    record::SourceRecord,
};
use self::{
    group::{GroupContext, PartitionKey, Queued},
    progress::SourceProgressWriter,
    worker::{GroupConsumer, WorkerDeps},
};
use crate::{
    BrokerError, KafkaUrl,
    cluster::{Cluster, QuietContext, is_passing},
    topics::{self, Retention, WantedTopic},
};

/// Partitions of a topic of dead letters.
const DEAD_LETTER_PARTITIONS: u32 = 1;
/// Time between two stored offsets being committed, and between two looks at brokers that are away.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Pauses before the source connects again.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Reads topics as a member of a consumer group, and gives each record to a handler.
///
/// # Examples
///
/// ```no_run
/// use std::{future::pending, sync::Arc};
///
/// use gesta_kafka::{AppendRecords, KafkaUrl, Source, SourceOptions};
/// use gesta_store::memory::MemoryStore;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let url: KafkaUrl = "kafka://127.0.0.1:9092".parse()?;
/// let handler = AppendRecords::to(Arc::new(MemoryStore::new()), |_| Ok(None))?;
/// let source = Source::new(&url, SourceOptions::new("bank", ["payments"])?);
/// source.run_until(handler, pending()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Source {
    cluster: Cluster,
    options: Arc<SourceOptions>,
    progress: SourceProgressWriter,
}

impl Source {
    /// Creates a source. Connects to nothing yet. Of the URL only the brokers count here.
    #[must_use]
    pub fn new(url: &KafkaUrl, options: SourceOptions) -> Self {
        Self {
            cluster: Cluster::of(url),
            options: Arc::new(options),
            progress: SourceProgressWriter::new(),
        }
    }

    /// Returns a view of the progress.
    #[must_use]
    pub fn progress(&self) -> SourceProgress {
        self.progress.view()
    }

    /// Reads and handles records until `stop` is ready.
    ///
    /// Runs on tokio. Brokers that are away are waited for; the [progress](Self::progress) names
    /// them. When `stop` becomes ready, the records that are being handled are finished, without
    /// further attempts, and their offsets are committed. Dropping the future stops at once;
    /// records whose offsets were not committed are handled again.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] if the library cannot create a client. Brokers that refuse the source are
    /// shown by the progress.
    pub async fn run_until<H: HandleRecord>(
        self,
        handler: H,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), BrokerError> {
        let handler = Arc::new(handler);
        let mut stop = pin!(stop.fuse());
        let mut pause = PAUSE_MIN;
        loop {
            let trouble = match self.prepare().await {
                Ok(()) => {
                    pause = PAUSE_MIN;
                    match self.session(&handler, &mut stop).await? {
                        None => return Ok(()),
                        Some(trouble) => trouble,
                    }
                }
                Err(trouble) => trouble,
            };
            tracing::warn!(source = %self.options.name, %trouble, "the source connects again");
            self.progress.set_trouble(Some(trouble.to_string()));
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Creates the topic of dead letters.
    async fn prepare(&self) -> Result<(), BrokerError> {
        let (cluster, options) = (self.cluster.clone(), Arc::clone(&self.options));
        let created = spawn_blocking(move || {
            let wanted = WantedTopic {
                name: &options.dead_letter_topic,
                partitions: DEAD_LETTER_PARTITIONS,
                replication: None,
                retention: Retention::Everything,
            };
            topics::ensure(&cluster, &cluster.reader()?, &wanted).map(drop)
        });
        let doing = "create the topic of dead letters";
        created.await.unwrap_or_else(|error| Err(self.cluster.reasoned(doing, error.to_string())))
    }

    /// Reads until `stop` is ready, or the consumer has to be created anew for the returned reason.
    async fn session<H: HandleRecord>(
        &self,
        handler: &Arc<H>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<BrokerError>, BrokerError> {
        let consumer = Arc::new(self.consumer()?);
        let (resumes, mut resumed) = mpsc::unbounded_channel();
        let deps = Arc::new(WorkerDeps {
            handler: Arc::clone(handler),
            cluster: self.cluster.clone(),
            options: Arc::clone(&self.options),
            consumer: Arc::clone(&consumer),
            dead_letters: self.dead_letters()?,
            progress: self.progress.clone(),
            resumes,
        });
        let mut tasks = JoinSet::new();
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The trouble of the session before is over once they answer.
        let mut brokers_away = self.progress.view().status().trouble.is_some();
        let trouble = loop {
            tokio::select! {
                biased;
                () = &mut *stop => break None,
                Some(key) = resumed.recv() => self.set_paused(&consumer, &key, false),
                Some(_) = tasks.join_next() => {}
                record = consumer.recv() => match record {
                    Ok(record) => {
                        let record = SourceRecord::read(&record, &self.options.name);
                        let key = (record.place.topic.clone(), record.place.partition);
                        let queued = consumer.context().workers().queue(record, |key, input| {
                            tasks.spawn(worker::run(Arc::clone(&deps), key, input));
                        });
                        if queued == Queued::Pause {
                            self.set_paused(&consumer, &key, true);
                        }
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        let trouble = self.trouble(&consumer, &error);
                        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                            break Some(trouble);
                        }
                        brokers_away = true;
                    }
                },
                _ = looks.tick(), if brokers_away => {
                    brokers_away = !self.answers().await;
                }
            }
        };
        consumer.context().workers().clear();
        // Each finishes the attempt that it is at.
        while tasks.join_next().await.is_some() {}
        self.close(consumer, deps).await;
        Ok(trouble)
    }

    /// Commits what was handled, and leaves the group.
    async fn close<H: HandleRecord>(&self, consumer: Arc<GroupConsumer>, deps: Arc<WorkerDeps<H>>) {
        let closing = spawn_blocking(move || {
            // Nothing stored is no error of the caller.
            drop(consumer.commit_consumer_state(CommitMode::Sync));
            // Both are handles of the consumer, whose destructor waits.
            drop((consumer, deps));
        });
        if let Err(error) = closing.await {
            tracing::warn!(source = %self.options.name, %error, "the group was not left in order");
        }
        self.progress.set_partitions(0);
    }

    fn consumer(&self) -> Result<GroupConsumer, BrokerError> {
        let mut config = self.cluster.config()?;
        config.set("group.id", &self.options.name);
        config.set("isolation.level", "read_committed");
        config.set(
            "auto.offset.reset",
            match self.options.begin {
                SourceBegin::Earliest => "earliest",
                SourceBegin::Latest => "latest",
            },
        );
        // The library commits stored offsets, and stores none by itself.
        config.set("enable.auto.offset.store", "false").set("enable.auto.commit", "true");
        config.set("auto.commit.interval.ms", COMMIT_INTERVAL.as_millis().to_string());
        config.set("session.timeout.ms", self.options.session_max.as_millis().to_string());
        let heartbeat = self.options.session_max.as_millis() / 4;
        config.set("heartbeat.interval.ms", heartbeat.max(1).to_string());
        // Partitions that stay with a program are not taken from it during a rebalance.
        config.set("partition.assignment.strategy", "cooperative-sticky");
        let failed = |error: &KafkaError| self.cluster.error("create a consumer", error);
        let context = GroupContext::new(self.progress.clone());
        let consumer: GroupConsumer =
            config.create_with_context(context).map_err(|error| failed(&error))?;
        let topics: Vec<&str> = self.options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| failed(&error))?;
        Ok(consumer)
    }

    fn dead_letters(&self) -> Result<FutureProducer<QuietContext>, BrokerError> {
        let mut config = self.cluster.producer_config()?;
        config.set("message.timeout.ms", "10000");
        let created = config.create_with_context(QuietContext::default());
        created.map_err(|error| self.cluster.error("create a producer", &error))
    }

    fn set_paused(&self, consumer: &GroupConsumer, key: &PartitionKey, pauses: bool) {
        let mut list = TopicPartitionList::new();
        let (topic, partition) = key;
        let changed = list.add_partition_offset(topic, *partition, Offset::Invalid);
        let changed = changed.and_then(|()| match pauses {
            true => consumer.pause(&list),
            false => consumer.resume(&list),
        });
        if let Err(error) = changed {
            // The partition was taken away, so it is not read here any more.
            tracing::debug!(source = %self.options.name, topic, partition, %error, "not paused");
        }
    }

    /// Shows an error of the consumer.
    fn trouble(&self, consumer: &GroupConsumer, error: &KafkaError) -> BrokerError {
        let topics = self.options.topics.join(", ");
        let doing = format!("read {topics} as group {}", self.options.name);
        let seen = consumer.context().take_last();
        let trouble = match seen {
            Some(seen) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.cluster.reasoned(doing, seen)
            }
            _ => self.cluster.error(doing, error),
        };
        self.progress.set_trouble(Some(trouble.to_string()));
        trouble
    }

    /// Returns whether the brokers know the topics, and ends the trouble then.
    async fn answers(&self) -> bool {
        let (cluster, topics) = (self.cluster.clone(), self.options.topics.clone());
        let looked = spawn_blocking(move || {
            let reader = cluster.reader()?;
            topics.iter().try_fold(true, |all, topic| {
                Ok::<bool, BrokerError>(
                    all && topics::partitions(&cluster, &reader, topic)?.is_some(),
                )
            })
        });
        let answers = matches!(looked.await, Ok(Ok(true)));
        if answers {
            self.progress.set_trouble(None);
        }
        answers
    }
}
