//! The worker of one partition: handles its records one after the other.
//!
//! Invariant: the offset of a record is stored after the record was handled, or after the brokers
//! have acknowledged its dead letter.

use std::{panic::AssertUnwindSafe, sync::Arc, sync::atomic::Ordering, time::Duration};

use futures_util::FutureExt as _;
use rdkafka::{
    consumer::{Consumer as _, StreamConsumer},
    error::RDKafkaErrorCode,
    producer::{FutureProducer, FutureRecord},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    dead_letter::DeadLetterNote,
    group::{GroupContext, PartitionKey, WAITING_RESUMED, WorkerInput},
    handler::{HandleError, HandleReaction, HandleRecord},
    options::SourceOptions,
    progress::SourceProgressWriter,
    record::SourceRecord,
};
use crate::cluster::{Cluster, QuietContext};

pub(super) type GroupConsumer = StreamConsumer<GroupContext>;

/// The shared parts of a session's workers.
pub(super) struct WorkerDeps<H> {
    pub(super) handler: Arc<H>,
    pub(super) cluster: Cluster,
    pub(super) options: Arc<SourceOptions>,
    pub(super) consumer: Arc<GroupConsumer>,
    pub(super) dead_letters: FutureProducer<QuietContext>,
    pub(super) progress: SourceProgressWriter,
    /// Partitions that have room for records again.
    pub(super) resumes: mpsc::UnboundedSender<PartitionKey>,
}

/// The outcome of a record.
enum Finish {
    Handled,
    DeadLetter,
    /// The partition was taken away; the next owner handles the record.
    GivenUp,
}

/// Handles records until the partition is taken away.
pub(super) async fn run<H: HandleRecord>(
    deps: Arc<WorkerDeps<H>>,
    key: PartitionKey,
    mut input: WorkerInput,
) {
    while let Some(record) = input.records.recv().await {
        if is_over(&input.right) {
            return;
        }
        let is_dead_letter = match finish(&deps, &record, &mut input.right).await {
            Finish::Handled => false,
            Finish::DeadLetter => true,
            Finish::GivenUp => return,
        };
        let place = &record.place;
        deps.consumer.context().workers().if_current(&key, input.id, || {
            let stored = deps.consumer.store_offset(&place.topic, place.partition, place.offset);
            if let Err(error) = stored {
                // The partition is being taken away: the next owner handles the record again.
                tracing::debug!(%place, %error, "the offset was not stored");
            }
        });
        deps.progress.finished(is_dead_letter);
        if input.waiting.fetch_sub(1, Ordering::AcqRel) == WAITING_RESUMED + 1 {
            // The consumer ends only after its workers were told to.
            drop(deps.resumes.send(key.clone()));
        }
    }
}

async fn finish<H: HandleRecord>(
    deps: &WorkerDeps<H>,
    record: &SourceRecord,
    right: &mut watch::Receiver<()>,
) -> Finish {
    let mut pause = deps.options.pause_min;
    let mut attempts = 0;
    loop {
        let attempt = AssertUnwindSafe(deps.handler.handle(record)).catch_unwind().await;
        let error = match attempt {
            Ok(Ok(())) => return Finish::Handled,
            Ok(Err(error)) => error,
            Err(_) => HandleError::failed("the handler panicked"),
        };
        if error.reaction != HandleReaction::TryForever {
            attempts += 1;
        }
        let is_final = error.reaction == HandleReaction::SetAside
            || error.reaction == HandleReaction::TryAgain && attempts >= deps.options.attempts;
        if is_final {
            return set_aside(deps, record, &error, attempts, right).await;
        }
        let place = &record.place;
        tracing::warn!(source = %deps.options.name, %place, %error, "the record is tried again");
        deps.progress.set_trouble(Some(format!("the record {place} is tried again: {error}")));
        if is_over_after(right, &mut pause, deps.options.pause_max).await {
            return Finish::GivenUp;
        }
    }
}

/// Writes a dead letter. Brokers that are away are waited for: without it the record would be lost.
async fn set_aside<H>(
    deps: &WorkerDeps<H>,
    record: &SourceRecord,
    error: &HandleError,
    attempts: u32,
    right: &mut watch::Receiver<()>,
) -> Finish {
    let place = &record.place;
    tracing::error!(source = %deps.options.name, %place, %error, attempts, "dead letter");
    let note = DeadLetterNote { origin: record.origin.clone(), error: error.to_string(), attempts };
    let mut pause = deps.options.pause_min;
    loop {
        let letter = FutureRecord {
            topic: &deps.options.dead_letter_topic,
            partition: None,
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: record.timestamp_millis,
            headers: Some(note.add_to(record.original_headers())),
        };
        match deps.dead_letters.send(letter, Duration::ZERO).await {
            Ok(_) => return Finish::DeadLetter,
            Err((error, _)) => {
                let doing = format!("write the dead letter of {place}");
                let trouble = match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                        let topic = &deps.options.dead_letter_topic;
                        let reason = format!("{error}; raise max.message.bytes of topic {topic}");
                        deps.cluster.reasoned(doing, reason)
                    }
                    _ => deps.cluster.error(doing, &error),
                };
                tracing::warn!(source = %deps.options.name, %trouble, "tried again");
                deps.progress.set_trouble(Some(trouble.to_string()));
            }
        }
        if is_over_after(right, &mut pause, deps.options.pause_max).await {
            return Finish::GivenUp;
        }
    }
}

/// Returns `true` if the partition was taken away.
fn is_over(right: &watch::Receiver<()>) -> bool {
    right.has_changed().is_err()
}

/// Pauses, and returns `true` if the partition is taken away before the pause is over.
async fn is_over_after(
    right: &mut watch::Receiver<()>,
    pause: &mut Duration,
    longest: Duration,
) -> bool {
    let paused = *pause;
    *pause = (paused * 2).min(longest);
    tokio::select! {
        // It never changes: it is closed.
        _ = right.changed() => true,
        () = sleep(paused) => false,
    }
}
