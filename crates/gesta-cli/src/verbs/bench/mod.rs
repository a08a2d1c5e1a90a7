//! `gesta bench`: how fast this machine appends and reads.
//!
//! Always holds: a store that somebody uses is not measured on, since what a measurement appends
//! would stay in it for good. Not here: the loads themselves ([`crate::load`]), and what is told
//! to somebody who then kills the program ([`crate::told`]).

mod append;
mod read;
mod recount;
mod subscribe;
mod tell;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::{append::Append, read::Read, recount::Recount, subscribe::Subscribe, tell::Tell};
use crate::{exit::Outcome, output::Output, store_url::StoreUrl};

const HINT: &str = "\
Examples:
  mkdir ./measured
  gesta bench append --store gesta:./measured --writers 8
  gesta bench append --store memory: --writers 8 --events-per-append 100 --json
  gesta bench read --store gesta:./measured
  gesta bench subscribe --store memory: --subscribers 100 --filtered 90

What is measured is this machine as it is now: nothing else should run beside it, and the directory
should be on the disk that the store will be on.";

/// Measure how fast events are appended, read and delivered here.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Bench {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand, Debug)]
enum Load {
    Append(Append),
    Read(Read),
    Subscribe(Subscribe),
    Tell(Tell),
    Recount(Recount),
}

impl Bench {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        match self.load {
            Load::Append(append) => append.run(store, output),
            Load::Read(read) => read.run(store, output),
            Load::Subscribe(subscribe) => subscribe.run(store, output),
            Load::Tell(tell) => tell.run(store),
            Load::Recount(recount) => recount.run(store, output),
        }
    }
}
