//! Recording: threads that append and log each append and its outcome.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
    thread,
};

use anyhow::Result;
use gesta_store::{
    Append, AppendCondition, Appended, EventQuery, EventStore, ExpectedRevision, Position,
    QueryItem, Revision, StoreError,
};

use super::{
    log::{AppendPlace, LogEntry},
    plan::{AppendId, Expectation, PlannedAppend, Shape},
};
use crate::load::event_store::ThreadWaker;

/// Destination of log entries. Each entry must be one write.
pub type LogSink<'a> = &'a (dyn Fn(&LogEntry) -> io::Result<()> + Sync);

/// Returns a sink to standard output that bypasses its lock, which the main thread holds.
pub fn stdout_sink() -> io::Result<impl Fn(&LogEntry) -> io::Result<()> + Sync> {
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(move |entry: &LogEntry| (&output).write_all(format!("{entry}\n").as_bytes()))
}

/// Appends until the process is killed, each thread has made `appends_each` appends, or the store
/// stops.
pub fn record(
    store: &dyn EventStore,
    shape: &Shape,
    appends_each: Option<u64>,
    log: LogSink<'_>,
) -> Result<()> {
    log(&LogEntry::Life(shape.clone()))?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..shape.writers)
            .map(|writer| {
                scope.spawn(move || {
                    let parked = ThreadWaker::current();
                    Recorder { store, shape, writer, parked, known: Position::START }
                        .run(appends_each.unwrap_or(u64::MAX), log)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a writer does not panic"))
    })
}

/// State of one appending thread.
struct Recorder<'a> {
    store: &'a dyn EventStore,
    shape: &'a Shape,
    writer: u16,
    parked: ThreadWaker,
    /// Position up to which the thread knows the store.
    known: Position,
}

impl Recorder<'_> {
    fn run(mut self, appends: u64, log: LogSink<'_>) -> Result<()> {
        let writer = self.writer;
        for number in 0..appends {
            let planned = self.shape.plan(AppendId { life: self.shape.life, writer, number })?;
            let append = self.append(&planned)?;
            log(&LogEntry::Offer { writer, number })?;
            match self.parked.block_on(self.store.append(append)) {
                Ok(appended) => {
                    self.known = self.known.max(appended.position);
                    log(&LogEntry::Acknowledged { writer, number, place: place(&appended) })?;
                }
                Err(error) if error.is_definite() => {
                    log(&LogEntry::Refused { writer, number })?;
                    if let StoreError::Stopped { .. } | StoreError::Corrupt(_) = error {
                        return Ok(());
                    }
                }
                Err(_) => log(&LogEntry::Unknown { writer, number })?,
            }
        }
        Ok(())
    }

    /// Adds expected revisions and conditions to a planned append, from the current state of the
    /// store.
    fn append(&mut self, planned: &PlannedAppend) -> Result<Append> {
        let mut append = Append::default();
        for (stream, _) in &planned.parts {
            let expected = match planned.demand {
                Expectation::Nothing | Expectation::TagUnused => ExpectedRevision::Any,
                Expectation::Impossible => ExpectedRevision::Exact(Revision::new(u64::MAX - 1)),
                Expectation::Revision => {
                    let described = self.store.describe_stream(stream);
                    let head = self.parked.block_on(described)?.head;
                    head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
                }
            };
            let events = planned.events().filter(|(of, _)| *of == stream).map(|(_, event)| event);
            append = append.and(stream.clone(), expected, events);
        }
        if planned.demand != Expectation::TagUnused {
            return Ok(append);
        }
        if self.known == Position::START {
            self.known = self.parked.block_on(self.store.head())?.position;
        }
        let tagged = QueryItem::every().tagged([planned.tag.clone()]);
        Ok(append.with_condition(AppendCondition {
            none_matching: EventQuery::of(tagged),
            after: self.known,
        }))
    }
}

/// Returns the place of an acknowledged append.
pub fn place(appended: &Appended) -> AppendPlace {
    AppendPlace {
        position: appended.position,
        revisions: appended.revisions.iter().map(|(_, revision)| *revision).collect(),
    }
}
