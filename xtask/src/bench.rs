//! `cargo xtask bench`: benchmarks of the engine and its peers with one driver, on this machine.
//!
//! Owns: the loads and engines, the order of runs, and the report in `docs/benchmarks.md`. Always
//! holds: engines alternate within a round, each in a separate process and an empty directory;
//! contenders whose difference is smaller than the machine's noise alternate within one process. A
//! run disturbed by other work on the machine is repeated, for every engine by the same rule. Not
//! here: the loads (`crates/gesta-bench/src/load`) and the peers (`bench/`).

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

mod loads;
mod machine;
mod page;
mod rounds;
mod runner;
mod summary;
mod table;

use self::{
    loads::{DELIVERY_P99, ENGINES, LOAD_P50, LOADS, Load, P50, RATE, SCAN},
    rounds::{BenchRun, Rounds},
    runner::Runner,
};

/// Parsed arguments of the command.
#[derive(Debug, PartialEq)]
pub(crate) struct BenchRequest {
    seconds: f64,
    runs: usize,
    /// Number of events to read.
    events: u64,
    engines: Vec<&'static str>,
    loads: Vec<&'static Load>,
    directory: Option<PathBuf>,
}

impl BenchRequest {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut request = Self {
            seconds: 3.0,
            runs: 5,
            events: 10_000_000,
            engines: vec![],
            loads: vec![],
            directory: None,
        };
        for pair in arguments.chunks(2) {
            let [flag, value] = pair else { bail!("{} needs a value", pair.concat()) };
            match flag.as_str() {
                "--seconds" => request.seconds = value.parse().context("--seconds")?,
                "--runs" => request.runs = value.parse().context("--runs")?,
                "--events" => request.events = value.parse().context("--events")?,
                "--engine" => request.engines.push(engine(value)?),
                "--load" => request.loads.push(Load::by_name(value)?),
                "--directory" => request.directory = Some(value.into()),
                _ => bail!("unknown option {flag}"),
            }
        }
        ensure!(
            request.runs > 0 && request.seconds > 0.0,
            "--runs and --seconds must be greater than 0"
        );
        Ok(request)
    }

    /// Returns whether all engines and loads run; only then the documentation is updated.
    fn is_whole(&self) -> bool {
        self.engines.is_empty() && self.loads.is_empty()
    }

    fn loads(&self) -> Vec<&'static Load> {
        if self.loads.is_empty() { LOADS.iter().collect() } else { self.loads.clone() }
    }

    /// Loads and engines of each round, in order.
    fn pairs(&self) -> Vec<(&'static Load, &'static str)> {
        let loads = self.loads().into_iter();
        loads
            .flat_map(|load| ENGINES.into_iter().map(move |engine| (load, engine)))
            .filter(|(load, engine)| self.includes(load, engine))
            .collect()
    }

    fn includes(&self, load: &Load, engine: &str) -> bool {
        load.engines.contains(&engine)
            && (self.engines.is_empty() || self.engines.contains(&engine))
    }
}

fn engine(name: &str) -> Result<&'static str> {
    let known = ENGINES.into_iter().find(|engine| *engine == name);
    known.with_context(|| format!("unknown engine {name}; expected one of {}", ENGINES.join(", ")))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<BenchRequest> {
        BenchRequest::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_choice_it_is_the_whole() {
        let whole = request("--seconds 2 --runs 3").unwrap();
        assert!(whole.is_whole() && whole.loads().len() == LOADS.len());
        assert_eq!((whole.seconds, whole.runs), (2.0, 3));
    }

    #[test]
    fn engines_and_loads_can_be_chosen() {
        let some = request("--engine gesta --load w8-b1 --load w64-b1 --engine bare").unwrap();
        assert!(!some.is_whole());
        assert_eq!(
            some.loads().iter().map(|load| load.name).collect::<Vec<_>>(),
            ["w8-b1", "w64-b1"]
        );
        let pairs =
            some.pairs().into_iter().map(|(load, engine)| format!("{} {engine}", load.name));
        let expected = ["w8-b1 gesta", "w8-b1 bare", "w64-b1 gesta", "w64-b1 bare"];
        assert_eq!(pairs.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_engine_takes_only_what_it_can() {
        let whole = request("").unwrap();
        let exact = Load::by_name("w8-b1-exact").unwrap();
        assert!(whole.includes(exact, "gesta") && !whole.includes(exact, "tephra"));
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        for wrong in
            ["--engine oracle", "--load w9", "--quick", "--runs", "--runs 0", "--seconds x"]
        {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }
}
