//! `gesta-bench append`: throughput and latency of appends.

use anyhow::Result;
use clap::Args;
use gesta_bench::load::{
    append::{AppendLoad, AppendReport, run},
    device::{DeviceReport, probe},
    event_store::StoreEngine,
};
use serde::Serialize;

use crate::store_url::StoreUrl;

/// Measure appends; each thread waits for one append before it starts the next
///
/// Needs an empty directory, where the events remain. Each append picks a random stream and a
/// random tag. The measured time includes closing the store. For comparison, also reports the
/// latency of a durable 4 KiB write on the device: write and sync, and direct I/O.
#[derive(Args, Debug)]
pub(crate) struct Append {
    #[command(flatten)]
    load: AppendLoad,
}

#[derive(Serialize)]
pub(crate) struct AppendOutput {
    #[serde(flatten)]
    appended: AppendReport,
    device: DeviceReport,
}

impl Append {
    pub(crate) fn run(self, store: &StoreUrl) -> Result<AppendOutput> {
        // The probe removes its file, so the directory is still empty afterwards.
        let device = probe(store.directory())?;
        let appended = run(Box::new(StoreEngine(store.create()?)), &self.load)?;
        Ok(AppendOutput { appended, device })
    }
}
