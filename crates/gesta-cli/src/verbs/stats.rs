//! `gesta stats`: prints counts and sizes.
//!
//! Lists streams page by page and reads no events, so memory use does not grow with the store.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use clap::Args;
use futures_executor::block_on;
use gesta_store::{
    Capability, EventStore, Head, ListStreams, Pages, ReadAll, RecordedAt, StreamName,
};
use serde_json::{Value, json};

use crate::{
    counted::counted,
    events::{Printable, moment},
    exit::Outcome,
    output::{Output, Style},
    progress::{Unit, bar},
    store_url::StoreUrl,
};

/// Page size of stream listings.
const PAGE_NAMES_MAX: usize = 1_000;

const HINT: &str = "\
Examples:
  gesta stats
  gesta stats --categories 3 --json";

/// Show the number of events, streams and categories, and bytes on disk
///
/// Files and segments are shown of a store in a directory. For the size of tables in PostgreSQL,
/// use psql: \dt+ gesta.*
///
/// A server of KurrentDB's protocol tells its last position and the times of its events only.
///
/// Counts per category include hidden and scavenged events; `events` counts only events that still
/// exist. Deleted streams and system streams are not listed; their events are counted under
/// `others`.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Stats {
    /// Maximum number of categories, largest first
    #[arg(long = "categories", value_name = "N", default_value_t = 20)]
    categories_max: usize,
}

/// Number of streams and of their events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    streams: u64,
    events: u64,
}

impl Tally {
    fn add(&mut self, events: u64) {
        self.streams += 1;
        self.events += events;
    }
}

/// Number and total size of the files of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Files {
    files: u64,
    bytes: u64,
}

struct Sizes {
    head: Head,
    events: u64,
    /// Segments and files of a store in a directory.
    on_disk: Option<OnDisk>,
    listed: Tally,
    categories: BTreeMap<String, Tally>,
    /// Streams without a category.
    without: Tally,
    first: Option<RecordedAt>,
    last: Option<RecordedAt>,
}

/// Counts and files of a store in a directory.
struct OnDisk {
    events: u64,
    segments: usize,
    files: BTreeMap<&'static str, Files>,
}

impl Stats {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let (store, on_disk) = opened(url)?;
        let head = block_on(store.head())?;
        if !store.capabilities().has(Capability::StreamListing) {
            return print_head(store.as_ref(), head, output);
        }
        // Positions have no gaps elsewhere, except where a copied store had scavenged events.
        let events = on_disk.as_ref().map_or(head.position.number(), |of| of.events);
        let mut sizes = Sizes {
            head,
            events,
            on_disk,
            listed: Tally::default(),
            categories: BTreeMap::new(),
            without: Tally::default(),
            first: recorded_at(store.read_all(ReadAll::forwards().limit(1)))?,
            last: recorded_at(store.read_all(ReadAll::backwards().limit(1)))?,
        };
        sizes.count_streams(store.as_ref())?;
        match output.style() {
            Style::Text => self.print_text(&sizes, output)?,
            Style::Json => output.json(&self.object(&sizes))?,
        }
        Ok(Outcome::Done)
    }

    /// Returns the largest categories.
    fn top<'a>(&self, sizes: &'a Sizes) -> Vec<(&'a str, Tally)> {
        let mut categories: Vec<_> =
            sizes.categories.iter().map(|(name, tally)| (name.as_str(), *tally)).collect();
        // Stable, so that categories of equal size stay in the order of their names.
        categories.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.events));
        categories.truncate(self.categories_max);
        categories
    }

    fn print_text(&self, sizes: &Sizes, output: &mut Output) -> Result<()> {
        let when = |at: Option<RecordedAt>| at.map_or_else(|| "-".to_owned(), moment);
        output.line(format_args!("events      {}", sizes.events))?;
        output.line(format_args!("streams     {}", sizes.listed.streams))?;
        output.line(format_args!("head        position {}", sizes.head.position))?;
        output.line(format_args!("first       {}", when(sizes.first)))?;
        output.line(format_args!("last        {}", when(sizes.last)))?;
        if let Some(OnDisk { segments, files, .. }) = &sizes.on_disk {
            output.line(format_args!("segments    {segments}"))?;
            for (kind, Files { files, bytes }) in files {
                let files = counted(*files, "file");
                output.line(format_args!("{kind:<11} {bytes} bytes in {files}"))?;
            }
        }
        output.line("")?;
        output.line("      EVENTS     STREAMS  CATEGORY")?;
        let mut row = |name: &str, Tally { streams, events }: Tally| {
            output.line(format_args!("{events:>12}{streams:>12}  {}", Printable(name)))
        };
        let top = self.top(sizes);
        top.iter().try_for_each(|(name, tally)| row(name, *tally))?;
        // Categories that are not listed are summed up, so that the column adds up to all events.
        let mut rest = Tally::default();
        for tally in sizes.categories.values() {
            rest =
                Tally { streams: rest.streams + tally.streams, events: rest.events + tally.events };
        }
        for (_, tally) in &top {
            rest =
                Tally { streams: rest.streams - tally.streams, events: rest.events - tally.events };
        }
        if rest.streams > 0 {
            row("(smaller categories)", rest)?;
        }
        if sizes.without.streams > 0 {
            row("(no category)", sizes.without)?;
        }
        match sizes.others() {
            0 => Ok(()),
            others => output.line(format_args!("{others:>12}           -  (others)")),
        }
    }

    fn object(&self, sizes: &Sizes) -> Value {
        let tally =
            |Tally { streams, events }: Tally| json!({ "streams": streams, "events": events });
        let category = |(name, Tally { streams, events }): &(&str, Tally)| json!({ "category": name, "streams": streams, "events": events });
        let file = |(kind, Files { files, bytes }): (&&str, &Files)| {
            (kind.to_string(), json!({ "files": files, "bytes": bytes }))
        };
        let files = sizes.on_disk.as_ref().map(|of| of.files.iter().map(file));
        json!({
            "events": sizes.events,
            "streams": sizes.listed.streams,
            "position": sizes.head.position.number(),
            "incarnation": sizes.head.incarnation.as_uuid().to_string(),
            "firstRecordedAt": sizes.first.map(moment),
            "lastRecordedAt": sizes.last.map(moment),
            "segments": sizes.on_disk.as_ref().map(|of| of.segments),
            "files": files.map(Iterator::collect::<serde_json::Map<_, _>>),
            "categoryCount": sizes.categories.len(),
            "categories": self.top(sizes).iter().map(category).collect::<Vec<_>>(),
            "withoutCategory": tally(sizes.without),
            "otherEvents": sizes.others(),
        })
    }
}

impl Sizes {
    /// Returns the number of events in unlisted streams.
    fn others(&self) -> u64 {
        self.events.saturating_sub(self.listed.events)
    }

    fn count_streams(&mut self, store: &dyn EventStore) -> Result<()> {
        let bar = bar(Unit::Streams, 0);
        let mut after = None;
        loop {
            let list = ListStreams::all().after(after).limit(PAGE_NAMES_MAX);
            let names = block_on(store.list_streams(list))?;
            for name in &names {
                self.count_stream(store, name)?;
            }
            bar.inc(names.len() as u64);
            if names.len() < PAGE_NAMES_MAX {
                bar.finish_and_clear();
                return Ok(());
            }
            after = names.last().cloned();
        }
    }

    fn count_stream(&mut self, store: &dyn EventStore, name: &StreamName) -> Result<()> {
        // Revisions have no gaps, so the head counts the events without a read of any of them.
        let head = block_on(store.describe_stream(name))?.head;
        let events = head.map_or(0, |head| head.next().number());
        self.listed.add(events);
        match name.category() {
            Some(category) => {
                self.categories.entry(category.as_str().to_owned()).or_default().add(events);
            }
            None => self.without.add(events),
        }
        Ok(())
    }
}

/// Prints what a server tells that lists no streams and has positions with gaps.
fn print_head(store: &dyn EventStore, head: Head, output: &mut Output) -> Result<Outcome> {
    let first = recorded_at(store.read_all(ReadAll::forwards().limit(1)))?.map(moment);
    let last = recorded_at(store.read_all(ReadAll::backwards().limit(1)))?.map(moment);
    let position = head.position.number();
    if output.style() == Style::Json {
        let object =
            json!({ "position": position, "firstRecordedAt": first, "lastRecordedAt": last });
        output.json(&object)?;
        return Ok(Outcome::Done);
    }
    let shown = |at: Option<String>| at.unwrap_or_else(|| "-".to_owned());
    output.line(format_args!("head        position {position}"))?;
    output.line(format_args!("first       {}", shown(first)))?;
    output.line(format_args!("last        {}", shown(last)))?;
    output.line("The server lists no streams; its figures are at http://HOST:PORT/stats.")?;
    Ok(Outcome::Done)
}

/// Opens the store, and lists the files of one in a directory.
fn opened(url: &StoreUrl) -> Result<(Arc<dyn EventStore>, Option<OnDisk>)> {
    let StoreUrl::Log(log) = url else { return Ok((url.open_to_read()?, None)) };
    let directory = log.directory()?;
    let store = log.open_to_read()?;
    let (events, segments) = (store.report().events, store.report().segments);
    let files = files(directory).with_context(|| format!("cannot list the files of {url}"))?;
    Ok((Arc::new(store), Some(OnDisk { events, segments, files })))
}

fn recorded_at(pages: Pages) -> Result<Option<RecordedAt>> {
    let events = block_on(pages.collect_events())?;
    Ok(events.first().map(|event| event.recorded_at))
}

/// Returns the store's files by kind, as named in `docs/format.md`.
fn files(directory: &Path) -> std::io::Result<BTreeMap<&'static str, Files>> {
    let mut kinds: BTreeMap<_, Files> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = match Path::new(&name).extension().and_then(|end| end.to_str()) {
            Some("seg") => "log",
            Some("new") => "in making",
            Some("run") => "index",
            Some(_) | None if name == "INDEX" => "index",
            Some(_) | None => "other",
        };
        // Compaction may delete a file between the listing and this call.
        if let Ok(metadata) = entry.metadata() {
            let files = kinds.entry(kind).or_default();
            files.files += 1;
            files.bytes += metadata.len();
        }
    }
    Ok(kinds)
}
