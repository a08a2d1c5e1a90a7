//! Acknowledgements of the brokers, counted for one batch at a time.
//!
//! Invariant: the library's thread adds an acknowledgement before the thread that waits for it is
//! woken.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::ProducerContext,
};

use crate::cluster::QuietContext;

/// Offsets after the acknowledged records, for each partition of each topic.
pub(crate) type Ends = BTreeMap<(String, i32), i64>;

#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    counted: Mutex<Counted>,
    changed: Condvar,
    connections: QuietContext,
}

#[derive(Debug, Default)]
struct Counted {
    acknowledged: usize,
    ends: Ends,
    failed: Option<KafkaError>,
}

/// The reason why a wait for acknowledgements ended without them.
#[derive(Debug)]
pub(crate) enum NotDelivered {
    /// The library has given up a record.
    Refused(KafkaError),
    TimedOut {
        seen: Option<String>,
    },
}

impl Deliveries {
    /// Waits until this number of records was acknowledged, and takes their ends. Blocks.
    pub(crate) fn wait(&self, records: usize, limit: Duration) -> Result<Ends, NotDelivered> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_pending =
            |counted: &mut Counted| counted.failed.is_none() && counted.acknowledged < records;
        let waited = self.changed.wait_timeout_while(counted, limit, is_pending);
        let (mut counted, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = counted.failed.clone() {
            return Err(NotDelivered::Refused(error));
        }
        if timeout.timed_out() {
            return Err(NotDelivered::TimedOut { seen: self.connections.take_last() });
        }
        counted.acknowledged -= records;
        Ok(mem::take(&mut counted.ends))
    }

    /// Takes the last error of a connection.
    pub(crate) fn take_last(&self) -> Option<String> {
        self.connections.take_last()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.connections.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connections.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(record) => {
                counted.acknowledged += 1;
                let place = (record.topic().to_owned(), record.partition());
                let end = counted.ends.entry(place).or_default();
                *end = (*end).max(record.offset() + 1);
            }
            // The first one is the cause; the others are purged for it.
            Err((error, record)) if counted.failed.is_none() => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                    self.connections.keep(&too_large(record));
                }
                counted.failed = Some(error.clone());
            }
            Err(_) => {}
        }
        drop(counted);
        self.changed.notify_all();
    }
}

/// Describes a record that the topic does not take.
fn too_large(record: &impl Message) -> String {
    let key = String::from_utf8_lossy(record.key().unwrap_or_default());
    format!(
        "an event of stream {key} has {} bytes, more than topic {} takes; raise its \
         max.message.bytes, and publishing goes on",
        record.payload().map_or(0, <[u8]>::len),
        record.topic()
    )
}
