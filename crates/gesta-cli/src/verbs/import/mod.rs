//! `gesta import`: lines of an export become a store, or events of one.
//!
//! Always holds: a line is an append, and is imported whole or not at all; what is there already is
//! compared and not appended again, so an import that was cut off goes on when it is said again;
//! nothing after a line that cannot be imported is imported; an export that was cut is told so.
//! Not here: what a line means ([`transfer`](crate::transfer)).

mod elsewhere;
mod exact;
mod flight;
mod known;
mod mapping;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_log::{LogStore, StoredAppend};
use gesta_store::Position;
use indicatif::ProgressBar;
use serde_json::json;

use self::known::Known;
use crate::{
    counted::counted,
    directory,
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    progress::{Of, bar},
    store_url::StoreUrl,
    transfer::{Closing, Counts, LOG, Line, Lines},
};

const HINT: &str = "\
Examples:
  mkdir ./copy && gesta import --store gesta:./copy events.jsonl
  zcat orders.jsonl.gz | gesta import --store gesta:./copy -

All of a store in an empty directory becomes the same store: positions, revisions, recorded times,
boundaries of appends. It has a new incarnation: who has seen more than was exported is told so.
Otherwise events are appended, with their ids and together as they were, at other positions; the
stream `imported-positions-…` keeps which.

A file is read to its end and its checksum compared before any of it is appended to a store that has
events. Standard input cannot be: give a file where that matters.

What is there already is left alone: an import that was cut off, by a kill or a full disk, goes on
when it is said again.

Exit codes:
  0  everything in the file is in the store, and was read back
  1  no: a stream has other events there, the file was cut or changed
  2  a line cannot be read, wrong usage, or a store that cannot be used";

/// Make a store of an export, or append what was exported to a store.
///
/// The store must not be open elsewhere. In an empty directory a new store begins.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Import {
    /// The file that `gesta export` wrote, or - for standard input.
    #[arg(value_parser = directory::file)]
    file: PathBuf,
    /// Take what there is of an export that was cut.
    #[arg(long)]
    accept_cut: bool,
}

/// Where lines come from.
type Input = Lines<Box<dyn BufRead>>;

/// What came of it.
#[derive(Clone, Debug)]
struct Imported {
    /// Whether the store is the one that was exported, exactly.
    exact: bool,
    appended: u64,
    known: u64,
    last: Option<Position>,
    /// What could not be kept, for a person.
    warnings: Vec<String>,
}

impl Imported {
    const fn nothing() -> Self {
        Self { exact: false, appended: 0, known: 0, last: None, warnings: Vec::new() }
    }
}

/// What an import is told beside the lines.
#[derive(Clone, Copy)]
struct Way<'a> {
    accept_cut: bool,
    bar: &'a ProgressBar,
}

impl Import {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        store.check_for_append()?;
        let (input, bytes) = input(&self.file)?;
        let mut lines = Lines::new(input);
        let first = lines.next()?;
        let bar = bar(Of::Bytes, bytes);
        let way = Way { accept_cut: self.accept_cut, bar: &bar };
        let imported = match first {
            Some((_, line @ Line::Header(_))) => {
                lines.hash(&line);
                let Line::Header(header) = line else { unreachable!("it was just matched") };
                match store.directory_to_import()? {
                    Some(directory) if header.whole && header.store == LOG => {
                        exact::import(lines, &header, directory, way)?
                    }
                    _ => {
                        let store = store.open_to_append()?;
                        match self.read_through(&store)? {
                            Some(there_already) => there_already,
                            None => elsewhere::import(lines, &header, &store, way)?,
                        }
                    }
                }
            }
            Some(first) => elsewhere::import_old(lines, first, &store.open_to_append()?, way)?,
            None => {
                return Err(Refusal::usage("nothing-to-import", "there are no lines to import")
                    .hint("`gesta export` writes what is imported")
                    .into());
            }
        };
        bar.finish_and_clear();
        tell(&imported, output)?;
        Ok(Outcome::Done)
    }
}

impl Import {
    /// Reads a file to its end and compares its checksum, before anything of it is appended to a
    /// store that has events: an append there cannot be taken back. Returns what is there already if
    /// that is all, each event at its own position, as in a store that was made of the same file.
    /// Standard input comes only once; what is wrong with it is told when it has been read.
    fn read_through(&self, store: &LogStore) -> Result<Option<Imported>> {
        if self.file == Path::new("-") {
            return Ok(None);
        }
        let (input, _) = input(&self.file)?;
        let mut lines = Lines::new(input);
        if let Some((_, header)) = lines.next()? {
            lines.hash(&header);
        }
        let way = Way { accept_cut: self.accept_cut, bar: &ProgressBar::hidden() };
        let mut known = Known::new(store);
        let mut there_already = Imported::nothing();
        let mut is_all_there = true;
        let end = each_append(&mut lines, way, |Taken { append, .. }| {
            let Some(first) = append.events.first().filter(|_| is_all_there) else { return Ok(()) };
            let there = known.append(&append.events)?;
            is_all_there = there
                .is_some_and(|there| there.begin == first.position && there.is(&append.events));
            there_already.known += append.events.len() as u64;
            there_already.last = append.events.last().map(|event| event.position);
            Ok(())
        })?;
        let is_all = is_all_there && there_already.known > 0 && matches!(end, End::Whole);
        Ok(is_all.then_some(there_already))
    }
}

/// The lines, and how many bytes they have, if that is known beforehand.
fn input(file: &Path) -> Result<(Box<dyn BufRead>, u64)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), 0));
    }
    let cannot = || format!("cannot read {}", file.display());
    let opened = File::open(file).with_context(cannot)?;
    let bytes = opened.metadata().with_context(cannot)?.len();
    Ok((Box::new(BufReader::with_capacity(1 << 20, opened)), bytes))
}

/// An append of an export, with the number of its line.
struct Taken {
    number: u64,
    append: StoredAppend,
    /// Whether the export left out some of its events.
    is_part: bool,
}

/// How an export ended.
enum End {
    Whole,
    /// Without its last line, which was accepted.
    Cut,
}

/// Hands over each append of an export of which the first line was read, and checks what the last
/// line says.
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

/// The next line. Half a line at the end is where an export was cut.
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

/// What an import that ended early has come to.
fn ended_early(appended: u64, known: u64) -> String {
    let (appended, known) = (counted(appended, "event"), counted(known, "event"));
    format!(
        "the import ended early, with {appended} imported and {known} there already; it goes on when \
         it is said again"
    )
}
