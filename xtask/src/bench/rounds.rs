//! Runs of all rounds, and medians of their figures.

use std::collections::BTreeMap;

use serde_json::Value;

/// Result of a run: the driver's output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BenchRun {
    pub(super) result: Value,
    pub(super) is_disturbed: bool,
}

impl BenchRun {
    /// Figure at a path.
    pub(super) fn figure(&self, path: &str) -> Option<f64> {
        match path {
            // The whole process, including the driver.
            PROCESSOR_US => {
                let seconds = self.figure("user_seconds")? + self.figure("system_seconds")?;
                Some(seconds * 1e6 / self.figure("events")?)
            }
            DISK_BYTES => Some(self.figure("disk_bytes")? / self.figure("events")?),
            _ => self.result.pointer(&format!("/{path}"))?.as_f64(),
        }
    }
}

/// Processor time per event, in microseconds.
pub(super) const PROCESSOR_US: &str = "processor_us";
/// File size per event, in bytes.
pub(super) const DISK_BYTES: &str = "disk_bytes_an_event";

/// Key of a run: load and engine.
pub(super) type RunKey<'a> = (&'a str, &'a str);

/// Runs by load and engine.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<(String, String), Vec<BenchRun>>);

impl Rounds {
    pub(super) fn add(&mut self, (load, engine): RunKey<'_>, run: BenchRun) {
        self.0.entry((load.to_owned(), engine.to_owned())).or_default().push(run);
    }

    /// Median of a figure over the rounds.
    pub(super) fn median(&self, key: RunKey<'_>, figure: &str) -> Option<f64> {
        median(self.runs(key)?.iter().map(|run| run.figure(figure)).collect::<Option<_>>()?)
    }

    /// Ratio of two figures: the median of the ratios within a round, since a disturbance of a
    /// round affects both.
    pub(super) fn times(&self, one: (RunKey<'_>, &str), other: (RunKey<'_>, &str)) -> Option<f64> {
        let pairs = self.runs(one.0)?.iter().zip(self.runs(other.0)?);
        // Ratio within a round first, median over the rounds second.
        let ratios = pairs.map(|(a, b)| Some(a.figure(one.1)? / b.figure(other.1)?));
        median(ratios.collect::<Option<_>>()?)
    }

    pub(super) fn runs(&self, (load, engine): RunKey<'_>) -> Option<&[BenchRun]> {
        let key = (load.to_owned(), engine.to_owned());
        self.0.get(&key).map(Vec::as_slice)
    }

    /// Number of runs, and of disturbed ones among them.
    pub(super) fn disturbed(&self) -> (usize, usize) {
        let runs = || self.0.values().flatten();
        (runs().count(), runs().filter(|run| run.is_disturbed).count())
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = figures.get(middle).copied()?;
    if figures.len().is_multiple_of(2) {
        let lower = figures.get(middle.checked_sub(1)?).copied()?;
        return Some(f64::midpoint(lower, upper));
    }
    Some(upper)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Creates rounds with these rates by load and engine.
    pub(in super::super) fn rounds(rates: &[(&str, &str, &[f64])]) -> Rounds {
        let mut rounds = Rounds::default();
        for (load, engine, rates) in rates {
            for rate in *rates {
                let result =
                    json!({ "events_per_second": rate, "latency": { "p50_us": 1e6 / rate } });
                rounds.add((load, engine), BenchRun { result, is_disturbed: false });
            }
        }
        rounds
    }

    const RATE: &str = "events_per_second";
    const GESTA: RunKey<'_> = ("w8-b1", "gesta");
    const TEPHRA: RunKey<'_> = ("w8-b1", "tephra");

    #[test]
    fn the_middle_run_counts() {
        let rounds = rounds(&[("w8-b1", "gesta", &[5.0, 1_000.0, 6.0])]);
        assert_eq!(rounds.median(GESTA, RATE), Some(6.0));
        assert_eq!(rounds.median(TEPHRA, RATE), None);
        assert_eq!(rounds.median(GESTA, "no_such_figure"), None);
        assert_eq!(median(vec![1.0, 4.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = rounds(&[
            ("w8-b1", "gesta", &[50.0, 5.0, 60.0]),
            ("w8-b1", "tephra", &[25.0, 2.0, 60.0]),
        ]);
        assert_eq!(rounds.times((GESTA, RATE), (TEPHRA, RATE)), Some(2.0));
        assert_eq!(rounds.times((GESTA, RATE), (("w8-b1", "bare"), RATE)), None);
    }

    #[test]
    fn costs_are_given_per_event() {
        let result = json!({
            "events": 1_000, "user_seconds": 0.5, "system_seconds": 0.25, "disk_bytes": 300_000,
        });
        let run = BenchRun { result, is_disturbed: false };
        assert_eq!((run.figure(PROCESSOR_US), run.figure(DISK_BYTES)), (Some(750.0), Some(300.0)));
    }

    #[test]
    fn disturbed_runs_are_counted() {
        let mut rounds = rounds(&[("w8-b1", "gesta", &[5.0, 6.0])]);
        rounds.add(TEPHRA, BenchRun { result: Value::Null, is_disturbed: true });
        assert_eq!(rounds.disturbed(), (3, 1));
    }
}
