//! Writes and syncs of a traced program at each of its acknowledgements.
//!
//! Owns: the evaluation of a trace. Invariant: order is that of the trace's lines, not of clocks:
//! strace sees the begin of a call before the kernel and its end before the caller, so effects of a
//! call follow it. Only `fsync` and `fdatasync` are syncs (`sync_file_range` guarantees nothing
//! about power loss); a write through a descriptor opened with `O_DSYNC` or `O_SYNC` is its own
//! sync. Only positioned writes cover an append, and writes of zeros prepare space and contain no
//! event.
//!
//! An acknowledgement is a line `ack FILE END POSITION`, written to standard output by one call:
//! the append whose last event is at this position ends at this offset of this file.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, Result};

use crate::strace::{Call, calls};

/// Calls to be traced, as an argument of strace.
pub(super) const TRACED: &str =
    "trace=openat,close,pwrite64,pwritev,pwritev2,write,fdatasync,fsync";
const STANDARD_OUTPUT: u32 = 1;

#[derive(Debug)]
struct TracedWrite {
    path: String,
    from: u64,
    to: u64,
    begin: usize,
    /// `None` if it did not complete.
    end: Option<usize>,
    /// Set if its bytes are durable when it completes.
    synchronous: bool,
}

#[derive(Debug)]
struct TracedSync {
    path: String,
    begin: usize,
    end: usize,
}

#[derive(Debug)]
struct Acknowledgement {
    path: String,
    end_offset: u64,
    position: u64,
    begin: usize,
}

/// A parsed trace.
#[derive(Debug, Default)]
pub(super) struct Trace {
    writes: Vec<TracedWrite>,
    syncs: Vec<TracedSync>,
    acknowledgements: Vec<Acknowledgement>,
}

/// Result of the evaluation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TraceReport {
    pub(super) acknowledged: usize,
    pub(super) writes: usize,
    pub(super) syncs: usize,
    /// Early acknowledgements, each with the reason.
    pub(super) early: Vec<String>,
}

impl Trace {
    /// Parses a trace. File names in acknowledgements are relative to the store's directory.
    pub(super) fn read(text: &str, directory: &Path) -> Result<Self> {
        let mut trace = Self::default();
        // Descriptors with synchronous writes.
        let mut synchronous = HashSet::new();
        for call in calls(text)? {
            let is_synchronous = synchronous.contains(&call.descriptor);
            match call.name.as_str() {
                "openat" if call.end.is_some() => {
                    // Descriptors are reused, so every open replaces the previous entry.
                    let flags = call.arguments.rsplit(", ").next().unwrap_or_default();
                    synchronous.remove(&call.descriptor);
                    if flags.split('|').any(|flag| matches!(flag, "O_DSYNC" | "O_SYNC")) {
                        synchronous.insert(call.descriptor);
                    }
                }
                "close" => drop(synchronous.remove(&call.descriptor)),
                "fsync" | "fdatasync" => trace.syncs.extend(TracedSync::of(call)),
                "write" if call.descriptor == STANDARD_OUTPUT => {
                    trace.acknowledgements.extend(acknowledgements(&call, directory)?);
                }
                "pwrite64" | "pwritev" => {
                    trace.writes.extend(TracedWrite::of(call, 0, is_synchronous)?)
                }
                "pwritev2" => trace.writes.extend(TracedWrite::of(call, 1, is_synchronous)?),
                _ => {}
            }
        }
        Ok(trace)
    }

    /// Finds a write and a later sync before each acknowledgement.
    pub(super) fn check(&self) -> TraceReport {
        let early = self.acknowledgements.iter().filter_map(|each| {
            let why = self.reason_early(each)?;
            Some(format!("position {} in {}: {why}", each.position, each.path))
        });
        TraceReport {
            acknowledged: self.acknowledgements.len(),
            writes: self.writes.len(),
            syncs: self.syncs.len(),
            early: early.collect(),
        }
    }

    fn reason_early(&self, acknowledged: &Acknowledgement) -> Option<&'static str> {
        let Some((written, synchronous)) = self.written(acknowledged) else {
            return Some("no completed write covers it");
        };
        if written > acknowledged.begin {
            return Some("acknowledged before its write completed");
        }
        if synchronous {
            return None;
        }
        // A sync covers only writes completed before it began.
        let is_covered = self.syncs.iter().any(|sync| {
            sync.path == acknowledged.path && written < sync.begin && sync.end < acknowledged.begin
        });
        (!is_covered).then_some("no sync began after its write and completed before it")
    }

    /// Returns the line at which an append was completely written, and whether all its writes were
    /// synchronous.
    ///
    /// The append's last byte is written by the first write that reaches it; earlier writes may
    /// contain the bytes between the previous append and it.
    fn written(&self, acknowledged: &Acknowledgement) -> Option<(usize, bool)> {
        let end = acknowledged.end_offset;
        let in_file = || self.writes.iter().filter(|write| write.path == acknowledged.path);
        // The first write that reaches the last byte; later ones only rewrite it.
        let last = in_file().find(|write| write.from < end && end <= write.to)?;
        let start = self.end_of_append_before(acknowledged);
        let parts = in_file().filter(|write| write.from < end && start < write.to);
        let mut parts = parts.filter(|part| part.begin <= last.begin);
        parts.try_fold((0, true), |(latest, synchronous), part| {
            Some((latest.max(part.end?), synchronous && part.synchronous))
        })
    }

    /// End of the previous append in the same file.
    fn end_of_append_before(&self, this: &Acknowledgement) -> u64 {
        let others = self.acknowledgements.iter().filter(|other| other.path == this.path);
        let ends = others.map(|other| other.end_offset).filter(|end| *end < this.end_offset);
        ends.max().unwrap_or(0)
    }
}

impl TracedWrite {
    /// Returns `None` for a write that failed or prepares space. A write that did not end counts in
    /// full length, as incomplete.
    fn of(call: Call, offset_from_end: usize, synchronous: bool) -> Result<Option<Self>> {
        if call.texts().all(is_zeros) {
            return Ok(None);
        }
        let from = call.number_from_end(offset_from_end);
        let from = from.with_context(|| format!("no offset in {}", call.arguments))?;
        let (end, bytes) = match call.end {
            Some((line, bytes)) => (Some(line), u64::try_from(bytes).unwrap_or(0)),
            // Unfinished: it may have written anything at or after its offset.
            None => (None, u64::MAX - from),
        };
        let write =
            Self { path: call.path, from, to: from + bytes, begin: call.begin, end, synchronous };
        Ok((bytes > 0).then_some(write))
    }
}

impl TracedSync {
    /// Returns `None` for a sync that failed or did not end.
    fn of(call: Call) -> Option<Self> {
        let (end, result) = call.end?;
        (result == 0).then_some(Self { path: call.path, begin: call.begin, end })
    }
}

/// Returns whether an escaped text contains only zero bytes: `\0`, or `\000` before a digit.
fn is_zeros(escaped: &str) -> bool {
    let mut bytes = escaped.split('\\');
    bytes.next() == Some("") && bytes.all(|byte| byte == "0" || byte == "000")
}

fn acknowledgements(call: &Call, directory: &Path) -> Result<Vec<Acknowledgement>> {
    let lines = call.texts().flat_map(|text| text.split("\\n"));
    let lines = lines.filter_map(|line| line.strip_prefix("ack "));
    lines
        .map(|line| {
            let read = Acknowledgement::read(line, call.begin, directory);
            read.with_context(|| format!("an acknowledgement cannot be read: {line}"))
        })
        .collect()
}

impl Acknowledgement {
    fn read(line: &str, begin: usize, directory: &Path) -> Option<Self> {
        let mut fields = line.rsplitn(3, ' ');
        let position = fields.next()?.parse().ok()?;
        let end_offset = fields.next()?.parse().ok()?;
        let path = directory.join(fields.next()?).to_str()?.to_owned();
        Some(Self { path, end_offset, position, begin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &str = "7 pwrite64(3</data/one>, \"event\", 100, 4096) = 100\n";
    const SYNC: &str = "7 fdatasync(3</data/one>) = 0\n";
    const ACK: &str = "8 write(1<pipe:[5]>, \"ack one 4196 1\\n\", 15) = 15\n";

    fn report(trace: &[&str]) -> TraceReport {
        Trace::read(&trace.concat(), Path::new("/data")).unwrap().check()
    }

    #[track_caller]
    fn assert_early(trace: &[&str], why: &str) {
        let report = report(trace);
        assert_eq!(report.early, [format!("position 1 in /data/one: {why}")]);
    }

    const UNSYNCED: &str = "no sync began after its write and completed before it";
    const UNWRITTEN: &str = "no completed write covers it";

    #[test]
    fn write_then_sync_then_acknowledge_is_in_order() {
        let expected = TraceReport { acknowledged: 1, writes: 1, syncs: 1, early: vec![] };
        assert_eq!(report(&[WRITE, SYNC, ACK]), expected);
    }

    #[test]
    fn an_acknowledgement_before_its_sync_is_early() {
        assert_early(&[WRITE, ACK, SYNC], UNSYNCED);
        assert_early(&[WRITE, ACK], UNSYNCED);
    }

    #[test]
    fn a_write_through_is_its_own_sync_as_long_as_its_descriptor_is_open() {
        let opened = |flags| format!("7 openat(AT_FDCWD</>, \"one\", {flags}) = 3</data/one>\n");
        let (synchronous, plain) = (opened("O_WRONLY|O_DIRECT|O_DSYNC"), opened("O_RDWR|O_DIRECT"));
        assert!(report(&[&synchronous, WRITE, ACK]).early.is_empty());
        assert_early(&[&synchronous, ACK, WRITE], "acknowledged before its write completed");
        assert_early(&[&plain, WRITE, ACK], UNSYNCED);
        assert_early(&[&synchronous, "7 close(3</data/one>) = 0\n", WRITE, ACK], UNSYNCED);
        assert_early(&[&synchronous, &plain, WRITE, ACK], UNSYNCED);
    }

    #[test]
    fn an_acknowledgement_before_its_write_is_early() {
        assert_early(&[ACK, WRITE, SYNC], "acknowledged before its write completed");
        assert_early(&[ACK], UNWRITTEN);
    }

    #[test]
    fn a_sync_that_began_before_the_write_completed_covers_nothing() {
        let begun = "8 fdatasync(3</data/one> <unfinished ...>\n";
        let resumed = "8 <... fdatasync resumed>) = 0\n";
        assert_early(&[begun, WRITE, resumed, ACK], UNSYNCED);
        assert_early(&[SYNC, WRITE, ACK], UNSYNCED);
        assert!(report(&[WRITE, begun, resumed, ACK]).early.is_empty());
    }

    #[test]
    fn a_sync_still_running_at_the_acknowledgement_covers_nothing() {
        let begun = "9 fdatasync(3</data/one> <unfinished ...>\n";
        assert_early(&[WRITE, begun, ACK, "9 <... fdatasync resumed>) = 0\n"], UNSYNCED);
        assert_early(&[WRITE, begun, ACK], UNSYNCED);
    }

    #[test]
    fn a_sync_of_another_file_or_one_that_failed_covers_nothing() {
        assert_early(&[WRITE, "7 fdatasync(4</data/two>) = 0\n", ACK], UNSYNCED);
        assert_early(&[WRITE, "7 fdatasync(3</data/one>) = -1 EIO (error)\n", ACK], UNSYNCED);
        assert_early(&[WRITE, "7 sync_file_range(3</data/one>, 0, 0, 7) = 0\n", ACK], UNSYNCED);
    }

    #[test]
    fn prepared_space_holds_no_event() {
        let zeros = "7 pwrite64(3</data/one>, \"\\0\\0\\000\"..., 8192, 0) = 8192\n";
        assert_early(&[zeros, SYNC, ACK], UNWRITTEN);
        assert_early(&[zeros, SYNC, WRITE, ACK, SYNC], UNSYNCED);
        assert!(report(&[zeros, SYNC, WRITE, SYNC, ACK]).early.is_empty());
    }

    #[test]
    fn a_short_write_covers_only_what_it_wrote() {
        let short = "7 pwrite64(3</data/one>, \"event\", 100, 4096) = 60\n";
        let rest = "7 pwrite64(3</data/one>, \"rest\", 40, 4156) = 40\n";
        assert_early(&[short, SYNC, ACK], UNWRITTEN);
        assert!(report(&[short, rest, SYNC, ACK]).early.is_empty());
    }

    #[test]
    fn every_part_of_an_append_is_synced() {
        let first = "9 pwrite64(3</data/one>, \"first\", 60, 4096 <unfinished ...>\n";
        let rest = "7 pwrite64(3</data/one>, \"rest\", 40, 4156) = 40\n";
        let resumed = "9 <... pwrite64 resumed>) = 60\n";
        assert_early(&[first, rest, SYNC, resumed, ACK], UNSYNCED);
        assert_early(&[first, rest, SYNC, ACK], UNWRITTEN);
        assert!(report(&[first, rest, resumed, SYNC, ACK]).early.is_empty());
    }

    #[test]
    fn one_sync_covers_a_group() {
        let second = "7 pwritev(3</data/one>, [{iov_base=\"two\", iov_len=50}], 1, 4196) = 50\n";
        let acknowledged = "9 write(1<pipe:[5]>, \"ack /data/one 4246 2\\n\", 21) = 21\n";
        let group = report(&[WRITE, second, SYNC, acknowledged, ACK]);
        assert_eq!((group.acknowledged, group.writes, group.early.len()), (2, 2, 0));
    }

    #[test]
    fn an_acknowledgement_that_cannot_be_read_is_an_error() {
        let trace = "8 write(1<pipe:[5]>, \"ack one\\n\", 8) = 8\n";
        assert!(Trace::read(trace, Path::new("/data")).is_err());
    }
}
