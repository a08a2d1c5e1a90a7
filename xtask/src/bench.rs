//! `cargo xtask bench`: the engine and its peers under one driver, on this machine.
//!
//! Owns: which loads and engines there are, in which order runs are made, and what of it goes into
//! `docs/benchmarks.md`. Always holds: engines take turns within a round, each in a process and an
//! empty directory of its own, and within a process where what is compared lies closer together than
//! the machine is steady; a run beside which the machine had other work is made again, for
//! every engine by the same rule. Not here: the driver (`crates/gesta-cli/src/load`) and the peers
//! (`bench/`).

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::house::House;

mod loads;
mod machine;
mod page;
mod rig;
mod rounds;
mod table;
mod verdict;

use self::{
    loads::{DELIVERY_P99, ENGINES, LOAD_P50, LOADS, Load, P50, RATE, SCAN},
    rig::Rig,
    rounds::{Rounds, Run},
};

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    seconds: f64,
    runs: usize,
    /// How many events are read.
    events: u64,
    engines: Vec<&'static str>,
    loads: Vec<&'static Load>,
    directory: Option<PathBuf>,
}

impl Request {
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
            let [flag, value] = pair else { bail!("{} wants a value", pair.concat()) };
            match flag.as_str() {
                "--seconds" => request.seconds = value.parse().context("--seconds")?,
                "--runs" => request.runs = value.parse().context("--runs")?,
                "--events" => request.events = value.parse().context("--events")?,
                "--engine" => request.engines.push(engine(value)?),
                "--load" => request.loads.push(Load::of_name(value)?),
                "--directory" => request.directory = Some(value.into()),
                _ => bail!("bench does not know {flag}"),
            }
        }
        ensure!(request.runs > 0 && request.seconds > 0.0, "nothing was asked for");
        Ok(request)
    }

    /// Whether it is the whole, which alone goes into the documentation.
    fn is_whole(&self) -> bool {
        self.engines.is_empty() && self.loads.is_empty()
    }

    fn loads(&self) -> Vec<&'static Load> {
        if self.loads.is_empty() { LOADS.iter().collect() } else { self.loads.clone() }
    }

    /// What is run in each round, in this order.
    fn pairs(&self) -> Vec<(&'static Load, &'static str)> {
        let loads = self.loads().into_iter();
        loads
            .flat_map(|load| ENGINES.into_iter().map(move |engine| (load, engine)))
            .filter(|(load, engine)| self.takes(load, engine))
            .collect()
    }

    fn takes(&self, load: &Load, engine: &str) -> bool {
        load.engines.contains(&engine)
            && (self.engines.is_empty() || self.engines.contains(&engine))
    }
}

fn engine(name: &str) -> Result<&'static str> {
    let known = ENGINES.into_iter().find(|engine| *engine == name);
    known.with_context(|| format!("there is no engine {name}, only {}", ENGINES.join(", ")))
}

/// All rounds, then what they came to.
pub(crate) fn run(request: &Request) -> Result<()> {
    let house = House::open()?;
    let mut rig = Rig::build(&house, request.directory.as_deref())?;
    let pairs = request.pairs();
    for (load, engine) in &pairs {
        rig.prepare(load, engine, request.events)?;
    }
    let mut rounds = Rounds::default();
    for round in 1..=request.runs {
        println!("\nround {round} of {}", request.runs);
        for (load, engine) in &pairs {
            let run = rig.run(load, engine, request.seconds)?;
            println!("   {:<18}{engine:<8}{}", load.name, told(&run));
            rounds.add((load.name, engine), run);
        }
    }
    let described = machine::described(&house, request, rig.directory())?;
    let report = format!("{described}\n{}", table::of(&rounds));
    rig.clean()?;
    println!("\n{report}");
    if !request.is_whole() {
        println!("docs/benchmarks.md stays as it is: only the whole goes there");
        return Ok(());
    }
    page::write(&house.root, &report)
}

/// What somebody who waits wants to see of a run.
fn told(run: &Run) -> String {
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

    fn request(text: &str) -> Result<Request> {
        Request::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
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
        let exact = Load::of_name("w8-b1-exact").unwrap();
        assert!(whole.takes(exact, "gesta") && !whole.takes(exact, "tephra"));
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
