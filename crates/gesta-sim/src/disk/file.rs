//! One file: its bytes on the device and in the page cache.
//!
//! Invariant: bytes reach the device only by a sync, or at random in a power cut; then sector by
//! sector, in any order, in any version that the sector had since its last sync.

use std::collections::{BTreeMap, BTreeSet};

use crate::rng::SimRng;

/// Unit of atomic writes of the device.
pub(crate) const SECTOR_BYTES: usize = 512;

pub(crate) type Sector = [u8; SECTOR_BYTES];

/// Content of a sector after a write.
#[derive(Clone, Debug)]
struct Version {
    /// Sequence number of the write on the whole disk.
    write: u64,
    bytes: Box<Sector>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    device: Vec<u8>,
    cache: Vec<u8>,
    /// Versions of each sector since its last sync, oldest first.
    dirty: BTreeMap<usize, Vec<Version>>,
    /// Sectors that no longer reach the device until the system restarts.
    poisoned: BTreeSet<usize>,
    /// Previous content of sectors on the device.
    older: BTreeMap<usize, Box<Sector>>,
}

/// Writes covered by a sync, fixed when the sync is submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncScope {
    write: u64,
    length: usize,
}

/// Parameters of a power cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PowerCutOptions {
    /// Share of unsynced sectors, in percent, that had reached the device.
    pub(crate) kept_percent: u64,
    /// Content of lost sectors of a grown file; zeros if `None`.
    pub(crate) stale: Option<Sector>,
}

/// Result of one unsynced sector write after a power cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteOutcome {
    pub(crate) write: u64,
    pub(crate) sector: usize,
    pub(crate) kept: bool,
}

/// Effects of a power cut on a file.
#[derive(Debug, Default)]
pub(crate) struct PowerCutReport {
    pub(crate) outcomes: Vec<WriteOutcome>,
    pub(crate) stale_sectors: usize,
}

impl File {
    pub(crate) const fn length(&self) -> usize {
        self.cache.len()
    }

    pub(crate) fn has_durable_bytes(&self) -> bool {
        !self.device.is_empty()
    }

    /// Writes to the cache. Returns the number of poisoned sectors touched.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8], write: u64) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache.get_mut(offset..end).expect("the cache has grown").copy_from_slice(bytes);
        // Every touched sector gets a version, so that a power cut can keep any state in between.
        let touched = offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        for sector in touched.clone() {
            let bytes = Box::new(sector_of(&self.cache, sector));
            self.dirty.entry(sector).or_default().push(Version { write, bytes });
        }
        touched.filter(|sector| self.poisoned.contains(sector)).count()
    }

    pub(crate) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let end = offset.saturating_add(length).min(self.cache.len());
        self.cache.get(offset..end).unwrap_or_default().to_vec()
    }

    /// Reads from the device after writing back newer cached sectors, as direct reads do.
    pub(crate) fn read_uncached(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut truth = self.device.clone();
        truth.resize(self.cache.len(), 0);
        for sector in self.dirty.keys() {
            copy_sector(&mut truth, *sector, &sector_of(&self.cache, *sector));
        }
        let end = offset.saturating_add(length).min(truth.len());
        truth.get(offset..end).unwrap_or_default().to_vec()
    }

    /// Returns the scope of a sync submitted now; `write` is the last write so far.
    pub(crate) const fn covered(&self, write: u64) -> SyncScope {
        SyncScope { write, length: self.cache.len() }
    }

    pub(crate) fn sync(&mut self, covered: SyncScope) {
        self.grow_device(covered.length);
        for (sector, bytes) in self.take_covered(covered) {
            if !self.poisoned.contains(&sector) {
                self.put_on_device(sector, &bytes);
            }
        }
    }

    /// Completes a sync that the device drops or misdirects, while the cache looks correct.
    ///
    /// Returns whether the fault took effect: a sync without dirty sectors, or in a file without
    /// another place to write to, behaves correctly.
    pub(crate) fn sync_with_fault(
        &mut self,
        covered: SyncScope,
        sync_fault: SyncFault,
        rng: &mut SimRng,
    ) -> bool {
        // The length reaches the device even if the data does not.
        self.grow_device(covered.length);
        let taken = self.take_covered(covered);
        let (Some((first, _)), Some((last, _))) = (taken.first(), taken.last()) else {
            return false;
        };
        let (first, sectors) = (*first, last - first + 1);
        if sync_fault == SyncFault::Lost {
            return true;
        }
        // The misdirected range keeps its length and stays inside the file.
        let free_bytes = (self.device.len() / SECTOR_BYTES).saturating_sub(sectors);
        let target = if rng.percent(50) {
            (first + rng.below(17)).saturating_sub(8).min(free_bytes) // not far away
        } else {
            rng.below(free_bytes + 1)
        };
        let target = match free_bytes {
            0 => first,
            // It must not hit its proper place by accident.
            _ if target == first => (target + 1) % (free_bytes + 1),
            _ => target,
        };
        for (sector, bytes) in &taken {
            self.put_on_device(target + sector - first, bytes);
        }
        target != first
    }

    fn put_on_device(&mut self, sector: usize, bytes: &Sector) {
        let before = Box::new(sector_of(&self.device, sector));
        if *before != *bytes {
            self.older.insert(sector, before);
        }
        copy_sector(&mut self.device, sector, bytes);
    }

    /// Fails a sync: some sectors reach the device, and the cache marks the others as clean all the
    /// same. Returns the sectors that were lost.
    pub(crate) fn fail_sync(
        &mut self,
        covered: SyncScope,
        poison: Poison,
        rng: &mut SimRng,
    ) -> SyncFailure {
        let written_before = self.device.len().div_ceil(SECTOR_BYTES);
        if rng.percent(50) {
            self.grow_device(covered.length);
        }
        let written_percent = rng.pick(&[0, 50, 90]);
        let mut failure = SyncFailure::default();
        // As on Linux, the sectors become clean although they did not reach the device.
        for (sector, bytes) in self.take_covered(covered) {
            if rng.percent(written_percent) && !self.poisoned.contains(&sector) {
                self.grow_device(covered.length);
                self.put_on_device(sector, &bytes);
                continue;
            }
            failure.lost_sectors += 1;
            // Only sectors beyond the device's previous end are poisoned.
            if poison == Poison::NewRanges && sector >= written_before {
                failure.poisoned_sectors += 1;
                self.poisoned.insert(sector);
            }
        }
        failure
    }

    /// Drops the cache, so that reads show the device. Returns whether any byte differed.
    pub(crate) fn evict(&mut self) -> bool {
        let truth = self.read_uncached(0, self.cache.len());
        let lied = truth != self.cache;
        self.cache = truth;
        lied
    }

    /// Loses power: unsynced sectors survive at random, and the cache is lost.
    pub(crate) fn cut_power(
        &mut self,
        options: PowerCutOptions,
        rng: &mut SimRng,
    ) -> PowerCutReport {
        let mut report = PowerCutReport::default();
        // Only sectors beyond the old end can show stale bytes.
        let written_before = self.device.len().div_ceil(SECTOR_BYTES);
        let kept = self.kept_sectors(options, rng, &mut report);
        // The length is chosen first: surviving sectors beyond it are cut off.
        let length = self.length_after_power_cut(&kept, rng);
        self.device.resize(length, 0);
        if let Some(stale) = options.stale {
            for sector in written_before..length.div_ceil(SECTOR_BYTES) {
                if !kept.contains_key(&sector) && rng.percent(50) {
                    copy_sector(&mut self.device, sector, &stale);
                    report.stale_sectors += 1;
                }
            }
        }
        for (sector, bytes) in kept {
            self.put_on_device(sector, &bytes);
        }
        self.cache.clone_from(&self.device);
        self.dirty.clear();
        self.poisoned.clear();
        report
    }

    fn kept_sectors(
        &self,
        options: PowerCutOptions,
        rng: &mut SimRng,
        report: &mut PowerCutReport,
    ) -> BTreeMap<usize, Box<Sector>> {
        let mut kept = BTreeMap::new();
        for (sector, versions) in &self.dirty {
            let reaches = rng.percent(options.kept_percent) && !self.poisoned.contains(sector);
            let last = versions.len() - 1;
            // The device may hold an older version: it wrote the sector before the last change.
            let newest = if rng.percent(70) { last } else { rng.below(versions.len()) };
            for (place, version) in versions.iter().enumerate() {
                let kept = reaches && place <= newest;
                let outcome = WriteOutcome { write: version.write, sector: *sector, kept };
                report.outcomes.push(outcome);
            }
            if let Some(version) = versions.get(newest).filter(|_| reaches) {
                kept.insert(*sector, version.bytes.clone());
            }
        }
        kept
    }

    /// The length becomes durable independently of the data: at least the synced length, at most
    /// the written length.
    fn length_after_power_cut(
        &self,
        kept: &BTreeMap<usize, Box<Sector>>,
        rng: &mut SimRng,
    ) -> usize {
        let (least, most) = (self.device.len(), self.cache.len());
        let data_end = kept.keys().next_back().map_or(0, |sector| (sector + 1) * SECTOR_BYTES);
        // Old length, any length in between, end of the surviving data, or the full length.
        match rng.below(4) {
            0 => least,
            1 => least + rng.below(most.saturating_sub(least) + 1),
            2 => data_end.min(most).max(least),
            _ => most.max(least),
        }
    }

    /// Picks any sector of this file, as stale content.
    pub(crate) fn some_sector(&self, rng: &mut SimRng) -> Sector {
        self.sector(rng.below(self.device.len() / SECTOR_BYTES))
    }

    /// Finds `bytes` on the device.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.device.windows(bytes.len()).position(|window| window == bytes)
    }

    /// Returns the sectors on the device that are not all zeros.
    pub(crate) fn written_sectors(&self) -> Vec<usize> {
        let sectors = self.device.chunks(SECTOR_BYTES).enumerate();
        let written = sectors.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        written.map(|(sector, _)| sector).collect()
    }

    /// Previous content of a sector, if it ever changed.
    pub(crate) fn older(&self, sector: usize) -> Option<Sector> {
        self.older.get(&sector).map(|sector| **sector)
    }

    /// Changes a durable sector without the engine's knowledge. Returns whether its content
    /// differs.
    pub(crate) fn damage(&mut self, sector: usize, change: impl FnOnce(&mut Sector)) -> bool {
        let before = sector_of(&self.device, sector);
        let mut damaged = before;
        change(&mut damaged);
        for bytes in [&mut self.device, &mut self.cache] {
            copy_sector(bytes, sector, &damaged);
        }
        damaged != before
    }

    /// Content of a sector on the device.
    pub(crate) fn sector(&self, sector: usize) -> Sector {
        sector_of(&self.device, sector)
    }

    fn grow_device(&mut self, length: usize) {
        if self.device.len() < length {
            self.device.resize(length, 0);
        }
    }

    /// Removes the newest covered version of each dirty sector; later versions stay dirty.
    fn take_covered(&mut self, covered: SyncScope) -> Vec<(usize, Box<Sector>)> {
        let mut taken = Vec::new();
        for (sector, versions) in &mut self.dirty {
            let count = versions.partition_point(|version| version.write <= covered.write);
            if let Some(version) = versions.drain(..count).next_back() {
                taken.push((*sector, version.bytes));
            }
        }
        self.dirty.retain(|_, versions| !versions.is_empty());
        taken
    }
}

/// Effect of a failed sync on ranges that were never written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    /// None: writing them again works (xfs, btrfs).
    Nothing,
    /// Later writes never reach the device (ext4, as measured).
    NewRanges,
}

/// Ways in which a device breaks a sync that it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// Drops the data.
    Lost,
    /// Writes the data to other sectors of the same file.
    Misdirected,
}

/// Loss caused by a failed sync.
#[derive(Debug, Default)]
pub(crate) struct SyncFailure {
    pub(crate) lost_sectors: usize,
    pub(crate) poisoned_sectors: usize,
}

fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut content = [0; SECTOR_BYTES];
    let start = sector * SECTOR_BYTES;
    let there = bytes.get(start..bytes.len().min(start + SECTOR_BYTES)).unwrap_or_default();
    content.get_mut(..there.len()).expect("at most a sector").copy_from_slice(there);
    content
}

/// Replaces a sector, clipped to the length of the target.
fn copy_sector(target: &mut [u8], sector: usize, content: &Sector) {
    let start = sector * SECTOR_BYTES;
    let end = target.len().min(start + SECTOR_BYTES);
    if let Some(place) = target.get_mut(start..end) {
        place.copy_from_slice(content.get(..place.len()).expect("at most a sector"));
    }
}
