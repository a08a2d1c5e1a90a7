//! What can go wrong, and how often it did.
//!
//! Owns: the list of faults that the simulation knows. Always holds: a fault is counted when it
//! happens, not when it was planned; it *mattered* when something was lost, cut or lied about that
//! was there to be lost.

use std::fmt;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power is lost: of what was not synced, any sectors stay. Matters when some are lost.
    PowerCut,
    /// A power cut keeps only a part of one write.
    TornWrite,
    /// A power cut keeps a later write's sector and loses an earlier write's.
    ReorderedSectors,
    /// A lost sector shows what once was written elsewhere. Always matters.
    StaleSector,
    /// The process ends; the system lives on. Matters when a write in flight is cut short.
    Kill,
    /// The page cache lets go of what it believes to be on the device.
    EvictedCache,
    /// A sync fails once and then lies. Matters when bytes did not reach the device.
    SyncError,
    /// After a failed sync, what is written to the same range never reaches the device. Matters
    /// when somebody writes there again.
    PoisonedRange,
    /// A write fails. Matters when a part of it was done.
    WriteError,
    /// A name is lost because its directory was not synced. Matters when the file held bytes.
    LostName,
    /// No space is left. Matters when a part of the write was done.
    DiskFull,
    /// A crash strikes while the store is being opened.
    CrashInRecovery,
    /// A sync fails while the store is being opened.
    SyncErrorInRecovery,
    /// A sync fails while the index is put into a file.
    SyncErrorInFiling,
    /// A bit of durable bytes changes. Matters when the store says so.
    FlippedBit,
    /// A durable sector becomes zeros. Matters when the store says so.
    ZeroedSector,
}

impl Fault {
    /// All kinds, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::PowerCut,
        Self::TornWrite,
        Self::ReorderedSectors,
        Self::StaleSector,
        Self::Kill,
        Self::EvictedCache,
        Self::SyncError,
        Self::PoisonedRange,
        Self::WriteError,
        Self::LostName,
        Self::DiskFull,
        Self::CrashInRecovery,
        Self::SyncErrorInRecovery,
        Self::SyncErrorInFiling,
        Self::FlippedBit,
        Self::ZeroedSector,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PowerCut => "power cut",
            Self::TornWrite => "torn write",
            Self::ReorderedSectors => "reordered sectors",
            Self::StaleSector => "stale sector",
            Self::Kill => "kill",
            Self::EvictedCache => "evicted cache",
            Self::SyncError => "sync error",
            Self::PoisonedRange => "poisoned range",
            Self::WriteError => "write error",
            Self::LostName => "lost name",
            Self::DiskFull => "disk full",
            Self::CrashInRecovery => "crash in recovery",
            Self::SyncErrorInRecovery => "sync error in recovery",
            Self::SyncErrorInFiling => "sync error in filing",
            Self::FlippedBit => "flipped bit",
            Self::ZeroedSector => "zeroed sector",
        })
    }
}

/// How often each kind of fault happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    counts: [FaultCount; Fault::ALL.len()],
}

/// How often one kind of fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCount {
    /// It happened.
    pub fired: u64,
    /// It happened and mattered.
    pub mattered: u64,
}

impl FaultCounts {
    /// How often this kind happened.
    #[must_use]
    pub fn of(&self, fault: Fault) -> FaultCount {
        self.counts.get(fault as usize).copied().unwrap_or_default()
    }

    /// Counts one that mattered, or did not.
    pub(crate) fn count(&mut self, fault: Fault, weight: Weight) {
        self.fired(fault);
        if weight == Weight::Mattered {
            self.mattered(fault);
        }
    }

    pub(crate) fn fired(&mut self, fault: Fault) {
        self.entry(fault).fired += 1;
    }

    /// An earlier one turned out to matter.
    pub(crate) fn mattered(&mut self, fault: Fault) {
        self.entry(fault).mattered += 1;
    }

    fn entry(&mut self, fault: Fault) -> &mut FaultCount {
        self.counts.get_mut(fault as usize).expect("there is a count for each fault")
    }
}

/// Whether a fault changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Idle,
    Mattered,
}

impl Weight {
    pub(crate) const fn when(mattered: bool) -> Self {
        if mattered { Self::Mattered } else { Self::Idle }
    }
}
