//! What a [`SimDisk`](super::SimDisk) is made of, behind its lock.
//!
//! Owns: the effect of each operation, and the faults in it. Always holds: what an operation is
//! about is decided when it is submitted; what it does, when it completes.

use std::io;

use bytes::Bytes;
use gesta_log::{Cache, Done, Lane, Operation};

use super::{
    Crash, DamageKind, Hazards,
    directory::{Directory, FileNumber},
    file::{Aftermath, Covered, Cut, Fate, File, Poison, SECTOR_BYTES},
};
use crate::{
    chance::Chance,
    fault::{Fault, FaultCounts, Weight},
    trace::Trace,
};

/// Whether the disk answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    /// For so many calls.
    StrikesAfter(u64),
    /// A crash has struck; it still has to be carried out.
    Struck,
}

/// What has failed since the last crash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    pub(super) any: bool,
    /// A sync in the foreground: what somebody waited for is not durable.
    pub(super) sync: bool,
}

/// An operation with what was decided when it was submitted.
struct Submitted {
    operation: Operation,
    lane: Lane,
    /// The file that its name meant; none where there was none.
    target: Option<FileNumber>,
    covered: Covered,
    covered_changes: u64,
}

/// An operation under way; nobody waits for one that a strike cut short.
pub(super) struct UnderWay {
    submitted: Submitted,
    done: Option<Done>,
}

/// An operation's end, to be told outside of the lock.
pub(super) type Completion = (Done, io::Result<()>);

pub(super) struct State {
    chance: Chance,
    trace: Trace,
    pub(super) hazards: Hazards,
    pub(super) room: Option<usize>,
    pub(super) access: Access,
    pub(super) failures: Failures,
    /// Whether the index is being put into files.
    pub(super) filing: bool,
    pub(super) faults: FaultCounts,
    pub(super) under_way: Vec<UnderWay>,
    pub(super) operations: u64,
    directory: Directory,
    files: Vec<File>,
    /// Writes so far, over all files.
    writes: u64,
}

impl State {
    pub(super) fn new(chance: Chance, trace: Trace) -> Self {
        Self {
            chance,
            trace,
            hazards: Hazards::default(),
            room: None,
            access: Access::Open,
            failures: Failures::default(),
            filing: false,
            faults: FaultCounts::default(),
            under_way: Vec::new(),
            operations: 0,
            directory: Directory::default(),
            files: Vec::new(),
            writes: 0,
        }
    }

    pub(super) fn list(&mut self) -> io::Result<Vec<String>> {
        self.check_access()?;
        Ok(self.directory.names())
    }

    pub(super) fn length(&mut self, file: &str) -> io::Result<u64> {
        self.check_access()?;
        Ok(self.find(file)?.length() as u64)
    }

    pub(super) fn read(
        &mut self,
        file: &str,
        offset: u64,
        length: usize,
        cache: Cache,
    ) -> io::Result<Bytes> {
        self.check_access()?;
        let offset = to_usize(offset);
        let file = self.find(file)?;
        Ok(Bytes::from(match cache {
            Cache::Use => file.read(offset, length),
            Cache::Bypass => file.read_bypassing_the_cache(offset, length),
        }))
    }

    pub(super) fn submit(
        &mut self,
        operation: Operation,
        lane: Lane,
        done: Done,
    ) -> Option<Completion> {
        let submitted = self.submitted(operation, lane);
        if let Err(error) = self.check_access() {
            return Some((done, Err(error)));
        }
        if self.chance.percent(self.hazards.done_at_once_percent) {
            let result = self.complete(submitted);
            return Some((done, result));
        }
        self.under_way.push(UnderWay { submitted, done: Some(done) });
        None
    }

    pub(super) fn run(&mut self, operation: Operation) -> io::Result<()> {
        let lane = if self.filing { Lane::Background } else { Lane::Foreground };
        let submitted = self.submitted(operation, lane);
        if let Err(error) = self.check_access() {
            self.under_way.push(UnderWay { submitted, done: None });
            return Err(error);
        }
        let syncs =
            matches!(submitted.operation, Operation::Sync { .. } | Operation::SyncDirectory);
        let result = self.complete(submitted);
        if syncs && result.is_err() {
            let filing = self.filing;
            self.faults.fired(match filing {
                true => Fault::SyncErrorInFiling,
                false => Fault::SyncErrorInRecovery,
            });
        }
        result
    }

    pub(super) fn complete_any(&mut self) -> Option<Completion> {
        if self.under_way.is_empty() {
            return None;
        }
        let place = self.chance.below(self.under_way.len());
        let UnderWay { submitted, done } = self.under_way.swap_remove(place);
        let result = self.complete(submitted);
        Some((done.unwrap_or_else(|| Box::new(drop)), result))
    }

    fn submitted(&mut self, operation: Operation, lane: Lane) -> Submitted {
        self.operations += 1;
        let target = match &operation {
            Operation::Create { .. } | Operation::SyncDirectory => None,
            Operation::Write { file, .. }
            | Operation::WriteThrough { file, .. }
            | Operation::Sync { file }
            | Operation::Remove { file }
            | Operation::Rename { from: file, .. } => self.directory.find(file),
        };
        let of_none = File::default();
        let file = target.and_then(|number| self.files.get(number)).unwrap_or(&of_none);
        let covered = file.covered(self.writes);
        Submitted { operation, lane, target, covered, covered_changes: self.directory.covered() }
    }

    /// Lets a call through, or not.
    fn check_access(&mut self) -> io::Result<()> {
        match self.access {
            Access::Open => Ok(()),
            Access::StrikesAfter(0) | Access::Struck => {
                self.access = Access::Struck;
                Err(io::Error::other("the simulation struck"))
            }
            Access::StrikesAfter(calls) => {
                self.access = Access::StrikesAfter(calls - 1);
                Ok(())
            }
        }
    }

    fn complete(&mut self, submitted: Submitted) -> io::Result<()> {
        let operation = self.trace.is_on().then(|| format!("{:?}", submitted.operation));
        let result = self.take_effect(submitted);
        self.trace.note(|| match &result {
            Ok(()) => operation.unwrap_or_default(),
            Err(error) => format!("{}: {error}", operation.unwrap_or_default()),
        });
        result
    }

    fn take_effect(&mut self, submitted: Submitted) -> io::Result<()> {
        let Submitted { operation, lane, target, covered, covered_changes } = submitted;
        match operation {
            Operation::Create { file } => self.create(file),
            Operation::Write { offset, bytes, .. } => {
                self.write(existing(target)?, to_usize(offset), &bytes)
            }
            Operation::WriteThrough { offset, bytes, .. } => {
                let file = existing(target)?;
                self.write(file, to_usize(offset), &bytes)?;
                let writes = self.writes;
                let covered = self.file(file).covered(writes);
                self.sync(file, covered, lane)
            }
            Operation::Sync { .. } => self.sync(existing(target)?, covered, lane),
            Operation::Rename { from, to } => {
                self.directory.rename(from, to, existing(target)?);
                Ok(())
            }
            Operation::SyncDirectory => self.sync_directory(covered_changes, lane),
            Operation::Remove { file } => {
                existing(target)?;
                self.directory.unlink(file);
                Ok(())
            }
        }
    }

    fn create(&mut self, name: String) -> io::Result<()> {
        if self.room == Some(0) {
            return Err(self.disk_full(0));
        }
        self.files.push(File::default());
        self.directory.link(name, self.files.len() - 1);
        Ok(())
    }

    fn write(&mut self, file: FileNumber, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if self.chance.per_mille(self.hazards.write_errors_per_mille) {
            let part = self.some_part(bytes);
            self.faults.count(Fault::WriteError, Weight::when(!part.is_empty()));
            self.put(file, offset, part);
            self.failures.any = true;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let room_end = self.room.map(|room| self.file(file).length() + room);
        let fitting = room_end.map_or(bytes.len(), |end| end.saturating_sub(offset));
        let fits = bytes.get(..fitting).unwrap_or(bytes);
        let grown = (offset + fits.len()).saturating_sub(self.file(file).length());
        self.room = self.room.map(|room| room.saturating_sub(grown));
        self.put(file, offset, fits);
        if fits.len() < bytes.len() { Err(self.disk_full(fits.len())) } else { Ok(()) }
    }

    /// Puts bytes into the cache of a file.
    fn put(&mut self, file: FileNumber, offset: usize, bytes: &[u8]) {
        self.writes += 1;
        let write = self.writes;
        if self.file(file).write(offset, bytes, write) > 0 {
            self.faults.mattered(Fault::PoisonedRange);
        }
    }

    fn disk_full(&mut self, written: usize) -> io::Error {
        self.faults.count(Fault::DiskFull, Weight::when(written > 0));
        self.failures.any = true;
        io::ErrorKind::StorageFull.into()
    }

    fn sync(&mut self, file: FileNumber, covered: Covered, lane: Lane) -> io::Result<()> {
        if !self.chance.per_mille(self.hazards.sync_errors_per_mille) {
            self.file(file).sync(covered);
            return Ok(());
        }
        let poison =
            if self.hazards.poisons_new_ranges { Poison::NewRanges } else { Poison::Nothing };
        let file = self.files.get_mut(file).expect("files are never forgotten");
        let failure = file.fail_to_sync(covered, poison, &mut self.chance);
        if failure.poisoned_sectors > 0 {
            self.faults.fired(Fault::PoisonedRange);
        }
        Err(self.sync_failed(lane, Weight::when(failure.lost_sectors > 0)))
    }

    fn sync_directory(&mut self, covered: u64, lane: Lane) -> io::Result<()> {
        if self.chance.per_mille(self.hazards.sync_errors_per_mille) {
            return Err(self.sync_failed(lane, Weight::Idle));
        }
        self.directory.sync(covered);
        Ok(())
    }

    fn sync_failed(&mut self, lane: Lane, weight: Weight) -> io::Error {
        self.faults.count(Fault::SyncError, weight);
        self.failures.any = true;
        self.failures.sync |= lane != Lane::Background;
        io::Error::from_raw_os_error(EIO)
    }

    pub(super) fn crash(&mut self, crash: Crash) -> Vec<UnderWay> {
        let mut under_way = std::mem::take(&mut self.under_way);
        let mut cut_short = false;
        for UnderWay { submitted, .. } in &under_way {
            self.trace.note(|| format!("cut short: {:?}", submitted.operation));
            cut_short |= self.happen_in_part(submitted, crash);
        }
        under_way.retain(|operation| operation.done.is_some());
        self.access = Access::Open;
        self.failures = Failures::default();
        match crash {
            Crash::Kill => self.kill(cut_short),
            Crash::PowerCut => self.cut_power(),
        }
        under_way
    }

    /// An operation that nobody saw complete. Returns whether a write was cut short.
    fn happen_in_part(&mut self, submitted: &Submitted, crash: Crash) -> bool {
        match (&submitted.operation, submitted.target) {
            (Operation::Write { offset, bytes, .. }, Some(file)) => {
                let part = match crash {
                    Crash::Kill => self.some_part(bytes),
                    Crash::PowerCut => bytes, // of which any sectors stay
                };
                self.put(file, to_usize(*offset), part);
                part.len() < bytes.len()
            }
            (Operation::WriteThrough { offset, bytes, .. }, Some(file)) => {
                let part = match crash {
                    Crash::Kill => self.some_part(bytes),
                    Crash::PowerCut => bytes,
                };
                self.put(file, to_usize(*offset), part);
                let whole = part.len() == bytes.len();
                if whole && self.chance.percent(30) {
                    let writes = self.writes;
                    let covered = self.file(file).covered(writes);
                    self.file(file).sync(covered);
                }
                !whole
            }
            (Operation::Create { file }, _) => {
                if self.chance.percent(50) {
                    self.files.push(File::default());
                    self.directory.link(file.clone(), self.files.len() - 1);
                }
                false
            }
            (Operation::Rename { from, to }, Some(file)) => {
                if self.chance.percent(50) {
                    self.directory.rename(from.clone(), to.clone(), file);
                }
                false
            }
            (Operation::Remove { file }, Some(_)) => {
                if self.chance.percent(50) {
                    self.directory.unlink(file.clone());
                }
                false
            }
            (Operation::Sync { .. }, Some(file)) => {
                if self.chance.percent(30) {
                    self.file(file).sync(submitted.covered);
                }
                false
            }
            (Operation::SyncDirectory, _) => {
                if self.chance.percent(30) {
                    self.directory.sync(submitted.covered_changes);
                }
                false
            }
            (
                Operation::Write { .. }
                | Operation::WriteThrough { .. }
                | Operation::Rename { .. }
                | Operation::Remove { .. }
                | Operation::Sync { .. },
                None,
            ) => false,
        }
    }

    fn kill(&mut self, cut_short: bool) {
        self.faults.count(Fault::Kill, Weight::when(cut_short));
        if self.chance.percent(30) {
            let mut lied = false;
            for file in self.directory.files() {
                lied |= self.file(file).evict();
            }
            self.faults.count(Fault::EvictedCache, Weight::when(lied));
        }
    }

    fn cut_power(&mut self) {
        let kept_percent = self.chance.pick(&[0, 10, 50, 90, 100]);
        let mut aftermath = Aftermath::default();
        for number in 0..self.files.len() {
            let stale = self.chance.percent(30).then(|| self.stale_sector());
            let cut = Cut { kept_percent, stale };
            let file = self.files.get_mut(number).expect("files are never forgotten");
            let Aftermath { fates, stale_sectors } = file.cut_power(cut, &mut self.chance);
            aftermath.fates.extend(fates);
            aftermath.stale_sectors += stale_sectors;
        }
        self.count_aftermath(&aftermath);
        for lost in self.directory.cut_power(&mut self.chance) {
            let weight = Weight::when(self.file(lost).has_durable_bytes());
            self.faults.count(Fault::LostName, weight);
        }
        self.empty_nameless_files();
    }

    /// Nobody can reach them any more; their numbers stay taken.
    fn empty_nameless_files(&mut self) {
        let named = self.directory.files();
        for (number, file) in self.files.iter_mut().enumerate() {
            if !named.contains(&number) {
                *file = File::default();
            }
        }
    }

    fn count_aftermath(&mut self, aftermath: &Aftermath) {
        let fates = &aftermath.fates;
        let lost = || fates.iter().filter(|fate| !fate.kept);
        self.faults.count(Fault::PowerCut, Weight::when(lost().next().is_some()));
        let kept_of = |write| fates.iter().any(|fate: &Fate| fate.kept && fate.write == write);
        if lost().any(|fate| kept_of(fate.write)) {
            self.faults.count(Fault::TornWrite, Weight::Mattered);
        }
        let first_lost = lost().map(|fate| fate.write).min();
        let last_kept = fates.iter().filter(|fate| fate.kept).map(|fate| fate.write).max();
        if first_lost.zip(last_kept).is_some_and(|(lost, kept)| kept > lost) {
            self.faults.count(Fault::ReorderedSectors, Weight::Mattered);
        }
        if aftermath.stale_sectors > 0 {
            self.faults.count(Fault::StaleSector, Weight::Mattered);
        }
    }

    /// What an unwritten sector may show: bytes that once were written elsewhere.
    fn stale_sector(&mut self) -> [u8; SECTOR_BYTES] {
        let file = self.chance.below(self.files.len());
        let file = self.files.get(file).expect("there is at least the file that is cut");
        file.some_sector(&mut self.chance)
    }

    pub(super) fn damage(&mut self, bytes: &[u8], kind: DamageKind) -> bool {
        let found = self.directory.files().into_iter().find_map(|number| {
            let file = self.files.get(number)?;
            file.find(bytes).map(|offset| (number, offset))
        });
        let Some((file, offset)) = found else { return false };
        match kind {
            DamageKind::FlippedBit => {
                let bit = self.chance.below(bytes.len() * 8);
                self.file(file).damage(offset + bit / 8, |bytes| {
                    bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
                });
                self.faults.fired(Fault::FlippedBit);
            }
            DamageKind::ZeroedSector => {
                let start = offset - offset % SECTOR_BYTES;
                self.file(file).damage(start, |bytes| {
                    bytes.iter_mut().take(SECTOR_BYTES).for_each(|byte| *byte = 0);
                });
                self.faults.fired(Fault::ZeroedSector);
            }
        }
        true
    }

    /// All of these bytes, none, or the front of them up to anywhere.
    fn some_part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.chance.below(3) {
            0 => bytes,
            1 => &[],
            _ => bytes.get(..self.chance.below(bytes.len())).unwrap_or_default(),
        }
    }

    fn find(&self, name: &str) -> io::Result<&File> {
        let number = existing(self.directory.find(name))?;
        Ok(self.files.get(number).expect("files are never forgotten"))
    }

    fn file(&mut self, number: FileNumber) -> &mut File {
        self.files.get_mut(number).expect("files are never forgotten")
    }
}

/// What the device says when it cannot.
const EIO: i32 = 5;

fn existing(target: Option<FileNumber>) -> io::Result<FileNumber> {
    target.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}
