//! Who turns the engine of a store on a real disk.
//!
//! Owns: the engine's thread, and the drive of a thread that appends. Always holds: whoever sits in
//! the seat of the [`mailbox`](crate::mailbox) is the only one to touch the engine; a driver that
//! panics takes the engine with it, which answers everybody who waits. Not here: what a turn does
//! ([`engine`](crate::engine)).

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use gesta_store::StoreError;

use crate::{
    answers::{Answered, Waiting},
    clock::Clock,
    engine::{Engine, Turn},
    mailbox::Mailbox,
    planted,
    sync::{
        Mutex, MutexGuard,
        thread::{self, JoinHandle},
    },
};

/// So long a thread that appends drives on for others who keep coming, though it has its answer: to
/// hand over costs more than to go on.
const DRIVE_ON_MAX: Duration = Duration::from_millis(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Drive {
    /// Until it has ended. Never contended: the seat comes first.
    engine: Mutex<Option<Engine>>,
    mailbox: Arc<Mailbox>,
    clock: Arc<dyn Clock>,
}

impl Drive {
    /// Turns an engine on a thread of its own, and on those that append and find the seat free.
    pub(crate) fn start(engine: Engine) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let (mailbox, clock) = (Arc::clone(engine.mailbox()), engine.clock());
        let drive = Arc::new(Self { engine: Mutex::new(Some(engine)), mailbox, clock });
        let plant_there = planted::carry();
        let drives = Arc::clone(&drive);
        let thread = thread::Builder::new().name("gesta-writer".to_owned()).spawn(move || {
            plant_there();
            drives.drive_when_needed();
        })?;
        Ok((drive, thread))
    }

    /// The thread of the engine.
    fn drive_when_needed(&self) {
        let mut awake = Duration::ZERO;
        loop {
            self.mailbox.wait_for_seat(&*self.clock, awake);
            let mut seat = Seat::of(self);
            loop {
                let Some(engine) = seat.engine() else { return };
                let turn = engine.turn();
                if turn == Turn::Ended {
                    return seat.end_engine();
                }
                awake = engine.awake();
                if !engine.is_under_way() {
                    seat.turn = turn;
                    break;
                }
                self.wait(turn, awake);
            }
        }
    }

    /// A thread that sits in the seat already: goes on until its answer is there.
    pub(crate) fn drive_until(&self, waiting: &Waiting) -> Answered {
        let mut seat = Seat::of(self);
        let begun = self.clock.elapsed();
        loop {
            let Some(engine) = seat.engine() else {
                return Err(StoreError::Stopped { reason: "its engine has failed".to_owned() });
            };
            let turn = engine.turn_while(|| {
                !waiting.is_answered() || self.clock.elapsed() < begun + DRIVE_ON_MAX
            });
            if let Some(answer) = waiting.answer() {
                seat.turn = turn;
                return answer;
            }
            let awake = engine.awake();
            self.wait(turn, awake);
        }
    }

    fn wait(&self, turn: Turn, awake: Duration) {
        let at_most = match turn {
            Turn::At(time) => Some(time.saturating_sub(self.clock.elapsed())),
            Turn::Wait | Turn::Ended => None,
        };
        self.mailbox.wait(&*self.clock, at_most, awake);
    }
}

/// The engine, while somebody sits in the seat.
struct Seat<'a> {
    drive: &'a Drive,
    engine: Option<MutexGuard<'a, Option<Engine>>>,
    /// What the last turn said.
    turn: Turn,
}

impl<'a> Seat<'a> {
    fn of(drive: &'a Drive) -> Self {
        let engine = drive.engine.lock().unwrap_or_else(PoisonError::into_inner);
        Self { drive, engine: Some(engine), turn: Turn::Wait }
    }

    /// None once it has ended.
    fn engine(&mut self) -> Option<&mut Engine> {
        self.engine.as_mut()?.as_mut()
    }

    fn end_engine(&mut self) {
        if let Some(engine) = &mut self.engine {
            **engine = None;
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.end_engine();
        }
        // Before the seat is free, so that nobody who takes it waits for the engine.
        self.engine = None;
        let due = match self.turn {
            Turn::At(time) => Some(time),
            Turn::Wait | Turn::Ended => None,
        };
        self.drive.mailbox.leave_seat(due);
    }
}
