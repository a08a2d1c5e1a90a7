//! `gesta export`: every append as a line of JSON, to be kept elsewhere or imported again.
//!
//! Always holds: a file has its name only once all of it is written and synced, so half an export
//! is never taken for a whole one; a file that is there is not written over unasked.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_log::{StoreExport, StoredAppend};
use gesta_store::{EventId, Filter, Position, RecordedEvent};
use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    counted::counted,
    directory,
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    progress::{Of, bar, bar_beside_output},
    source::Narrowed,
    store_url::StoreUrl,
    transfer::{Header, LOG, LineWriter},
};

const HINT: &str = "\
Examples:
  gesta export --output events.jsonl
  gesta export --category order | gzip > orders.jsonl.gz
  gesta export --from 31776 --output since-monday.jsonl

The first line says which store it is, the last one how much there is and its checksum; each line
between is one append: an event, or several under \"append\". What was exported comes back with
`gesta import`: all of a store exactly, in an empty directory; a part of one as new appends.";

/// Write all of a store as JSON, one append a line, with nothing lost.
///
/// Has recorded times, positions, revisions, which events were appended together, metadata of
/// streams and deletions (the streams `$$…`), and where events were that have been scavenged. Data
/// and metadata that would not survive as JSON to the byte stand under dataBase64 and
/// metadataBase64. The store's program may run meanwhile.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Export {
    /// The file to write, or - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-", value_parser = directory::file)]
    output: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
    /// Begin at this position.
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Which part of a store is exported.
struct Chosen {
    from: Position,
    filter: Filter,
}

/// How much was exported.
#[derive(Clone, Copy, Debug, Default)]
struct Exported {
    events: u64,
    last: Option<Position>,
    /// Appends of which events were left out.
    parts: u64,
}

impl Export {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let to_output = self.output == Path::new("-");
        let export = StoreExport::of(store.directory()?)?;
        if !to_output
            && !self.force
            && self.output.try_exists().unwrap_or(false)
            && is_plain(&self.output)
        {
            let file = self.output.display();
            return Err(Refusal::usage("file-exists", format!("{file} is there already"))
                .hint("name another file, or say --force to write over it")
                .into());
        }
        let (from, filter) =
            (self.from.map_or(Position::START, Position::new), self.narrowed.filter());
        let chosen = Chosen { from, filter };
        if let Some(left_out) = export.unconfirmed() {
            notice(format_args!(
                "positions {} to {} are left out: the store's program wrote them and does not say \
                 whether they are durable; look whether it is well",
                left_out.start(),
                left_out.end()
            ));
        }
        let total = export.head().number();
        if to_output {
            let bar = bar_beside_output(Of::Events, total);
            let exported = write(&export, &chosen, &bar, |line| output.bytes(line))?;
            tell_parts(exported, output);
            return Ok(Outcome::Done);
        }
        let bar = bar(Of::Events, total);
        let exported = into_file(&self.output, |file| {
            write(&export, &chosen, &bar, |line| Ok(file.write_all(line)?))
        })?;
        tell_parts(exported, output);
        tell(exported, &self.output, output)?;
        Ok(Outcome::Done)
    }
}

impl Chosen {
    fn is_all(&self) -> bool {
        self.from <= Position::START.next() && self.filter == Filter::Everything
    }

    fn has(&self, event: &RecordedEvent) -> bool {
        event.position >= self.from && (self.filter.matches(event) || self.describes(event))
    }

    /// Whether the event is of the metadata of a stream that is chosen by its category: without
    /// them, what is deleted here would come back elsewhere.
    fn describes(&self, event: &RecordedEvent) -> bool {
        let described = event.stream.described_stream();
        matches!(self.filter, Filter::Categories(_))
            && described.is_some_and(|stream| self.filter.matches_stream(&stream))
    }

    /// What is exported of an append, if anything; and how many events it has, and the id of its
    /// first one, where some are left out.
    fn of(&self, append: StoredAppend) -> Option<(StoredAppend, Option<(u64, EventId)>)> {
        if self.is_all() {
            return Some((append, None));
        }
        let count = append.count();
        let first = match &append.scavenged {
            Some(of) => Some(of.first_event),
            None => append.events.first().map(|event| event.id),
        };
        let events: Vec<_> = append.events.into_iter().filter(|event| self.has(event)).collect();
        let first_left = events.first()?.position;
        let left_out = (events.len() as u64) < count;
        let append = StoredAppend { first: first_left, events, scavenged: None };
        Some((append, first.filter(|_| left_out).map(|first| (count, first))))
    }
}

/// Writes all lines, and counts.
fn write(
    export: &StoreExport,
    chosen: &Chosen,
    bar: &ProgressBar,
    mut to: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Exported> {
    let mut lines = LineWriter::default();
    to(&lines.header(&Header {
        store: LOG.to_owned(),
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

/// Whether a name is that of a file, and not of a pipe or a device.
fn is_plain(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|there| there.is_file() || there.is_dir())
}

/// Writes a file that is there whole or not at all. What is no plain file, such as a pipe, is
/// written to as it is.
fn into_file<T>(file: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
    let cannot = || format!("cannot write {}", file.display());
    let special = fs::metadata(file).is_ok_and(|there| !there.is_file());
    let part = if special { file.to_owned() } else { part_of(file) };
    let mut to = BufWriter::new(File::create(&part).with_context(cannot)?);
    let written = write(&mut to).and_then(|written| {
        to.flush()?;
        if !special {
            to.get_ref().sync_all()?;
            fs::rename(&part, file)?;
            sync_directory_of(file)?;
        }
        Ok(written)
    });
    if written.is_err() && !special {
        // What is only half there is of no use to anybody.
        drop(fs::remove_file(&part));
    }
    written.with_context(cannot)
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

/// An append of which the export has a part cannot be recognized when it is offered again.
fn tell_parts(exported: Exported, output: &Output) {
    if exported.parts > 0 && output.style() == Style::Text {
        let appends = counted(exported.parts, "append");
        notice(format_args!(
            "only a part of {appends} was chosen; where that is imported, whoever repeats such an \
             append is not recognized"
        ));
    }
}

fn tell(exported: Exported, file: &Path, output: &mut Output) -> Result<()> {
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
