//! The order of appends whose precheck has to read index files.
//!
//! Most prechecks are answered from memory, and the call enqueues the append. Otherwise I/O threads
//! precheck several appends at a time, and this lane puts them back in order. A thread that appends
//! and may block prechecks by itself, and waits in the lane for its turn.
//!
//! Invariants: appends leave the lane in the order in which they entered; while the lane is not
//! empty, every later append enters it too.
//!
//! Not here: the precheck, and the [submission queue](crate::commit).

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use gesta_store::{Overload, StoreError};

use crate::sync::{AtomicU64, Condvar, Mutex, MutexGuard, Ordering};

/// An append after its precheck.
pub(super) trait CheckedAppend {
    /// Enqueues the append. Called in order, under the lane's lock.
    fn enqueue(&mut self);

    /// Answers the caller. Called without the lock: a waker is foreign code.
    fn answer(self);
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct AppendLane<T> {
    state: Mutex<LaneState<T>>,
    /// Number of appends in the lane, for a look without the lock.
    length: AtomicU64,
    /// Signalled when the first append has left the lane.
    moved: Condvar,
}

#[derive(Debug)]
struct LaneState<T> {
    slots: VecDeque<LaneSlot<T>>,
    /// Number of the first slot.
    first: u64,
    /// Size of all appends in the lane.
    bytes: usize,
}

#[derive(Debug)]
struct LaneSlot<T> {
    bytes: usize,
    stage: LaneStage<T>,
}

#[derive(Debug)]
enum LaneStage<T> {
    Prechecking,
    Ready(T),
    /// The precheck ended without a result, by a panic or for lack of a thread.
    Abandoned,
}

/// The place of an append in the lane. Dropping it abandons the append.
#[derive(Debug)]
pub(super) struct LaneTicket<T: CheckedAppend> {
    lane: Arc<AppendLane<T>>,
    number: u64,
}

impl<T> Default for AppendLane<T> {
    fn default() -> Self {
        let state = LaneState { slots: VecDeque::new(), first: 0, bytes: 0 };
        Self { state: Mutex::new(state), length: AtomicU64::new(0), moved: Condvar::default() }
    }
}

impl<T: CheckedAppend> AppendLane<T> {
    /// Returns whether an append may be enqueued without entering the lane.
    pub(super) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Acquire) == 0
    }

    /// Number of appends in the lane.
    #[cfg(test)]
    #[cfg(not(gesta_shuttle))]
    pub(super) fn len(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Takes the last place in the lane.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if the lane holds more than `bytes_max`. An empty lane accepts a
    /// larger append.
    pub(super) fn enter(
        self: &Arc<Self>,
        bytes: usize,
        bytes_max: usize,
    ) -> Result<LaneTicket<T>, StoreError> {
        let mut state = self.lock();
        if state.bytes + bytes > bytes_max && !state.slots.is_empty() {
            let queued_bytes = state.bytes;
            return Err(StoreError::Overloaded(Overload::Queue { queued_bytes, max: bytes_max }));
        }
        state.bytes += bytes;
        let number = state.first + state.slots.len() as u64;
        state.slots.push_back(LaneSlot { bytes, stage: LaneStage::Prechecking });
        self.length.store(state.slots.len() as u64, Ordering::Release);
        Ok(LaneTicket { lane: Arc::clone(self), number })
    }

    /// Moves a slot on, and lets out what is ready at the front.
    fn move_on(&self, number: u64, stage: LaneStage<T>) {
        let mut out = Vec::new();
        let mut state = self.lock();
        if let Some(slot) = state.prechecking(number) {
            slot.stage = stage;
        }
        while let Some(slot) = state.pop_front() {
            if let LaneStage::Ready(mut append) = slot.stage {
                // Under the lock: another thread may let out the next append.
                append.enqueue();
                out.push(append);
            }
        }
        // After they are enqueued: from here on, later appends may pass by an empty lane.
        self.length.store(state.slots.len() as u64, Ordering::Release);
        drop(state);
        self.moved.notify_all();
        out.into_iter().for_each(CheckedAppend::answer);
    }

    fn lock(&self) -> MutexGuard<'_, LaneState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> LaneState<T> {
    /// The slot with this number, unless its precheck has ended.
    fn prechecking(&mut self, number: u64) -> Option<&mut LaneSlot<T>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(at).filter(|slot| matches!(slot.stage, LaneStage::Prechecking))
    }

    /// Removes the first slot if its precheck has ended.
    fn pop_front(&mut self) -> Option<LaneSlot<T>> {
        let ended = |slot: &mut LaneSlot<T>| !matches!(slot.stage, LaneStage::Prechecking);
        let slot = self.slots.pop_front_if(ended)?;
        self.first += 1;
        self.bytes -= slot.bytes;
        Some(slot)
    }
}

impl<T: CheckedAppend> LaneTicket<T> {
    /// Blocks until all earlier appends have left the lane. Later ones wait until this ticket is
    /// dropped.
    pub(super) fn wait_for_turn(&self) {
        let mut state = self.lane.lock();
        while state.first < self.number {
            state = self.lane.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the append out once all earlier ones have left the lane.
    pub(super) fn leave(self, append: T) {
        self.lane.move_on(self.number, LaneStage::Ready(append));
    }
}

impl<T: CheckedAppend> Drop for LaneTicket<T> {
    fn drop(&mut self) {
        // Does nothing after `leave`.
        self.lane.move_on(self.number, LaneStage::Abandoned);
    }
}

#[cfg(test)]
#[cfg(not(gesta_shuttle))]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Numbered(u32, Sender<u32>);

    impl CheckedAppend for Numbered {
        fn enqueue(&mut self) {
            self.1.send(self.0).unwrap();
        }

        fn answer(self) {}
    }

    #[test]
    fn appends_leave_in_the_order_in_which_they_entered_and_abandoned_ones_hold_nobody_up() {
        let lane = Arc::new(AppendLane::default());
        let (sender, receiver) = channel();
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|_| lane.enter(1, 100).unwrap());
        third.leave(Numbered(3, sender.clone()));
        fourth.leave(Numbered(4, sender.clone()));
        assert!(receiver.try_recv().is_err());
        drop(second);
        assert!(receiver.try_recv().is_err());
        first.leave(Numbered(1, sender));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 3, 4]);
        assert!(lane.is_empty());
    }

    #[test]
    fn a_thread_that_waits_for_its_turn_is_behind_the_earlier_and_before_the_later_appends() {
        let lane = Arc::new(AppendLane::default());
        let (sender, receiver) = channel();
        let [first, waiting, last] = [1, 2, 3].map(|_| lane.enter(1, 100).unwrap());
        last.leave(Numbered(3, sender.clone()));
        let thread = std::thread::spawn({
            let sender = sender.clone();
            move || {
                waiting.wait_for_turn();
                sender.send(2).unwrap();
            }
        });
        first.leave(Numbered(1, sender));
        thread.join().unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(lane.is_empty());
    }

    #[test]
    fn the_lane_accepts_no_more_than_its_bytes_except_for_a_single_large_append() {
        let lane: Arc<AppendLane<Numbered>> = Arc::default();
        let large = lane.enter(500, 100).unwrap();
        assert!(matches!(lane.enter(1, 100), Err(StoreError::Overloaded(_))));
        drop(large);
        let _first = lane.enter(99, 100).unwrap();
        let _second = lane.enter(1, 100).unwrap();
        assert!(lane.enter(1, 100).is_err());
    }
}
