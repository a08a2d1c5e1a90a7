//! Figures of the engine compared with their targets.

use super::{
    loads::{Baseline, Bound, EXACT_RATE, GESTA, Load, QUERY_RATE, RATE, Target},
    rounds::Rounds,
};

/// Formats each target of a load with the measured value.
pub(super) fn of(rounds: &Rounds, load: &Load) -> String {
    let outcomes = load.targets.iter().filter_map(|target| outcome(rounds, load, target));
    let outcomes: Vec<_> = outcomes.collect();
    if outcomes.is_empty() { "–".to_owned() } else { outcomes.join("; ") }
}

/// Formats one target, or `None` if it was not measured.
fn outcome(rounds: &Rounds, load: &Load, target: &Target) -> Option<String> {
    let Target { figure, bound, baseline } = target;
    let own = ((load.name, GESTA), *figure);
    // A missing baseline means that the load did not run for it: no line in the table.
    let (value, unit) = match baseline {
        Baseline::Engine(engine) => {
            (rounds.times(own, ((load.name, engine), figure))?, format!(" × {engine}"))
        }
        Baseline::Figure(other) => {
            (rounds.times(own, (own.0, other))?, format!(" × {}", label(other)))
        }
        Baseline::Contenders(others) => {
            let path = |other: &&str| format!("beside/{other}/{figure}");
            let times = others.iter().filter_map(|other| rounds.times(own, (own.0, &path(other))));
            // The fastest contender gives the largest ratio.
            (times.max_by(f64::total_cmp)?, " × the device".to_owned())
        }
        Baseline::Absolute => (rounds.median(own.0, figure)?, String::new()),
    };
    let (holds, sign, limit) = match bound {
        Bound::AtLeast(limit) => (value >= *limit, '≥', limit),
        Bound::AtMost(limit) => (value <= *limit, '≤', limit),
    };
    let holds = if holds { "yes" } else { "**no**" };
    let what = if *figure == RATE { "" } else { label(figure) };
    let space = if what.is_empty() { "" } else { " " };
    Some(format!("{holds}: {what}{space}{value:.2}{unit} ({sign} {limit})"))
}

/// Label of a figure.
fn label(figure: &str) -> &str {
    match figure {
        RATE => "without",
        QUERY_RATE => "a query",
        EXACT_RATE => "exact revisions",
        "latency/p50_us" => "p50",
        "scan_events_per_second" => "all",
        "category_events_per_second" => "category",
        "load/p50_us" => "stream, µs",
        "load_last/p50_us" => "last ten, µs",
        "append/p99_us" => "append p99",
        "delivery/p99_us" => "delivery p99",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::rounds::{BenchRun, tests::rounds},
        *,
    };

    fn summary(load: &str, rounds: &Rounds) -> String {
        of(rounds, Load::by_name(load).unwrap())
    }

    #[test]
    fn rates_are_held_against_engines() {
        let rounds = rounds(&[("w8-b1", "gesta", &[30_000.0]), ("w8-b1", "bare", &[40_000.0])]);
        assert_eq!(summary("w8-b1", &rounds), "**no**: 0.75 × bare (≥ 0.8)");
        assert_eq!(summary("w64-b1", &rounds), "–");
    }

    #[test]
    fn a_lone_append_is_held_against_the_faster_device() {
        let mut rounds = Rounds::default();
        let took = |p50: f64| json!({ "latency": { "p50_us": p50 } });
        let result = json!({
            "latency": { "p50_us": 100.0 },
            "beside": { "device-sync": took(90.0), "device-direct": took(80.0) },
        });
        rounds.add(("w1-b1-device", GESTA), BenchRun { result, is_disturbed: false });
        assert_eq!(summary("w1-b1-device", &rounds), "**no**: p50 1.25 × the device (≤ 1.15)");
    }

    #[test]
    fn conditions_are_held_against_appends_without() {
        let mut rounds = Rounds::default();
        let rate = |rate: f64| json!({ "events_per_second": rate });
        let result = json!({
            "events_per_second": 100.0,
            "beside": { "gesta:query": rate(90.0), "gesta:exact": rate(99.0) },
        });
        rounds.add(("w8-b1-conditions", GESTA), BenchRun { result, is_disturbed: false });
        let expected = "**no**: a query 0.90 × without (≥ 0.95); \
                        yes: exact revisions 0.99 × without (≥ 0.95)";
        assert_eq!(summary("w8-b1-conditions", &rounds), expected);
    }

    #[test]
    fn reads_are_held_against_others_themselves_and_limits() {
        let mut rounds = Rounds::default();
        let result = json!({
            "scan_events_per_second": 8e6, "category_events_per_second": 3e6,
            "load": { "p50_us": 100.0 }, "load_last": { "p50_us": 31.0 },
        });
        rounds.add(("read-b1", GESTA), BenchRun { result, is_disturbed: false });
        let expected = "yes: category 0.38 × all (≥ 0.25); yes: stream, µs 100.00 (≤ 150); \
             **no**: last ten, µs 31.00 (≤ 30)";
        assert_eq!(summary("read-b1", &rounds), expected);
    }
}
