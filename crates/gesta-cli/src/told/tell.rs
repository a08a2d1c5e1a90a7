//! Threads that append, each telling what it offers and what it was answered.

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
    log::{Place, Told},
    plan::{AppendId, Demand, Planned, Shape},
};
use crate::load::event_store::Parked;

/// Where lines go; each by one write.
pub(crate) type Say<'a> = &'a (dyn Fn(&Told) -> io::Result<()> + Sync);

/// Tells on standard output, without the lock on it, which the main thread holds.
pub(crate) fn say_on_output() -> io::Result<impl Fn(&Told) -> io::Result<()> + Sync> {
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(move |told: &Told| (&output).write_all(format!("{told}\n").as_bytes()))
}

/// Appends until it is killed, or until each thread has made so many appends, or the store takes
/// none any more.
pub(crate) fn tell(
    store: &dyn EventStore,
    shape: &Shape,
    appends_each: Option<u64>,
    say: Say<'_>,
) -> Result<()> {
    say(&Told::Life(shape.clone()))?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..shape.writers)
            .map(|writer| {
                scope.spawn(move || {
                    let parked = Parked::here();
                    Teller { store, shape, writer, parked, known: Position::START }
                        .go_on(appends_each.unwrap_or(u64::MAX), say)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a writer does not panic"))
    })
}

/// One thread.
struct Teller<'a> {
    store: &'a dyn EventStore,
    shape: &'a Shape,
    writer: u16,
    parked: Parked,
    /// Up to where it has looked.
    known: Position,
}

impl Teller<'_> {
    fn go_on(mut self, appends: u64, say: Say<'_>) -> Result<()> {
        let writer = self.writer;
        for number in 0..appends {
            let planned = self.shape.plan(AppendId { life: self.shape.life, writer, number })?;
            let append = self.append(&planned)?;
            say(&Told::Offer { writer, number })?;
            match self.parked.wait_for(self.store.append(append)) {
                Ok(appended) => {
                    self.known = self.known.max(appended.position);
                    say(&Told::Acknowledged { writer, number, place: place(&appended) })?;
                }
                Err(error) if error.is_definite() => {
                    say(&Told::Refused { writer, number })?;
                    if let StoreError::Stopped { .. } | StoreError::Corrupt(_) = error {
                        return Ok(());
                    }
                }
                Err(_) => say(&Told::Unknown { writer, number })?,
            }
        }
        Ok(())
    }

    /// The append with what it expects, as far as this thread knows the store.
    fn append(&mut self, planned: &Planned) -> Result<Append> {
        let mut append = Append::default();
        for (stream, _) in &planned.parts {
            let expected = match planned.demand {
                Demand::Nothing | Demand::TagUnused => ExpectedRevision::Any,
                Demand::Impossible => ExpectedRevision::Exact(Revision::new(u64::MAX - 1)),
                Demand::Revision => {
                    let described = self.store.describe_stream(stream);
                    let head = self.parked.wait_for(described)?.head;
                    head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
                }
            };
            let events = planned.events().filter(|(of, _)| *of == stream).map(|(_, event)| event);
            append = append.and(stream.clone(), expected, events);
        }
        if planned.demand != Demand::TagUnused {
            return Ok(append);
        }
        if self.known == Position::START {
            self.known = self.parked.wait_for(self.store.head())?.position;
        }
        let tagged = QueryItem::every().tagged([planned.tag.clone()]);
        Ok(append.with_condition(AppendCondition {
            none_matching: EventQuery::of(tagged),
            after: self.known,
        }))
    }
}

/// Where the answer says that an append is.
pub(crate) fn place(appended: &Appended) -> Place {
    Place {
        position: appended.position,
        revisions: appended.revisions.iter().map(|(_, revision)| *revision).collect(),
    }
}
