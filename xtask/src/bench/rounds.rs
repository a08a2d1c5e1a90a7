//! The runs of all rounds, and their medians.

use std::collections::BTreeMap;

use super::{Load, rig::Run};

/// Runs by load and engine.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<(&'static str, String), Vec<Run>>);

impl Rounds {
    pub(super) fn add(&mut self, load: &Load, engine: &str, run: Run) {
        self.0.entry((load.name, engine.to_owned())).or_default().push(run);
    }

    /// Each figure's median over the rounds, taken by itself.
    pub(super) fn median(&self, load: &str, engine: &str) -> Option<Run> {
        let runs = self.runs(load, engine)?;
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        Some(Run {
            events_per_second: of(|run| run.events_per_second),
            p50_us: of(|run| run.p50_us),
            p99_us: of(|run| run.p99_us),
            cpu_us: of(|run| run.cpu_us),
            memory_bytes: of(|run| run.memory_bytes),
            disk_bytes: of(|run| run.disk_bytes),
            is_disturbed: false,
        })
    }

    /// How many times the rate of one is that of another: the median of the rounds' ratios, since
    /// what disturbs a round disturbs both.
    pub(super) fn times(&self, one: (&str, &str), other: (&str, &str)) -> Option<f64> {
        let (one, other) = (self.runs(one.0, one.1)?, self.runs(other.0, other.1)?);
        let ratios = one.iter().zip(other);
        Some(median(ratios.map(|(a, b)| a.events_per_second / b.events_per_second).collect()))
    }

    fn runs(&self, load: &str, engine: &str) -> Option<&[Run]> {
        let found = self.0.iter().find(|((one, other), _)| *one == load && other == engine);
        found.map(|(_, runs)| runs.as_slice())
    }

    /// How many runs there are, and how many of them were disturbed.
    pub(super) fn disturbed(&self) -> (usize, usize) {
        let runs = || self.0.values().flatten();
        (runs().count(), runs().filter(|run| run.is_disturbed).count())
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = figures.get(middle).copied().unwrap_or(f64::NAN);
    let lower = figures.get(middle.saturating_sub(1)).copied().unwrap_or(f64::NAN);
    if figures.len().is_multiple_of(2) { f64::midpoint(lower, upper) } else { upper }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::LOADS, *};

    /// Rounds in which an engine has these rates in a load.
    pub(in super::super) fn rounds(rates: &[(&str, &str, &[f64])]) -> Rounds {
        let mut rounds = Rounds::default();
        for (load, engine, rates) in rates {
            let load = LOADS.iter().find(|known| known.name == *load).unwrap();
            for rate in *rates {
                let run = Run { events_per_second: *rate, p50_us: 1e6 / rate, ..Run::default() };
                rounds.add(load, engine, run);
            }
        }
        rounds
    }

    #[test]
    fn the_middle_run_counts() {
        let rounds = rounds(&[("w8-b1", "gesta", &[5.0, 1_000.0, 6.0])]);
        assert_eq!(rounds.median("w8-b1", "gesta").unwrap().events_per_second, 6.0);
        assert_eq!(rounds.median("w8-b1", "bare"), None);
        assert_eq!(median(vec![1.0, 4.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = rounds(&[
            ("w8-b1", "gesta", &[50.0, 5.0, 60.0]),
            ("w8-b1", "tephra", &[25.0, 2.0, 60.0]),
        ]);
        assert_eq!(rounds.times(("w8-b1", "gesta"), ("w8-b1", "tephra")), Some(2.0));
        assert_eq!(rounds.times(("w8-b1", "gesta"), ("w8-b1", "bare")), None);
    }

    #[test]
    fn disturbed_runs_are_counted() {
        let mut rounds = rounds(&[("w8-b1", "gesta", &[5.0, 6.0])]);
        rounds.add(&LOADS[0], "bare", Run { is_disturbed: true, ..Run::default() });
        assert_eq!(rounds.disturbed(), (3, 1));
    }
}
