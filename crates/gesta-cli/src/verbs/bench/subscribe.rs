//! `gesta bench subscribe`: latency of live subscriptions.

use anyhow::Result;
use clap::Args;
use gesta_store::memory::MemoryStore;
use serde::Serialize;

use crate::{
    exit::Outcome,
    load::{
        engine::Engine,
        event_store::StoreEngine,
        latencies::Quantiles,
        subscribe::{SubscribeLoad, SubscribeReport, run},
    },
    output::{Output, Style},
    store_url::StoreUrl,
};

/// Measure subscriptions: the latency from an append to its delivery
///
/// Needs an empty directory, where the events remain, or memory:. Appends are paced. Each
/// subscription has its own thread.
#[derive(Args, Debug)]
pub(crate) struct BenchSubscribe {
    #[command(flatten)]
    load: SubscribeLoad,
}

#[derive(Serialize)]
struct SubscribeOutput<'a> {
    store: String,
    #[serde(flatten)]
    report: &'a SubscribeReport,
}

impl BenchSubscribe {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        store.empty_directory()?;
        let engine: Box<dyn Engine> = match store {
            StoreUrl::Directory(_) => Box::new(StoreEngine(store.open_to_append()?)),
            StoreUrl::Memory => Box::new(StoreEngine(MemoryStore::new())),
        };
        let report = run(engine, &self.load)?;
        match output.style() {
            Style::Text => tell(&report, output)?,
            Style::Json => {
                output.json(&SubscribeOutput { store: store.to_string(), report: &report })?
            }
        }
        Ok(Outcome::Done)
    }
}

fn tell(report: &SubscribeReport, output: &mut Output) -> Result<()> {
    let SubscribeReport { subscribers, filtered, stalled, append, delivery, .. } = report;
    let shown = |Quantiles { p50_us, p99_us, max_us }: &Quantiles| {
        format!("p50 {p50_us:.0}, p99 {p99_us:.0}, at most {max_us:.0}")
    };
    output.line(format_args!("an append, µs    {}", shown(append)))?;
    output.line(format_args!("a delivery, µs   {}", shown(delivery)))?;
    output.line(format_args!(
        "in all           {} events, {:.0} a second, to {subscribers} subscriptions: {filtered} \
         about nothing that comes, {stalled} that read at the end",
        report.events, report.events_per_second
    ))
}
