//! One file: what is on the device, and what the page cache says.
//!
//! Always holds: bytes move from the cache to the device only by a sync, or by chance at a power
//! cut; each in sectors, any version that a sector had since it was last synced, in any order.

use std::collections::{BTreeMap, BTreeSet};

use crate::chance::Chance;

/// What a device writes wholly or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

pub(crate) type Sector = [u8; SECTOR_BYTES];

/// The content of a sector after some write.
#[derive(Clone, Debug)]
struct Version {
    /// Which write, counted over the whole disk.
    write: u64,
    bytes: Box<Sector>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    device: Vec<u8>,
    cache: Vec<u8>,
    /// What each sector has been since it was last known to be on the device; oldest first.
    dirty: BTreeMap<usize, Vec<Version>>,
    /// Sectors whose content never reaches the device again while the system lives.
    poisoned: BTreeSet<usize>,
    /// What sectors of the device were before what they are.
    older: BTreeMap<usize, Box<Sector>>,
}

/// What a sync covers: decided when it is submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered {
    write: u64,
    length: usize,
}

/// How a power cut goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// How many of a hundred un-synced sectors had reached the device.
    pub(crate) kept_percent: u64,
    /// What a lost sector of a grown file shows, if not zeros.
    pub(crate) stale: Option<Sector>,
}

/// What became of one sector's un-synced write in a power cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) write: u64,
    pub(crate) sector: usize,
    pub(crate) kept: bool,
}

/// What a power cut did to a file.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(crate) fates: Vec<Fate>,
    pub(crate) stale_sectors: usize,
}

impl File {
    pub(crate) const fn length(&self) -> usize {
        self.cache.len()
    }

    pub(crate) fn has_durable_bytes(&self) -> bool {
        !self.device.is_empty()
    }

    /// Puts bytes into the cache. Returns how many poisoned sectors they touched.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8], write: u64) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache.get_mut(offset..end).expect("the cache has grown").copy_from_slice(bytes);
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

    /// Reads from the device; what is known to be newer in the cache is written back first, as
    /// direct reads do.
    pub(crate) fn read_bypassing_the_cache(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut truth = self.device.clone();
        truth.resize(self.cache.len(), 0);
        for sector in self.dirty.keys() {
            copy_sector(&mut truth, *sector, &sector_of(&self.cache, *sector));
        }
        let end = offset.saturating_add(length).min(truth.len());
        truth.get(offset..end).unwrap_or_default().to_vec()
    }

    /// What a sync submitted now covers, if `write` was the last write.
    pub(crate) const fn covered(&self, write: u64) -> Covered {
        Covered { write, length: self.cache.len() }
    }

    pub(crate) fn sync(&mut self, covered: Covered) {
        self.grow_device(covered.length);
        for (sector, bytes) in self.take_covered(covered) {
            if !self.poisoned.contains(&sector) {
                self.put_on_device(sector, &bytes);
            }
        }
    }

    /// A sync after which the cache looks as it should, and of which the device did nothing, or
    /// did it elsewhere. Returns whether it lied: a sync with nothing to do, or in a file with no
    /// other place, goes as it should.
    pub(crate) fn lie_about_sync(
        &mut self,
        covered: Covered,
        lie: Lie,
        chance: &mut Chance,
    ) -> bool {
        self.grow_device(covered.length);
        let taken = self.take_covered(covered);
        let (Some((first, _)), Some((last, _))) = (taken.first(), taken.last()) else {
            return false;
        };
        let (first, sectors) = (*first, last - first + 1);
        if lie == Lie::Nowhere {
            return true;
        }
        let room = (self.device.len() / SECTOR_BYTES).saturating_sub(sectors);
        let target = if chance.percent(50) {
            (first + chance.below(17)).saturating_sub(8).min(room) // not far away
        } else {
            chance.below(room + 1)
        };
        let target = match room {
            0 => first,
            _ if target == first => (target + 1) % (room + 1),
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

    /// A sync that fails: some sectors reach the device, the others are believed to have. Returns
    /// how many did not.
    pub(crate) fn fail_to_sync(
        &mut self,
        covered: Covered,
        poison: Poison,
        chance: &mut Chance,
    ) -> SyncFailure {
        let written_before = self.device.len().div_ceil(SECTOR_BYTES);
        if chance.percent(50) {
            self.grow_device(covered.length);
        }
        let reaching = chance.pick(&[0, 50, 90]);
        let mut failure = SyncFailure::default();
        for (sector, bytes) in self.take_covered(covered) {
            if chance.percent(reaching) && !self.poisoned.contains(&sector) {
                self.grow_device(covered.length);
                self.put_on_device(sector, &bytes);
                continue;
            }
            failure.lost_sectors += 1;
            if poison == Poison::NewRanges && sector >= written_before {
                failure.poisoned_sectors += 1;
                self.poisoned.insert(sector);
            }
        }
        failure
    }

    /// Shows the device's bytes wherever the cache believes that they are the same. Returns
    /// whether any differed.
    pub(crate) fn evict(&mut self) -> bool {
        let truth = self.read_bypassing_the_cache(0, self.cache.len());
        let lied = truth != self.cache;
        self.cache = truth;
        lied
    }

    /// Loses power: what was not synced stays by chance, and the cache is gone.
    pub(crate) fn cut_power(&mut self, cut: Cut, chance: &mut Chance) -> Aftermath {
        let mut aftermath = Aftermath::default();
        let written_before = self.device.len().div_ceil(SECTOR_BYTES);
        let kept = self.kept_sectors(cut, chance, &mut aftermath);
        let length = self.length_after_power_cut(&kept, chance);
        self.device.resize(length, 0);
        if let Some(stale) = cut.stale {
            for sector in written_before..length.div_ceil(SECTOR_BYTES) {
                if !kept.contains_key(&sector) && chance.percent(50) {
                    copy_sector(&mut self.device, sector, &stale);
                    aftermath.stale_sectors += 1;
                }
            }
        }
        for (sector, bytes) in kept {
            self.put_on_device(sector, &bytes);
        }
        self.cache.clone_from(&self.device);
        self.dirty.clear();
        self.poisoned.clear();
        aftermath
    }

    fn kept_sectors(
        &self,
        cut: Cut,
        chance: &mut Chance,
        aftermath: &mut Aftermath,
    ) -> BTreeMap<usize, Box<Sector>> {
        let mut kept = BTreeMap::new();
        for (sector, versions) in &self.dirty {
            let reaches = chance.percent(cut.kept_percent) && !self.poisoned.contains(sector);
            let last = versions.len() - 1;
            let newest = if chance.percent(70) { last } else { chance.below(versions.len()) };
            for (place, version) in versions.iter().enumerate() {
                let kept = reaches && place <= newest;
                let fate = Fate { write: version.write, sector: *sector, kept };
                aftermath.fates.push(fate);
            }
            if let Some(version) = versions.get(newest).filter(|_| reaches) {
                kept.insert(*sector, version.bytes.clone());
            }
        }
        kept
    }

    /// The length is durable by itself: at least what was synced, at most what was written.
    fn length_after_power_cut(
        &self,
        kept: &BTreeMap<usize, Box<Sector>>,
        chance: &mut Chance,
    ) -> usize {
        let (least, most) = (self.device.len(), self.cache.len());
        let data_end = kept.keys().next_back().map_or(0, |sector| (sector + 1) * SECTOR_BYTES);
        match chance.below(4) {
            0 => least,
            1 => least + chance.below(most.saturating_sub(least) + 1),
            2 => data_end.min(most).max(least),
            _ => most.max(least),
        }
    }

    /// What a stranger's sector may look like: some sector of this file.
    pub(crate) fn some_sector(&self, chance: &mut Chance) -> Sector {
        self.sector(chance.below(self.device.len() / SECTOR_BYTES))
    }

    /// Where these bytes are, on the device.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.device.windows(bytes.len()).position(|window| window == bytes)
    }

    /// Where somebody has written, by sectors; what is zeros from the beginning on does not count.
    pub(crate) fn written_sectors(&self) -> Vec<usize> {
        let sectors = self.device.chunks(SECTOR_BYTES).enumerate();
        let written = sectors.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        written.map(|(sector, _)| sector).collect()
    }

    /// What a sector was before what it is, if it was anything else.
    pub(crate) fn older(&self, sector: usize) -> Option<Sector> {
        self.older.get(&sector).map(|sector| **sector)
    }

    /// Changes a durable sector behind everybody's back. Returns whether it is another one now.
    pub(crate) fn damage(&mut self, sector: usize, change: impl FnOnce(&mut Sector)) -> bool {
        let before = sector_of(&self.device, sector);
        let mut damaged = before;
        change(&mut damaged);
        for bytes in [&mut self.device, &mut self.cache] {
            copy_sector(bytes, sector, &damaged);
        }
        damaged != before
    }

    /// What is in a sector of the device.
    pub(crate) fn sector(&self, sector: usize) -> Sector {
        sector_of(&self.device, sector)
    }

    fn grow_device(&mut self, length: usize) {
        if self.device.len() < length {
            self.device.resize(length, 0);
        }
    }

    /// Takes the newest covered version of each dirty sector; later versions stay.
    fn take_covered(&mut self, covered: Covered) -> Vec<(usize, Box<Sector>)> {
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

/// What a failed sync does to ranges that were never written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    /// Nothing worse: writing them again helps (xfs, btrfs).
    Nothing,
    /// They read as zeros from the device whatever is written there (ext4, as measured).
    NewRanges,
}

/// How a device lies about a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It did nothing.
    Nowhere,
    /// It wrote to other sectors of the same file.
    Elsewhere,
}

/// What a failed sync left behind.
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

/// Replaces a sector, as far as the file reaches.
fn copy_sector(target: &mut [u8], sector: usize, content: &Sector) {
    let start = sector * SECTOR_BYTES;
    let end = target.len().min(start + SECTOR_BYTES);
    if let Some(place) = target.get_mut(start..end) {
        place.copy_from_slice(content.get(..place.len()).expect("at most a sector"));
    }
}
