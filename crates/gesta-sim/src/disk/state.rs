//! State of a [`SimDisk`](super::SimDisk), behind its lock.
//!
//! Owns: the effect of each operation, and fault injection. Invariants: the target of an operation
//! is resolved when it is submitted; its effect happens when it completes.

use std::{collections::BTreeMap, io, ops::Range};

use bytes::Bytes;
use gesta_log::{Cache, Done, Lane, Operation};

use super::{
    directory::{Directory, FileNumber},
    file::{
        File, Poison, PowerCutOptions, PowerCutReport, SECTOR_BYTES, SyncFault, SyncScope,
        WriteOutcome,
    },
    injection::{Crash, DamageKind, DamageTarget, FaultConfig},
};
use crate::{
    fault::{Fault, FaultCounts, Impact},
    rng::SimRng,
    trace::Trace,
};

/// Availability of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    /// Number of calls until the crash.
    CrashesAfter(u64),
    /// Crashed; every call fails until the crash is carried out.
    Crashed,
}

/// Activity of the store, which classifies faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    Opening,
    Flushing,
    Compacting,
}

impl Phase {
    const fn is_flushing(self) -> bool {
        matches!(self, Self::Flushing | Self::Compacting)
    }
}

/// Failures since the last crash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    pub(super) any: bool,
    /// A write of a commit group, or its sync, failed: its outcome is unknown.
    pub(super) write: bool,
}

/// An operation with the state resolved at submission.
struct Submitted {
    operation: Operation,
    lane: Lane,
    /// Target of the operation's file name; `None` if it does not exist.
    target: Option<FileNumber>,
    covered: SyncScope,
    covered_changes: u64,
}

/// An operation in flight; `done` is `None` if a crash interrupted a blocking call.
pub(super) struct InFlight {
    submitted: Submitted,
    done: Option<Done>,
}

/// A callback and its result, to be called outside the lock.
pub(super) type Completion = (Done, io::Result<()>);

pub(super) struct DiskState {
    rng: SimRng,
    trace: Trace,
    pub(super) fault_config: FaultConfig,
    pub(super) free_bytes: Option<usize>,
    pub(super) access: Access,
    pub(super) failures: Failures,
    pub(super) phase: Phase,
    /// Number of calls of the next compaction until a crash.
    pub(super) crash_in_compaction: Option<u64>,
    /// Phase in which the crash happened.
    crashed_in: Option<Phase>,
    pub(super) changes_while_opening: u64,
    /// A scheduled sync fault, and the number of syncs before it.
    pub(super) sync_fault: Option<(u64, SyncFault)>,
    pub(super) damaged: bool,
    pub(super) faults: FaultCounts,
    pub(super) in_flight: Vec<InFlight>,
    pub(super) operations: u64,
    directory: Directory,
    files: Vec<File>,
    /// Number of writes over all files.
    writes: u64,
}

impl DiskState {
    pub(super) fn new(rng: SimRng, trace: Trace) -> Self {
        Self {
            rng,
            trace,
            fault_config: FaultConfig::default(),
            free_bytes: None,
            access: Access::Open,
            failures: Failures::default(),
            phase: Phase::Serving,
            crash_in_compaction: None,
            crashed_in: None,
            changes_while_opening: 0,
            sync_fault: None,
            damaged: false,
            faults: FaultCounts::default(),
            in_flight: Vec::new(),
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
            Cache::Bypass => file.read_uncached(offset, length),
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
        if self.rng.percent(self.fault_config.immediate_completion_percent) {
            let result = self.complete(submitted);
            return Some((done, result));
        }
        self.in_flight.push(InFlight { submitted, done: Some(done) });
        None
    }

    pub(super) fn run(&mut self, operation: Operation) -> io::Result<()> {
        // Blocking calls come from opening or index maintenance.
        let flushing = self.phase.is_flushing();
        let lane = if flushing { Lane::Background } else { Lane::Foreground };
        let submitted = self.submitted(operation, lane);
        let had_crashed = self.access == Access::Crashed;
        if let Err(error) = self.check_access() {
            if !had_crashed {
                self.in_flight.push(InFlight { submitted, done: None });
            }
            return Err(error);
        }
        let syncs =
            matches!(submitted.operation, Operation::Sync { .. } | Operation::SyncDirectory);
        let result = self.complete(submitted);
        if syncs && result.is_err() {
            self.faults.fired(match flushing {
                true => Fault::SyncErrorInFlush,
                false => Fault::SyncErrorInRecovery,
            });
        }
        result
    }

    pub(super) fn complete_any(&mut self) -> Option<Completion> {
        if self.in_flight.is_empty() {
            return None;
        }
        // Any operation in flight may complete next, whatever the order of submission.
        let place = self.rng.below(self.in_flight.len());
        let InFlight { submitted, done } = self.in_flight.swap_remove(place);
        let result = self.complete(submitted);
        Some((done.unwrap_or_else(|| Box::new(drop)), result))
    }

    fn submitted(&mut self, operation: Operation, lane: Lane) -> Submitted {
        self.operations += 1;
        self.track_phase(&operation);
        let target = match &operation {
            Operation::Create { .. } | Operation::SyncDirectory => None,
            Operation::Write { file, .. }
            | Operation::WriteThrough { file, .. }
            | Operation::Sync { file }
            | Operation::Remove { file }
            | Operation::Rename { from: file, .. }
            | Operation::RenameNoReplace { from: file, .. } => self.directory.find(file),
        };
        // The scope of a sync is fixed here: writes submitted later are not covered.
        let of_none = File::default();
        let file = target.and_then(|number| self.files.get(number)).unwrap_or(&of_none);
        let covered = file.covered(self.writes);
        Submitted { operation, lane, target, covered, covered_changes: self.directory.covered() }
    }

    fn track_phase(&mut self, operation: &Operation) {
        let changes = !matches!(operation, Operation::Sync { .. } | Operation::SyncDirectory);
        self.changes_while_opening += u64::from(changes && self.phase == Phase::Opening);
        if let Operation::Create { file } = operation
            && self.phase.is_flushing()
            && covers_several_segments(file)
        {
            // A new run that covers several segments is the first visible step of a compaction.
            self.phase = Phase::Compacting;
            if let Some(calls) = self.crash_in_compaction.take() {
                self.access = Access::CrashesAfter(calls);
            }
        }
    }

    /// Fails the call if the disk has crashed, and counts down to a scheduled crash.
    fn check_access(&mut self) -> io::Result<()> {
        match self.access {
            Access::Open => Ok(()),
            Access::CrashesAfter(0) => {
                self.access = Access::Crashed;
                self.crashed_in = Some(self.phase);
                Err(io::Error::other("simulated crash"))
            }
            Access::Crashed => Err(io::Error::other("simulated crash")),
            Access::CrashesAfter(calls) => {
                self.access = Access::CrashesAfter(calls - 1);
                Ok(())
            }
        }
    }

    fn complete(&mut self, submitted: Submitted) -> io::Result<()> {
        let operation = self.trace.is_on().then(|| format!("{:?}", submitted.operation));
        let result = self.apply(submitted);
        self.trace.record(|| match &result {
            Ok(()) => operation.unwrap_or_default(),
            Err(error) => format!("{}: {error}", operation.unwrap_or_default()),
        });
        result
    }

    fn apply(&mut self, submitted: Submitted) -> io::Result<()> {
        let Submitted { operation, lane, target, covered, covered_changes } = submitted;
        self.inject_shortage(&operation, lane)?;
        match operation {
            Operation::Create { file } => self.create(file),
            Operation::Write { offset, bytes, .. } => {
                self.write(existing(target)?, to_usize(offset), &bytes)
            }
            // A synchronous write is a write and a sync of everything written to the file so far.
            Operation::WriteThrough { offset, bytes, .. } => {
                let file = existing(target)?;
                let written = self.write(file, to_usize(offset), &bytes).and_then(|()| {
                    let writes = self.writes;
                    let covered = self.file(file).covered(writes);
                    self.sync(file, covered)
                });
                // A failed write-through leaves the outcome of its appends unknown.
                self.failures.write |= written.is_err();
                written
            }
            Operation::Sync { .. } => self.sync(existing(target)?, covered),
            // Names take effect in the listing at once, and become durable with the directory.
            Operation::Rename { from, to } => {
                self.directory.rename(from, to, existing(target)?);
                Ok(())
            }
            Operation::RenameNoReplace { from, to } => {
                let file = existing(target)?;
                if self.directory.find(&to).is_some() {
                    // `Name` never replaces a file.
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

    /// Fails an operation on a whole file or a name at random.
    fn inject_shortage(&mut self, operation: &Operation, lane: Lane) -> io::Result<()> {
        let may = match operation {
            Operation::Create { .. }
            | Operation::Rename { .. }
            | Operation::RenameNoReplace { .. }
            // Openings are exposed to failing syncs and crashes instead.
            | Operation::SyncDirectory => self.phase != Phase::Opening,
            Operation::Write { .. }
            | Operation::WriteThrough { .. }
            | Operation::Sync { .. }
            | Operation::Remove { .. } => false,
        };
        if !may || !self.rng.per_mille(self.fault_config.shortages_per_mille) {
            return Ok(());
        }
        self.faults.count(Fault::Shortage, Impact::effective_if(lane == Lane::Foreground));
        self.failures.any = true;
        // Transient errors of system calls on names and descriptors.
        let error = self.rng.pick(&[EINTR, EAGAIN, ENOMEM, ENFILE, EMFILE]);
        Err(io::Error::from_raw_os_error(error))
    }

    fn create(&mut self, name: String) -> io::Result<()> {
        if self.free_bytes == Some(0) {
            return Err(self.disk_full(0));
        }
        self.files.push(File::default());
        self.directory.link(name, self.files.len() - 1);
        Ok(())
    }

    fn write(&mut self, file: FileNumber, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if self.rng.per_mille(self.fault_config.write_errors_per_mille) {
            // A failed write may have been done in part.
            let part = self.random_prefix(bytes);
            self.faults.count(Fault::WriteError, Impact::effective_if(!part.is_empty()));
            self.put(file, offset, part);
            self.failures.any = true;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        // Bytes that overwrite existing ones need no space.
        let room_end = self.free_bytes.map(|free_bytes| self.file(file).length() + free_bytes);
        let fitting = room_end.map_or(bytes.len(), |end| end.saturating_sub(offset));
        let fits = bytes.get(..fitting).unwrap_or(bytes);
        let grown = (offset + fits.len()).saturating_sub(self.file(file).length());
        self.free_bytes = self.free_bytes.map(|free_bytes| free_bytes.saturating_sub(grown));
        self.put(file, offset, fits);
        if fits.len() < bytes.len() { Err(self.disk_full(fits.len())) } else { Ok(()) }
    }

    /// Writes to the cache of a file.
    fn put(&mut self, file: FileNumber, offset: usize, bytes: &[u8]) {
        self.writes += 1;
        let write = self.writes;
        if self.file(file).write(offset, bytes, write) > 0 {
            self.faults.mattered(Fault::PoisonedRange);
        }
    }

    fn disk_full(&mut self, written: usize) -> io::Error {
        self.faults.count(Fault::DiskFull, Impact::effective_if(written > 0));
        if written > 0 {
            self.faults.count(Fault::DiskFullInside, Impact::Effective);
        }
        self.failures.any = true;
        io::ErrorKind::StorageFull.into()
    }

    fn sync(&mut self, file: FileNumber, covered: SyncScope) -> io::Result<()> {
        if self.applies_sync_fault(file, covered) {
            return Ok(());
        }
        if !self.rng.per_mille(self.fault_config.sync_errors_per_mille) {
            self.file(file).sync(covered);
            return Ok(());
        }
        let poison =
            if self.fault_config.poisons_new_ranges { Poison::NewRanges } else { Poison::Nothing };
        let file = self.files.get_mut(file).expect("files are never removed from the list");
        let failure = file.fail_sync(covered, poison, &mut self.rng);
        if failure.poisoned_sectors > 0 {
            self.faults.fired(Fault::PoisonedRange);
        }
        Err(self.sync_failed(Impact::effective_if(failure.lost_sectors > 0)))
    }

    /// Applies a scheduled sync fault. Returns whether the sync is thereby answered.
    fn applies_sync_fault(&mut self, file: FileNumber, covered: SyncScope) -> bool {
        let Some((others, sync_fault)) = self.sync_fault else { return false };
        if others > 0 {
            self.sync_fault = Some((others - 1, sync_fault));
            return false;
        }
        let file = self.files.get_mut(file).expect("files are never removed from the list");
        if !file.sync_with_fault(covered, sync_fault, &mut self.rng) {
            return true; // there was nothing to do
        }
        self.sync_fault = None;
        self.faults.fired(match sync_fault {
            SyncFault::Lost => Fault::LostWrite,
            SyncFault::Misdirected => Fault::MisdirectedWrite,
        });
        self.trace.record(|| format!("sync fault: {sync_fault:?}"));
        true
    }

    fn sync_directory(&mut self, covered: u64) -> io::Result<()> {
        if self.rng.per_mille(self.fault_config.sync_errors_per_mille) {
            return Err(self.sync_failed(Impact::None));
        }
        self.directory.sync(covered);
        Ok(())
    }

    fn sync_failed(&mut self, impact: Impact) -> io::Error {
        self.faults.count(Fault::SyncError, impact);
        self.failures.any = true;
        io::Error::from_raw_os_error(EIO)
    }

    pub(super) fn crash(&mut self, crash: Crash) -> Vec<InFlight> {
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let mut cut_short = false;
        for InFlight { submitted, .. } in &in_flight {
            self.trace.record(|| format!("cut short: {:?}", submitted.operation));
            cut_short |= self.apply_partially(submitted, crash);
        }
        // Interrupted blocking calls have no callback.
        in_flight.retain(|operation| operation.done.is_some());
        self.access = Access::Open;
        self.failures = Failures::default();
        match self.crashed_in.take() {
            Some(Phase::Opening) => self.faults.fired(Fault::CrashInRecovery),
            Some(Phase::Flushing) => self.faults.fired(Fault::CrashInFlush),
            Some(Phase::Compacting) => self.faults.fired(Fault::CrashInCompaction),
            Some(Phase::Serving) | None => {}
        }
        match crash {
            Crash::Kill => self.kill(cut_short),
            Crash::PowerCut => self.cut_power(),
        }
        in_flight
    }

    /// Applies an operation in flight at a crash. Returns whether a write was cut short.
    fn apply_partially(&mut self, submitted: &Submitted, crash: Crash) -> bool {
        match (&submitted.operation, submitted.target) {
            (Operation::Write { offset, bytes, .. }, Some(file)) => {
                let part = self.written_part(bytes, crash);
                self.put(file, to_usize(*offset), part);
                part.len() < bytes.len()
            }
            (Operation::WriteThrough { offset, bytes, .. }, Some(file)) => {
                let part = self.written_part(bytes, crash);
                self.put(file, to_usize(*offset), part);
                let whole = part.len() == bytes.len();
                // The sync part may have completed although its answer did not arrive.
                if whole && self.rng.percent(30) {
                    let writes = self.writes;
                    let covered = self.file(file).covered(writes);
                    self.file(file).sync(covered);
                }
                !whole
            }
            // Operations on names happen as a whole or not at all.
            (Operation::Create { file }, _) => {
                if self.rng.percent(50) {
                    self.files.push(File::default());
                    self.directory.link(file.clone(), self.files.len() - 1);
                }
                false
            }
            (
                Operation::Rename { from, to } | Operation::RenameNoReplace { from, to },
                Some(file),
            ) => {
                if self.rng.percent(50) {
                    self.directory.rename(from.clone(), to.clone(), file);
                }
                false
            }
            (Operation::Remove { file }, Some(_)) => {
                if self.rng.percent(50) {
                    self.directory.unlink(file.clone());
                }
                false
            }
            // A sync in flight may have reached the device without an answer.
            (Operation::Sync { .. }, Some(file)) => {
                if self.rng.percent(30) {
                    self.file(file).sync(submitted.covered);
                }
                false
            }
            (Operation::SyncDirectory, _) => {
                if self.rng.percent(30) {
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
        self.faults.count(Fault::Kill, Impact::effective_if(cut_short));
        if self.rng.percent(30) {
            let mut lied = false;
            for file in self.directory.files() {
                lied |= self.file(file).evict();
            }
            self.faults.count(Fault::EvictedCache, Impact::effective_if(lied));
        }
    }

    fn cut_power(&mut self) {
        let kept_percent = self.rng.pick(&[0, 10, 50, 90, 100]);
        let mut report = PowerCutReport::default();
        for number in 0..self.files.len() {
            // Some file systems expose old blocks when a grown file loses its data.
            let stale = self.rng.percent(30).then(|| self.stale_sector());
            let options = PowerCutOptions { kept_percent, stale };
            let file = self.files.get_mut(number).expect("files are never removed from the list");
            let PowerCutReport { outcomes, stale_sectors } = file.cut_power(options, &mut self.rng);
            report.outcomes.extend(outcomes);
            report.stale_sectors += stale_sectors;
        }
        self.count_power_cut(&report);
        for lost in self.directory.cut_power(&mut self.rng) {
            let impact = Impact::effective_if(self.file(lost).has_durable_bytes());
            self.faults.count(Fault::LostName, impact);
        }
        self.clear_unnamed_files();
    }

    /// Empties files that no longer have a name; their numbers stay in use.
    fn clear_unnamed_files(&mut self) {
        let named = self.directory.files();
        for (number, file) in self.files.iter_mut().enumerate() {
            if !named.contains(&number) {
                *file = File::default();
            }
        }
    }

    fn count_power_cut(&mut self, report: &PowerCutReport) {
        let outcomes = &report.outcomes;
        let lost = || outcomes.iter().filter(|outcome| !outcome.kept);
        self.faults.count(Fault::PowerCut, Impact::effective_if(lost().next().is_some()));
        let kept_of = |write| {
            outcomes.iter().any(|outcome: &WriteOutcome| outcome.kept && outcome.write == write)
        };
        if lost().any(|outcome| kept_of(outcome.write)) {
            self.faults.count(Fault::TornWrite, Impact::Effective);
        }
        if has_hole(outcomes) {
            self.faults.count(Fault::Hole, Impact::Effective);
        }
        // A lost write with a smaller number than a kept one was overtaken.
        let first_lost = lost().map(|outcome| outcome.write).min();
        let last_kept =
            outcomes.iter().filter(|outcome| outcome.kept).map(|outcome| outcome.write).max();
        if first_lost.zip(last_kept).is_some_and(|(lost, kept)| kept > lost) {
            self.faults.count(Fault::ReorderedSectors, Impact::Effective);
        }
        if report.stale_sectors > 0 {
            self.faults.count(Fault::StaleSector, Impact::Effective);
        }
    }

    /// Picks bytes once written elsewhere, as content of an unwritten sector.
    fn stale_sector(&mut self) -> [u8; SECTOR_BYTES] {
        let file = self.rng.below(self.files.len());
        let file = self.files.get(file).expect("the truncated file exists");
        file.some_sector(&mut self.rng)
    }

    /// Damages a sector. Returns its file, or `None` if there is nothing to damage.
    pub(super) fn damage(&mut self, victim: DamageTarget<'_>, kind: DamageKind) -> Option<String> {
        let (name, sector, bits) = self.victim(victim)?;
        let number = self.directory.find(&name)?;
        let file = self.files.get(number)?;
        let bit = self.rng.in_range(bits.start as u64..bits.end as u64) as usize;
        // Draw for every kind of damage, so that the kind does not shift later draws.
        let other = self.rng.pick(&file.written_sectors());
        let (other, older) = (file.sector(other), file.older(sector));
        let changed = self.file(number).damage(sector, |bytes| match kind {
            DamageKind::FlippedBit => {
                bytes.iter_mut().skip(bit / 8).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
            }
            DamageKind::ZeroedSector => bytes.fill(0),
            DamageKind::OldSector => *bytes = older.unwrap_or(*bytes),
            DamageKind::ForeignSector => *bytes = other,
        });
        if !changed {
            return None;
        }
        self.damaged = true;
        self.faults.fired(kind.fault());
        self.trace.record(|| format!("{kind:?} in sector {sector} of {name}"));
        Some(name)
    }

    /// Picks a file, a sector of it, and the range of bits to damage.
    fn victim(&mut self, victim: DamageTarget<'_>) -> Option<(String, usize, Range<usize>)> {
        let whole = 0..SECTOR_BYTES * 8;
        let names = self.directory.names();
        let name = match victim {
            DamageTarget::Holding(bytes) => {
                let (name, offset) = names.into_iter().find_map(|name| {
                    let offset = self.find(&name).ok()?.find(bytes)?;
                    Some((name, offset))
                })?;
                let first = offset % SECTOR_BYTES * 8;
                let meant = first..(first + bytes.len() * 8).min(whole.end);
                // Half of the time within the given bytes, else anywhere in their sector.
                let bits = if self.rng.percent(50) { meant } else { whole };
                return Some((name, offset / SECTOR_BYTES, bits));
            }
            DamageTarget::Log => {
                names.into_iter().filter(|name| !is_of_index(name)).collect::<Vec<_>>()
            }
            DamageTarget::Index => names.into_iter().filter(|name| is_of_index(name)).collect(),
        };
        let name = (!name.is_empty()).then(|| self.rng.pick(&name))?;
        let written = self.find(&name).ok()?.written_sectors();
        let sector = (!written.is_empty()).then(|| self.rng.pick(&written))?;
        Some((name, sector, whole))
    }

    /// Returns the part of a write in flight that reaches the cache at a crash.
    fn written_part<'a>(&mut self, bytes: &'a [u8], crash: Crash) -> &'a [u8] {
        match crash {
            Crash::Kill => self.random_prefix(bytes),
            // All of it: the power cut itself drops any of its sectors.
            Crash::PowerCut => bytes,
        }
    }

    /// Returns all of the bytes, none, or a random prefix.
    fn random_prefix<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.rng.below(3) {
            0 => bytes,
            1 => &[],
            _ => bytes.get(..self.rng.below(bytes.len())).unwrap_or_default(),
        }
    }

    fn find(&self, name: &str) -> io::Result<&File> {
        let number = existing(self.directory.find(name))?;
        Ok(self.files.get(number).expect("files are never removed from the list"))
    }

    fn file(&mut self, number: FileNumber) -> &mut File {
        self.files.get_mut(number).expect("files are never removed from the list")
    }
}

/// Returns whether a write lost a sector between two sectors that it kept.
fn has_hole(outcomes: &[WriteOutcome]) -> bool {
    let mut kept: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.kept) {
        let (first, last) = kept.entry(outcome.write).or_insert((outcome.sector, outcome.sector));
        (*first, *last) = ((*first).min(outcome.sector), (*last).max(outcome.sector));
    }
    let inside = |outcome: &WriteOutcome| {
        kept.get(&outcome.write)
            .is_some_and(|(first, last)| (*first..*last).contains(&outcome.sector))
    };
    outcomes.iter().any(|outcome| !outcome.kept && inside(outcome))
}

/// Returns whether a file belongs to the index; the log is complete without it.
fn is_of_index(file: &str) -> bool {
    file.starts_with("INDEX") || file.contains(".run")
}

/// Returns whether a new index file covers several segments, so is the result of a compaction.
fn covers_several_segments(file: &str) -> bool {
    let covered = file.strip_suffix(".run.new").and_then(|covered| covered.split_once('-'));
    covered.is_some_and(|(first, last)| first != last)
}

/// Device error.
const EIO: i32 = 5;
/// Shortage errors of the system.
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
