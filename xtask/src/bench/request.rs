//! Arguments of `cargo xtask bench`, and the runs that they select.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::loads::{ENGINES, LOADS, Load};

/// Parsed arguments of the command.
#[derive(Debug, PartialEq)]
pub(crate) struct BenchRequest {
    pub(super) seconds: f64,
    pub(super) runs: usize,
    /// Number of events to read.
    pub(super) events: u64,
    engines: Vec<&'static str>,
    loads: Vec<&'static Load>,
    pub(super) directory: Option<PathBuf>,
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
    pub(super) fn is_whole(&self) -> bool {
        self.engines.is_empty() && self.loads.is_empty()
    }

    fn loads(&self) -> Vec<&'static Load> {
        if self.loads.is_empty() { LOADS.iter().collect() } else { self.loads.clone() }
    }

    /// Loads and engines of each round, in order.
    pub(super) fn pairs(&self) -> Vec<(&'static Load, &'static str)> {
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
