//! `gesta bench append`: throughput and latency of appends.

use anyhow::Result;
use clap::Args;
use gesta_store::memory::MemoryStore;
use serde::Serialize;

use crate::{
    exit::Outcome,
    load::{
        append::{AppendLoad, AppendReport, run},
        device::{DeviceReport, probe},
        engine::Engine,
        event_store::StoreEngine,
    },
    output::{Output, Style},
    store_url::StoreUrl,
};

/// Measure appends: each thread waits for its append before the next
///
/// Needs an empty directory, where the events remain, or memory:. Each append picks a random stream
/// and a random tag. The measured time includes closing the store. For comparison, also reports the
/// latency of a durable 4 KiB write on the device: write and sync, and direct I/O.
#[derive(Args, Debug)]
pub(crate) struct BenchAppend {
    #[command(flatten)]
    load: AppendLoad,
}

#[derive(Serialize)]
struct AppendOutput<'a> {
    store: String,
    #[serde(flatten)]
    appended: &'a AppendReport,
    device: Option<DeviceReport>,
}

impl BenchAppend {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let device = store.empty_directory()?.map(probe).transpose()?;
        let engine: Box<dyn Engine> = match store {
            StoreUrl::Directory(_) => Box::new(StoreEngine(store.open_to_append()?)),
            StoreUrl::Memory => Box::new(StoreEngine(MemoryStore::new())),
        };
        let appended = run(engine, &self.load)?;
        match output.style() {
            Style::Text => tell(&appended, device, output)?,
            Style::Json => {
                output.json(&AppendOutput {
                    store: store.to_string(),
                    appended: &appended,
                    device,
                })?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn tell(report: &AppendReport, device: Option<DeviceReport>, output: &mut Output) -> Result<()> {
    let AppendReport { events, appends, seconds, close_seconds, latency, .. } = report;
    output.line(format_args!("events a second  {:>12.0}", report.events_per_second))?;
    output.line(format_args!(
        "an append, µs    p50 {:.0}, p99 {:.0}, at most {:.0}",
        latency.p50_us, latency.p99_us, latency.max_us
    ))?;
    output.line(format_args!(
        "in all           {events} events by {appends} appends in {seconds:.2} s, of which \
         {close_seconds:.2} s to close"
    ))?;
    let Some(device) = device else { return Ok(()) };
    output.line(format_args!(
        "the device, µs   4 KiB written and synced {:.0}, {}",
        device.write_and_sync_p50_us,
        match device.direct_p50_us {
            Some(direct) => format!("written directly {direct:.0}"),
            None => "not to be written directly".to_owned(),
        }
    ))
}
