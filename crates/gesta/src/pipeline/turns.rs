//! Turns: commands of one program on the same boundary run one after the other.
//!
//! Owns: [`Turns`], a first-come-first-served queue for each stream, tag and event type that a
//! command decides on. Invariants:
//! - a command enters the queues of its boundary in the order of their keys, so deadlock is
//!   impossible;
//! - dropping a waiting command removes it, and a queue without commands is freed;
//! - correctness rests on append conditions alone. The queues only avoid repeated decisions within
//!   one program.
//!
//! A stream that a kind of command has recently only read is held shared: all orders of one popular
//! product, for example, still run concurrently. Not here: conflicts with other programs (the
//! retries).

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::{EventType, QueryItem, StreamName, Tag};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::CommandRequest;
use crate::{BoundaryRead, CommandError, Receipt};

/// Number of consecutive executions of a kind of command that only read a place of their boundary,
/// after which the place is held shared.
const READS_BEFORE_SHARED: u8 = 3;

/// Maximum number of streams and tags of a boundary that have statistics of their own. Any further
/// ones share the last entry.
const PLACES_MAX: usize = 16;

/// The queues of a program.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: Mutex<HashMap<Key, TurnQueue>>,
    /// For each command name and place of its boundary: the number of further read-only executions
    /// before the place is held shared.
    habits: Mutex<HashMap<(&'static str, usize), u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Stream(StreamName),
    Tag(Tag),
    EventType(EventType),
}

#[derive(Debug, Default)]
struct TurnQueue {
    /// Fair: waiters acquire it in the order of arrival.
    lock: Arc<RwLock<()>>,
    /// Number of commands that hold the lock or wait for it.
    commands: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Shared,
    Exclusive,
}

/// Returns the tags of a query's item or, without any, its types.
fn keys_of(item: &QueryItem) -> Vec<Key> {
    match item.tags() {
        [] => item.types().iter().cloned().map(Key::EventType).collect(),
        tags => tags.iter().cloned().map(Key::Tag).collect(),
    }
}

/// The queues that a command enters, in the order of their keys.
#[derive(Debug)]
pub(super) struct Plan {
    command: &'static str,
    streams: Vec<(usize, StreamName)>,
    holds: Vec<(Key, Hold)>,
}

impl Plan {
    /// Returns whether a part of the boundary is held shared with other commands of this program.
    pub(super) fn is_shared(&self) -> bool {
        self.holds.iter().any(|(_, hold)| *hold == Hold::Shared)
    }

    /// Holds the whole boundary exclusively.
    pub(super) fn exclusive(mut self) -> Self {
        self.holds.iter_mut().for_each(|(_, hold)| *hold = Hold::Exclusive);
        self
    }
}

/// The right to decide on a boundary, released on drop.
#[derive(Debug)]
pub(super) struct Turn {
    _places: Vec<QueueTicket>,
}

impl Turns {
    /// Plans the queues of a command.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] if the command's ids do not form a boundary.
    pub(super) fn plan(&self, request: &CommandRequest) -> Result<Plan, CommandError> {
        let reads = request.erased().begin()?.reads();
        let command = request.name();
        let habits = lock(&self.habits);
        let mut plan = Plan { command, streams: Vec::new(), holds: Vec::new() };
        for (place, read) in reads.into_iter().enumerate() {
            match read {
                BoundaryRead { stream, query: None } => {
                    let place = place.min(PLACES_MAX - 1);
                    // Unknown commands count as writers: exclusive is always safe.
                    let lately_wrote = habits.get(&(command, place)).is_none_or(|left| *left > 0);
                    let hold = if lately_wrote { Hold::Exclusive } else { Hold::Shared };
                    plan.streams.push((place, stream.clone()));
                    plan.holds.push((Key::Stream(stream), hold));
                }
                // Hold the tags, not the stream: an event with the tag may be in any stream.
                BoundaryRead { query: Some(query), .. } => {
                    let keys = query.items().iter().flat_map(keys_of);
                    plan.holds.extend(keys.map(|key| (key, Hold::Exclusive)));
                }
            }
        }
        drop(habits);
        // One global order of keys for all commands rules out deadlock.
        plan.holds.sort_by(|(one, _), (other, _)| one.cmp(other));
        plan.holds.dedup_by(|(one, _), (other, _)| one == other);
        Ok(plan)
    }

    /// Waits for the turn of a command.
    pub(super) async fn take(self: &Arc<Self>, plan: &Plan) -> Turn {
        let mut places = Vec::with_capacity(plan.holds.len());
        // If this future is dropped while waiting, the tickets so far are released on drop.
        for (key, hold) in &plan.holds {
            places.push(self.enter(key).wait(*hold).await);
        }
        Turn { _places: places }
    }

    /// Records the streams of its boundary that a command wrote to.
    pub(super) fn learn(&self, plan: &Plan, receipt: &Receipt) {
        let mut habits = lock(&self.habits);
        for (place, stream) in &plan.streams {
            let wrote = receipt.revision_of(stream).is_some();
            let left = habits.entry((plan.command, *place)).or_insert(READS_BEFORE_SHARED);
            *left = if wrote { READS_BEFORE_SHARED } else { left.saturating_sub(1) };
        }
    }

    fn enter(self: &Arc<Self>, key: &Key) -> QueueTicket {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(key.clone()).or_default();
        queue.commands += 1;
        let lock = Arc::clone(&queue.lock);
        QueueTicket { turns: Arc::clone(self), key: key.clone(), lock, guard: None }
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

/// A command's entry in one queue.
#[derive(Debug)]
struct QueueTicket {
    turns: Arc<Turns>,
    key: Key,
    lock: Arc<RwLock<()>>,
    guard: Option<QueueGuard>,
}

#[derive(Debug)]
enum QueueGuard {
    Shared(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Exclusive(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

impl QueueTicket {
    async fn wait(mut self, hold: Hold) -> Self {
        let queue = Arc::clone(&self.lock);
        self.guard = Some(match hold {
            Hold::Shared => QueueGuard::Shared(queue.read_owned().await),
            Hold::Exclusive => QueueGuard::Exclusive(queue.write_owned().await),
        });
        self
    }
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        // Release the lock before the count, so that a freed queue has no holder.
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

    /// Returns the turn if it is available immediately.
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
