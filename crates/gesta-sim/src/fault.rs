//! The kinds of faults, and counters for them.
//!
//! Owns: the list of faults that the simulation injects. Invariants: a fault is counted when it
//! happens, not when it is scheduled; it *mattered* if bytes were lost, cut or misreported because
//! of it.

use std::fmt;

/// Declares the faults once, so that [`Fault::ALL`] is complete.
macro_rules! faults {
    ($($(#[$what:meta])+ $name:ident = $label:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$what])+ $name,)+
        }

        impl Fault {
            /// All kinds, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }
        }
    };
}

faults! {
    /// Power loss: any subset of the sectors that were not synced survives. Matters if some are
    /// lost.
    PowerCut = "power cut",
    /// A power cut keeps only part of one write.
    TornWrite = "torn write",
    /// A power cut loses a sector in the middle of a write and keeps sectors on both sides.
    Hole = "hole in a write",
    /// A power cut keeps a sector of a later write and loses one of an earlier write.
    ReorderedSectors = "reordered sectors",
    /// A lost sector shows bytes that were once written elsewhere. Always matters.
    StaleSector = "stale sector",
    /// The process ends and the system continues. Matters if a write in flight is cut short.
    Kill = "kill",
    /// The page cache drops pages that it believes to be on the device.
    EvictedCache = "evicted cache",
    /// A sync fails once, and the next one reports success. Matters if bytes did not reach the
    /// device.
    SyncError = "sync error",
    /// After a failed sync, later writes to the same range never reach the device. Matters if the
    /// range is written again.
    PoisonedRange = "poisoned range",
    /// A write fails. Matters if part of it was done.
    WriteError = "write error",
    /// A name is lost because its directory was not synced. Matters if the file held bytes.
    LostName = "lost name",
    /// The system is out of descriptors or memory for an operation on a file or name, or a signal
    /// interrupts it. Matters if an append waits for the operation.
    Shortage = "shortage",
    /// No space is left. Matters if part of the write was done.
    DiskFull = "disk full",
    /// No space is left for the rest of a write. Always matters.
    DiskFullInside = "disk full inside a write",
    /// A crash while the store is being opened.
    CrashInRecovery = "crash in recovery",
    /// A crash while a segment's index is flushed.
    CrashInFlush = "crash in flush",
    /// A crash while runs of the index are compacted.
    CrashInCompaction = "crash in compaction",
    /// A sync failure while the store is being opened.
    SyncErrorInRecovery = "sync error in recovery",
    /// A sync failure while the index is flushed.
    SyncErrorInFlush = "sync error in flush",
    /// The device acknowledges a write and drops it. Matters if damage is reported.
    LostWrite = "lost write",
    /// A write lands elsewhere in the same file. Matters if damage is reported.
    MisdirectedWrite = "misdirected write",
    /// A bit of durable bytes flips. Matters if damage is reported.
    FlippedBit = "flipped bit",
    /// A durable sector becomes zeros. Matters if damage is reported.
    ZeroedSector = "zeroed sector",
    /// A durable sector reverts to its previous content. Matters if damage is reported.
    OldSector = "old sector",
    /// A durable sector is overwritten with another sector of its file. Matters if damage is
    /// reported.
    ForeignSector = "foreign sector",
    /// Damage of any kind in a file of the index. Matters if damage is reported.
    DamagedIndex = "damaged index file",
    /// Damage of any kind while the store is open. Matters if damage is reported.
    DamageUnderReaders = "damage under readers",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Occurrences of every kind of fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    counts: [FaultCount; Fault::ALL.len()],
}

/// Occurrences of one kind of fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCount {
    /// Number of times the fault happened.
    pub fired: u64,
    /// Number of times it also mattered.
    pub mattered: u64,
}

impl FaultCounts {
    /// Returns the occurrences of one kind of fault.
    #[must_use]
    pub fn of(&self, fault: Fault) -> FaultCount {
        self.counts.get(fault as usize).copied().unwrap_or_default()
    }

    /// Counts a fault and its impact.
    pub(crate) fn count(&mut self, fault: Fault, impact: Impact) {
        self.fired(fault);
        if impact == Impact::Effective {
            self.mattered(fault);
        }
    }

    pub(crate) fn fired(&mut self, fault: Fault) {
        self.entry(fault).fired += 1;
    }

    /// Records that a fault counted before turned out to matter.
    pub(crate) fn mattered(&mut self, fault: Fault) {
        self.entry(fault).mattered += 1;
    }

    fn entry(&mut self, fault: Fault) -> &mut FaultCount {
        self.counts.get_mut(fault as usize).expect("there is a count for each fault")
    }
}

/// Effect of a fault on stored bytes or on a waiting append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Impact {
    None,
    Effective,
}

impl Impact {
    pub(crate) const fn effective_if(mattered: bool) -> Self {
        if mattered { Self::Effective } else { Self::None }
    }
}
