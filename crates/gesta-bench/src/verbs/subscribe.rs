//! `gesta-bench subscribe`: latency of live subscriptions.

use anyhow::Result;
use clap::Args;
use gesta_bench::load::{
    event_store::StoreEngine,
    subscribe::{SubscribeLoad, SubscribeReport, run},
};

use crate::store_url::StoreUrl;

/// Measure subscriptions: the latency from an append to its delivery
///
/// Needs an empty directory, where the events remain. Appends run at a fixed rate. Each
/// subscription has its own thread.
#[derive(Args, Debug)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    load: SubscribeLoad,
}

impl Subscribe {
    pub(crate) fn run(self, store: &StoreUrl) -> Result<SubscribeReport> {
        run(Box::new(StoreEngine(store.create()?)), &self.load)
    }
}
