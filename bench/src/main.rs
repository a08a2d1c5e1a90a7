//! The driver of `gesta bench` over the engine and over others, one run a process.
//!
//! Owns: which engines there are, and how each is opened ([`engines`]). Always holds: one object of
//! JSON on standard output is the result. Not here: the loads, which are those of the program
//! `gesta`, taken in by their path; which runs are made and how they are told (`cargo xtask bench`).

mod engines;
#[path = "../../crates/gesta-cli/src/load/mod.rs"]
mod load;
mod usage;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::{
    engines::Peer,
    load::append::{self, AppendLoad, AppendReport},
    usage::Usage,
};

#[derive(Parser)]
#[command(name = "gesta-bench", about)]
struct Arguments {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Threads that append, each waiting for its own append before the next.
    Append(Append),
    /// What the bare device takes for 4 KiB.
    Device { directory: PathBuf },
}

#[derive(Args)]
struct Append {
    #[arg(long, value_enum)]
    engine: Peer,
    /// A directory of the engine's own, emptied before.
    #[arg(long)]
    directory: PathBuf,
    #[command(flatten)]
    load: AppendLoad,
}

#[derive(Serialize)]
struct Appended {
    engine: Peer,
    #[serde(flatten)]
    report: AppendReport,
    #[serde(flatten)]
    usage: Usage,
    /// Of the whole process, its preparations included.
    all_user_seconds: f64,
}

fn main() -> Result<()> {
    match Arguments::parse().load {
        Load::Append(append) => tell(&append.run()?),
        Load::Device { directory } => tell(&load::device::probe(&directory)?),
    }
}

impl Append {
    fn run(self) -> Result<Appended> {
        let Self { engine, directory, load } = self;
        empty(&directory)?;
        let opened = engine.open(&directory, &load)?;
        let before = Usage::now(&directory)?;
        let report = append::run(opened, &load)?;
        let after = Usage::now(&directory)?;
        let all_user_seconds = after.user_seconds;
        Ok(Appended { engine, report, usage: after.since(before), all_user_seconds })
    }
}

fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).context("emptying the directory")?;
    }
    fs::create_dir_all(directory).context("making the directory")
}

fn tell(result: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(result)?;
    line.push(b'\n');
    Ok(std::io::stdout().write_all(&line)?)
}
