//! `gesta import`: imports an export into a new or existing store.
//!
//! Invariants: each append is imported atomically. Existing events are compared and not appended
//! again, so an interrupted import can be repeated. An incomplete export is detected. Two ways
//! to import: [`exact`] recreates a whole store in an empty directory, [`merge`] appends to a store
//! with events. Not here: parsing ([`transfer`](crate::transfer)).

mod appends;
mod exact;
mod input;
mod known;
mod mapping;
mod merge;
mod pipeline;
mod summary;
mod truncated;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::{appends::ImportOptions, input::OpenInput};
use crate::{
    directory,
    exit::{Outcome, Refusal},
    output::Output,
    progress::{Unit, bar},
    store_url::StoreUrl,
    transfer::{FreePlace, LOG, Line, POSTGRES},
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
  1  refused: conflicting events, a stream without its beginning, or an incomplete or modified file
  2  usage error, an invalid line, or the store cannot be used";

/// Import an export into a new or existing store
///
/// Needs exclusive access to a store in a directory. Creates a store if the directory is empty, or
/// if the schema in PostgreSQL has none.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Import {
    /// File written by `gesta export`, or - for standard input
    #[arg(value_parser = directory::file)]
    file: PathBuf,
    /// Import the appends of an export whose end is missing
    #[arg(long)]
    accept_cut: bool,
    /// Import streams without their beginning, renumbered from revision 0
    #[arg(long)]
    accept_truncated: bool,
}

impl Import {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        // Fail on an unusable directory before a large input is read.
        store.check_for_append()?;
        let mut input = OpenInput::open(&self.file)?;
        let Some((_, first)) = input.lines.next()? else {
            return Err(Refusal::usage("nothing-to-import", "the input has no lines")
                .hint("pass a file written by `gesta export`")
                .into());
        };
        let bar = bar(Unit::Bytes, input.bytes);
        let Self { accept_cut, accept_truncated, .. } = self;
        let options = ImportOptions { accept_cut, accept_truncated, bar: &bar };
        // Only a complete export of a store that keeps positions says enough to recreate it.
        let is_complete = matches!(&first, Line::Header(of) if of.whole && is_exact(&of.store));
        let place = if is_complete { FreePlace::of(store)? } else { None };
        let imported = match (first, place) {
            (line @ Line::Header(_), Some(place)) => {
                input.lines.hash(&line);
                let Line::Header(header) = line else { unreachable!("it was just matched") };
                // One pass: nothing is a store until the end, so nothing has to be undone.
                exact::import(input.lines, &header, (place, store), options)?
            }
            (first, _) => {
                // Two passes: appends cannot be undone, so all of it is checked first.
                let input = input.into_seekable()?;
                merge::import(&input, first, store.open_to_append()?.as_ref(), options)?
            }
        };
        bar.finish_and_clear();
        imported.print(output)?;
        Ok(Outcome::Done)
    }
}

/// Returns whether exports of this kind of store have all that it takes to recreate it.
fn is_exact(kind: &str) -> bool {
    kind == LOG || kind == POSTGRES
}
