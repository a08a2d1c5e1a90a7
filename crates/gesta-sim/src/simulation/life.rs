//! One life of a store: from an opening to the crash that ends it.
//!
//! Owns: the engine, the attempts that wait for answers, the followers. Always holds: after the
//! engine was turned, answers are judged before anything else is asked.

use std::{fmt, future::Future, pin::Pin};

use gesta_log::{Engine, LogStore, Turn};
use gesta_store::{Append, Appended, Checkpoint, EventStore, StoreError};

use super::{
    follower::{Follower, Topic},
    poll::poll_once,
    reads::catch_up,
};
use crate::{
    chance::Chance,
    disk::SimDisk,
    model::{Attempt, Broken, Excuses, Honesty, Model, Verdict, demand},
};

const FOLLOWERS_MAX: usize = 3;

type Outcome = Pin<Box<dyn Future<Output = Result<Appended, StoreError>> + Send>>;

/// An attempt without an answer.
struct Waiting {
    attempt: Attempt,
    outcome: Outcome,
    /// Offered after a write had failed and the engine was told.
    too_late: bool,
}

/// An answer that came.
pub(crate) struct Answered {
    pub(crate) attempt: Attempt,
    pub(crate) answer: Result<Appended, StoreError>,
}

/// See the module.
pub(crate) struct Life {
    engine: Engine,
    store: LogStore,
    waiting: Vec<Waiting>,
    followers: Vec<Follower>,
    must_refuse: bool,
    doomed: bool,
}

impl Life {
    pub(crate) fn new(engine: Engine, store: LogStore) -> Self {
        let (waiting, followers) = (Vec::new(), Vec::new());
        Self { engine, store, waiting, followers, must_refuse: false, doomed: false }
    }

    pub(crate) const fn store(&self) -> &LogStore {
        &self.store
    }

    /// A crash has struck, which has to be carried out next.
    pub(crate) const fn doom(&mut self) {
        self.doomed = true;
    }

    pub(crate) const fn is_doomed(&self) -> bool {
        self.doomed
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// Offers an append; it is queued when this returns.
    pub(crate) fn offer(&mut self, append: Append, attempt: Attempt) {
        let store = self.store.clone();
        let outcome = Box::pin(async move { store.append(append).await });
        self.waiting.push(Waiting { attempt, outcome, too_late: self.must_refuse });
        self.ask_last();
    }

    /// A future does nothing before it is polled.
    fn ask_last(&mut self) {
        let Some(mut last) = self.waiting.pop() else { return };
        let early = poll_once(last.outcome.as_mut());
        if let Some(answer) = early {
            last.outcome = Box::pin(std::future::ready(answer)); // judged with the others
        }
        self.waiting.push(last);
    }

    /// Forgets an attempt without cancelling it.
    pub(crate) fn give_up_one(&mut self, chance: &mut Chance) {
        if !self.waiting.is_empty() {
            let place = chance.below(self.waiting.len());
            drop(self.waiting.swap_remove(place));
        }
    }

    /// Lets the engine put some of its index into files.
    pub(crate) fn file_some(&mut self, disk: &SimDisk) -> bool {
        disk.while_filing(|| self.engine.file_some())
    }

    /// Turns the engine, and judges what it answered.
    pub(crate) fn turn(
        &mut self,
        model: &mut Model,
        disk: &SimDisk,
    ) -> Verdict<(Turn, Vec<Answered>)> {
        let write_had_failed = disk.write_has_failed();
        let turn = self.engine.turn();
        self.must_refuse |= write_had_failed;
        let excuses = Excuses {
            disk_failed: disk.has_failed(),
            write_failed: disk.write_has_failed(),
            damaged: disk.is_damaged(),
        };
        let answers = self.judge(model, excuses)?;
        Ok((turn, answers))
    }

    fn judge(&mut self, model: &mut Model, excuses: Excuses) -> Verdict<Vec<Answered>> {
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for mut asked in std::mem::take(&mut self.waiting) {
            match poll_once(asked.outcome.as_mut()) {
                Some(answer) => answers.push((asked.attempt, asked.too_late, answer)),
                None => waiting.push(asked),
            }
        }
        self.waiting = waiting;
        if !answers.is_empty() {
            catch_up(&self.store, model)?;
        }
        let mut judged = Vec::new();
        for (attempt, too_late, answer) in answers {
            let sound = model.honesty(attempt.offer) == Honesty::Sound;
            demand(!(too_late && answer.is_ok() && sound && attempt.is_first()), || {
                format!("append {} was accepted after a write had failed", attempt.offer)
            })?;
            model.answered(attempt, &answer, excuses)?;
            judged.push(Answered { attempt, answer });
        }
        Ok(judged)
    }

    /// Adds a follower; the oldest goes where there are too many.
    pub(crate) fn follow(&mut self, topic: Topic, checkpoint: Checkpoint) {
        if self.followers.len() == FOLLOWERS_MAX {
            self.followers.remove(0);
        }
        self.followers.push(Follower::subscribe(&self.store, topic, checkpoint));
    }

    /// Lets one of the followers listen.
    pub(crate) fn listen(&mut self, model: &mut Model, chance: &mut Chance) -> Verdict {
        catch_up(&self.store, model)?;
        let follower = chance.below(self.followers.len());
        let deliveries_max = chance.pick(&[1, 4, 100]);
        match self.followers.get_mut(follower) {
            Some(follower) => follower.listen(model.history(), deliveries_max),
            None => Ok(()),
        }
    }

    /// Closes the store; the engine has to be turned until it has ended.
    pub(crate) fn close(self) -> Closing {
        Closing { engine: self.engine }
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("unanswered", &self.unanswered()).finish_non_exhaustive()
    }
}

/// A store that nobody uses any more.
#[derive(Debug)]
pub(crate) struct Closing {
    engine: Engine,
}

impl Closing {
    /// Turns the engine until it has ended.
    pub(crate) fn finish(mut self, mut step: impl FnMut()) -> Verdict {
        for _ in 0..CLOSING_TURNS_MAX {
            if matches!(self.engine.turn(), Turn::Ended) {
                return Ok(());
            }
            step();
        }
        Err(Broken("the engine did not end though nobody used it any more".to_owned()))
    }
}

const CLOSING_TURNS_MAX: usize = 1_000;
