//! The partitions that a consumer group has given to this program, each with its worker.
//!
//! Invariants: a partition that was taken away has no worker, and its worker stores no offset
//! afterwards. The library's thread calls this during a rebalance, so nothing here blocks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::KafkaError,
};
use tokio::sync::{mpsc, watch};

use super::{progress::SourceProgressWriter, record::SourceRecord};
use crate::cluster::QuietContext;

/// Records that wait in a worker's queue from which its partition is paused.
const WAITING_MAX: usize = 256;
/// Records that wait when a paused partition is resumed.
pub(super) const WAITING_RESUMED: usize = 64;

/// Topic and partition.
pub(super) type PartitionKey = (String, i32);

/// The end of a worker that takes records in.
#[derive(Debug)]
pub(super) struct WorkerQueue {
    records: mpsc::UnboundedSender<SourceRecord>,
    waiting: Arc<AtomicUsize>,
    /// Dropped when the partition is taken away.
    _right: watch::Sender<()>,
    id: u64,
}

/// The end of a worker that handles records.
#[derive(Debug)]
pub(super) struct WorkerInput {
    pub(super) records: mpsc::UnboundedReceiver<SourceRecord>,
    pub(super) waiting: Arc<AtomicUsize>,
    /// Closed when the partition is taken away.
    pub(super) right: watch::Receiver<()>,
    pub(super) id: u64,
}

/// The workers of a consumer.
#[derive(Debug, Default)]
pub(super) struct Workers {
    by_partition: HashMap<PartitionKey, WorkerQueue>,
    next_id: u64,
}

/// The next step of the consumer after a record was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    ReadOn,
    Pause,
}

impl Workers {
    /// Queues a record. `start` starts the worker of a partition that has none.
    pub(super) fn queue(
        &mut self,
        record: SourceRecord,
        start: impl FnOnce(PartitionKey, WorkerInput),
    ) -> Queued {
        let key = (record.place.topic.clone(), record.place.partition);
        let Self { by_partition, next_id } = self;
        let worker = by_partition.entry(key.clone()).or_insert_with(|| {
            *next_id += 1;
            let (records, queue) = mpsc::unbounded_channel();
            let (right, has_right) = watch::channel(());
            let waiting = Arc::new(AtomicUsize::new(0));
            let input = WorkerInput {
                records: queue,
                waiting: Arc::clone(&waiting),
                right: has_right,
                id: *next_id,
            };
            start(key, input);
            WorkerQueue { records, waiting, _right: right, id: *next_id }
        });
        // A worker that has ended was told to: its partition is not this program's any more.
        drop(worker.records.send(record));
        let waiting = worker.waiting.fetch_add(1, Ordering::AcqRel) + 1;
        if waiting == WAITING_MAX { Queued::Pause } else { Queued::ReadOn }
    }

    /// Runs an action if a worker is still that of its partition.
    pub(super) fn if_current(&self, key: &PartitionKey, id: u64, act: impl FnOnce()) {
        if self.by_partition.get(key).is_some_and(|worker| worker.id == id) {
            act();
        }
    }

    /// Takes all partitions away.
    pub(super) fn clear(&mut self) {
        self.by_partition.clear();
    }
}

/// The context of a group's consumer.
#[derive(Debug)]
pub(super) struct GroupContext {
    pub(super) workers: Mutex<Workers>,
    assigned: Mutex<Vec<PartitionKey>>,
    progress: SourceProgressWriter,
    connections: QuietContext,
}

impl GroupContext {
    pub(super) fn new(progress: SourceProgressWriter) -> Self {
        Self {
            workers: Mutex::default(),
            assigned: Mutex::default(),
            progress,
            connections: QuietContext::default(),
        }
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the last error of a connection.
    pub(super) fn take_last(&self) -> Option<String> {
        self.connections.take_last()
    }

    fn change(&self, act: impl FnOnce(&mut Vec<PartitionKey>)) {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut assigned);
        self.progress.set_partitions(assigned.len());
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.connections.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connections.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(taken) = rebalance else { return };
        let taken: Vec<PartitionKey> = taken.to_topic_map().into_keys().collect();
        let mut workers = self.workers();
        for key in &taken {
            workers.by_partition.remove(key);
        }
        drop(workers);
        self.change(|assigned| assigned.retain(|key| !taken.contains(key)));
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(given) = rebalance else { return };
        self.change(|assigned| assigned.extend(given.to_topic_map().into_keys()));
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{Timestamp, message::OwnedMessage};

    use super::*;

    fn record(offset: i64) -> SourceRecord {
        let topic = "payments".to_owned();
        let time = Timestamp::NotAvailable;
        SourceRecord::read(&OwnedMessage::new(None, None, topic, time, 0, offset, None), "bank")
    }

    #[test]
    fn a_partition_is_paused_once_its_queue_is_full() {
        let mut workers = Workers::default();
        let mut inputs = Vec::new();
        for offset in 0..WAITING_MAX {
            let offset = i64::try_from(offset).unwrap();
            let queued = workers.queue(record(offset), |_, input| inputs.push(input));
            let is_last = offset + 1 == i64::try_from(WAITING_MAX).unwrap();
            assert_eq!(queued == Queued::Pause, is_last);
        }
        assert_eq!(inputs.len(), 1, "one worker for the partition");
    }

    #[test]
    fn a_worker_whose_partition_was_taken_away_stores_nothing() {
        let mut workers = Workers::default();
        let mut inputs = Vec::new();
        workers.queue(record(0), |_, input| inputs.push(input));
        let key = ("payments".to_owned(), 0);
        let mut stored = 0;
        workers.if_current(&key, inputs[0].id, || stored += 1);
        workers.clear();
        workers.queue(record(0), |_, input| inputs.push(input));
        workers.if_current(&key, inputs[0].id, || stored += 10);
        workers.if_current(&key, inputs[1].id, || stored += 1);
        assert_eq!(stored, 2);
        assert!(inputs[0].right.has_changed().is_err());
    }
}
