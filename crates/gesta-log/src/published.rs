//! What readers may see: the index, the latest bytes, and how far the log is published.
//!
//! Owns: the state that the writer publishes into and everybody reads from. Always holds: nothing
//! in it that is not durable; a publication appears whole. Not here: what is being written.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use gesta_store::{Damage, Direction, Incarnation, Position};

use crate::{
    format::{Frame, Seed},
    index::{Index, Location, OffsetOverrides, Run, RunContext, StagedMemtable},
    planted::{self, Bug},
    sync::{AtomicU64, Mutex, Ordering, RwLock, RwLockReadGuard},
    writer::Placed,
};

/// How far the last event's recorded time may be ahead of the clock before somebody should look.
pub(crate) const RECORDED_AHEAD_MAX: Duration = Duration::from_secs(60);

/// The durable result of one group.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) segment: u64,
    pub(crate) seed: Seed,
    /// Where the bytes begin in the segment.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    pub(crate) placed: Arc<Placed>,
}

/// What a group will publish if it becomes durable.
#[derive(Debug)]
pub(crate) struct ToCome {
    pub(crate) segment: u64,
    pub(crate) placed: Arc<Placed>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Published {
    state: RwLock<State>,
    /// How often files that readers may be using were replaced by others.
    replaced: AtomicU64,
    wakers: Mutex<Wakers>,
    /// What refuses writes, from the opening on.
    pub(crate) damage: Vec<Damage>,
    /// Each incarnation with its first position; at least one.
    lives: RwLock<Vec<(Incarnation, Position)>>,
}

/// The index and the tail, under one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) tail: Tail,
}

#[derive(Debug, Default)]
struct Wakers {
    /// By the number of the subscription.
    waiting: HashMap<u64, Waker>,
    subscriptions: u64,
    closed: bool,
}

impl Published {
    pub(crate) fn new(
        index: Index,
        damage: Vec<Damage>,
        lives: Vec<(Incarnation, Position)>,
        tail_bytes_max: usize,
    ) -> Self {
        let tail = Tail { groups: VecDeque::new(), bytes: 0, bytes_max: tail_bytes_max };
        Self {
            state: RwLock::new(State { index, tail }),
            replaced: AtomicU64::new(0),
            wakers: Mutex::default(),
            damage,
            lives: RwLock::new(lives),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index as of now.
    pub(crate) fn index(&self) -> Index {
        self.read().index.clone()
    }

    /// Where the events of a group that is on its way can be put already.
    pub(crate) fn ahead(&self, to_come: &ToCome) -> Option<StagedMemtable> {
        self.read().index.staged_memtable(to_come.segment, to_come.placed.first())
    }

    /// Shows a group to readers; `ahead` says where its events were put already.
    pub(crate) fn publish(&self, publication: &Publication, ahead: Option<&StagedMemtable>) {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.tail.push(publication);
            let placed = &publication.placed;
            match ahead {
                Some(ahead) => state.index.publish_staged(ahead, placed.appends().flatten()),
                None => {
                    for entries in placed.appends() {
                        state.index.insert(publication.segment, publication.seed, entries);
                    }
                }
            }
        }
        self.wake();
    }

    /// Puts a run in the place of what it covers.
    pub(crate) fn put_run(&self, context: &Arc<RunContext>, run: Arc<Run>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = state.index.put_run(context, run);
        self.replaced.fetch_add(1, Ordering::Release);
        drop(state);
        drop(replaced);
    }

    /// Puts a run into the place of the one of the same name: `swap` does so on disk.
    pub(crate) fn swap_run<E>(
        &self,
        context: &Arc<RunContext>,
        run: Run,
        swap: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        swap()?;
        let replaced = state.index.put_run(context, Arc::new(run));
        self.replaced.fetch_add(1, Ordering::Release);
        drop(state);
        drop(replaced);
        Ok(())
    }

    /// Puts a rewritten segment into the place of the one before: `swap` does so on disk. Whoever
    /// read the one after having looked into the index for the other is told by
    /// [`replaced`](Self::replaced).
    pub(crate) fn swap_segment<E>(
        &self,
        patch: &Arc<OffsetOverrides>,
        swap: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        swap()?;
        state.index.override_offsets(patch);
        state.tail.forget(patch.covered.number);
        if !planted::is(Bug::ReplacedInSilence) {
            self.replaced.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// How often files were replaced that readers may have been using. What was replaced before this
    /// is asked is seen in the index after.
    pub(crate) fn replaced(&self) -> u64 {
        let state = self.read();
        let replaced = self.replaced.load(Ordering::Acquire);
        drop(state);
        replaced
    }

    /// Everything was looked at anew, because another process replaced files.
    pub(crate) fn renew(&self, index: Index, lives: Vec<(Incarnation, Position)>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.index = index;
        self.replaced.fetch_add(1, Ordering::Release);
        drop(state);
        *self.lives.write().unwrap_or_else(PoisonError::into_inner) = lives;
        self.wake();
    }

    /// The last published position.
    pub(crate) fn head(&self) -> Position {
        self.read().index.head()
    }

    /// The last position that a read may ask for: of an event, or of one that damage took.
    pub(crate) fn last_position(&self) -> Position {
        let taken = self.damage.iter().map(|damage| match &damage.positions {
            Some(positions) => *positions.end(),
            None => Position::MAX,
        });
        taken.fold(self.head(), Position::max)
    }

    /// The first damage that took events a read would meet, from `at` on in this direction; with
    /// the nearest position that is missing. Damage of unknown extent is met after everything else.
    pub(crate) fn damage_from(
        &self,
        at: Position,
        direction: Direction,
    ) -> Option<(Position, &Damage)> {
        let met = self.damage.iter().filter_map(|damage| {
            let taken = damage.positions.clone().unwrap_or(Position::MAX..=Position::MAX);
            match direction {
                Direction::Forwards => {
                    (*taken.end() >= at).then(|| ((*taken.start()).max(at), damage))
                }
                Direction::Backwards => {
                    (*taken.start() <= at).then(|| ((*taken.end()).min(at), damage))
                }
            }
        });
        match direction {
            Direction::Forwards => met.min_by_key(|(position, _)| *position),
            Direction::Backwards => met.max_by_key(|(position, _)| *position),
        }
    }

    /// The first damage after a position that took events which the index does not know either: what is
    /// derived from the index alone may lack something.
    pub(crate) fn lost_after(&self, after: Position) -> Option<&Damage> {
        let later = self.damage.iter().filter(|damage| {
            damage.positions.as_ref().is_none_or(|positions| *positions.end() > after)
        });
        let state = self.read();
        let mut lost = later.filter(|damage| {
            damage.positions.as_ref().is_none_or(|positions| !state.index.covers(positions))
        });
        lost.next()
    }

    /// Adds what a frame says whose bytes are on disk only.
    pub(crate) fn add(&self, segment: u64, seed: Seed, frame: &Frame) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.index.insert_frame(segment, seed, frame);
        drop(state);
        self.wake();
    }

    fn lives(&self) -> RwLockReadGuard<'_, Vec<(Incarnation, Position)>> {
        self.lives.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.lives().last().expect("a store has at least one life").0
    }

    /// Another process began a segment of this life. What was made up for an empty store is
    /// forgotten.
    pub(crate) fn learn_life(&self, life: Incarnation, first: Position) {
        let empty = self.head() == Position::START;
        let mut lives = self.lives.write().unwrap_or_else(PoisonError::into_inner);
        if empty {
            lives.clear();
        }
        if lives.last().is_none_or(|(known, _)| *known != life) {
            lives.push((life, first));
        }
    }

    /// The last position that this life has in common with another one; none for a stranger.
    pub(crate) fn shared_with(&self, incarnation: Incarnation) -> Option<Position> {
        let lives = self.lives();
        let at = lives.iter().position(|(life, _)| *life == incarnation)?;
        let next = lives.get(at + 1).map_or(Position::MAX, |(_, first)| *first);
        Some(Position::new(next.number().saturating_sub(1)))
    }

    /// A number for a new subscription.
    pub(crate) fn subscription(&self) -> u64 {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.subscriptions += 1;
        wakers.subscriptions
    }

    /// A subscription waits no more.
    pub(crate) fn forget(&self, subscription: u64) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = wakers.waiting.remove(&subscription);
        drop(wakers);
        drop(waker);
    }

    /// Wakes a subscription at the next publication; says false when there will be none.
    pub(crate) fn wake_later(&self, subscription: u64, waker: &Waker) -> bool {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if wakers.closed {
            return false;
        }
        wakers.waiting.insert(subscription, waker.clone());
        true
    }

    /// Nothing will be published any more.
    pub(crate) fn close(&self) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        if !planted::is(Bug::ClosedInSilence) {
            self.wake();
        }
    }

    fn wake(&self) {
        let waiting = {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut wakers.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

/// The latest published bytes, so that readers at the head do not touch the file being written.
#[derive(Debug)]
pub(crate) struct Tail {
    groups: VecDeque<Group>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Group {
    segment: u64,
    offset: u64,
    bytes: Bytes,
}

impl Tail {
    fn push(&mut self, publication: &Publication) {
        let Publication { segment, offset, bytes, .. } = publication;
        self.bytes += bytes.len();
        self.groups.push_back(Group { segment: *segment, offset: *offset, bytes: bytes.clone() });
        while self.bytes > self.bytes_max && self.groups.len() > 1 {
            let dropped = self.groups.pop_front().map_or(0, |group| group.bytes.len());
            self.bytes -= dropped;
        }
    }

    /// Forgets what is known of a segment, whose records are at other places now.
    fn forget(&mut self, segment: u64) {
        self.groups.retain(|group| group.segment != segment);
        self.bytes = self.groups.iter().map(|group| group.bytes.len()).sum();
    }

    /// The bytes from a record's place to the end of its group, if they are still here.
    pub(crate) fn from(&self, location: &Location) -> Option<Bytes> {
        let place = (location.segment, location.offset);
        let after = self.groups.partition_point(|group| (group.segment, group.offset) <= place);
        let group = self.groups.get(after.checked_sub(1)?)?;
        let within = usize::try_from(location.offset.checked_sub(group.offset)?).ok()?;
        let here = group.segment == location.segment && within < group.bytes.len();
        here.then(|| group.bytes.slice(within..))
    }
}
