//! The decision when a checkpoint is written.
//!
//! Invariants: one checkpoint is written at a time, and each is beyond the one before. Its place
//! comes from the caller, who knows what is open.

use std::time::Duration;

use super::rules::GroupRules;

/// Distance in places after which a checkpoint is worth writing, though few events were finished: a
/// filter has passed over the others. Far more than the places that checkpoints themselves take.
const PASSED_MIN: u64 = 1_000;

/// Progress since the last checkpoint.
#[derive(Debug)]
pub(super) struct CheckpointTimer {
    written: Option<u64>,
    /// The checkpoint that is being written, and the finished events that it counts.
    in_progress: Option<(u64, u64)>,
    finished: u64,
    /// Time of the last checkpoint.
    at: Duration,
}

impl CheckpointTimer {
    pub(super) const fn new(written: Option<u64>, now: Duration) -> Self {
        Self { written, in_progress: None, finished: 0, at: now }
    }

    pub(super) const fn written(&self) -> Option<u64> {
        self.written
    }

    pub(super) const fn count_finished(&mut self) {
        self.finished += 1;
    }

    /// Returns the time at which a checkpoint at this place is due; `None` if it is not worth one.
    pub(super) fn due_at(&self, complete: Option<u64>, rules: &GroupRules) -> Option<Duration> {
        if self.in_progress.is_some() || complete <= self.written {
            return None;
        }
        if self.finished >= rules.checkpoint_max {
            return Some(self.at);
        }
        let is_worth = self.finished >= rules.checkpoint_min.max(1) || self.has_passed(complete);
        is_worth.then(|| self.at.saturating_add(rules.checkpoint_after))
    }

    /// Returns `true` if a group that ends has to write this checkpoint.
    pub(super) fn is_wanted_at_end(&self, complete: Option<u64>) -> bool {
        complete > self.written && (self.finished > 0 || self.has_passed(complete))
    }

    fn has_passed(&self, complete: Option<u64>) -> bool {
        let distance =
            complete.unwrap_or_default().saturating_sub(self.written.unwrap_or_default());
        distance >= PASSED_MIN
    }

    pub(super) fn begin(&mut self, place: u64, now: Duration) {
        debug_assert!(self.written < Some(place), "a checkpoint goes forwards");
        self.in_progress = Some((place, self.finished));
        self.finished = 0;
        self.at = now;
    }

    pub(super) const fn written_now(&mut self) {
        if let Some((place, _)) = self.in_progress.take() {
            self.written = Some(place);
        }
    }

    pub(super) const fn failed(&mut self) {
        if let Some((_, finished)) = self.in_progress.take() {
            self.finished += finished;
        }
    }
}
