//! `gesta-bench read`: throughput of scans and latency of stream loads.

use anyhow::Result;
use clap::Args;
use gesta_bench::load::{
    engine::Engine,
    event_store::{StoreEngine, ThreadWaker},
    read::{Chosen, ReadLoad, ReadReport, fill, run},
    workload::Random,
};
use gesta_log::{LogStore, Options};
use gesta_store::{EventStore as _, Position, ReadAll};

use crate::store_url::StoreUrl;

/// Number of streams that are loaded.
const STREAMS: u64 = 1_000;

/// Measure reads: the whole store, a category, and single streams
///
/// An existing store is read as is; the streams to read are those of randomly chosen events. An
/// empty directory is filled first; the store is then closed and opened again.
#[derive(Args, Debug)]
pub(crate) struct Read {
    #[command(flatten)]
    load: ReadLoad,
}

impl Read {
    pub(crate) fn run(self, store: &StoreUrl) -> Result<ReadReport> {
        if store.is_empty()? {
            fill(Box::new(StoreEngine(store.create()?)), &self.load)?;
            return run(&opened(store, Options::default), &self.load, &self.load.filled());
        }
        let streams = drawn_streams(&store.open(Options::read_only())?, self.load.seed)?;
        let chosen = Chosen { streams, category: None };
        run(&opened(store, Options::read_only), &self.load, &chosen)
    }
}

fn opened(store: &StoreUrl, options: fn() -> Options) -> impl Fn() -> Result<Box<dyn Engine>> {
    move || Ok(Box::new(StoreEngine(store.open(options())?)))
}

/// Returns the streams of random events, so longer streams occur more often.
fn drawn_streams(store: &LogStore, seed: u64) -> Result<Vec<String>> {
    let parked = ThreadWaker::current();
    let head = parked.block_on(store.head())?.position.number();
    let mut random = Random::of_seed(seed);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let position = Position::new(1 + random.below(head));
        let read = store.read_all(ReadAll::forwards().from(position).limit(1));
        let events = parked.block_on(read.collect_events())?;
        streams.extend(events.iter().map(|event| event.stream.to_string()));
    }
    // System streams are read differently.
    streams.retain(|stream| !stream.starts_with('$'));
    Ok(streams)
}
