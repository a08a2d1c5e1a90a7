//! What can go wrong, and how often it did.
//!
//! Owns: the list of faults that the simulation knows. Always holds: a fault is counted when it
//! happens, not when it was planned; it *mattered* when something was lost, cut or lied about that
//! was there to be lost.

use std::fmt;

/// Lists the faults once, so that none is left out of [`Fault::ALL`].
macro_rules! faults {
    ($($(#[$what:meta])+ $name:ident = $called:literal,)+) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$what])+ $name,)+
        }

        impl Fault {
            /// All kinds, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            const fn called(self) -> &'static str {
                match self {
                    $(Self::$name => $called,)+
                }
            }
        }
    };
}

faults! {
    /// Power is lost: of what was not synced, any sectors stay. Matters when some are lost.
    PowerCut = "power cut",
    /// A power cut keeps only a part of one write.
    TornWrite = "torn write",
    /// A power cut keeps the sectors before and after one that it loses, all of one write.
    Hole = "hole in a write",
    /// A power cut keeps a later write's sector and loses an earlier write's.
    ReorderedSectors = "reordered sectors",
    /// A lost sector shows what once was written elsewhere. Always matters.
    StaleSector = "stale sector",
    /// The process ends; the system lives on. Matters when a write in flight is cut short.
    Kill = "kill",
    /// The page cache lets go of what it believes to be on the device.
    EvictedCache = "evicted cache",
    /// A sync fails once and then lies. Matters when bytes did not reach the device.
    SyncError = "sync error",
    /// After a failed sync, what is written to the same range never reaches the device. Matters
    /// when somebody writes there again.
    PoisonedRange = "poisoned range",
    /// A write fails. Matters when a part of it was done.
    WriteError = "write error",
    /// A name is lost because its directory was not synced. Matters when the file held bytes.
    LostName = "lost name",
    /// The system has no descriptor or memory left for a file or a name, or a signal interrupts it.
    /// Matters when an append waits for it.
    Shortage = "shortage",
    /// No space is left.
    DiskFull = "disk full",
    /// No space is left for the rest of a write. Always matters.
    DiskFullInside = "disk full inside a write",
    /// A crash strikes while the store is being opened.
    CrashInRecovery = "crash in recovery",
    /// A crash strikes while a segment's index is put into a file.
    CrashInFiling = "crash in filing",
    /// A crash strikes while files of the index are merged.
    CrashInMerge = "crash in a merge",
    /// A sync fails while the store is being opened.
    SyncErrorInRecovery = "sync error in recovery",
    /// A sync fails while the index is put into a file.
    SyncErrorInFiling = "sync error in filing",
    /// The device says that it has written something, and has not. Matters when somebody says so.
    LostWrite = "lost write",
    /// What is written lands elsewhere in the same file. Matters when somebody says so.
    MisdirectedWrite = "misdirected write",
    /// A bit of durable bytes changes. Matters when somebody says so.
    FlippedBit = "flipped bit",
    /// A durable sector becomes zeros. Matters when somebody says so.
    ZeroedSector = "zeroed sector",
    /// A durable sector is again what it was before. Matters when somebody says so.
    OldSector = "old sector",
    /// A durable sector is overwritten by another one of its file. Matters when somebody says so.
    StrangeSector = "strange sector",
    /// Any of these in a file of the index. Matters when somebody says so.
    DamagedIndex = "damaged index file",
    /// Any of these while the store is open. Matters when somebody says so.
    DamageUnderReaders = "damage under readers",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.called())
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
