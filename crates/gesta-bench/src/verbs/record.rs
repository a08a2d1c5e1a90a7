//! `gesta-bench record`: appends until killed, and logs each append and its outcome.

use anyhow::Result;
use clap::Args;
use gesta_bench::oracle::{
    plan::Shape,
    record::{record, stdout_sink},
};
use gesta_log::Options;

use crate::store_url::StoreUrl;

/// Append until killed, and log each append and its outcome to standard output
///
/// For crash tests: kill the process at any time, then run `gesta-bench check` with the log to
/// verify that the store kept every acknowledged event.
#[derive(Args, Debug)]
pub(crate) struct Record {
    #[command(flatten)]
    shape: Shape,
    /// Exit after this many appends per thread
    #[arg(long, value_name = "N")]
    appends_each: Option<u64>,
    /// Size of the first segment in bytes; small segments exercise sealing and compaction
    #[arg(long, value_name = "N")]
    segment_bytes: Option<u64>,
}

impl Record {
    pub(crate) fn run(self, store: &StoreUrl) -> Result<()> {
        let options = match self.segment_bytes {
            None => Options::default(),
            Some(bytes) => Options::default()
                .segment_bytes_first(bytes)
                .segment_bytes_max(bytes.saturating_mul(2)),
        };
        record(&store.open(options)?, &self.shape, self.appends_each, &stdout_sink()?)
    }
}
