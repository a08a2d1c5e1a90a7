//! The batching policy: the gathering time of a group, and single-buffered or pipelined writes.
//!
//! - Few clients with small appends: single-buffered. All of them are in one group, which the
//!   leader writes itself.
//! - Many clients, or large appends: pipelined. One half is written by a disk thread while the
//!   leader validates, encodes and answers the other half.
//!
//! Invariants: a lone append never waits; nothing waits longer than [`GATHERING_MAX`].

use std::time::Duration;

use super::group::GroupCapacity;
use crate::disk::Lane;

/// Maximum time a group waits for more appends.
const GATHERING_MAX: Duration = Duration::from_micros(100);
/// Time a leader spins between the appends of a few clients.
const SPIN_MAX: Duration = Duration::from_micros(100);
/// Number of outstanding appends up to which spinning pays.
const SPIN_APPENDS_MAX: usize = 12;
/// Number of outstanding appends up to which groups are single-buffered.
const SINGLE_BUFFERED_APPENDS_MAX: usize = 160;
/// Bytes of outstanding appends up to which groups are single-buffered.
const SINGLE_BUFFERED_BYTES_MAX: usize = 64 << 10;
/// Maximum number of bytes reserved for a group in advance.
const CAPACITY_BYTES_MAX: usize = 1 << 20;

/// The batching decisions, adapted to recent groups.
#[derive(Debug, Default)]
pub(super) struct BatchPolicy {
    /// Recent number of appends that were outstanding at the same time.
    outstanding: usize,
    /// Average bytes of an append in the last group.
    append_bytes: usize,
    /// Time at which the open group got its first append, or the previous group became durable.
    since: Duration,
}

impl BatchPolicy {
    /// The open group got its first append.
    pub(super) fn on_first_append(&mut self, now: Duration) {
        self.since = now;
    }

    pub(super) fn on_submit(&mut self, appends: usize, bytes: usize) {
        self.append_bytes = bytes / appends.max(1);
    }

    /// A group became durable while `outstanding` appends waited, its own included.
    pub(super) fn on_commit(&mut self, outstanding: usize, now: Duration) {
        // Decay slowly: one late client must not halve the groups.
        self.outstanding = outstanding.max(self.outstanding - self.outstanding / 4);
        // Shrink fast when most clients are gone, or the rest would wait for them in vain.
        self.outstanding = self.outstanding.min(outstanding * 2);
        self.since = now;
    }

    /// Memory to reserve for the next group.
    pub(super) fn capacity(&self, frame_bytes_max: usize) -> GroupCapacity {
        // An eighth more than the last group, so that a slightly larger one does not reallocate.
        let bytes = self.outstanding * (self.append_bytes + self.append_bytes / 8);
        GroupCapacity {
            appends: self.outstanding,
            bytes: bytes.min(CAPACITY_BYTES_MAX),
            frame_bytes_max,
        }
    }

    fn single_buffered(&self) -> bool {
        self.outstanding <= SINGLE_BUFFERED_APPENDS_MAX
            && self.outstanding * self.append_bytes <= SINGLE_BUFFERED_BYTES_MAX
    }

    /// Number of appends at which a group is submitted without further waiting.
    fn target(&self) -> usize {
        // Single-buffered, all clients are in one group. Pipelined, one half gathers while the
        // other is written.
        let target = if self.single_buffered() { self.outstanding } else { self.outstanding / 2 };
        target.max(1)
    }

    /// Returns whether a group of this many appends is submitted now.
    pub(super) fn has_gathered(&self, appends: usize, now: Duration) -> bool {
        appends >= self.target() || now >= self.gathering_deadline()
    }

    /// Time at which the open group is submitted even if it is below its target.
    pub(super) fn gathering_deadline(&self) -> Duration {
        self.since + GATHERING_MAX
    }

    /// Number of queued appends at which the leader wakes up, for an open group of `appends`.
    pub(super) fn wake_threshold(&self, appends: usize, in_flight: bool) -> usize {
        // The completion of the write wakes the leader anyway; before it, only batches are worth
        // it.
        if in_flight {
            return (self.target() / 4).max(1);
        }
        if appends == 0 || self.outstanding <= SPIN_APPENDS_MAX {
            return 1;
        }
        let missing = self.target().saturating_sub(appends);
        missing.min(self.target() / 4).max(1)
    }

    /// Returns the time for which a leader spins before it parks. A few clients are back in a
    /// moment; many need the processor themselves.
    pub(super) fn spin_time(&self) -> Duration {
        if self.outstanding <= SPIN_APPENDS_MAX { SPIN_MAX } else { Duration::ZERO }
    }

    /// The lane in which a group is written: by the leader, or by a disk thread concurrently.
    pub(super) fn lane(&self) -> Lane {
        if self.single_buffered() { Lane::Foreground } else { Lane::Pipelined }
    }
}
