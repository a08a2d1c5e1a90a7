//! An in-memory disk with every fault that a real disk may have.
//!
//! Owns: [`SimDisk`]: its files and names, the order in which operations complete, and the state
//! after a crash. Invariants: an operation takes effect when it completes; an operation in flight
//! during a crash may be applied in part; the seed decides everything. Not here: the times of
//! crashes ([`run`](crate::run)).

mod directory;
mod file;
mod injection;
mod state;

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use gesta_log::{Cache, Disk, Done, Lane, Operation};

pub(crate) use self::file::SECTOR_BYTES;
pub(crate) use self::injection::DamageTarget;
use self::state::{Access, DiskState, Phase};
pub use self::{
    file::SyncFault,
    injection::{Crash, DamageKind, FaultConfig},
};
use crate::{
    fault::{Fault, FaultCounts},
    rng::SimRng,
    trace::Trace,
};

/// A simulated disk whose faults are decided by a seed.
pub struct SimDisk {
    state: Mutex<DiskState>,
}

impl SimDisk {
    /// Creates an empty disk without faults.
    #[must_use]
    pub fn new(rng: SimRng) -> Self {
        Self::with_trace(rng, Trace::disabled())
    }

    /// Creates a disk that records its operations.
    pub(crate) fn with_trace(rng: SimRng, trace: Trace) -> Self {
        Self { state: Mutex::new(DiskState::new(rng, trace)) }
    }

    /// Sets the fault rates from now on.
    pub fn set_faults(&self, fault_config: FaultConfig) {
        self.state().fault_config = fault_config;
    }

    /// Limits the free space; `None` removes the limit.
    pub fn set_free_bytes(&self, bytes: Option<usize>) {
        self.state().free_bytes = bytes;
    }

    /// Completes one operation in flight, picked at random. Returns `false` if there is none.
    pub fn step(&self) -> bool {
        let Some((done, result)) = self.state().complete_any() else { return false };
        done(result);
        true
    }

    /// Number of operations in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state().in_flight.len()
    }

    /// Schedules a crash after `calls` more calls; every later call fails until
    /// [`crash`](Self::crash).
    pub fn crash_after(&self, calls: u64) {
        self.state().access = Access::CrashesAfter(calls);
    }

    /// Schedules a crash after `calls` calls of the next compaction.
    pub(crate) fn crash_in_compaction_after(&self, calls: u64) {
        self.state().crash_in_compaction = Some(calls);
    }

    /// Cancels a scheduled crash. Returns whether it had happened.
    pub fn cancel_crash(&self) -> bool {
        self.state().crash_in_compaction = None;
        std::mem::replace(&mut self.state().access, Access::Open) == Access::Crashed
    }

    /// Runs `file` as index maintenance: its failures do not affect appends.
    pub(crate) fn while_flushing<T>(&self, file: impl FnOnce() -> T) -> T {
        self.in_phase(Phase::Flushing, file)
    }

    /// Runs `open` as the opening of the store.
    pub(crate) fn while_opening<T>(&self, open: impl FnOnce() -> T) -> T {
        self.in_phase(Phase::Opening, open)
    }

    fn in_phase<T>(&self, phase: Phase, act: impl FnOnce() -> T) -> T {
        self.state().phase = phase;
        let result = act();
        self.state().phase = Phase::Serving;
        result
    }

    /// Number of operations that changed a file while the store was being opened.
    pub(crate) fn changes_while_opening(&self) -> u64 {
        self.state().changes_while_opening
    }

    /// Injects a sync fault once, after `syncs` more syncs.
    pub fn fault_sync_after(&self, syncs: u64, sync_fault: SyncFault) {
        self.state().sync_fault = Some((syncs, sync_fault));
    }

    /// Returns whether any damage was injected.
    pub(crate) fn is_damaged(&self) -> bool {
        self.state().damaged
    }

    /// Cancels a sync fault. Returns whether it had happened.
    pub(crate) fn cancel_sync_fault(&self) -> bool {
        self.state().sync_fault.take().is_none()
    }

    /// Crashes the process or the system. Operations in flight are applied in part or not at all,
    /// and their callbacks are dropped.
    pub fn crash(&self, crash: Crash) {
        let unanswered = self.state().crash(crash);
        drop(unanswered); // outside the lock: dropping a callback may call the disk
    }

    /// Returns whether any operation failed since the last crash.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state().failures.any
    }

    /// Returns whether a write of a commit group, or its sync, failed since the last crash.
    #[must_use]
    pub fn write_has_failed(&self) -> bool {
        self.state().failures.write
    }

    /// Damages the sector that stores `bytes`. Returns `false` if they are not found.
    pub fn damage(&self, bytes: &[u8], kind: DamageKind) -> bool {
        self.damage_target(DamageTarget::Holding(bytes), kind).is_some()
    }

    /// Damages a sector. Returns its file, or `None` if nothing changed.
    pub(crate) fn damage_target(
        &self,
        victim: DamageTarget<'_>,
        kind: DamageKind,
    ) -> Option<String> {
        self.state().damage(victim, kind)
    }

    /// Counts a fault that is defined by the time or place of another fault.
    pub(crate) fn fired(&self, fault: Fault) {
        self.state().faults.fired(fault);
    }

    /// Faults so far.
    #[must_use]
    pub fn faults(&self) -> FaultCounts {
        self.state().faults.clone()
    }

    /// Records that a fault counted before turned out to matter.
    pub(crate) fn mattered(&self, fault: Fault) {
        self.state().faults.mattered(fault);
    }

    /// Number of operations submitted so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.state().list()
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        self.state().length(file)
    }

    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes> {
        self.state().read(file, offset, length, cache)
    }

    fn never_waits(&self) -> bool {
        true
    }

    fn submit(&self, operation: Operation, lane: Lane, done: Done) {
        let at_once = self.state().submit(operation, lane, done);
        if let Some((done, result)) = at_once {
            done(result);
        }
    }

    fn run(&self, operation: Operation) -> io::Result<()> {
        self.state().run(operation)
    }
}
