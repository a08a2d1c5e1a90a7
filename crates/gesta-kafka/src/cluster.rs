//! Clients of a cluster: their settings, and the errors that name its brokers.
//!
//! Invariant: every error of a broker says what was tried and where, without a password. What
//! librdkafka logs by itself is for debugging only, since its errors are reported by the calls.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    util::Timeout,
};

use crate::{KafkaUrl, security::Security};

/// The facility of log messages of the library about connections that failed.
const FAILED_CONNECTION: &str = "FAIL";

/// Number of events in which the reason for a failed connection is looked for, and the time that
/// each is waited for.
const EVENTS_MAX: usize = 16;
const EVENT_MAX: Duration = Duration::from_millis(5);

/// Largest record that a producer sends: what a consumer of the library takes at most. The limit of
/// the topic decides, and an event may have more than the library's default of a megabyte.
const RECORD_BYTES_MAX: &str = "100000000";

/// Time limit of short requests, such as those for metadata.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(10);

/// An error of a Kafka cluster: what was tried, where, and the reason.
///
/// Callers of this crate see it as the cause of another error, or as the trouble of a task that
/// tries again by itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {doing} at {cluster}: {reason}")]
pub struct BrokerError {
    doing: String,
    cluster: Cluster,
    reason: String,
    code: Option<RDKafkaErrorCode>,
}

impl BrokerError {
    /// Returns `true` if the topic or partition does not exist, or a broker does not know it yet.
    pub(crate) fn is_missing(&self) -> bool {
        self.code.is_some_and(is_missing_code)
    }

    /// Returns `true` if another client with the same transactional id has replaced this one, or
    /// the transaction took longer than its timeout.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(
            self.code,
            Some(
                RDKafkaErrorCode::Fenced
                    | RDKafkaErrorCode::ProducerFenced
                    | RDKafkaErrorCode::InvalidProducerEpoch
            )
        )
    }
}

/// A cluster, by its brokers.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    brokers: Arc<str>,
    security: Arc<Security>,
}

impl Cluster {
    pub(crate) fn of(url: &KafkaUrl) -> Self {
        Self { brokers: url.brokers().into(), security: Arc::new(url.security().clone()) }
    }

    /// Returns the settings of every client.
    pub(crate) fn config(&self) -> Result<ClientConfig, BrokerError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &*self.brokers);
        config.set("client.id", "gesta");
        // A broker that was away is asked again within a second.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        config.set("socket.connection.setup.timeout.ms", "5000");
        config.set_log_level(RDKafkaLogLevel::Warning);
        let applied = self.security.apply(&mut config);
        applied.map_err(|reason| self.reasoned("connect", reason))?;
        Ok(config)
    }

    /// Returns the settings of every producer. Each record is acknowledged by all replicas in sync.
    pub(crate) fn producer_config(&self) -> Result<ClientConfig, BrokerError> {
        let mut config = self.config()?;
        // Retries of the library neither reorder nor repeat records.
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.max.bytes", RECORD_BYTES_MAX);
        Ok(config)
    }

    fn reader_config(&self) -> Result<ClientConfig, BrokerError> {
        let mut config = self.config()?;
        // Required by the library, although such a consumer joins no group.
        config.set("group.id", "gesta-reader");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        // Records that retention has deleted are an error, and never skipped.
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true");
        config.set("fetch.wait.max.ms", "100");
        Ok(config)
    }

    /// Creates a consumer that chooses its partitions and offsets itself, and commits nothing.
    pub(crate) fn reader(&self) -> Result<Reader, BrokerError> {
        self.reader_with(&self.reader_config()?)
    }

    /// Creates a consumer that sees records of transactions that are not completed, too. The ends
    /// of partitions that it is told are those of all acknowledged records.
    pub(crate) fn uncommitted_reader(&self) -> Result<Reader, BrokerError> {
        let mut config = self.reader_config()?;
        config.set("isolation.level", "read_uncommitted");
        self.reader_with(&config)
    }

    fn reader_with(&self, config: &ClientConfig) -> Result<Reader, BrokerError> {
        let created = config.create_with_context(QuietContext::default());
        let created = created.map_err(|error| self.error("create a consumer", &error))?;
        Ok(Reader { consumer: Some(created) })
    }

    pub(crate) fn error(&self, doing: impl Into<String>, error: &KafkaError) -> BrokerError {
        BrokerError {
            doing: doing.into(),
            cluster: self.clone(),
            reason: error.to_string(),
            code: error.rdkafka_error_code(),
        }
    }

    /// Creates the error of a call that waited in vain, with what the client has seen since.
    pub(crate) fn timed_out(
        &self,
        doing: impl Into<String>,
        limit: Duration,
        seen: Option<String>,
    ) -> BrokerError {
        let mut reason = format!("no answer within {} seconds", limit.as_secs());
        if let Some(seen) = seen {
            reason = format!("{reason}; {seen}");
        }
        self.reasoned(doing, reason)
    }

    pub(crate) fn reasoned(
        &self,
        doing: impl Into<String>,
        reason: impl Into<String>,
    ) -> BrokerError {
        let reason = reason.into();
        BrokerError { doing: doing.into(), cluster: self.clone(), reason, code: None }
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.security.scheme(), self.brokers)
    }
}

/// A consumer that reads partitions of its choice. Closes in the background, which takes some
/// tenths of a second.
///
/// A partition is assigned once: the library ends the program if one is taken away and assigned
/// anew before it has stopped. Another place of it is reached by a seek.
pub(crate) struct Reader {
    /// `None` while it is dropped.
    consumer: Option<BaseConsumer<QuietContext>>,
}

impl Reader {
    /// Makes the error of a call that failed, with the reason why a connection did, which is in no
    /// error of the library. A refused login is one.
    pub(crate) fn failed(
        &self,
        cluster: &Cluster,
        doing: impl Into<String>,
        error: &KafkaError,
    ) -> BrokerError {
        match self.failed_connection() {
            Some(seen) if !is_missing(error) => cluster.reasoned(doing, format!("{error}; {seen}")),
            _ => cluster.error(doing, error),
        }
    }

    /// Returns the reason why a connection failed, if the library has told one since.
    pub(crate) fn failed_connection(&self) -> Option<String> {
        let context = self.client().context();
        // The library tells it to those who poll. Polling would lose records of an assigned
        // partition.
        if self.assignment().is_ok_and(|assigned| assigned.count() == 0) {
            for _ in 0..EVENTS_MAX {
                drop(self.poll(EVENT_MAX));
                let told = context.take_last();
                if told.is_some() {
                    return told;
                }
            }
        }
        context.take_last()
    }
}

impl Deref for Reader {
    type Target = BaseConsumer<QuietContext>;

    fn deref(&self) -> &Self::Target {
        self.consumer.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        close_in_background(self.consumer.take());
    }
}

/// Drops a client on a thread of its own, because its destructor waits.
pub(crate) fn close_in_background<T: Send + 'static>(client: T) {
    let closing = thread::Builder::new().name("gesta-kafka-close".to_owned());
    if let Err(error) = closing.spawn(move || drop(client)) {
        tracing::debug!(%error, "a client was closed in place");
    }
}

/// The context of clients: keeps the last error of a connection for the error of the next call.
#[derive(Debug, Default)]
pub(crate) struct QuietContext {
    last: Mutex<Option<String>>,
}

impl QuietContext {
    /// Takes the last error of a connection.
    pub(crate) fn take_last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn keep(&self, reason: &str) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ClientContext for QuietContext {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // The reason why a connection failed, such as a refused login, is in no error of a
        // consumer.
        if facility == FAILED_CONNECTION {
            self.keep(message.split_once("]: ").map_or(message, |(_, reason)| reason));
        }
        tracing::debug!(facility, "{message}");
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.keep(reason);
    }
}

impl ConsumerContext for QuietContext {
    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

/// Returns `true` for errors of a consumer's queue that the library repairs by itself, such as one
/// connection of several that broke.
pub(crate) fn is_passing(error: &KafkaError) -> bool {
    let Some(code) = error.rdkafka_error_code() else {
        return matches!(error, KafkaError::PartitionEOF(_));
    };
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::PartitionEOF
            | RDKafkaErrorCode::PollExceeded
    )
}

/// Returns `true` if the topic or partition does not exist.
pub(crate) fn is_missing(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(is_missing_code)
}

const fn is_missing_code(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
    )
}
