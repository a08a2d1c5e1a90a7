//! Turns: commands of one program that decide on the same thing run one after the other.
//!
//! Owns: [`Turns`], a first-come-first-served queue for each stream and each tag that a command
//! decides on. Invariants:
//! - a command takes the queues of its boundary in the order of their keys, so no two commands wait
//!   for each other;
//! - a waiting command that is dropped leaves no trace, and a queue without commands is freed;
//! - correctness rests on the append's conditions alone. The queues only keep commands of one
//!   program from making each other decide again.
//!
//! A stream that a kind of command lately only read is held shared, so that, for example, all
//! orders of one popular product still run side by side. Not here: conflicts with other programs
//! (the retries).

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::{StreamName, Tag};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::CommandRequest;
use crate::{BoundaryRead, CommandError, Receipt};

/// The number of commands of a kind in a row that only read a place of their boundary before that
/// place is held shared.
const READS_BEFORE_SHARED: u8 = 3;

/// The places of a boundary whose use is remembered; places beyond it share the last entry.
const PLACES_MAX: usize = 16;

/// The queues of a program.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: Mutex<HashMap<Key, Queue>>,
    /// By the name of a command and a place of its boundary: the number of executions that may
    /// still only read before the place is held shared.
    habits: Mutex<HashMap<(&'static str, usize), u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Stream(StreamName),
    Tag(Tag),
}

#[derive(Debug, Default)]
struct Queue {
    /// Fair: those who wait get it in the order in which they came.
    lock: Arc<RwLock<()>>,
    /// The commands that hold it or wait for it.
    commands: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Shared,
    Exclusive,
}

/// The queues that a command takes, in the order of their keys.
#[derive(Debug)]
pub(super) struct Plan {
    command: &'static str,
    streams: Vec<(usize, StreamName)>,
    holds: Vec<(Key, Hold)>,
}

impl Plan {
    /// Returns whether other commands of this program may run on a part of the boundary meanwhile.
    pub(super) fn is_shared(&self) -> bool {
        self.holds.iter().any(|(_, hold)| *hold == Hold::Shared)
    }

    /// Excludes all other commands of this program.
    pub(super) fn exclusive(mut self) -> Self {
        self.holds.iter_mut().for_each(|(_, hold)| *hold = Hold::Exclusive);
        self
    }
}

/// The right to decide on a boundary, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _places: Vec<Place>,
}

impl Turns {
    /// Plans the queues of a command.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when the command's ids make no boundary.
    pub(super) fn plan(&self, request: &CommandRequest) -> Result<Plan, CommandError> {
        let reads = request.erased().begin()?.reads();
        let command = request.name();
        let habits = lock(&self.habits);
        let mut plan = Plan { command, streams: Vec::new(), holds: Vec::new() };
        for (place, read) in reads.into_iter().enumerate() {
            match read {
                BoundaryRead { stream, tagged: None } => {
                    let place = place.min(PLACES_MAX - 1);
                    let lately_wrote = habits.get(&(command, place)).is_none_or(|left| *left > 0);
                    let hold = if lately_wrote { Hold::Exclusive } else { Hold::Shared };
                    plan.streams.push((place, stream.clone()));
                    plan.holds.push((Key::Stream(stream), hold));
                }
                // The event that makes a tag's rule true has the tag, in whichever stream it is.
                BoundaryRead { tagged: Some(query), .. } => {
                    let tags = query.items().iter().flat_map(|item| item.tags());
                    let keys = tags.map(|tag| (Key::Tag(tag.clone()), Hold::Exclusive));
                    plan.holds.extend(keys);
                }
            }
        }
        drop(habits);
        plan.holds.sort_by(|(one, _), (other, _)| one.cmp(other));
        plan.holds.dedup_by(|(one, _), (other, _)| one == other);
        Ok(plan)
    }

    /// Waits for the turn of a command.
    pub(super) async fn take(self: &Arc<Self>, plan: &Plan) -> Turn {
        let mut places = Vec::with_capacity(plan.holds.len());
        for (key, hold) in &plan.holds {
            places.push(self.enter(key).wait(*hold).await);
        }
        Turn { _places: places }
    }

    /// Remembers which streams of its boundary a command wrote to.
    pub(super) fn learn(&self, plan: &Plan, receipt: &Receipt) {
        let mut habits = lock(&self.habits);
        for (place, stream) in &plan.streams {
            let wrote = receipt.revision_of(stream).is_some();
            let left = habits.entry((plan.command, *place)).or_insert(READS_BEFORE_SHARED);
            *left = if wrote { READS_BEFORE_SHARED } else { left.saturating_sub(1) };
        }
    }

    fn enter(self: &Arc<Self>, key: &Key) -> Place {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(key.clone()).or_default();
        queue.commands += 1;
        let lock = Arc::clone(&queue.lock);
        Place { turns: Arc::clone(self), key: key.clone(), lock, guard: None }
    }

    fn leave(&self, key: &Key) {
        let mut queues = lock(&self.queues);
        let Some(queue) = queues.get_mut(key) else { return };
        queue.commands -= 1;
        if queue.commands == 0 {
            queues.remove(key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command's place in one queue.
#[derive(Debug)]
struct Place {
    turns: Arc<Turns>,
    key: Key,
    lock: Arc<RwLock<()>>,
    guard: Option<Guard>,
}

#[derive(Debug)]
enum Guard {
    Shared(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Exclusive(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

impl Place {
    async fn wait(mut self, hold: Hold) -> Self {
        let queue = Arc::clone(&self.lock);
        self.guard = Some(match hold {
            Hold::Shared => Guard::Shared(queue.read_owned().await),
            Hold::Exclusive => Guard::Exclusive(queue.write_owned().await),
        });
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guard = None;
        self.turns.leave(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn plan(holds: &[(&str, Hold)]) -> Plan {
        let key = |name: &str| Key::Stream(StreamName::new(name).unwrap());
        let holds = holds.iter().map(|(name, hold)| (key(name), *hold)).collect();
        Plan { command: "test", streams: Vec::new(), holds }
    }

    /// The turn, if it comes without waiting for another command.
    fn at_once(turns: &Arc<Turns>, plan: &Plan) -> Option<Turn> {
        let mut take = pin!(turns.take(plan));
        match take.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_stream_is_decided_on_by_one_command_at_a_time_and_others_run_beside_it() {
        let turns = Arc::new(Turns::default());
        let held = at_once(&turns, &plan(&[("a-1", Hold::Exclusive)])).unwrap();
        assert!(at_once(&turns, &plan(&[("a-1", Hold::Exclusive)])).is_none());
        assert!(at_once(&turns, &plan(&[("a-1", Hold::Shared)])).is_none());
        assert!(at_once(&turns, &plan(&[("a-2", Hold::Exclusive)])).is_some());
        drop(held);
        assert!(at_once(&turns, &plan(&[("a-1", Hold::Exclusive)])).is_some());
    }

    #[test]
    fn commands_that_only_read_a_stream_run_side_by_side() {
        let turns = Arc::new(Turns::default());
        let reads = || plan(&[("a-1", Hold::Shared)]);
        let held = at_once(&turns, &reads()).unwrap();
        assert!(at_once(&turns, &reads()).is_some());
        assert!(at_once(&turns, &reads().exclusive()).is_none());
        drop(held);
    }

    #[test]
    fn a_command_that_gave_up_waiting_leaves_no_trace() {
        let turns = Arc::new(Turns::default());
        let both = plan(&[("a-1", Hold::Exclusive), ("a-2", Hold::Exclusive)]);
        let held = at_once(&turns, &plan(&[("a-2", Hold::Exclusive)])).unwrap();
        assert!(at_once(&turns, &both).is_none(), "it waits for the second stream");
        assert!(at_once(&turns, &plan(&[("a-1", Hold::Exclusive)])).is_some(), "and let go");
        drop(held);
        assert!(at_once(&turns, &both).is_some());
        assert!(lock(&turns.queues).is_empty(), "idle queues are freed");
    }
}
