//! `gesta bench`: measurements of a store on the operator's own disk.
//!
//! Owns: the subcommands ([`append`], [`read`], [`subscribe`]), their appends ([`generated`]) and
//! their clock and latencies ([`measure`]). Invariant: a benchmark that appends never runs on an
//! existing store, since its events would remain there. Not here: the project's own loads,
//! comparisons and crash tests, which are not shipped.

mod append;
mod generated;
mod measure;
mod read;
mod subscribe;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::{append::BenchAppend, read::BenchRead, subscribe::BenchSubscribe};
use crate::{exit::Outcome, output::Output, store_url::StoreUrl};

/// The advice for stores in PostgreSQL.
const INSTEAD: &str = "measure the server with `pgbench`, and the application with its own load";

const HINT: &str = "\
Examples:
  mkdir ./measured
  gesta bench append --store gesta:./measured --writers 8
  gesta bench read --store gesta:./measured
  mkdir ./followed
  gesta bench subscribe --store gesta:./followed --subscribers 100 --json

For meaningful results, run nothing else on the machine and use a directory on the disk where the
store will be.";

/// Measure how fast events are appended, read and delivered
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Bench {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand, Debug)]
enum Load {
    Append(BenchAppend),
    Read(BenchRead),
    Subscribe(BenchSubscribe),
}

impl Bench {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let store = store.log("bench", INSTEAD)?;
        match self.load {
            Load::Append(append) => append.run(store, output),
            Load::Read(read) => read.run(store, output),
            Load::Subscribe(subscribe) => subscribe.run(store, output),
        }
    }
}
