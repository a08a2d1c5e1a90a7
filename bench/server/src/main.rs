//! `gesta serve` beside UmaDB: the same loads on both, in turns, in one run.
//!
//! Owns: the choice of runs, their order, and the memory and start of `gesta serve`. Invariants:
//! server and client run on the same machine; both servers sync each append before they answer it;
//! what is compared is measured in the same rounds. Not here: loads ([`loads`]), clients
//! ([`clients`]), processes ([`servers`]), the report ([`report`]).

mod clients;
mod events;
mod loads;
mod report;
mod rows;
mod servers;
mod start;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{
    report::Report,
    rows::{Load, ROWS, Row, Run},
    servers::{Peer, Program, Running},
};

/// Measure `gesta serve` beside UmaDB
#[derive(Debug, Parser)]
#[command(name = "gesta-server-peers")]
struct Arguments {
    /// Release build of the command line tool
    #[arg(long, value_name = "FILE", default_value = "target/release/gesta")]
    gesta: PathBuf,
    /// Another build of it, measured in turns with the first
    #[arg(long, value_name = "FILE")]
    other: Option<PathBuf>,
    /// Program `umadb` 0.7.8; the default is the one that was built with this program
    #[arg(long, value_name = "FILE", env = "UMADB")]
    umadb: Option<PathBuf>,
    /// Number of rounds, each with one run of everything
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    seconds: f64,
    /// Loads to run; the default is all
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LOAD")]
    only: Vec<Load>,
    /// Directory for the data of the servers, which is removed at the end
    #[arg(long, value_name = "DIR", default_value = "target")]
    directory: PathBuf,
    /// Leave out memory and start
    #[arg(long)]
    loads_only: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let data = tempfile::Builder::new().prefix("server-peers-").tempdir_in(&arguments.directory);
    let data = data.context("cannot create a directory for the data")?;
    let mut report = Report::default();
    if !arguments.loads_only {
        start::measure(&arguments.gesta, data.path(), &mut report)?;
    }
    let servers = servers(&arguments, data.path())?;
    for server in &servers {
        loads::fill(server).await.with_context(|| format!("cannot fill {}", server.name))?;
    }
    for round in 0..arguments.rounds {
        let mut runs = runs(&servers, &arguments.only);
        // No contender always runs in the wake of the same one.
        if round % 2 == 1 {
            runs.reverse();
        }
        for Run { row, server } in runs {
            eprintln!("round {}: {} of {}", round + 1, row, server.name);
            let sample = loads::run(row, server, arguments.seconds).await;
            let sample = sample.with_context(|| format!("{row} of {} failed", server.name))?;
            report.add(row, &server.name, sample);
        }
    }
    for server in &servers {
        report.memory_after(&server.name, server.resident_bytes()?);
    }
    report.print(servers.iter().any(|server| server.peer == Peer::Umadb));
    Ok(())
}

fn servers(arguments: &Arguments, data: &Path) -> Result<Vec<Running>> {
    let mut programs = vec![("gesta", Program::Gesta(arguments.gesta.clone()))];
    if let Some(other) = &arguments.other {
        programs.push(("other", Program::Gesta(other.clone())));
    }
    match umadb(arguments)? {
        Some(program) => programs.push(("umadb", Program::Umadb(program))),
        None => eprintln!("NO COMPARISON: build with --features umadb, which has UmaDB's client"),
    }
    programs.into_iter().map(|(name, program)| program.start(name, &data.join(name))).collect()
}

/// Returns the program to compare with. A build without its client has none.
fn umadb(arguments: &Arguments) -> Result<Option<PathBuf>> {
    if !cfg!(feature = "umadb") {
        return Ok(None);
    }
    if let Some(program) = &arguments.umadb {
        return Ok(Some(program.clone()));
    }
    let beside = std::env::current_exe()?.with_file_name("umadb");
    Ok(beside.exists().then_some(beside))
}

/// Returns the runs of one round.
fn runs<'a>(servers: &'a [Running], only: &[Load]) -> Vec<Run<'a>> {
    let is_chosen = |row: &Row| only.is_empty() || only.contains(&row.load);
    let rows = ROWS.iter().filter(|row| is_chosen(row));
    rows.flat_map(|row| {
        let fitting = servers.iter().filter(move |server| match server.peer {
            Peer::Gesta => row.client.is_of_gesta(),
            Peer::Umadb => !row.client.is_of_gesta(),
        });
        fitting.map(move |server| Run { row, server })
    })
    .collect()
}
