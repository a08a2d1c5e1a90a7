//! `gesta import`: lines of an export become events of a store.
//!
//! Always holds: every event keeps its id, its stream, its revision and its place among the others;
//! what the store has already is not appended again, so an import that was cut off goes on when it
//! is said again; nothing after a line that cannot be imported is appended.
//! Not here: what a line means ([`Offered`]).

mod flight;
mod known;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use gesta_log::LogStore;
use gesta_store::{Conflict, ExpectedRevision, Position, Revision, StoreError};
use indicatif::ProgressBar;
use serde_json::json;

use self::{
    flight::{Flight, Run},
    known::Known,
};
use crate::{
    counted::counted,
    events::{Offered, Printable},
    exit::Outcome,
    output::{Output, Style},
    progress::{Of, bar},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  mkdir ./copy && gesta import --store gesta:./copy events.jsonl
  zcat orders.jsonl.gz | gesta import --store gesta:./copy -

What is there already is left alone: an import that was cut off goes on when it is said again.

Exit codes:
  0  everything in the file is in the store
  1  the store says no: a stream has other events there
  2  a line cannot be read, wrong usage, or a store that cannot be used";

/// Append the events of an export, with their ids, streams and revisions.
///
/// They are recorded at the time of the import, and where the store has other events too, at other
/// positions. The store must not be open elsewhere. In an empty directory a new store begins.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Import {
    /// The file that `gesta export` wrote, or - for standard input.
    file: PathBuf,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
struct Imported {
    appended: u64,
    known: u64,
    last: Option<Position>,
}

impl Import {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        store.check_for_append()?;
        let (input, bytes) = input(&self.file)?;
        let store = store.open_to_append()?;
        let bar = bar(Of::Bytes, bytes);
        let imported = import(&store, input, &bar);
        bar.finish_and_clear();
        tell(imported?, output)?;
        Ok(Outcome::Done)
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

/// Imports all lines. What was taken before a failure is in the store when the failure is told.
fn import(store: &LogStore, input: impl BufRead, bar: &ProgressBar) -> Result<Imported> {
    let mut importing = Importing {
        known: Known::new(store),
        flight: Flight::new(store),
        run: None,
        events_known: 0,
    };
    let taken = importing.take_all(input, bar);
    let landed = importing.finish();
    let Flight { appended, last, .. } = importing.flight;
    let known = importing.events_known;
    taken.and(landed).with_context(|| {
        let (appended, known) = (counted(appended, "event"), counted(known, "event"));
        format!("the import ended early, with {appended} appended and {known} there already")
    })?;
    Ok(Imported { appended, known, last })
}

/// An import at work.
struct Importing<'store> {
    known: Known<'store>,
    flight: Flight<'store>,
    /// What is not offered to the store yet.
    run: Option<Run>,
    events_known: u64,
}

impl Importing<'_> {
    fn take_all(&mut self, mut input: impl BufRead, bar: &ProgressBar) -> Result<()> {
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let cannot = || format!("line {line} cannot be read");
            if input.read_until(b'\n', &mut text).with_context(cannot)? == 0 {
                break;
            }
            if !text.trim_ascii().is_empty() {
                let offered = Offered::from_line(&text);
                let offered = offered.map_err(|why| anyhow!(why)).with_context(cannot)?;
                self.take(line, offered)?;
            }
            bar.inc(text.len() as u64);
        }
        Ok(())
    }

    fn take(&mut self, line: u64, offered: Offered) -> Result<()> {
        if let Some(run) = &mut self.run
            && run.goes_on_with(&offered.stream, offered.revision)
        {
            run.push(offered.event);
            return Ok(());
        }
        self.send()?;
        if self.known.is_next(&offered)? {
            self.events_known += 1;
            return Ok(());
        }
        let next = self.flight.head(&offered.stream)?.map_or(Revision::FIRST, Revision::next);
        if offered.revision < next {
            return self.take_known(line, &offered);
        }
        if offered.revision > next {
            return Err(gap(line, &offered, next));
        }
        let Offered { stream, revision, event } = offered;
        self.run = Some(Run::new(stream, revision, event, line));
        Ok(())
    }

    /// The store has an event in this place; it must be the same.
    fn take_known(&mut self, line: u64, offered: &Offered) -> Result<()> {
        self.flight.land()?;
        let there = self.known.in_place_of(offered)?;
        if there == Some(offered.id()) {
            self.events_known += 1;
            return Ok(());
        }
        let (stream, revision) = (Printable(offered.stream.as_str()), offered.revision);
        let there = there.map_or_else(|| "another one".to_owned(), |there| there.to_string());
        let conflict = self.conflict(offered)?;
        Err(conflict.context(format!(
            "line {line}: {stream} has other events in this store: at revision {revision} is event \
             {there}, not {}",
            offered.id()
        )))
    }

    /// What the store itself would say to it.
    fn conflict(&self, offered: &Offered) -> Result<anyhow::Error> {
        let head = self.flight.head(&offered.stream)?;
        let before = offered.revision.previous();
        let expected = before.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let stream = offered.stream.clone();
        Ok(StoreError::from(Conflict::Stream { stream, expected, head }).into())
    }

    fn send(&mut self) -> Result<()> {
        self.run.take().map_or(Ok(()), |run| self.flight.send(run))
    }

    fn finish(&mut self) -> Result<()> {
        self.send()?;
        self.flight.land()
    }
}

/// Events that should come before this one are neither in the store nor in the file.
fn gap(line: u64, offered: &Offered, next: Revision) -> anyhow::Error {
    let (stream, revision) = (Printable(offered.stream.as_str()), offered.revision);
    anyhow!(
        "line {line}: it is revision {revision} of {stream}, and the next one there can only be \
         {next}; export whole streams, or import what comes before"
    )
}

fn tell(imported: Imported, output: &mut Output) -> Result<()> {
    let Imported { appended, known, last } = imported;
    match output.style() {
        Style::Text => {
            let appended = counted(appended, "event");
            let there = match known {
                0 => String::new(),
                known => format!("; {} there already", counted(known, "event")),
            };
            output.line(format_args!("imported {appended}{there}"))
        }
        Style::Json => {
            let last = last.map(Position::number);
            output.json(&json!({ "appended": appended, "known": known, "lastPosition": last }))
        }
    }
}
