//! The store's own appends of the events that the framework writes, by threads and by tasks.
//!
//! Invariant: an event has the data and metadata of an event that the framework wrote, and as many
//! related ids of the same length. Not here: the framework.

use std::{future::Future, thread};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use gesta_store::{
    Append, CausationId, CorrelationId, EventId, EventType, ExpectedRevision, NewEvent,
    RecordedEvent, StreamName,
};
use tokio::{runtime::Runtime, task::JoinSet};

use super::{
    accounts::{account_name, random_id, stream_of},
    rounds::{Rate, Turn},
};
use crate::load::{
    event_store::{ThreadStore, ThreadWaker},
    workload::Random,
};

/// An event to append copies of.
#[derive(Clone, Debug)]
pub struct Template {
    event_type: EventType,
    data: Bytes,
    metadata: Bytes,
}

impl Template {
    pub fn of(event: &RecordedEvent) -> Self {
        Self {
            event_type: event.event_type.clone(),
            data: event.data.clone(),
            metadata: event.metadata.clone(),
        }
    }

    /// Returns the number of bytes of data and metadata.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.metadata.len()
    }

    /// Returns the append of a copy to a new stream.
    fn append(&self, random: &mut Random, stream: StreamName) -> Result<Append> {
        let related = random_id(random).to_string();
        let id = EventId::from(random_id(random));
        let event = NewEvent::json(id, self.event_type.clone(), self.data.clone())
            .metadata(self.metadata.clone())
            .correlation_id(CorrelationId::new(related.as_str())?)
            .causation_id(CausationId::new(related)?);
        Ok(Append::to(stream, ExpectedRevision::NoStream, [event]))
    }
}

/// The writers of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    pub count: u64,
    /// Duration of the turn in nanoseconds.
    pub nanos: u64,
}

/// Appends from one thread for each writer.
pub fn by_threads<Store: ThreadStore>(
    store: &Store,
    template: &Template,
    writers: Writers,
) -> Result<Rate> {
    let turn = Turn::start();
    let append_some = |writer: u64| {
        let (parked, mut random) = (ThreadWaker::current(), Random::of_seed(writer));
        let mut appended = 0;
        while turn.stopwatch().nanos() < writers.nanos {
            let append = template.append(&mut random, new_stream(writer, appended)?)?;
            store.append_blocking(append, &parked)?;
            appended += 1;
        }
        Ok(appended)
    };
    let appended: Result<u64> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..writers.count).map(|writer| scope.spawn(move || append_some(writer))).collect();
        threads.into_iter().map(|one| one.join().expect("a writer does not panic")).sum()
    });
    Ok(turn.rate(appended?))
}

/// Appends from one task for each writer.
pub fn by_tasks<Store: ThreadStore + Clone + 'static>(
    runtime: &Runtime,
    store: &Store,
    template: &Template,
    writers: Writers,
) -> Result<Rate> {
    let turn = Turn::start();
    let appended = runtime.block_on(on_tasks(writers.count, |writer| {
        let (store, template) = (store.clone(), template.clone());
        async move {
            let mut random = Random::of_seed(writer);
            let mut appended = 0;
            while turn.stopwatch().nanos() < writers.nanos {
                let append = template.append(&mut random, new_stream(writer, appended)?)?;
                store.append(append).await?;
                appended += 1;
            }
            Ok(appended)
        }
    }))?;
    Ok(turn.rate(appended.into_iter().sum()))
}

fn new_stream(writer: u64, nth: u64) -> Result<StreamName> {
    stream_of(&new_account(writer, nth))
}

/// Returns the name of an account that no other writer opens.
pub fn new_account(writer: u64, nth: u64) -> String {
    format!("{}-{nth}", account_name(writer))
}

/// Runs one task for each number and returns what they return.
pub async fn on_tasks<T, Work>(count: u64, work: impl Fn(u64) -> Work) -> Result<Vec<T>>
where
    T: Send + 'static,
    Work: Future<Output = Result<T>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    (0..count).for_each(|number| drop(tasks.spawn(work(number))));
    let mut ended = Vec::new();
    while let Some(task) = tasks.join_next().await {
        ended.push(task.context("a task panicked")??);
    }
    Ok(ended)
}
