//! `cargo xtask bench`: the engine and its peers under one driver, on this machine.
//!
//! Owns: which loads and engines there are, in which order runs are made, and what of it goes into
//! `docs/benchmarks.md`. Always holds: engines take turns within a round, each in a process and an
//! empty directory of its own; a run beside which the machine had other work is made again, for
//! every engine by the same rule. Not here: the driver (`crates/gesta-cli/src/load`) and the peers
//! (`bench/`).

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::house::House;

mod machine;
mod page;
mod rig;
mod rounds;
mod table;

use self::{rig::Rig, rounds::Rounds};

/// A load of the driver, and who can take it.
#[derive(Debug, PartialEq)]
struct Load {
    name: &'static str,
    writers: u32,
    events_per_append: u32,
    condition: &'static str,
    engines: &'static [&'static str],
    /// What the engine's rate is to be at least, as a multiple of another figure's.
    wanted: &'static [Wanted],
}

#[derive(Debug, PartialEq)]
struct Wanted {
    times: f64,
    of: &'static str,
}

const fn wanted(times: f64, of: &'static str) -> Wanted {
    Wanted { times, of }
}

const GESTA: &str = "gesta";
const ENGINES: [&str; 5] = [GESTA, "bare", "tephra", "sqlite", "fjall"];
/// The device under the driver: what a lone append's latency is held against.
const DEVICES: [&str; 2] = ["device-sync", "device-direct"];
const ALL: [&str; 7] = [GESTA, "bare", "tephra", "sqlite", "fjall", "device-sync", "device-direct"];
const LOADS: [Load; 9] = [
    Load { engines: &ALL, ..load("w1-b1", 1, 1, &[wanted(0.8, "bare")]) },
    load("w8-b1", 8, 1, &[wanted(1.2, "tephra"), wanted(0.8, "bare")]),
    conditional("w8-b1-query", 8, "query", &[GESTA, "tephra"], &[wanted(0.95, "w8-b1")]),
    conditional("w8-b1-exact", 8, "exact", &[GESTA], &[wanted(0.95, "w8-b1")]),
    load("w64-b1", 64, 1, &[wanted(1.5, "tephra"), wanted(0.8, "bare")]),
    conditional("w64-b1-query", 64, "query", &[GESTA, "tephra"], &[wanted(0.95, "w64-b1")]),
    conditional("w64-b1-exact", 64, "exact", &[GESTA], &[wanted(0.95, "w64-b1")]),
    load("w1-b100", 1, 100, &[wanted(1.6, "tephra"), wanted(0.8, "bare")]),
    load("w8-b100", 8, 100, &[wanted(1.6, "tephra"), wanted(0.8, "bare")]),
];

const fn load(
    name: &'static str,
    writers: u32,
    events_per_append: u32,
    wanted: &'static [Wanted],
) -> Load {
    Load { name, writers, events_per_append, condition: "none", engines: &ENGINES, wanted }
}

const fn conditional(
    name: &'static str,
    writers: u32,
    condition: &'static str,
    engines: &'static [&'static str],
    wanted: &'static [Wanted],
) -> Load {
    Load { name, writers, events_per_append: 1, condition, engines, wanted }
}

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    seconds: f64,
    runs: usize,
    engines: Vec<&'static str>,
    loads: Vec<&'static Load>,
    directory: Option<PathBuf>,
}

impl Request {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut request =
            Self { seconds: 3.0, runs: 5, engines: vec![], loads: vec![], directory: None };
        for pair in arguments.chunks(2) {
            let [flag, value] = pair else { bail!("{} wants a value", pair.concat()) };
            match flag.as_str() {
                "--seconds" => request.seconds = value.parse().context("--seconds")?,
                "--runs" => request.runs = value.parse().context("--runs")?,
                "--engine" => request.engines.push(engine(value)?),
                "--load" => request.loads.push(load_of_name(value)?),
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

    fn takes(&self, load: &Load, engine: &str) -> bool {
        load.engines.contains(&engine)
            && (self.engines.is_empty() || self.engines.contains(&engine))
    }
}

fn engine(name: &str) -> Result<&'static str> {
    let known = ALL.into_iter().find(|engine| *engine == name);
    known.with_context(|| format!("there is no engine {name}, only {}", ALL.join(", ")))
}

fn load_of_name(name: &str) -> Result<&'static Load> {
    let known = LOADS.iter().find(|load| load.name == name);
    known.with_context(|| {
        format!("there is no load {name}, only {}", LOADS.map(|load| load.name).join(", "))
    })
}

/// All rounds, then what they came to.
pub(crate) fn run(request: &Request) -> Result<()> {
    let house = House::open()?;
    let mut rig = Rig::build(&house, request.directory.as_deref())?;
    let mut rounds = Rounds::default();
    for round in 1..=request.runs {
        println!("\nround {round} of {}", request.runs);
        for load in request.loads() {
            for engine in ALL.into_iter().filter(|engine| request.takes(load, engine)) {
                let run = rig.append(load, engine, request.seconds)?;
                println!("   {:<14}{engine:<14}{run}", load.name);
                rounds.add(load, engine, run);
            }
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
        assert!(some.takes(&LOADS[1], "bare") && !some.takes(&LOADS[1], "tephra"));
    }

    #[test]
    fn an_engine_takes_only_what_it_can() {
        let whole = request("").unwrap();
        let exact = load_of_name("w8-b1-exact").unwrap();
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

    #[test]
    fn what_is_wanted_can_be_looked_up() {
        for Wanted { of, .. } in LOADS.iter().flat_map(|load| load.wanted) {
            assert!(ENGINES.contains(of) || load_of_name(of).is_ok(), "{of}");
        }
    }
}
