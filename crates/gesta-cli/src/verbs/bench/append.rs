//! `gesta bench append`: threads that append, each waiting for its own append.

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

/// Measure appends: threads that append, each waiting for its own append before the next.
///
/// The store has to be an empty directory, in which the events stay, or memory:. Each append takes
/// one of the streams and one of the tags at random. The time ends when the store is closed. Beside
/// it stands what the bare device takes for 4 KiB: written and synced, and written directly.
#[derive(Args, Debug)]
pub(crate) struct Append {
    #[command(flatten)]
    load: AppendLoad,
}

#[derive(Serialize)]
struct Answer<'a> {
    store: String,
    #[serde(flatten)]
    appended: &'a AppendReport,
    device: Option<DeviceReport>,
}

impl Append {
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
                output.json(&Answer { store: store.to_string(), appended: &appended, device })?;
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
