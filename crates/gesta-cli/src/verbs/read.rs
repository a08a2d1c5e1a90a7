//! `gesta read`: prints stored events.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_store::{
    Direction, Pages, Position, ReadAll, ReadFrom, ReadStream, Revision, Visibility,
};

use crate::{
    events::show,
    exit::Outcome,
    lookup::check_exists,
    output::Output,
    selection::{Selected, SelectionArguments},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta read order-17
  gesta read order-17 --backwards --limit 1             the last event
  gesta read --all --from 1000 --limit 50
  gesta read --all --type order-placed --tag customer:17850 --json

Exit codes:
  0  success
  1  the stream is tombstoned, or the store is damaged
  2  usage error, or the store cannot be used
  3  the stream does not exist or is deleted";

/// Read events of one stream or of the whole store
///
/// Each line is one event: position, recorded time (UTC), STREAM@REVISION, type, tags, data. With
/// --json, each line is an object with all fields; data that is not JSON appears as dataBase64.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Read {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Start at this revision, or with --all at this position, inclusive
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Latest events first
    #[arg(long)]
    backwards: bool,
    /// Maximum number of events
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
}

impl Read {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let store = store.open_to_read()?;
        let direction = if self.backwards { Direction::Backwards } else { Direction::Forwards };
        let Self { from, limit, .. } = self;
        match self.selection.selected() {
            Selected::All(filter) => {
                let from = place(direction, from.map(Position::new));
                // Operators look for everything that is still on disk, hidden or not.
                let visibility = Visibility::Raw;
                let read = ReadAll::towards(direction)
                    .starting(from)
                    .filter(filter)
                    .visibility(visibility)
                    .limit(limit);
                show_all(store.read_all(read), output)?;
            }
            Selected::Stream(stream) => {
                let from = place(direction, from.map(Revision::new));
                let read =
                    ReadStream::towards(direction, stream.clone()).starting(from).limit(limit);
                // A missing stream reads as empty, so the check decides about the exit code.
                show_all(store.read_stream(read), output)?;
                check_exists(&stream, store.as_ref())?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn place<Place>(direction: Direction, from: Option<Place>) -> ReadFrom<Place> {
    match (from, direction) {
        (Some(place), _) => ReadFrom::At(place),
        (None, Direction::Forwards) => ReadFrom::Start,
        (None, Direction::Backwards) => ReadFrom::End,
    }
}

fn show_all(mut pages: Pages, output: &mut Output) -> Result<()> {
    while let Some(page) = block_on(pages.next()) {
        page?.iter().try_for_each(|event| show(event, output))?;
    }
    Ok(())
}
