//! Choices of the one who injects faults: kinds of crash and damage, and rates.
//!
//! Not here: their effect ([`state`](super::state)), their names in reports
//! ([`fault`](crate::fault)).

use crate::fault::Fault;

/// A kind of crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends; completed writes stay in the cache.
    Kill,
    /// Power loss: only synced bytes are certain to survive.
    PowerCut,
}

/// Rates of faults while the system runs. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultConfig {
    /// Failing syncs, per thousand.
    pub sync_errors_per_mille: u64,
    /// Failing writes, per thousand.
    pub write_errors_per_mille: u64,
    /// Operations on whole files or names that fail without effect, per thousand.
    pub shortages_per_mille: u64,
    /// Operations that complete before `submit` returns, in percent.
    pub immediate_completion_percent: u64,
    /// Enables poisoning of never-written ranges by a failed sync.
    pub poisons_new_ranges: bool,
}

/// A kind of damage to durable bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// One flipped bit.
    FlippedBit,
    /// A sector of zeros.
    ZeroedSector,
    /// A sector with its previous content.
    OldSector,
    /// A sector with the content of another sector of the file.
    ForeignSector,
}

impl DamageKind {
    pub(crate) const ALL: [Self; 4] =
        [Self::FlippedBit, Self::ZeroedSector, Self::OldSector, Self::ForeignSector];

    pub(crate) const fn fault(self) -> Fault {
        match self {
            Self::FlippedBit => Fault::FlippedBit,
            Self::ZeroedSector => Fault::ZeroedSector,
            Self::OldSector => Fault::OldSector,
            Self::ForeignSector => Fault::ForeignSector,
        }
    }
}

/// Place of injected damage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DamageTarget<'a> {
    /// The sector that contains the first of these bytes.
    Holding(&'a [u8]),
    /// Any file of the log.
    Log,
    /// Any file of the index.
    Index,
}
