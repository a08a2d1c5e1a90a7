//! What a [`SimDisk`](super::SimDisk) is made of, behind its lock.
//!
//! Owns: the effect of each operation, and the faults in it. Always holds: what an operation is
//! about is decided when it is submitted; what it does, when it completes.

use std::{collections::BTreeMap, io, ops::Range};

use bytes::Bytes;
use gesta_log::{Cache, Done, Lane, Operation};

use super::{
    Crash, DamageKind, Hazards, Victim,
    directory::{Directory, FileNumber},
    file::{Aftermath, Covered, Cut, Fate, File, Lie, Poison, SECTOR_BYTES},
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

/// What the store is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Serving,
    Opening,
    /// Putting a segment's index into a file.
    Filing,
    /// Putting several of the index's files into one.
    Merging,
}

impl Doing {
    const fn is_filing(self) -> bool {
        matches!(self, Self::Filing | Self::Merging)
    }
}

/// What has failed since the last crash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    pub(super) any: bool,
    /// A write of a group, or its sync: its outcome is unknown.
    pub(super) write: bool,
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
    pub(super) doing: Doing,
    /// After how many calls of the next merge a crash strikes.
    pub(super) strike_in_merge: Option<u64>,
    /// What it was about when a crash struck.
    struck: Option<Doing>,
    /// How many operations changed anything while the store was being opened.
    pub(super) changes_while_opening: u64,
    /// A lie about the sync that comes after so many others.
    pub(super) lie: Option<(u64, Lie)>,
    /// Whether anything was ever damaged.
    pub(super) damaged: bool,
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
            doing: Doing::Serving,
            strike_in_merge: None,
            struck: None,
            changes_while_opening: 0,
            lie: None,
            damaged: false,
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
        let filing = self.doing.is_filing();
        let lane = if filing { Lane::Background } else { Lane::Foreground };
        let submitted = self.submitted(operation, lane);
        let was_struck = self.access == Access::Struck;
        if let Err(error) = self.check_access() {
            if !was_struck {
                self.under_way.push(UnderWay { submitted, done: None });
            }
            return Err(error);
        }
        let syncs =
            matches!(submitted.operation, Operation::Sync { .. } | Operation::SyncDirectory);
        let result = self.complete(submitted);
        if syncs && result.is_err() {
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
        self.note_what_is_done(&operation);
        let target = match &operation {
            Operation::Create { .. } | Operation::SyncDirectory => None,
            Operation::Write { file, .. }
            | Operation::WriteThrough { file, .. }
            | Operation::Sync { file }
            | Operation::Remove { file }
            | Operation::Rename { from: file, .. }
            | Operation::RenameNoReplace { from: file, .. } => self.directory.find(file),
        };
        let of_none = File::default();
        let file = target.and_then(|number| self.files.get(number)).unwrap_or(&of_none);
        let covered = file.covered(self.writes);
        Submitted { operation, lane, target, covered, covered_changes: self.directory.covered() }
    }

    fn note_what_is_done(&mut self, operation: &Operation) {
        let changes = !matches!(operation, Operation::Sync { .. } | Operation::SyncDirectory);
        self.changes_while_opening += u64::from(changes && self.doing == Doing::Opening);
        if let Operation::Create { file } = operation
            && self.doing.is_filing()
            && covers_several_segments(file)
        {
            self.doing = Doing::Merging;
            if let Some(calls) = self.strike_in_merge.take() {
                self.access = Access::StrikesAfter(calls);
            }
        }
    }

    /// Lets a call through, or not.
    fn check_access(&mut self) -> io::Result<()> {
        match self.access {
            Access::Open => Ok(()),
            Access::StrikesAfter(0) => {
                self.access = Access::Struck;
                self.struck = Some(self.doing);
                Err(io::Error::other("the simulation struck"))
            }
            Access::Struck => Err(io::Error::other("the simulation struck")),
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
        self.run_short(&operation, lane)?;
        match operation {
            Operation::Create { file } => self.create(file),
            Operation::Write { offset, bytes, .. } => {
                self.write(existing(target)?, to_usize(offset), &bytes)
            }
            Operation::WriteThrough { offset, bytes, .. } => {
                let file = existing(target)?;
                let written = self.write(file, to_usize(offset), &bytes).and_then(|()| {
                    let writes = self.writes;
                    let covered = self.file(file).covered(writes);
                    self.sync(file, covered)
                });
                self.failures.write |= written.is_err();
                written
            }
            Operation::Sync { .. } => self.sync(existing(target)?, covered),
            Operation::Rename { from, to } => {
                self.directory.rename(from, to, existing(target)?);
                Ok(())
            }
            Operation::RenameNoReplace { from, to } => {
                let file = existing(target)?;
                if self.directory.find(&to).is_some() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                self.directory.rename(from, to, file);
                Ok(())
            }
            Operation::SyncDirectory => self.sync_directory(covered_changes),
            Operation::Remove { file } => {
                existing(target)?;
                self.directory.unlink(file);
                Ok(())
            }
        }
    }

    /// Fails an operation on a whole file or a name now and then.
    fn run_short(&mut self, operation: &Operation, lane: Lane) -> io::Result<()> {
        let may = match operation {
            Operation::Create { .. }
            | Operation::Rename { .. }
            | Operation::RenameNoReplace { .. }
            | Operation::SyncDirectory => self.doing != Doing::Opening,
            Operation::Write { .. }
            | Operation::WriteThrough { .. }
            | Operation::Sync { .. }
            | Operation::Remove { .. } => false,
        };
        if !may || !self.chance.per_mille(self.hazards.shortages_per_mille) {
            return Ok(());
        }
        self.faults.count(Fault::Shortage, Weight::when(lane == Lane::Foreground));
        self.failures.any = true;
        let error = self.chance.pick(&[EINTR, EAGAIN, ENOMEM, ENFILE, EMFILE]);
        Err(io::Error::from_raw_os_error(error))
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
        if written > 0 {
            self.faults.count(Fault::DiskFullInside, Weight::Mattered);
        }
        self.failures.any = true;
        io::ErrorKind::StorageFull.into()
    }

    fn sync(&mut self, file: FileNumber, covered: Covered) -> io::Result<()> {
        if self.lies_about(file, covered) {
            return Ok(());
        }
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
        Err(self.sync_failed(Weight::when(failure.lost_sectors > 0)))
    }

    /// Whether the device lies about this sync; then it has.
    fn lies_about(&mut self, file: FileNumber, covered: Covered) -> bool {
        let Some((others, lie)) = self.lie else { return false };
        if others > 0 {
            self.lie = Some((others - 1, lie));
            return false;
        }
        let file = self.files.get_mut(file).expect("files are never forgotten");
        if !file.lie_about_sync(covered, lie, &mut self.chance) {
            return true; // there was nothing to do
        }
        self.lie = None;
        self.faults.fired(match lie {
            Lie::Nowhere => Fault::LostWrite,
            Lie::Elsewhere => Fault::MisdirectedWrite,
        });
        self.trace.note(|| format!("the device lied: {lie:?}"));
        true
    }

    fn sync_directory(&mut self, covered: u64) -> io::Result<()> {
        if self.chance.per_mille(self.hazards.sync_errors_per_mille) {
            return Err(self.sync_failed(Weight::Idle));
        }
        self.directory.sync(covered);
        Ok(())
    }

    fn sync_failed(&mut self, weight: Weight) -> io::Error {
        self.faults.count(Fault::SyncError, weight);
        self.failures.any = true;
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
        match self.struck.take() {
            Some(Doing::Opening) => self.faults.fired(Fault::CrashInRecovery),
            Some(Doing::Filing) => self.faults.fired(Fault::CrashInFiling),
            Some(Doing::Merging) => self.faults.fired(Fault::CrashInMerge),
            Some(Doing::Serving) | None => {}
        }
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
            (
                Operation::Rename { from, to } | Operation::RenameNoReplace { from, to },
                Some(file),
            ) => {
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
                | Operation::RenameNoReplace { .. }
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
        if has_hole(fates) {
            self.faults.count(Fault::Hole, Weight::Mattered);
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

    /// Damages a sector; says which file it is in, if there is one to damage.
    pub(super) fn damage(&mut self, victim: Victim<'_>, kind: DamageKind) -> Option<String> {
        let (name, sector, bits) = self.victim(victim)?;
        let number = self.directory.find(&name)?;
        let file = self.files.get(number)?;
        let bit = self.chance.within(bits.start as u64..bits.end as u64) as usize;
        let other = self.chance.pick(&file.written_sectors());
        let (other, older) = (file.sector(other), file.older(sector));
        let changed = self.file(number).damage(sector, |bytes| match kind {
            DamageKind::FlippedBit => {
                bytes.iter_mut().skip(bit / 8).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
            }
            DamageKind::ZeroedSector => bytes.fill(0),
            DamageKind::OldSector => *bytes = older.unwrap_or(*bytes),
            DamageKind::StrangeSector => *bytes = other,
        });
        if !changed {
            return None;
        }
        self.damaged = true;
        self.faults.fired(kind.fault());
        self.trace.note(|| format!("{kind:?} in sector {sector} of {name}"));
        Some(name)
    }

    /// A file, a sector of it, and the bits of the sector that are meant.
    fn victim(&mut self, victim: Victim<'_>) -> Option<(String, usize, Range<usize>)> {
        let whole = 0..SECTOR_BYTES * 8;
        let names = self.directory.names();
        let name = match victim {
            Victim::Holding(bytes) => {
                let (name, offset) = names.into_iter().find_map(|name| {
                    let offset = self.find(&name).ok()?.find(bytes)?;
                    Some((name, offset))
                })?;
                let first = offset % SECTOR_BYTES * 8;
                let meant = first..(first + bytes.len() * 8).min(whole.end);
                let bits = if self.chance.percent(50) { meant } else { whole };
                return Some((name, offset / SECTOR_BYTES, bits));
            }
            Victim::Log => names.into_iter().filter(|name| !is_of_index(name)).collect::<Vec<_>>(),
            Victim::Index => names.into_iter().filter(|name| is_of_index(name)).collect(),
        };
        let name = (!name.is_empty()).then(|| self.chance.pick(&name))?;
        let written = self.find(&name).ok()?.written_sectors();
        let sector = (!written.is_empty()).then(|| self.chance.pick(&written))?;
        Some((name, sector, whole))
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

/// Whether a write kept a sector before one that it lost, and one after it.
fn has_hole(fates: &[Fate]) -> bool {
    let mut kept: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for fate in fates.iter().filter(|fate| fate.kept) {
        let (first, last) = kept.entry(fate.write).or_insert((fate.sector, fate.sector));
        (*first, *last) = ((*first).min(fate.sector), (*last).max(fate.sector));
    }
    let inside = |fate: &Fate| {
        kept.get(&fate.write).is_some_and(|(first, last)| (*first..*last).contains(&fate.sector))
    };
    fates.iter().any(|fate| !fate.kept && inside(fate))
}

/// Whether a file is of the index: the log is complete without it.
fn is_of_index(file: &str) -> bool {
    file.starts_with("INDEX") || file.contains(".run")
}

/// Whether a new file of the index is made of several others.
fn covers_several_segments(file: &str) -> bool {
    let covered = file.strip_suffix(".run.new").and_then(|covered| covered.split_once('-'));
    covered.is_some_and(|(first, last)| first != last)
}

/// What the device says when it cannot.
const EIO: i32 = 5;
/// What the system says when it is short of something.
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

fn existing(target: Option<FileNumber>) -> io::Result<FileNumber> {
    target.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}
