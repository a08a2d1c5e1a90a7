//! `gesta bench read`: throughput of scans and latency of stream loads.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{EventStore as _, Position, ReadAll, memory::MemoryStore};
use serde::Serialize;

use crate::{
    exit::Outcome,
    load::{
        engine::Engine,
        event_store::StoreEngine,
        latencies::Quantiles,
        read::{Chosen, ReadLoad, ReadReport, fill, run},
        workload::Random,
    },
    output::{Output, Style},
    store_url::StoreUrl,
};

/// Number of streams that are loaded.
const STREAMS: u64 = 1_000;

/// Measure reads: the whole store, a category, and single streams
///
/// An existing store is read as it is, with the streams of randomly chosen events. An empty
/// directory, or memory:, is filled first, then closed and opened again.
#[derive(Args, Debug)]
pub(crate) struct BenchRead {
    #[command(flatten)]
    load: ReadLoad,
}

#[derive(Serialize)]
struct ReadOutput<'a> {
    store: String,
    #[serde(flatten)]
    report: &'a ReadReport,
}

impl BenchRead {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let report = match store {
            StoreUrl::Memory => {
                let memory = MemoryStore::new();
                self.filled(&|| Ok(Box::new(StoreEngine(memory.clone()))))?
            }
            StoreUrl::Directory(_) if store.is_empty()? => {
                self.filled(&|| Ok(Box::new(StoreEngine(store.open_to_append()?))))?
            }
            StoreUrl::Directory(_) => {
                let streams = drawn_streams(&store.open_to_read()?, self.load.seed)?;
                let open = || Ok(Box::new(StoreEngine(store.open_to_read()?)) as Box<dyn Engine>);
                run(&open, &self.load, &Chosen { streams, category: None })?
            }
        };
        match output.style() {
            Style::Text => tell(&report, output)?,
            Style::Json => {
                output.json(&ReadOutput { store: store.to_string(), report: &report })?
            }
        }
        Ok(Outcome::Done)
    }

    fn filled(&self, open: &dyn Fn() -> Result<Box<dyn Engine>>) -> Result<ReadReport> {
        fill(open()?, &self.load)?;
        run(open, &self.load, &self.load.filled())
    }
}

/// Returns the streams of random events, so longer streams occur more often.
fn drawn_streams(store: &LogStore, seed: u64) -> Result<Vec<String>> {
    let head = block_on(store.head())?.position.number();
    let mut random = Random::of_seed(seed);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let position = Position::new(1 + random.below(head));
        let read = store.read_all(ReadAll::forwards().from(position).limit(1));
        let events = block_on(read.collect_events())?;
        streams.extend(events.iter().map(|event| event.stream.to_string()));
    }
    // System streams are read differently.
    streams.retain(|stream| !stream.starts_with('$'));
    Ok(streams)
}

fn tell(report: &ReadReport, output: &mut Output) -> Result<()> {
    let ReadReport { events, open_seconds, stream_events, load, load_last, .. } = report;
    output
        .line(format_args!("all events       {:>12.0} a second", report.scan_events_per_second))?;
    if let Some(category) = report.category_events_per_second {
        output.line(format_args!("one category     {category:>12.0} a second"))?;
    }
    let shown = |Quantiles { p50_us, p99_us, max_us }: &Quantiles| {
        format!("p50 {p50_us:.0}, p99 {p99_us:.0}, at most {max_us:.0}")
    };
    output.line(format_args!("a stream, µs     {}", shown(load)))?;
    output.line(format_args!("its last ten, µs {}", shown(load_last)))?;
    output.line(format_args!(
        "in all           {events} events, {stream_events:.0} in a stream on average; opened in \
         {open_seconds:.3} s"
    ))
}
