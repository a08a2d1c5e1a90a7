//! `gesta export`: writes a store as lines of JSON, one per append.
//!
//! Invariants: the output file appears under its name only once it is complete and synced. An
//! existing file is not overwritten without `--force`.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_store::{EventId, Filter, Position, RecordedEvent, StoredAppend};
use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    counted::counted,
    directory,
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    progress::{Unit, bar, bar_with_output},
    selection::FilterArguments,
    store_url::StoreUrl,
    transfer::{Header, LineWriter, Source},
};

const HINT: &str = "\
Examples:
  gesta export --output events.jsonl
  gesta export --category order | gzip > orders.jsonl.gz
  gesta export --from 31776 --output since-monday.jsonl

The first line is a header that identifies the store; the last line has counts and checksums. Every
other line is one append: an event, or several under \"append\". Use `gesta import` to import the
file: a complete export into an empty directory recreates the store exactly, anything else is
appended.";

/// Export a store as JSON, one append per line, without loss
///
/// Includes recorded times, positions, revisions, append boundaries, stream metadata and deletions
/// (streams `$$…`), and the positions of scavenged events. Data and metadata that JSON cannot
/// represent byte for byte appear as dataBase64 and metadataBase64. Also works while the store is
/// in use.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Export {
    /// Output file, or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-", value_parser = directory::file)]
    output: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
    /// Start at this position
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    #[command(flatten)]
    filter: FilterArguments,
}

/// Selected part of the store.
struct Selection {
    from: Position,
    filter: Filter,
}

#[derive(Clone, Copy, Debug, Default)]
struct Exported {
    events: u64,
    last: Option<Position>,
    /// Appends exported without some of their events.
    parts: u64,
}

impl Export {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let to_output = self.output == Path::new("-");
        // Safe next to a running application: no segment is changed, and the snapshot ends at a
        // position that the application has confirmed as durable.
        let export = Source::open(store)?;
        if !to_output
            && !self.force
            && self.output.try_exists().unwrap_or(false)
            && is_plain(&self.output)
        {
            let file = self.output.display();
            return Err(Refusal::usage("file-exists", format!("{file} already exists"))
                .hint("use another file, or --force to overwrite it")
                .into());
        }
        let (from, filter) =
            (self.from.map_or(Position::START, Position::new), self.filter.filter());
        let chosen = Selection { from, filter };
        if let Some(left_out) = export.unconfirmed() {
            notice(format_args!(
                "positions {} to {} are left out: the process that has the store open wrote them but has \
                 not confirmed that they are durable; check that it is healthy",
                left_out.start(),
                left_out.end()
            ));
        }
        // Positions approximate the events: a filter and scavenging leave some out.
        let total = export.head().number();
        if to_output {
            let bar = bar_with_output(Unit::Events, total);
            let exported = write(&export, &chosen, &bar, |line| output.bytes(line))?;
            warn_about_parts(exported, output);
            return Ok(Outcome::Done);
        }
        let bar = bar(Unit::Events, total);
        let exported = into_file(&self.output, |file| {
            write(&export, &chosen, &bar, |line| Ok(file.write_all(line)?))
        })?;
        warn_about_parts(exported, output);
        print(exported, &self.output, output)?;
        Ok(Outcome::Done)
    }
}

impl Selection {
    fn is_all(&self) -> bool {
        // Position 1 is the first event, so `--from 1` leaves nothing out.
        self.from <= Position::START.next() && self.filter == Filter::Everything
    }

    fn has(&self, event: &RecordedEvent) -> bool {
        // Only regular expressions can fail, and there is no option for one.
        let matches = || self.filter.matches(event).unwrap_or(false);
        event.position >= self.from && (matches() || self.describes(event))
    }

    /// Returns whether an event is metadata of a selected stream. Without it, an import would bring
    /// deleted events back.
    fn describes(&self, event: &RecordedEvent) -> bool {
        let described = event.stream.described_stream();
        matches!(self.filter, Filter::Categories(_))
            && described.is_some_and(|stream| self.filter.matches_stream(&stream))
    }

    /// Returns the selected part of an append, or `None`. If events are left out, also returns the
    /// append's full event count and first id.
    fn of(&self, append: StoredAppend) -> Option<(StoredAppend, Option<(u64, EventId)>)> {
        if self.is_all() {
            return Some((append, None));
        }
        // The size and first id of the original append. They mark the line as a part of it.
        let count = append.count();
        let first = match &append.scavenged {
            Some(of) => Some(of.first_event),
            None => append.events.first().map(|event| event.id),
        };
        let events: Vec<_> = append.events.into_iter().filter(|event| self.has(event)).collect();
        // Scavenged positions are left out: a part of a store is imported at new positions.
        let first_left = events.first()?.position;
        let left_out = (events.len() as u64) < count;
        let append = StoredAppend::new(first_left, events);
        Some((append, first.filter(|_| left_out).map(|first| (count, first))))
    }
}

/// Writes all lines and returns the counts.
fn write(
    export: &Source,
    chosen: &Selection,
    bar: &ProgressBar,
    mut to: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Exported> {
    let mut lines = LineWriter::default();
    to(&lines.header(&Header {
        store: export.kind().to_owned(),
        incarnations: export.incarnations().to_vec(),
        head: export.head(),
        last_recorded_at: export.last_recorded_at()?,
        whole: chosen.is_all(),
    })?)?;
    let mut exported = Exported::default();
    for append in export.appends() {
        let append = append?;
        bar.set_position(append.first.number());
        let Some((append, left_out)) = chosen.of(append) else { continue };
        exported.parts += u64::from(left_out.is_some());
        exported.last = append.events.last().map(|event| event.position).or(exported.last);
        to(&lines.append(&append, left_out)?)?;
    }
    to(&lines.closing()?)?;
    exported.events = lines.counts().events;
    bar.finish_and_clear();
    Ok(exported)
}

/// Returns whether a path is a regular file or does not exist, rather than a pipe or device.
fn is_plain(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|there| there.is_file() || there.is_dir())
}

/// Writes a file atomically, through a temporary name. Pipes and devices are written directly.
pub(super) fn into_file<T>(
    file: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> Result<T> {
    let cannot = || format!("cannot write {}", file.display());
    // A pipe has no other name to write to, and renaming would replace a device by a file.
    let special = fs::metadata(file).is_ok_and(|there| !there.is_file());
    let part = if special { file.to_owned() } else { part_of(file) };
    let created =
        if special { File::create(&part).with_context(cannot) } else { locked(&part, file) };
    let mut to = BufWriter::new(created?);
    let written = write(&mut to).and_then(|written| {
        to.flush()?;
        if !special {
            // The contents before the name: after a power loss, the name must not show half a file.
            to.get_ref().sync_all()?;
            fs::rename(&part, file)?;
            sync_directory_of(file)?;
        }
        Ok(written)
    });
    if written.is_err() && !special {
        // Remove the incomplete file.
        drop(fs::remove_file(&part));
    }
    written.with_context(cannot)
}

/// Opens a temporary file next to one that is written, empty. Its lock ends with it.
///
/// # Errors
///
/// A refusal if another process writes the file. One that was interrupted left it without a lock.
pub(super) fn locked(part: &Path, written: &Path) -> Result<File> {
    let cannot = || format!("cannot write {}", part.display());
    let mut options = OpenOptions::new();
    // The file is truncated under the lock: its contents may be another process's.
    options.write(true).create(true).truncate(false);
    loop {
        let file = options.open(part).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process is writing {}", written.display());
                return Err(Refusal::usage("file-in-use", message)
                    .hint("wait until it has ended, or use another file or directory")
                    .into());
            }
            // The file system has no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        // The process that had the lock may have given the file its name, or removed it.
        if is_at(&file, part).with_context(cannot)? {
            file.set_len(0).with_context(cannot)?;
            return Ok(file);
        }
    }
}

/// Returns whether a path leads to an open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// An open file keeps its name.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".part");
    name.into()
}

fn sync_directory_of(file: &Path) -> io::Result<()> {
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Warns about partial appends: a retry of such an append is not recognized after an import.
fn warn_about_parts(exported: Exported, output: &Output) {
    if exported.parts > 0 && output.style() == Style::Text {
        let appends = counted(exported.parts, "append");
        notice(format_args!(
            "{appends} exported in part; after an import, a retry of such an append is not \
             recognized as a repeat"
        ));
    }
}

fn print(exported: Exported, file: &Path, output: &mut Output) -> Result<()> {
    let Exported { events, last, parts } = exported;
    let last = last.map(Position::number);
    match output.style() {
        Style::Text => {
            let up_to = last.map_or_else(String::new, |last| format!(" up to position {last}"));
            let (events, file) = (counted(events, "event"), file.display());
            output.line(format_args!("exported {events}{up_to} to {file}"))
        }
        Style::Json => {
            let file = file.display().to_string();
            output.json(&json!({
                "file": file,
                "events": events,
                "lastPosition": last,
                "partialAppends": parts,
            }))
        }
    }
}
