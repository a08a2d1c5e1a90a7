//! A disk in memory that does everything that a disk may do.
//!
//! Owns: [`SimDisk`], which files and names there are, when operations complete, and what a crash
//! leaves. Always holds: an operation takes effect when it completes; at a crash, an operation
//! that was submitted may have happened in part; everything is decided by the seed. Not here:
//! when crashes strike ([`run`](crate::run) decides).

mod directory;
mod file;
mod state;

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use gesta_log::{Cache, Disk, Done, Lane, Operation};

pub use self::file::Lie;
pub(crate) use self::file::SECTOR_BYTES;
use self::state::{Access, Doing, State};
use crate::{
    chance::Chance,
    fault::{Fault, FaultCounts},
    trace::Trace,
};

/// How the process or the system ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends; what was written stays in the cache.
    Kill,
    /// Power is lost; only what was synced stays for sure.
    PowerCut,
}

/// How much goes wrong while the system runs. The default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hazards {
    /// So many syncs in a thousand fail.
    pub sync_errors_per_mille: u64,
    /// So many writes in a thousand fail.
    pub write_errors_per_mille: u64,
    /// So many of a thousand operations on whole files or names fail and change nothing.
    pub shortages_per_mille: u64,
    /// So many operations in a hundred are done before `submit` returns.
    pub done_at_once_percent: u64,
    /// Whether ranges that were never written are poisoned by a failed sync.
    pub poisons_new_ranges: bool,
}

/// What was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// One bit changes.
    FlippedBit,
    /// A sector becomes zeros.
    ZeroedSector,
    /// A sector becomes what it was before.
    OldSector,
    /// A sector becomes what another one of the file is.
    StrangeSector,
}

impl DamageKind {
    pub(crate) const ALL: [Self; 4] =
        [Self::FlippedBit, Self::ZeroedSector, Self::OldSector, Self::StrangeSector];

    pub(crate) const fn fault(self) -> Fault {
        match self {
            Self::FlippedBit => Fault::FlippedBit,
            Self::ZeroedSector => Fault::ZeroedSector,
            Self::OldSector => Fault::OldSector,
            Self::StrangeSector => Fault::StrangeSector,
        }
    }
}

/// Where something is damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Victim<'a> {
    /// In the sector in which these bytes begin.
    Holding(&'a [u8]),
    /// Anywhere in a file of the log.
    Log,
    /// Anywhere in a file of the index.
    Index,
}

/// A disk whose faults a seed decides.
pub struct SimDisk {
    state: Mutex<State>,
}

impl SimDisk {
    /// An empty disk without hazards.
    #[must_use]
    pub fn new(chance: Chance) -> Self {
        Self::noting(chance, Trace::silent())
    }

    /// A disk that says what it does.
    pub(crate) fn noting(chance: Chance, trace: Trace) -> Self {
        Self { state: Mutex::new(State::new(chance, trace)) }
    }

    /// What goes wrong from now on.
    pub fn expose_to(&self, hazards: Hazards) {
        self.state().hazards = hazards;
    }

    /// Leaves room for so many bytes; `None`: for as many as anybody wants.
    pub fn leave_room(&self, bytes: Option<usize>) {
        self.state().room = bytes;
    }

    /// Completes one of the operations under way, whichever. Returns whether there was one.
    pub fn step(&self) -> bool {
        let Some((done, result)) = self.state().complete_any() else { return false };
        done(result);
        true
    }

    /// How many operations are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.state().under_way.len()
    }

    /// Strikes after so many calls from now; until the crash that has to follow, every call fails.
    pub fn strike_after(&self, calls: u64) {
        self.state().access = Access::StrikesAfter(calls);
    }

    /// Strikes after so many calls of the next merge of the index's files.
    pub(crate) fn strike_in_merge_after(&self, calls: u64) {
        self.state().strike_in_merge = Some(calls);
    }

    /// Calls off a strike. Returns whether it had happened.
    pub fn call_off_strike(&self) -> bool {
        self.state().strike_in_merge = None;
        std::mem::replace(&mut self.state().access, Access::Open) == Access::Struck
    }

    /// What fails meanwhile concerns the index's files, for which nobody waits.
    pub(crate) fn while_filing<T>(&self, file: impl FnOnce() -> T) -> T {
        self.while_doing(Doing::Filing, file)
    }

    /// The store is being opened meanwhile.
    pub(crate) fn while_opening<T>(&self, open: impl FnOnce() -> T) -> T {
        self.while_doing(Doing::Opening, open)
    }

    fn while_doing<T>(&self, doing: Doing, act: impl FnOnce() -> T) -> T {
        self.state().doing = doing;
        let result = act();
        self.state().doing = Doing::Serving;
        result
    }

    /// How many operations changed anything while the store was being opened.
    pub(crate) fn changes_while_opening(&self) -> u64 {
        self.state().changes_while_opening
    }

    /// Lies about a sync once, after so many others.
    pub fn lie_after(&self, syncs: u64, lie: Lie) {
        self.state().lie = Some((syncs, lie));
    }

    /// Whether anything was ever damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.state().damaged
    }

    /// Calls off a lie. Returns whether it was told.
    pub(crate) fn call_off_lie(&self) -> bool {
        self.state().lie.take().is_none()
    }

    /// Ends the process or the system. Operations under way are done in part or not at all, and
    /// nobody is told.
    pub fn crash(&self, crash: Crash) {
        let unanswered = self.state().crash(crash);
        drop(unanswered); // outside of the lock: whoever waited may call the disk while it goes
    }

    /// Whether an operation has failed since the last crash.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state().failures.any
    }

    /// Whether a write of a group has failed since the last crash, or its sync.
    #[must_use]
    pub fn write_has_failed(&self) -> bool {
        self.state().failures.write
    }

    /// Damages the sector in which these bytes are stored. Returns whether they were found.
    pub fn damage(&self, bytes: &[u8], kind: DamageKind) -> bool {
        self.damage_some(Victim::Holding(bytes), kind).is_some()
    }

    /// Damages a sector. Returns the file that it is in, if anything was changed.
    pub(crate) fn damage_some(&self, victim: Victim<'_>, kind: DamageKind) -> Option<String> {
        self.state().damage(victim, kind)
    }

    /// Counts a fault that is a matter of when or where another one happened.
    pub(crate) fn fired(&self, fault: Fault) {
        self.state().faults.fired(fault);
    }

    /// What went wrong so far.
    #[must_use]
    pub fn faults(&self) -> FaultCounts {
        self.state().faults.clone()
    }

    /// An earlier fault turned out to matter.
    pub(crate) fn mattered(&self, fault: Fault) {
        self.state().faults.mattered(fault);
    }

    /// How many operations were submitted so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("under_way", &self.under_way()).finish_non_exhaustive()
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
