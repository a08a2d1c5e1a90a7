//! `gesta bench recount`: whether a store kept what `gesta bench tell` was told.

use std::{fs::File, io::BufReader, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::{
    exit::Outcome,
    load::clock::Stopwatch,
    output::{Output, Style},
    store_url::StoreUrl,
    told::{
        log::Log,
        recount::{Recounted, recount},
    },
};

/// Read back everything that a log of `gesta bench tell` says, by position, id, stream and tag.
///
/// The store is opened as its program would open it after a crash, and left without a clean close,
/// as a kill leaves it.
#[derive(Args, Debug)]
pub(crate) struct Recount {
    /// The lines that `gesta bench tell` wrote, of all its runs on this store in order.
    log: PathBuf,
}

#[derive(Serialize)]
struct Answer {
    open_seconds: f64,
    #[serde(flatten)]
    found: Recounted,
}

impl Recount {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let file = File::open(&self.log).with_context(|| self.log.display().to_string())?;
        let log = Log::read(BufReader::new(file))?;
        let stopwatch = Stopwatch::start();
        let store = store.open_to_append()?;
        let open_seconds = stopwatch.elapsed().as_secs_f64();
        let damage = &store.report().damage;
        ensure!(damage.is_empty(), "the store is damaged: {damage:?}");
        let found = recount(&store, &log)?;
        std::mem::forget(store);
        match output.style() {
            Style::Json => output.json(&Answer { open_seconds, found })?,
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
