//! The published state: the index and the tail of the log that readers see, and the hand-overs
//! between the committer, readers and the compactor.
//!
//! Invariants: everything in it is durable; a group becomes visible as a whole.
//!
//! Elsewhere: groups that are being written ([`commit`](crate::commit)).

mod group_events;
mod pending_append;
mod sealed;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use gesta_store::{Damage, Direction, Incarnation, Position, StoreError};

use crate::{
    disk::waiting,
    format::{Frame, Seed},
    index::{Index, Location, OffsetOverrides, Run, RunContext, StagedMemtable},
    mutations::mutated,
    sync::{AtomicBool, AtomicU64, Mutex, Ordering, RwLock, RwLockReadGuard, TryLockError},
};

pub(crate) use group_events::{AppendEvents, GroupEvents, appended_at};
pub(crate) use pending_append::PendingAppend;
pub(crate) use sealed::SealedQueue;

/// Maximum lead of the last event's recorded time over the clock before a warning is logged.
pub(crate) const RECORDED_AHEAD_MAX: Duration = Duration::from_secs(60);

/// A durable group, ready to become visible.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) segment: u64,
    pub(crate) seed: Seed,
    /// Offset of `bytes` in the segment.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    pub(crate) events: Arc<GroupEvents>,
}

/// A group that becomes visible if its write succeeds.
#[derive(Debug)]
pub(crate) struct PendingGroup {
    pub(crate) segment: u64,
    pub(crate) events: Arc<GroupEvents>,
}

/// State shared by the committer, readers and the compactor.
#[derive(Debug)]
pub(crate) struct Published {
    state: RwLock<VisibleState>,
    /// Number of times that files which readers may be using were replaced.
    replaced: AtomicU64,
    /// Held while files are replaced, on disk and then in the index.
    replacing: Mutex<()>,
    wakers: Mutex<Wakers>,
    /// True once the store was closed by a call: its reads end too. Reads outlive a store that is
    /// only dropped.
    reads_ended: AtomicBool,
    /// Damage found by recovery; with any, the store is read-only.
    pub(crate) damage: Vec<Damage>,
    /// Each incarnation with its first position; never empty.
    incarnations: RwLock<Vec<(Incarnation, Position)>>,
}

/// The index and the tail, under one lock.
#[derive(Debug)]
pub(crate) struct VisibleState {
    pub(crate) index: Index,
    pub(crate) tail: Tail,
}

#[derive(Debug, Default)]
struct Wakers {
    /// Wakers of parked subscriptions, by subscription number.
    waiting: HashMap<u64, Waker>,
    subscriptions: u64,
    closed: bool,
}

impl Published {
    pub(crate) fn new(
        index: Index,
        damage: Vec<Damage>,
        incarnations: Vec<(Incarnation, Position)>,
        tail_bytes_max: usize,
    ) -> Self {
        let tail = Tail { chunks: VecDeque::new(), bytes: 0, bytes_max: tail_bytes_max };
        Self {
            state: RwLock::new(VisibleState { index, tail }),
            replaced: AtomicU64::new(0),
            replacing: Mutex::default(),
            wakers: Mutex::default(),
            reads_ended: AtomicBool::new(false),
            damage,
            incarnations: RwLock::new(incarnations),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, VisibleState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle to the current index.
    pub(crate) fn index(&self) -> Index {
        self.read().index.clone()
    }

    /// Prepares the memtable for staging a group that is being written. Returns `None` if its
    /// segment has no memtable yet.
    pub(crate) fn stage(&self, pending_group: &PendingGroup) -> Option<StagedMemtable> {
        self.read().index.staged_memtable(pending_group.segment, pending_group.events.first())
    }

    /// Makes a group visible. `staged` holds its postings if the index worker inserted them.
    pub(crate) fn publish(&self, publication: &Publication, staged: Option<&StagedMemtable>) {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            // Index and tail change under one lock, so a reader sees the whole group or nothing.
            state.tail.push(publication);
            let events = &publication.events;
            match staged {
                Some(staged) => state.index.publish_staged(staged, events.appends().flatten()),
                None => {
                    for entries in events.appends() {
                        state.index.insert(publication.segment, publication.seed, entries);
                    }
                }
            }
        }
        // Wake after the lock is released: subscribers read at once.
        self.wake();
    }

    /// Replaces the memtables and runs that a run covers.
    pub(crate) fn put_run(&self, context: &Arc<RunContext>, run: Arc<Run>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // Files of the replaced runs are removed soon. The count shows readers that still use them
        // to try again.
        let replaced = state.index.put_run(context, run);
        self.replaced.fetch_add(1, Ordering::Release);
        // Freeing a memtable takes a while; do it without the lock.
        drop(state);
        drop(replaced);
    }

    /// Replaces the run of the same name, on disk by `swap` and then in the index. Readers in
    /// between may find blocks that do not verify, and notice by
    /// [`is_replaced_since`](Self::is_replaced_since).
    pub(crate) fn swap_run<E>(
        &self,
        context: &Arc<RunContext>,
        run: Run,
        swap: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        // Without the lock of the state, on which threads that must not wait for a disk wait.
        swap()?;
        self.put_run(context, Arc::new(run));
        drop(replacing);
        Ok(())
    }

    /// Replaces a segment by its rewritten form, on disk by `swap` and then in the index. A reader
    /// that used the old offsets on the new file notices by
    /// [`is_replaced_since`](Self::is_replaced_since).
    pub(crate) fn swap_segment<E>(
        &self,
        overrides: &Arc<OffsetOverrides>,
        swap: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        // As in `swap_run`.
        swap()?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // Offsets and cached bytes of the old file are wrong from here on.
        state.index.override_offsets(overrides);
        state.tail.forget(overrides.covered.number);
        if !mutated!(ReplacementNotCounted) {
            self.replaced.fetch_add(1, Ordering::Release);
        }
        drop(state);
        drop(replacing);
        Ok(())
    }

    /// Returns whether files have been replaced since the count was `before`. Waits for a
    /// replacement that is under way.
    pub(crate) fn is_replaced_since(&self, before: u64) -> bool {
        match self.replacing.try_lock() {
            Err(TryLockError::WouldBlock) if !waiting::may_wait() => drop(waiting::refuse()),
            Err(TryLockError::WouldBlock) => self.wait_for_replacement(),
            Ok(_) | Err(TryLockError::Poisoned(_)) => {}
        }
        self.replaced() != before
    }

    /// Waits for the end of a replacement that is under way. The index then fits the files.
    pub(crate) fn wait_for_replacement(&self) {
        drop(self.replacing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Number of file replacements so far. An index handle taken afterwards includes all of them.
    pub(crate) fn replaced(&self) -> u64 {
        // Under the lock, so that no replacement lies between the count and a later handle.
        let state = self.read();
        let replaced = self.replaced.load(Ordering::Acquire);
        drop(state);
        replaced
    }

    /// Replaces the index after a new recovery, because another process replaced files.
    pub(crate) fn replace_index(&self, index: Index, incarnations: Vec<(Incarnation, Position)>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.index = index;
        self.replaced.fetch_add(1, Ordering::Release);
        drop(state);
        *self.incarnations.write().unwrap_or_else(PoisonError::into_inner) = incarnations;
        self.wake();
    }

    /// The last published position.
    pub(crate) fn head(&self) -> Position {
        self.read().index.head()
    }

    /// The last position a read may ask for: of an event, or of one lost to damage.
    pub(crate) fn last_position(&self) -> Position {
        let taken = self.damage.iter().map(|damage| match &damage.positions {
            Some(positions) => *positions.end(),
            None => Position::MAX,
        });
        taken.fold(self.head(), Position::max)
    }

    /// The first damage that a read from `at` in this direction meets, with the nearest missing
    /// position. Damage of unknown extent comes after all events.
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

    /// The first damage after a position whose events the index does not cover either: answers that
    /// come from the index alone may be incomplete.
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

    /// Adds the events of a frame that another process wrote.
    pub(crate) fn add(&self, segment: u64, seed: Seed, frame: &Frame) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.index.insert_frame(segment, seed, frame);
        drop(state);
        self.wake();
    }

    fn incarnations(&self) -> RwLockReadGuard<'_, Vec<(Incarnation, Position)>> {
        self.incarnations.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnations().last().expect("a store has at least one incarnation").0
    }

    /// Records the incarnation of a segment that another process began. Replaces the provisional
    /// one of an empty store.
    pub(crate) fn record_incarnation(&self, incarnation: Incarnation, first: Position) {
        let empty = self.head() == Position::START;
        let mut incarnations = self.incarnations.write().unwrap_or_else(PoisonError::into_inner);
        if empty {
            incarnations.clear();
        }
        if incarnations.last().is_none_or(|(known, _)| *known != incarnation) {
            incarnations.push((incarnation, first));
        }
    }

    /// The last position that the current history shares with an incarnation, or `None` for an
    /// unknown one.
    pub(crate) fn common_prefix_end(&self, incarnation: Incarnation) -> Option<Position> {
        let incarnations = self.incarnations();
        let at = incarnations.iter().position(|(known, _)| *known == incarnation)?;
        let next = incarnations.get(at + 1).map_or(Position::MAX, |(_, first)| *first);
        Some(Position::new(next.number().saturating_sub(1)))
    }

    /// Returns the number of a new subscription.
    pub(crate) fn new_subscription(&self) -> u64 {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.subscriptions += 1;
        wakers.subscriptions
    }

    /// Removes the waker of a subscription.
    pub(crate) fn unregister(&self, subscription: u64) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = wakers.waiting.remove(&subscription);
        // Dropping a waker runs foreign code, which may call back into the store.
        drop(wakers);
        drop(waker);
    }

    /// Registers a waker for the next publication. Returns false if the store is closed.
    pub(crate) fn register(&self, subscription: u64, waker: &Waker) -> bool {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock under which `close` is noted, so no waker stays behind unnoticed.
        if wakers.closed {
            return false;
        }
        let replaced = wakers.waiting.insert(subscription, waker.clone());
        // As in `unregister`.
        drop(wakers);
        drop(replaced);
        true
    }

    /// Ends all reads.
    pub(crate) fn end_reads(&self) {
        self.reads_ended.store(true, Ordering::Relaxed);
    }

    /// Returns an error after [`end_reads`](Self::end_reads).
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.reads_ended.load(Ordering::Relaxed) {
            return Err(StoreError::Stopped { reason: "the store was closed".to_owned() });
        }
        Ok(())
    }

    /// Ends all subscriptions: nothing more will be published.
    pub(crate) fn close(&self) {
        // Before waking, so that a subscription that registers later is refused.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        if !mutated!(SubscribersNotWokenOnClose) {
            self.wake();
        }
    }

    fn wake(&self) {
        // Wakers run without the lock: they may poll a subscription, which registers again.
        let waiting = {
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut wakers.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

/// The latest published bytes in memory, so that readers at the head do not touch the active
/// segment's file.
#[derive(Debug)]
pub(crate) struct Tail {
    chunks: VecDeque<TailChunk>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct TailChunk {
    segment: u64,
    offset: u64,
    bytes: Bytes,
}

impl Tail {
    fn push(&mut self, publication: &Publication) {
        let Publication { segment, offset, bytes, .. } = publication;
        debug_assert!(
            self.chunks.back().is_none_or(|last| (last.segment, last.offset) < (*segment, *offset)),
            "chunks are in the order of the log, which lookups rely on"
        );
        self.bytes += bytes.len();
        self.chunks.push_back(TailChunk {
            segment: *segment,
            offset: *offset,
            bytes: bytes.clone(),
        });
        // Keep at least the last group, however large it is.
        while self.bytes > self.bytes_max && self.chunks.len() > 1 {
            let dropped = self.chunks.pop_front().map_or(0, |chunk| chunk.bytes.len());
            self.bytes -= dropped;
        }
    }

    /// Drops the bytes of a segment whose records moved.
    fn forget(&mut self, segment: u64) {
        self.chunks.retain(|chunk| chunk.segment != segment);
        self.bytes = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    }

    /// The bytes from a record to the end of its group, if they are still in memory.
    pub(crate) fn from(&self, location: &Location) -> Option<Bytes> {
        // Chunks are in log order: take the last one that begins at or before the record.
        let place = (location.segment, location.offset);
        let after = self.chunks.partition_point(|chunk| (chunk.segment, chunk.offset) <= place);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        let within = usize::try_from(location.offset.checked_sub(chunk.offset)?).ok()?;
        let here = chunk.segment == location.segment && within < chunk.bytes.len();
        here.then(|| chunk.bytes.slice(within..))
    }
}
