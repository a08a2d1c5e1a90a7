//! `gesta-bench`: loads on a store of the engine and on the framework, and recordings for crash
//! tests.
//!
//! Invariants: a result is one JSON object on standard output; a load that appends runs only in an
//! empty directory. Not here: loads of other engines (`bench/`).

mod store_url;
mod verbs;

use std::io::Write as _;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::{
    store_url::StoreUrl,
    verbs::{Append, Check, Framework, Read, Record, Subscribe},
};

/// Measure a store or the framework, or test a store with crashes
#[derive(Parser, Debug)]
#[command(name = "gesta-bench", arg_required_else_help = true)]
struct Arguments {
    /// Store to use: gesta:DIR, where DIR is the store's directory; gesta:DIR?index=LIST finds
    /// events by these ids, too: event-id, correlation, causation
    #[arg(long, global = true, value_name = "gesta:DIR", default_value = "gesta:.")]
    store: StoreUrl,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Append(Append),
    Read(Read),
    Subscribe(Subscribe),
    Framework(Framework),
    Record(Record),
    Check(Check),
}

fn main() -> Result<()> {
    let Arguments { store, verb } = Arguments::parse();
    let ended = run(verb, &store);
    gesta_log::finish_dropped_stores();
    ended
}

fn run(verb: Verb, store: &StoreUrl) -> Result<()> {
    match verb {
        Verb::Append(append) => print(&append.run(store)?),
        Verb::Read(read) => print(&read.run(store)?),
        Verb::Subscribe(subscribe) => print(&subscribe.run(store)?),
        Verb::Framework(framework) => print(&framework.run(store)?),
        // Prints its log while it runs.
        Verb::Record(record) => record.run(store),
        Verb::Check(check) => print(&check.run(store)?),
    }
}

fn print(result: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(result)?;
    line.push(b'\n');
    Ok(std::io::stdout().write_all(&line)?)
}
