//! How long a group gathers, and who writes it.
//!
//! Owns: what recent groups say about how many clients append at the same time. A closed loop of a
//! few clients is fastest in step: all of them in one group, written by the thread that also
//! answers. Many clients, or large appends, are fastest in two halves: one half is on its way to
//! the device while the other is checked, encoded and answered. Always holds: a lone append never
//! waits; nothing waits longer than [`GATHERING_MAX`].

use std::time::Duration;

use super::group::Size;
use crate::disk::Lane;

/// What a group waits for others at most.
const GATHERING_MAX: Duration = Duration::from_micros(100);
/// How long the writer stays awake between appends of a few clients.
const AWAKE_MAX: Duration = Duration::from_micros(100);
/// How many clients are a few.
const AWAKE_APPENDS_MAX: usize = 12;
/// More appends than this at the same time are written in halves.
const IN_STEP_APPENDS_MAX: usize = 160;
/// More bytes than this in a group are written in halves.
const IN_STEP_BYTES_MAX: usize = 64 << 10;

/// Room that is made for a group at once, at most.
const SIZE_BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Appends that were on their way at the same time, lately.
    outstanding: usize,
    /// Bytes of an append, lately.
    append_bytes: usize,
    /// When the open group got its first append, or the one before it landed.
    since: Duration,
}

impl Pace {
    /// A group got its first append.
    pub(super) fn begin(&mut self, now: Duration) {
        self.since = now;
    }

    /// A group is on its way.
    pub(super) fn submitted(&mut self, appends: usize, bytes: usize) {
        self.append_bytes = bytes / appends.max(1);
    }

    /// A group is durable; so many appends were on their way then.
    pub(super) fn landed(&mut self, outstanding: usize, now: Duration) {
        // Falls slowly, for a group may have waited in vain for somebody who was late.
        self.outstanding = outstanding.max(self.outstanding - self.outstanding / 4);
        self.outstanding = self.outstanding.min(outstanding * 2);
        self.since = now;
    }

    /// How large the next group may become.
    pub(super) fn size(&self, frame_bytes_max: usize) -> Size {
        let bytes = self.outstanding * (self.append_bytes + self.append_bytes / 8);
        Size { appends: self.outstanding, bytes: bytes.min(SIZE_BYTES_MAX), frame_bytes_max }
    }

    fn in_step(&self) -> bool {
        self.outstanding <= IN_STEP_APPENDS_MAX
            && self.outstanding * self.append_bytes <= IN_STEP_BYTES_MAX
    }

    /// How many appends a group should have before it goes.
    fn target(&self) -> usize {
        let target = if self.in_step() { self.outstanding } else { self.outstanding / 2 };
        target.max(1)
    }

    /// Whether a group of so many appends may go.
    pub(super) fn has_gathered(&self, appends: usize, now: Duration) -> bool {
        appends >= self.target() || now >= self.gathering_until()
    }

    /// When a group goes that did not get what it waited for.
    pub(super) fn gathering_until(&self) -> Duration {
        self.since + GATHERING_MAX
    }

    /// How many appends have to arrive until it is worth taking them into a group of so many.
    pub(super) fn wanted(&self, appends: usize, in_flight: bool) -> usize {
        if in_flight {
            return (self.target() / 4).max(1);
        }
        if appends == 0 || self.outstanding <= AWAKE_APPENDS_MAX {
            return 1;
        }
        let missing = self.target().saturating_sub(appends);
        missing.min(self.target() / 4).max(1)
    }

    /// How long to stay awake for what may come at once: a few clients are back in a moment, many
    /// need the processor themselves.
    pub(super) fn awake(&self) -> Duration {
        if self.outstanding <= AWAKE_APPENDS_MAX { AWAKE_MAX } else { Duration::ZERO }
    }

    /// Where a group is written: by the writer itself, or beside it.
    pub(super) fn lane(&self) -> Lane {
        if self.in_step() { Lane::Foreground } else { Lane::Pipelined }
    }
}
