//! `gesta export`: every event as a line of JSON, to be kept elsewhere or imported again.
//!
//! Always holds: a file has its name only once all of it is written and synced, so half an export
//! is never taken for a whole one.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use futures_executor::block_on;
use gesta_store::{EventStore as _, Position, ReadAll, RecordedEvent};
use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    counted::counted,
    events::exact,
    exit::Outcome,
    output::{Output, Style},
    progress::{Of, bar, bar_beside_output},
    source::Narrowed,
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta export --output events.jsonl
  gesta export --category order | gzip > orders.jsonl.gz
  gesta export --from 31776 --output since-monday.jsonl

What was exported comes back with `gesta import`. Streams have to be whole for that, or go on where \
those of the other store end.";

/// Write events as JSON, one object a line, with nothing lost.
///
/// Data and metadata that would not survive as JSON to the byte stand under dataBase64 and
/// metadataBase64. Metadata of streams and deletions are events too, of the streams `$$…`.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Export {
    /// The file to write, or - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Begin at this position.
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// How much was exported.
#[derive(Clone, Copy, Debug, Default)]
struct Exported {
    events: u64,
    last: Option<Position>,
}

impl Export {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let store = store.open_to_read()?;
        let head = block_on(store.head())?.position;
        let read = ReadAll::forwards().only(self.narrowed.filter());
        let read = read.from(self.from.map_or(Position::START, Position::new));
        let events = store.read_all(read);
        if self.output == Path::new("-") {
            let bar = bar_beside_output(Of::Events, head.number());
            each(events, &bar, |event| output.json(&exact(event)))?;
            return Ok(Outcome::Done);
        }
        let bar = bar(Of::Events, head.number());
        let exported = into_file(&self.output, |file| {
            each(events, &bar, |event| {
                serde_json::to_writer(&mut *file, &exact(event)).map_err(io::Error::from)?;
                Ok(file.write_all(b"\n")?)
            })
        })?;
        tell(exported, &self.output, output)?;
        Ok(Outcome::Done)
    }
}

/// Hands over every event, and counts.
fn each(
    mut pages: gesta_store::Pages,
    bar: &ProgressBar,
    mut write: impl FnMut(&RecordedEvent) -> Result<()>,
) -> Result<Exported> {
    let mut exported = Exported::default();
    while let Some(page) = block_on(pages.next()) {
        let page = page?;
        page.iter().try_for_each(&mut write)?;
        exported.events += page.len() as u64;
        exported.last = page.last().map(|event| event.position).or(exported.last);
        bar.set_position(exported.last.map_or(0, Position::number));
    }
    bar.finish_and_clear();
    Ok(exported)
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

fn tell(exported: Exported, file: &Path, output: &mut Output) -> Result<()> {
    let Exported { events, last } = exported;
    let last = last.map(Position::number);
    match output.style() {
        Style::Text => {
            let up_to = last.map_or_else(String::new, |last| format!(" up to position {last}"));
            let (events, file) = (counted(events, "event"), file.display());
            output.line(format_args!("exported {events}{up_to} to {file}"))
        }
        Style::Json => {
            let file = file.display().to_string();
            output.json(&json!({ "file": file, "events": events, "lastPosition": last }))
        }
    }
}
