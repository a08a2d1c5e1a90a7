//! `gesta archive`: moves old partitions of a store in PostgreSQL, and brings them back.
//!
//! Invariant: payloads leave the database after a file has them, synced and read back. Not here:
//! the changes in the database (`gesta-postgres`), the file ([`file`]).

mod consumers;
mod file;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use futures_executor::block_on;
use gesta_postgres::{KeptPayloads, Partition, PartitionPlace, PostgresArchive, PostgresStore};
use gesta_store::Position;
use serde_json::{json, value::to_raw_value};

use crate::{
    confirm::Confirm,
    directory::Directory,
    exit::{Outcome, Refusal},
    output::{Output, Style},
    store_url::{StoreUrl, existing},
    table::Table,
};

const HINT: &str = "\
Examples:
  gesta archive list
  gesta archive move --before 20000001 --schema orders_archive
  gesta archive move --before 10000001 --directory /mnt/archive --yes
  gesta archive restore --from 1

The events of a store in PostgreSQL are in partitions of 10,000,000 positions. A full one can move
to another schema of the database, where its events are read as before. Or its data and metadata
move to a file, in the format of `gesta export`: a read that comes to such an event fails until it
is restored. Everything else stays in the database, so that repeats of appends, expected revisions,
conditions and stream heads are answered as before. So do the data of streams by which `gesta serve`
and applications work: users, rights, groups, projections, process managers and reactors. Commands
on aggregates whose streams begin in the archived part, process instances with an event of more
than 64 KiB there, repeats of commands and of imports, projections on read, rebuilds, and process
managers and reactors that have not come as far need a restore first.

An interrupted command leaves each partition in one of its places; run it again. Keep the files: they
have the only copy.

Exit codes:
  0  success
  1  a file differs from the store
  2  usage error, or the store cannot be used
  3  no partition in the range can be moved";

/// Move old events of a store in PostgreSQL to an archive, and back
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Archive {
    #[command(subcommand)]
    verb: ArchiveCommand,
}

#[derive(Subcommand, Debug)]
enum ArchiveCommand {
    /// List the partitions, with their places and sizes
    List,
    /// Move the full partitions that end before a position
    Move {
        /// The first position that stays
        #[arg(long, value_name = "POSITION")]
        before: u64,
        #[command(flatten)]
        place: PlaceArguments,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Bring partitions back, from the one with a position on
    Restore {
        /// Position of the first event to bring back
        #[arg(long, value_name = "POSITION", default_value_t = 1)]
        from: u64,
        /// Directory with the files, if they are no longer where they were written
        #[arg(long, value_name = "DIR")]
        directory: Option<Directory>,
    },
    /// Set the number of positions of a partition
    ///
    /// The partition that takes appends ends at the next multiple. Its events are looked through
    /// once, while appends wait.
    Resize {
        /// Number of positions, 1,000 to 1,000,000,000
        #[arg(value_name = "POSITIONS")]
        positions: u64,
    },
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct PlaceArguments {
    /// Schema of the same database; created if it does not exist
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// Directory for files with the payloads
    #[arg(long, value_name = "DIR")]
    directory: Option<Directory>,
}

const COLUMNS: Table = Table(&[
    ("first", "first", 12),
    ("last", "last", 12),
    ("state", "state", 6),
    ("bytes", "bytes", 14),
    ("place", "place", 0),
]);

impl Archive {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let store = open(url)?;
        let archive = store.archive();
        match self.verb {
            ArchiveCommand::List => list(&archive, output)?,
            ArchiveCommand::Move { before, place, confirm } => {
                let all = block_on(archive.partitions())?;
                let chosen: Vec<Partition> = all
                    .iter()
                    .filter(|partition| partition.is_full && partition.last.number() < before)
                    .filter(|partition| place.is_new(partition))
                    .cloned()
                    .collect();
                if chosen.is_empty() {
                    return Err(nothing(why_nothing(&all, before)));
                }
                place.move_all(&store, &chosen, confirm, output)?;
            }
            ArchiveCommand::Restore { from, directory } => {
                let chosen = choose(&archive, |partition| {
                    partition.last.number() >= from && partition.place != PartitionPlace::Store
                })?;
                if chosen.is_empty() {
                    return Err(nothing(format!("nothing from position {from} on is archived")));
                }
                for partition in &chosen {
                    restore(&archive, partition, directory.as_ref())?;
                    report(("restored", None), partition, &PartitionPlace::Store, output)?;
                }
            }
            ArchiveCommand::Resize { positions } => {
                block_on(archive.set_partition_positions(positions))?;
                list(&archive, output)?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn open(url: &StoreUrl) -> Result<PostgresStore> {
    match url {
        StoreUrl::Postgres(url) => existing(url),
        _ => {
            let message = format!("`gesta archive` works on stores in PostgreSQL, not on {url}");
            Err(Refusal::usage("unsupported", message)
                .hint("a directory keeps its events in files; `gesta backup` copies them")
                .into())
        }
    }
}

fn nothing(message: String) -> anyhow::Error {
    Refusal::not_found("nothing-to-move", message)
        .hint("run `gesta archive list` to see the partitions")
        .into()
}

/// Returns the reason why no partition before a position can be moved.
fn why_nothing(partitions: &[Partition], before: u64) -> String {
    let mut ended = partitions.iter().filter(|partition| partition.last.number() < before);
    let open = partitions.iter().find(|partition| !partition.is_full);
    if ended.clone().all(|partition| !partition.is_full) {
        // The first one is open, or ends later.
        return match (open, partitions.first()) {
            (Some(open), Some(first)) if open.first == first.first => format!(
                "the partition from position {} on is open until position {}; it can be moved \
                 when it is full",
                open.first, open.last
            ),
            (_, Some(first)) => format!(
                "no partition ends before position {before}; the first one ends at position {}",
                first.last
            ),
            (_, None) => "the store has no partitions".to_owned(),
        };
    }
    let in_files = ended.any(|partition| matches!(partition.place, PartitionPlace::File(_)));
    let also = if in_files { ", or its data are in a file" } else { "" };
    format!("each full partition that ends before position {before} is there already{also}")
}

fn choose(
    archive: &PostgresArchive,
    is_chosen: impl FnMut(&Partition) -> bool,
) -> Result<Vec<Partition>> {
    Ok(block_on(archive.partitions())?.into_iter().filter(is_chosen).collect())
}

impl PlaceArguments {
    /// Returns `true` if the partition is not in this place yet.
    fn is_new(&self, partition: &Partition) -> bool {
        match &partition.place {
            PartitionPlace::Store => true,
            PartitionPlace::Schema(schema) => self.schema.as_ref() != Some(schema),
            _ => false,
        }
    }

    fn move_all(
        &self,
        store: &PostgresStore,
        partitions: &[Partition],
        confirm: Confirm,
        output: &mut Output,
    ) -> Result<()> {
        let archive = store.archive();
        if let Some(schema) = &self.schema {
            for partition in partitions {
                block_on(archive.move_to_schema(partition.first, schema))?;
                let place = PartitionPlace::Schema(schema.clone());
                report(("archived", None), partition, &place, output)?;
            }
            return Ok(());
        }
        let directory = self.directory.as_ref().context("a place was given")?;
        let last = partitions.last().map_or(Position::START, |partition| partition.last);
        let behind = consumers::behind(store, last)?;
        confirm.ask(&consequence(last, directory, &behind))?;
        for partition in partitions {
            let file = file::write(store, partition, directory.path())?;
            let kept = block_on(archive.remove_payloads(partition.first, file.clone()))?;
            report(("archived", Some(kept)), partition, &PartitionPlace::File(file), output)?;
        }
        Ok(())
    }
}

/// Returns the text to confirm before data leave the database.
fn consequence(last: Position, directory: &Directory, behind: &[String]) -> String {
    let mut text = format!(
        "The data of events up to position {last} leave the database for files in {directory}, and \
         cannot be read until `gesta archive restore`. Until then these fail or halt: commands on \
         aggregates whose streams begin in that part, process instances with an event of more \
         than 64 KiB there, repeats of commands and imports of that part, projections on read \
         and rebuilds, and process managers and reactors that have not come as far"
    );
    if !behind.is_empty() {
        text.push_str(&format!(", which are now: {}", behind.join(", ")));
    }
    text
}

fn restore(
    archive: &PostgresArchive,
    partition: &Partition,
    directory: Option<&Directory>,
) -> Result<()> {
    let PartitionPlace::File(file) = &partition.place else {
        return Ok(block_on(archive.move_back(partition.first))?);
    };
    let path = PathBuf::from(&file.path);
    let path = match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.path().join(name),
        _ => path,
    };
    file::restore(archive, partition, &path, &file.digest)
}

fn list(archive: &PostgresArchive, output: &mut Output) -> Result<()> {
    let rows = block_on(archive.partitions())?.into_iter().map(|partition| {
        to_raw_value(&json!({
            "first": partition.first.number(),
            "last": partition.last.number(),
            "state": if partition.is_full { "full" } else { "open" },
            "bytes": partition.bytes,
            "place": name_of(&partition.place),
        }))
    });
    COLUMNS.show(&rows.collect::<Result<Vec<_>, _>>()?, output)
}

fn name_of(place: &PartitionPlace) -> String {
    match place {
        PartitionPlace::Schema(schema) => format!("schema {schema}"),
        PartitionPlace::File(file) => format!("file {}", file.path),
        _ => "store".to_owned(),
    }
}

/// Tells what was done, and with how many payloads that stay.
fn report(
    (what, kept): (&str, Option<KeptPayloads>),
    partition: &Partition,
    place: &PartitionPlace,
    output: &mut Output,
) -> Result<()> {
    let (first, last, place) = (partition.first, partition.last, name_of(place));
    match output.style() {
        Style::Text => {
            let stay = kept.filter(|kept| kept.events > 0).map_or_else(String::new, |kept| {
                format!(
                    "; the data of {} in {} by which servers and applications work stay",
                    counted(kept.events, "event"),
                    counted(kept.streams, "stream"),
                )
            });
            output
                .line(format_args!("{what} positions {first} to {last}, now in {place}{stay}"))?;
        }
        Style::Json => {
            let mut done = json!({
                "done": what,
                "first": first.number(),
                "last": last.number(),
                "place": place,
            });
            if let (Some(kept), Some(members)) = (kept, done.as_object_mut()) {
                members.insert("keptEvents".to_owned(), kept.events.into());
                members.insert("keptStreams".to_owned(), kept.streams.into());
            }
            output.json(&done)?;
        }
    }
    // Each partition is a step of its own, which an interruption leaves done.
    output.flush()
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
