//! `gesta bench check`: checks a store against the log of `gesta bench record`.

use std::{fs::File, io::BufReader, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::{
    exit::Outcome,
    load::clock::Stopwatch,
    oracle::{
        check::{CheckReport, check},
        log::OracleLog,
    },
    output::{Output, Style},
    store_url::StoreUrl,
};

/// Check a store against a log of `gesta bench record`, by position, id, stream and tag
///
/// Opens the store as an application would after a crash, and exits without a clean close, as after
/// a kill.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Output of all runs of `gesta bench record` on this store, in order
    log: PathBuf,
}

#[derive(Serialize)]
struct CheckOutput {
    open_seconds: f64,
    #[serde(flatten)]
    found: CheckReport,
}

impl Check {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let file = File::open(&self.log).with_context(|| self.log.display().to_string())?;
        let log = OracleLog::read(BufReader::new(file))?;
        let stopwatch = Stopwatch::start();
        let store = store.open_to_append()?;
        let open_seconds = stopwatch.elapsed().as_secs_f64();
        let damage = &store.report().damage;
        ensure!(damage.is_empty(), "the store is damaged: {damage:?}");
        let found = check(&store, &log)?;
        std::mem::forget(store);
        match output.style() {
            Style::Json => output.json(&CheckOutput { open_seconds, found })?,
            Style::Text => output.line(format_args!(
                "{} acknowledged appends are there once, {} refused ones are not, {} of which \
                 nothing was known are; {} events in {} streams, opened in {:.1} ms",
                found.acknowledged,
                found.refused,
                found.open_and_there,
                found.events,
                found.streams,
                open_seconds * 1e3
            ))?,
        }
        Ok(Outcome::Done)
    }
}
