//! `cargo xtask bench`: benchmarks of the engine and its peers with one driver, on this machine.
//!
//! Owns: the loads and engines, the order of runs, and the report in `docs/benchmarks.md`. Always
//! holds: engines alternate within a round, each in a separate process and an empty directory;
//! contenders whose difference is smaller than the machine's noise alternate within one process. A
//! run disturbed by other work on the machine is repeated, for every engine by the same rule. Not
//! here: the loads (`crates/gesta-bench/src/load`) and the peers (`bench/`).

use anyhow::Result;

use crate::workspace::Workspace;

mod loads;
mod machine;
mod page;
mod request;
mod rounds;
mod runner;
mod summary;
mod table;

pub(crate) use self::request::BenchRequest;
use self::{
    loads::{DELIVERY_P99, LOAD_P50, P50, RATE, SCAN},
    rounds::{BenchRun, Rounds},
    runner::Runner,
};

/// Runs all rounds and prints the report.
pub(crate) fn run(request: &BenchRequest) -> Result<()> {
    let workspace = Workspace::open()?;
    let mut runner = Runner::build(&workspace, request.directory.as_deref())?;
    let pairs = request.pairs();
    for (load, engine) in &pairs {
        runner.prepare(load, engine, request.events)?;
    }
    let mut rounds = Rounds::default();
    for round in 1..=request.runs {
        println!("\nround {round} of {}", request.runs);
        // Engines alternate within a round, so that slow drifts of the machine affect all of them.
        for (load, engine) in &pairs {
            let run = runner.run(load, engine, request.seconds)?;
            println!("   {:<18}{engine:<8}{}", load.name, figures(&run));
            rounds.add((load.name, engine), run);
        }
    }
    let description = machine::describe(&workspace, request, runner.directory())?;
    let report = format!("{description}\n{}", table::of(&rounds));
    runner.clean()?;
    println!("\n{report}");
    if !request.is_whole() {
        println!("docs/benchmarks.md is unchanged: only a full run updates it");
        return Ok(());
    }
    page::write(&workspace.root, &report)
}

/// Formats the main figures of a run, as progress output.
fn figures(run: &BenchRun) -> String {
    let figures = [
        (RATE, "events/s"),
        (P50, "µs p50"),
        (SCAN, "events/s in order"),
        (LOAD_P50, "µs p50 a stream"),
        (DELIVERY_P99, "µs p99 a delivery"),
    ];
    let there = figures.iter().filter_map(|(path, unit)| {
        let figure = run.figure(path)?;
        Some(format!("{figure:>10.0} {unit}"))
    });
    let disturbed = run.is_disturbed.then(|| "(disturbed)".to_owned());
    there.chain(disturbed).collect::<Vec<_>>().join("  ")
}
