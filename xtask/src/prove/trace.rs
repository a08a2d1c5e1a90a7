//! What a traced program had written and synced when it acknowledged.
//!
//! Owns: the judgement over a trace. Always holds: order is that of the trace's lines, not of
//! clocks: strace sees a call's begin before the kernel does and its end before the caller does,
//! so whatever a call caused stands after it. Only `fsync` and `fdatasync` are syncs
//! (`sync_file_range` promises nothing about power loss), and a write through a descriptor that was
//! opened with `O_DSYNC` or `O_SYNC` is its own; only positioned writes cover anything, and writes
//! of nothing but zeros prepare space: they hold no event.
//!
//! An acknowledgement is a line `ack FILE END POSITION`, written to standard output by one call:
//! the append whose last event is at this position ends at this offset of this file.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, Result};

use super::strace::{Call, calls};

/// The calls that the judgement needs to see, for strace.
pub(super) const TRACED: &str =
    "trace=openat,close,pwrite64,pwritev,pwritev2,write,fdatasync,fsync";
const STANDARD_OUTPUT: u32 = 1;

#[derive(Debug)]
struct Write {
    path: String,
    from: u64,
    to: u64,
    begin: usize,
    /// None: it did not complete.
    end: Option<usize>,
    /// Whether what it wrote is durable when it completes.
    through: bool,
}

#[derive(Debug)]
struct Sync {
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

/// A trace, read.
#[derive(Debug, Default)]
pub(super) struct Trace {
    writes: Vec<Write>,
    syncs: Vec<Sync>,
    acknowledgements: Vec<Acknowledgement>,
}

/// What a trace shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) acknowledged: usize,
    pub(super) writes: usize,
    pub(super) syncs: usize,
    /// Each early acknowledgement, with the reason.
    pub(super) early: Vec<String>,
}

impl Trace {
    /// Reads a trace. File names in acknowledgements are relative to the store's directory.
    pub(super) fn read(text: &str, directory: &Path) -> Result<Self> {
        let mut trace = Self::default();
        // Descriptors whose writes are synchronous.
        let mut through = HashSet::new();
        for call in calls(text)? {
            let is_through = through.contains(&call.descriptor);
            match call.name.as_str() {
                "openat" if call.end.is_some() => {
                    let flags = call.arguments.rsplit(", ").next().unwrap_or_default();
                    through.remove(&call.descriptor);
                    if flags.split('|').any(|flag| matches!(flag, "O_DSYNC" | "O_SYNC")) {
                        through.insert(call.descriptor);
                    }
                }
                "close" => drop(through.remove(&call.descriptor)),
                "fsync" | "fdatasync" => trace.syncs.extend(Sync::of(call)),
                "write" if call.descriptor == STANDARD_OUTPUT => {
                    trace.acknowledgements.extend(acknowledgements(&call, directory)?);
                }
                "pwrite64" | "pwritev" => trace.writes.extend(Write::of(call, 0, is_through)?),
                "pwritev2" => trace.writes.extend(Write::of(call, 1, is_through)?),
                _ => {}
            }
        }
        Ok(trace)
    }

    /// Looks for a write and then a sync before each acknowledgement.
    pub(super) fn judge(&self) -> Verdict {
        let early = self.acknowledgements.iter().filter_map(|each| {
            let why = self.why_early(each)?;
            Some(format!("position {} in {}: {why}", each.position, each.path))
        });
        Verdict {
            acknowledged: self.acknowledgements.len(),
            writes: self.writes.len(),
            syncs: self.syncs.len(),
            early: early.collect(),
        }
    }

    fn why_early(&self, acknowledged: &Acknowledgement) -> Option<&'static str> {
        let Some((written, through)) = self.written(acknowledged) else {
            return Some("no completed write covers it");
        };
        if written > acknowledged.begin {
            return Some("acknowledged before its write completed");
        }
        if through {
            return None;
        }
        let is_covered = self.syncs.iter().any(|sync| {
            sync.path == acknowledged.path && written < sync.begin && sync.end < acknowledged.begin
        });
        (!is_covered).then_some("no sync began after its write and completed before it")
    }

    /// The line by which everything up to the end of an append was written: its last byte by the
    /// first write that reaches it, and what earlier writes put between the append before and it.
    /// Also whether all of these were their own syncs.
    fn written(&self, acknowledged: &Acknowledgement) -> Option<(usize, bool)> {
        let end = acknowledged.end_offset;
        let in_file = || self.writes.iter().filter(|write| write.path == acknowledged.path);
        let last = in_file().find(|write| write.from < end && end <= write.to)?;
        let start = self.end_of_append_before(acknowledged);
        let parts = in_file().filter(|write| write.from < end && start < write.to);
        let mut parts = parts.filter(|part| part.begin <= last.begin);
        parts.try_fold((0, true), |(latest, through), part| {
            Some((latest.max(part.end?), through && part.through))
        })
    }

    /// Where the append before this one ends in the same file.
    fn end_of_append_before(&self, this: &Acknowledgement) -> u64 {
        let others = self.acknowledgements.iter().filter(|other| other.path == this.path);
        let ends = others.map(|other| other.end_offset).filter(|end| *end < this.end_offset);
        ends.max().unwrap_or(0)
    }
}

impl Write {
    /// None for a write that failed or prepares space. A write that did not end counts as far as
    /// it was asked to go: it may have, and it is not complete.
    fn of(call: Call, offset_from_end: usize, through: bool) -> Result<Option<Self>> {
        if call.texts().all(is_zeros) {
            return Ok(None);
        }
        let from = call.number_from_end(offset_from_end);
        let from = from.with_context(|| format!("no offset in {}", call.arguments))?;
        let (end, bytes) = match call.end {
            Some((line, bytes)) => (Some(line), u64::try_from(bytes).unwrap_or(0)),
            None => (None, u64::MAX - from),
        };
        let write =
            Self { path: call.path, from, to: from + bytes, begin: call.begin, end, through };
        Ok((bytes > 0).then_some(write))
    }
}

impl Sync {
    /// None for a sync that failed or did not end.
    fn of(call: Call) -> Option<Self> {
        let (end, result) = call.end?;
        (result == 0).then_some(Self { path: call.path, begin: call.begin, end })
    }
}

/// Whether an escaped text is nothing but zero bytes: `\0`, or `\000` before a digit.
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

    fn verdict(trace: &[&str]) -> Verdict {
        Trace::read(&trace.concat(), Path::new("/data")).unwrap().judge()
    }

    #[track_caller]
    fn assert_early(trace: &[&str], why: &str) {
        let verdict = verdict(trace);
        assert_eq!(verdict.early, [format!("position 1 in /data/one: {why}")]);
    }

    const UNSYNCED: &str = "no sync began after its write and completed before it";
    const UNWRITTEN: &str = "no completed write covers it";

    #[test]
    fn write_then_sync_then_acknowledge_is_in_order() {
        let expected = Verdict { acknowledged: 1, writes: 1, syncs: 1, early: vec![] };
        assert_eq!(verdict(&[WRITE, SYNC, ACK]), expected);
    }

    #[test]
    fn an_acknowledgement_before_its_sync_is_early() {
        assert_early(&[WRITE, ACK, SYNC], UNSYNCED);
        assert_early(&[WRITE, ACK], UNSYNCED);
    }

    #[test]
    fn a_write_through_is_its_own_sync_as_long_as_its_descriptor_is_open() {
        let opened = |flags| format!("7 openat(AT_FDCWD</>, \"one\", {flags}) = 3</data/one>\n");
        let (through, plain) = (opened("O_WRONLY|O_DIRECT|O_DSYNC"), opened("O_RDWR|O_DIRECT"));
        assert!(verdict(&[&through, WRITE, ACK]).early.is_empty());
        assert_early(&[&through, ACK, WRITE], "acknowledged before its write completed");
        assert_early(&[&plain, WRITE, ACK], UNSYNCED);
        assert_early(&[&through, "7 close(3</data/one>) = 0\n", WRITE, ACK], UNSYNCED);
        assert_early(&[&through, &plain, WRITE, ACK], UNSYNCED);
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
        assert!(verdict(&[WRITE, begun, resumed, ACK]).early.is_empty());
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
        assert!(verdict(&[zeros, SYNC, WRITE, SYNC, ACK]).early.is_empty());
    }

    #[test]
    fn a_short_write_covers_only_what_it_wrote() {
        let short = "7 pwrite64(3</data/one>, \"event\", 100, 4096) = 60\n";
        let rest = "7 pwrite64(3</data/one>, \"rest\", 40, 4156) = 40\n";
        assert_early(&[short, SYNC, ACK], UNWRITTEN);
        assert!(verdict(&[short, rest, SYNC, ACK]).early.is_empty());
    }

    #[test]
    fn every_part_of_an_append_is_synced() {
        let first = "9 pwrite64(3</data/one>, \"first\", 60, 4096 <unfinished ...>\n";
        let rest = "7 pwrite64(3</data/one>, \"rest\", 40, 4156) = 40\n";
        let resumed = "9 <... pwrite64 resumed>) = 60\n";
        assert_early(&[first, rest, SYNC, resumed, ACK], UNSYNCED);
        assert_early(&[first, rest, SYNC, ACK], UNWRITTEN);
        assert!(verdict(&[first, rest, resumed, SYNC, ACK]).early.is_empty());
    }

    #[test]
    fn one_sync_covers_a_group() {
        let second = "7 pwritev(3</data/one>, [{iov_base=\"two\", iov_len=50}], 1, 4196) = 50\n";
        let acknowledged = "9 write(1<pipe:[5]>, \"ack /data/one 4246 2\\n\", 21) = 21\n";
        let group = verdict(&[WRITE, second, SYNC, acknowledged, ACK]);
        assert_eq!((group.acknowledged, group.writes, group.early.len()), (2, 2, 0));
    }

    #[test]
    fn an_acknowledgement_that_cannot_be_read_is_an_error() {
        let trace = "8 write(1<pipe:[5]>, \"ack one\\n\", 8) = 8\n";
        assert!(Trace::read(trace, Path::new("/data")).is_err());
    }
}
