//! The index's part of a group, made while the device writes the group.
//!
//! Owns: a thread that puts the events of a group on its way where readers will find them, and when
//! that is over. To put them there takes a sixth of the driver's time, and nobody else has anything
//! to do meanwhile. Always holds: nothing of it is found before the group is published; whoever
//! publishes waits for what was begun, and does itself what was not. Not here: how events get into
//! the index ([`index`](crate::index)).

use std::{
    io,
    sync::{Arc, OnceLock, PoisonError},
};

use crate::{
    index::StagedMemtable,
    planted::{self, Bug},
    sync::{
        Condvar, Mutex, MutexGuard,
        thread::{self, JoinHandle},
    },
    writer::Placed,
};

/// For fewer appends it costs less to wait than to wake a thread. Schedules are for what threads do.
const APPENDS_MIN: usize = if cfg!(all(test, gesta_shuttle)) { 1 } else { 16 };

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Helper {
    /// Held by whoever works on it.
    bench: Mutex<Bench>,
    laid_there: Condvar,
    /// Set once a thread works here. A simulation has none, and nothing waits for its disk.
    helped: OnceLock<()>,
}

#[derive(Debug, Default)]
struct Bench {
    to_do: Option<Work>,
    /// Where what was done lies.
    done: Option<StagedMemtable>,
    closed: bool,
}

/// The appends of a group, and where they go.
#[derive(Debug)]
struct Work {
    ahead: StagedMemtable,
    placed: Arc<Placed>,
}

impl Work {
    fn done(self) -> StagedMemtable {
        self.ahead.insert(self.placed.appends());
        self.ahead
    }
}

impl Helper {
    /// Gives it its thread, which ends when it is [closed](Self::close).
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        self.helped.get_or_init(|| ());
        let helper = Arc::clone(self);
        let plant_there = planted::carry();
        thread::Builder::new().name("gesta-ahead".to_owned()).spawn(move || {
            plant_there();
            helper.help();
        })
    }

    fn help(&self) {
        let mut bench = self.lock();
        while !bench.closed {
            let Some(work) = bench.to_do.take() else {
                bench = self.laid_there.wait(bench).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if planted::is(Bug::AheadBesideThePublisher) {
                drop(bench);
                let done = work.done();
                bench = self.lock();
                bench.done = Some(done);
            } else {
                bench.done = Some(work.done());
            }
        }
    }

    /// Whether so many appends are worth giving.
    pub(crate) fn wants(&self, appends: usize) -> bool {
        !self.is_helped() || appends >= APPENDS_MIN
    }

    /// A group is about to be written, and this is where it goes.
    pub(crate) fn give(&self, ahead: StagedMemtable, placed: Arc<Placed>) {
        let work = Work { ahead, placed };
        if self.is_helped() {
            self.lock().to_do = Some(work);
            self.laid_there.notify_one();
        } else {
            self.lock().done = Some(work.done());
        }
    }

    fn is_helped(&self) -> bool {
        self.helped.get().is_some()
    }

    /// The group is durable: where its events lie, if they were put anywhere. Waits for whoever is
    /// about it.
    pub(crate) fn take(&self) -> Option<StagedMemtable> {
        let mut bench = self.bench.lock().expect("who was about it came to its end");
        bench.to_do = None;
        bench.done.take()
    }

    /// There will be nothing to do any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        if !planted::is(Bug::HelperNotToldOfTheEnd) {
            self.laid_there.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bench> {
        self.bench.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
