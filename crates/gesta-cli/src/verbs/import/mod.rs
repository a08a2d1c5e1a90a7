//! `gesta import`: imports an export into a new or existing store.
//!
//! Invariants: each line is one append and is imported atomically. Before the first append to an
//! existing store, all lines are checked, and one invalid line fails the import. Existing events
//! are compared and not appended again, so an interrupted import can be repeated. A truncated
//! export is detected. Not here: parsing ([`transfer`](crate::transfer)).

mod elsewhere;
mod exact;
mod flight;
mod input;
mod known;
mod mapping;
mod truncated;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gesta_log::StoredAppend;
use gesta_store::{Position, RecordedAt, StoreError};
use indicatif::ProgressBar;
use serde_json::json;

use self::input::{Begun, Input};
use crate::{
    counted::counted,
    directory,
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    progress::{Of, bar},
    store_url::StoreUrl,
    transfer::{Closing, Counts, LOG, Line, WrongLine},
};

const HINT: &str = "\
Examples:
  mkdir ./copy && gesta import --store gesta:./copy events.jsonl
  zcat orders.jsonl.gz | gesta import --store gesta:./copy -

A complete export imported into an empty directory recreates the store: positions, revisions,
recorded times and append boundaries. It gets a new incarnation, so that consumers that have seen
later events notice. Otherwise the events are appended with their ids and append boundaries, at new
positions; the stream `imported-positions-…` maps old to new positions.

Before anything is appended to an existing store, the whole input is checked against it. Piped input
is copied to a temporary file first (see TMPDIR).

A stream whose beginning was truncated and scavenged would start at revision 0 in an existing store
and look complete. Such an import is refused unless --accept-truncated is given.

Events that are already in the store are skipped, so an interrupted import can be run again.

Exit codes:
  0  success: every event in the file is in the store
  1  refused: conflicting events, a stream without its beginning, or a truncated or modified file
  2  usage error, an invalid line, or the store cannot be used";

/// Import an export into a new or existing store
///
/// Needs exclusive access to the store. Creates a store if the directory is empty.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Import {
    /// File written by `gesta export`, or - for standard input
    #[arg(value_parser = directory::file)]
    file: PathBuf,
    /// Accept a truncated export
    #[arg(long)]
    accept_cut: bool,
    /// Import streams without their beginning, starting at revision 0
    #[arg(long)]
    accept_truncated: bool,
}

/// Result of an import.
#[derive(Clone, Debug)]
struct Imported {
    /// `true` if the store is an exact copy.
    exact: bool,
    appended: u64,
    known: u64,
    last: Option<Position>,
    /// Messages about lost information.
    warnings: Vec<String>,
}

/// Options of an import.
#[derive(Clone, Copy)]
struct Way<'a> {
    accept_cut: bool,
    accept_truncated: bool,
    bar: &'a ProgressBar,
}

impl Import {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        store.check_for_append()?;
        let mut begun = Begun::open(&self.file)?;
        let Some((_, first)) = begun.lines.next()? else {
            return Err(Refusal::usage("nothing-to-import", "there are no lines to import")
                .hint("`gesta export` writes what is imported")
                .into());
        };
        let bar = bar(Of::Bytes, begun.bytes);
        let Self { accept_cut, accept_truncated, .. } = self;
        let way = Way { accept_cut, accept_truncated, bar: &bar };
        let is_all = matches!(&first, Line::Header(of) if of.whole && of.store == LOG);
        let directory = if is_all { store.directory_to_import()? } else { None };
        let imported = match (first, directory) {
            (line @ Line::Header(_), Some(directory)) => {
                begun.lines.hash(&line);
                let Line::Header(header) = line else { unreachable!("it was just matched") };
                exact::import(begun.lines, &header, directory, way)?
            }
            (first, _) => {
                let input = begun.into_kept()?;
                elsewhere::import(&input, first, &store.open_to_append()?, way)?
            }
        };
        bar.finish_and_clear();
        tell(&imported, output)?;
        Ok(Outcome::Done)
    }
}

/// An append of an export with its line number.
struct Taken {
    number: u64,
    append: StoredAppend,
    /// `true` if the export left out some of its events.
    is_part: bool,
}

/// End of an export.
enum End {
    Whole,
    /// Truncated, which was accepted.
    Cut,
}

/// Passes each append of the input, in either format version, to `take`.
fn each(lines: &mut Input, way: Way<'_>, take: impl FnMut(Taken) -> Result<()>) -> Result<End> {
    match lines.next()? {
        Some((_, header @ Line::Header(_))) => {
            lines.hash(&header);
            each_append(lines, way, take)
        }
        first => each_event(lines, first, way, take),
    }
}

/// Passes each event of a version 1 file to `take`.
fn each_event(
    lines: &mut Input,
    first: Option<(u64, Line)>,
    way: Way<'_>,
    mut take: impl FnMut(Taken) -> Result<()>,
) -> Result<End> {
    let mut next = first;
    while let Some((number, line)) = next {
        let append = match line {
            Line::Append { append, is_part: false } => append,
            Line::Event(offered) => {
                let event = offered.as_recorded(Position::START, RecordedAt::from_micros(0));
                StoredAppend { first: event.position, events: vec![event], scavenged: None }
            }
            Line::Append { is_part: true, .. } | Line::Header(_) | Line::Closing(_) => {
                let why = "it belongs to an export of which the first line is missing";
                return Err(lines.wrong(why).into());
            }
        };
        take(Taken { number, append, is_part: false })?;
        way.bar.inc(lines.bytes());
        next = lines.next()?;
    }
    Ok(End::Whole)
}

/// Passes each append to `take` after the header was read, and checks the last line.
fn each_append(
    lines: &mut Input,
    way: Way<'_>,
    mut take: impl FnMut(Taken) -> Result<()>,
) -> Result<End> {
    let mut counts = Counts::default();
    loop {
        let Some((number, line)) = next_line(lines, way)? else {
            if way.accept_cut {
                return Ok(End::Cut);
            }
            return Err(cut().into());
        };
        way.bar.inc(lines.bytes());
        match line {
            Line::Append { append, is_part } => {
                counts.add(&append);
                let line = Line::Append { append, is_part };
                lines.hash(&line);
                let Line::Append { append, is_part } = line else { continue };
                take(Taken { number, append, is_part })?;
            }
            Line::Closing(closing) => {
                check_closing(lines, counts, &closing)?;
                if lines.next()?.is_some() {
                    return Err(lines.wrong("it comes after the last line of an export").into());
                }
                return Ok(End::Whole);
            }
            Line::Header(_) => return Err(lines.wrong("another export begins there").into()),
            Line::Event(_) => {
                return Err(lines.wrong("it does not say position and recordedAt").into());
            }
        }
    }
}

/// Returns the next line. An incomplete line at the end means that the export is truncated.
fn next_line(lines: &mut Input, way: Way<'_>) -> Result<Option<(u64, Line)>> {
    match lines.next() {
        Err(wrong) if lines.is_half_a_line() => {
            if way.accept_cut {
                Ok(None)
            } else {
                Err(anyhow::Error::new(wrong).context(cut()))
            }
        }
        next => Ok(next?),
    }
}

fn cut() -> Refusal {
    Refusal::no("export-cut", "the export was cut: its last line is missing")
        .hint("export again; --accept-cut takes what there is")
}

fn check_closing(lines: &Input, counts: Counts, closing: &Closing) -> Result<()> {
    let (all, appends) = lines.hashes();
    if counts == closing.counts && all == closing.blake3 && appends == closing.appends_blake3 {
        return Ok(());
    }
    let Counts { appends, events, scavenged } = closing.counts;
    Err(Refusal::no(
        "export-changed",
        format!(
            "the export is not what was written: {} appends with {} events ({} scavenged) are there, \
             and its last line says {appends} with {events} ({scavenged}) and another checksum",
            counts.appends, counts.events, counts.scavenged
        ),
    )
    .hint("copy the file again, or export again")
    .into())
}

fn tell(imported: &Imported, output: &mut Output) -> Result<()> {
    let Imported { exact, appended, known, last, warnings } = imported;
    match output.style() {
        Style::Text => {
            for warning in warnings {
                notice(format_args!("warning: {warning}"));
            }
            let appended = counted(*appended, "event");
            let there = match known {
                0 => String::new(),
                known => format!("; {} there already", counted(*known, "event")),
            };
            let how = if *exact { ", exactly as exported" } else { "" };
            output.line(format_args!("imported {appended}{there}{how}"))
        }
        Style::Json => {
            let last = last.map(Position::number);
            output.json(&json!({
                "appended": appended,
                "known": known,
                "lastPosition": last,
                "exact": exact,
                "warnings": warnings,
            }))
        }
    }
}

/// Describes the progress of an import that failed, and how to continue.
fn ended_early(appended: u64, known: u64, error: &anyhow::Error) -> String {
    let (appended, known) = (counted(appended, "event"), counted(known, "event"));
    let refused = matches!(
        error.downcast_ref(),
        Some(StoreError::Conflict(_) | StoreError::Rejected(_) | StoreError::Deleted { .. })
    );
    let is_wrong = refused || error.is::<Refusal>() || error.is::<WrongLine>();
    let when = if is_wrong { "once that is put right" } else { "when it is said again" };
    format!(
        "the import ended early, with {appended} imported and {known} there already; it goes on {when}"
    )
}
