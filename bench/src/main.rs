//! The loads of `gesta-bench` on the engine and on its peers, one run per process.
//!
//! Owns: the engines and how each is opened ([`engines`]). Invariant: the result is one JSON object
//! on standard output. Not here: the loads (`gesta-bench`), the choice of runs and their report
//! (`cargo xtask bench`).

mod engines;
mod turns;
mod usage;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use gesta_bench::load::{
    append::{self, AppendLoad, AppendReport},
    device,
    read::{self, ReadLoad, ReadReport},
    subscribe::{self, SubscribeLoad, SubscribeReport},
};
use serde::Serialize;

use crate::{
    engines::{Peer, bytes_of},
    turns::Turns,
    usage::Usage,
};

#[derive(Parser)]
#[command(name = "gesta-peers", about)]
struct Arguments {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Measure appends; each thread waits for one append before it starts the next
    Append(Append),
    /// Measure reads: all events in order, and single streams
    Read(Read),
    /// Measure subscriptions: the latency from an append to its delivery
    Subscribe(Subscribe),
    /// Measure several contenders that append in turns
    Turns(Turns),
    /// Measure a durable 4 KiB write to the bare device
    Device { directory: PathBuf },
}

/// An engine and its directory.
#[derive(Args)]
struct Place {
    #[arg(long, value_enum)]
    engine: Peer,
    /// Directory for the engine's files; emptied first
    #[arg(long)]
    directory: PathBuf,
}

#[derive(Args)]
struct Append {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    load: AppendLoad,
}

#[derive(Args)]
struct Read {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    load: ReadLoad,
    /// Fill the directory, then exit
    #[arg(long, conflicts_with = "filled")]
    fill_only: bool,
    /// Read a directory that an earlier run filled
    #[arg(long)]
    filled: bool,
}

#[derive(Args)]
struct Subscribe {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    load: SubscribeLoad,
}

/// The printed result.
#[derive(Serialize)]
struct Answer<Report> {
    engine: Peer,
    #[serde(flatten)]
    report: Report,
    #[serde(flatten)]
    usage: Usage,
    /// Processor time of the whole process, preparations included.
    all_user_seconds: f64,
}

fn main() -> Result<()> {
    match Arguments::parse().load {
        Load::Append(append) => print(&append.run()?),
        Load::Read(Read { place, load, fill_only: true, .. }) => fill(&place, &load),
        Load::Read(read) => print(&read.run()?),
        Load::Subscribe(subscribe) => print(&subscribe.run()?),
        Load::Turns(turns) => print(&turns.run()?),
        Load::Device { directory } => print(&device::probe(&directory)?),
    }
}

impl Place {
    fn answer<Report>(&self, before: Usage, report: Report) -> Result<Answer<Report>> {
        let after = Usage::now(&self.directory)?;
        let all_user_seconds = after.user_seconds;
        Ok(Answer { engine: self.engine, report, usage: after.since(before), all_user_seconds })
    }
}

impl Append {
    fn run(self) -> Result<Answer<AppendReport>> {
        let Self { place, load } = self;
        empty(&place.directory)?;
        let opened = place.engine.open(&place.directory, bytes_of(&load))?;
        let before = Usage::now(&place.directory)?;
        place.answer(before, append::run(opened, &load)?)
    }
}

impl Read {
    fn run(self) -> Result<Answer<ReadReport>> {
        let Self { place, load, filled, .. } = self;
        if !filled {
            fill(&place, &load)?;
        }
        let before = Usage::now(&place.directory)?;
        let open = || place.engine.open(&place.directory, 0);
        place.answer(before, read::run(&open, &load, &load.filled())?)
    }
}

fn fill(place: &Place, load: &ReadLoad) -> Result<()> {
    empty(&place.directory)?;
    read::fill(place.engine.open(&place.directory, 0)?, load)
}

impl Subscribe {
    fn run(self) -> Result<Answer<SubscribeReport>> {
        let Self { place, load } = self;
        empty(&place.directory)?;
        let opened = place.engine.open(&place.directory, bytes_of(&load.appends))?;
        let before = Usage::now(&place.directory)?;
        place.answer(before, subscribe::run(opened, &load)?)
    }
}

fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).context("emptying the directory")?;
    }
    fs::create_dir_all(directory).context("making the directory")
}

fn print(result: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(result)?;
    line.push(b'\n');
    Ok(std::io::stdout().write_all(&line)?)
}
