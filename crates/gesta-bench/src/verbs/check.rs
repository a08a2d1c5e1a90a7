//! `gesta-bench check`: checks a store against the log of `gesta-bench record`.

use std::{fs::File, io::BufReader, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use gesta_bench::{
    load::clock::Stopwatch,
    oracle::{
        check::{CheckReport, check},
        log::OracleLog,
    },
};
use gesta_log::Options;
use serde::Serialize;

use crate::store_url::StoreUrl;

/// Check a store against a log of `gesta-bench record`, by position, id, stream and tag
///
/// Opens the store as an application would after a crash, and exits without a clean close, as after
/// a kill.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Output of all runs of `gesta-bench record` on this store, in order
    log: PathBuf,
}

#[derive(Serialize)]
pub(crate) struct CheckOutput {
    open_seconds: f64,
    #[serde(flatten)]
    found: CheckReport,
}

impl Check {
    pub(crate) fn run(self, store: &StoreUrl) -> Result<CheckOutput> {
        let file = File::open(&self.log).with_context(|| self.log.display().to_string())?;
        let log = OracleLog::read(BufReader::new(file))?;
        let stopwatch = Stopwatch::start();
        let store = store.open(Options::default())?;
        let open_seconds = stopwatch.elapsed().as_secs_f64();
        let damage = &store.report().damage;
        ensure!(damage.is_empty(), "the store is damaged: {damage:?}");
        let found = check(&store, &log)?;
        // The next kill meets a store that was not closed.
        std::mem::forget(store);
        Ok(CheckOutput { open_seconds, found })
    }
}
