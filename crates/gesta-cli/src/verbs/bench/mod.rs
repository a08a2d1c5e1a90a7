//! `gesta bench`: benchmarks.
//!
//! Invariant: a benchmark that appends never runs on an existing store, since its events would
//! remain there. Not here: the loads ([`crate::load`]) and the crash-test oracle
//! ([`crate::oracle`]).

mod append;
mod check;
mod read;
mod record;
mod subscribe;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::{
    append::BenchAppend, check::Check, read::BenchRead, record::Record, subscribe::BenchSubscribe,
};
use crate::{exit::Outcome, output::Output, store_url::StoreUrl};

const HINT: &str = "\
Examples:
  mkdir ./measured
  gesta bench append --store gesta:./measured --writers 8
  gesta bench append --store memory: --writers 8 --events-per-append 100 --json
  gesta bench read --store gesta:./measured
  gesta bench subscribe --store memory: --subscribers 100 --filtered 90

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
    Record(Record),
    Check(Check),
}

impl Bench {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        match self.load {
            Load::Append(append) => append.run(store, output),
            Load::Read(read) => read.run(store, output),
            Load::Subscribe(subscribe) => subscribe.run(store, output),
            Load::Record(record) => record.run(store),
            Load::Check(check) => check.run(store, output),
        }
    }
}
