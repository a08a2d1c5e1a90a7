//! What the engine reaches of what is wanted of it.

use super::{
    loads::{Bound, DEVICES, GESTA, Load, Of, Wanted},
    rounds::Rounds,
};

/// Each thing that is wanted in a load, with what there is.
pub(super) fn of(rounds: &Rounds, load: &Load) -> String {
    let reached = load.wanted.iter().filter_map(|wanted| reached(rounds, load, wanted));
    let reached: Vec<_> = reached.collect();
    if reached.is_empty() { "–".to_owned() } else { reached.join("; ") }
}

/// None where it was not measured.
fn reached(rounds: &Rounds, load: &Load, wanted: &Wanted) -> Option<String> {
    let Wanted { figure, bound, of } = wanted;
    let own = ((load.name, GESTA), *figure);
    let (value, told) = match of {
        Of::Engine(engine) => {
            (rounds.times(own, ((load.name, engine), figure))?, format!(" × {engine}"))
        }
        Of::Load(name) => (rounds.times(own, ((name, GESTA), figure))?, format!(" × {name}")),
        Of::Figure(other) => {
            (rounds.times(own, (own.0, other))?, format!(" × {}", in_words(other)))
        }
        Of::Device => {
            let times = |device| rounds.times(own, ((load.name, device), figure));
            // The faster device is the one that the figure is the larger multiple of.
            let most = DEVICES.iter().filter_map(|device| times(*device)).max_by(f64::total_cmp);
            (most?, " × the device".to_owned())
        }
        Of::Itself => (rounds.median(own.0, figure)?, String::new()),
    };
    let (holds, sign, limit) = match bound {
        Bound::AtLeast(limit) => (value >= *limit, '≥', limit),
        Bound::AtMost(limit) => (value <= *limit, '≤', limit),
    };
    let holds = if holds { "yes" } else { "**no**" };
    let what = if *figure == super::loads::RATE { "" } else { in_words(figure) };
    let space = if what.is_empty() { "" } else { " " };
    Some(format!("{holds}: {what}{space}{value:.2}{told} ({sign} {limit})"))
}

/// A figure by its path, in words.
fn in_words(figure: &str) -> &str {
    match figure {
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
        super::rounds::{Run, tests::rounds},
        *,
    };

    fn verdict(load: &str, rounds: &Rounds) -> String {
        of(rounds, Load::of_name(load).unwrap())
    }

    #[test]
    fn rates_are_held_against_engines_and_loads() {
        let rounds = rounds(&[
            ("w8-b1", "gesta", &[30_000.0]),
            ("w8-b1", "bare", &[40_000.0]),
            ("w8-b1-exact", "gesta", &[29_400.0]),
        ]);
        assert_eq!(verdict("w8-b1", &rounds), "**no**: 0.75 × bare (≥ 0.8)");
        assert_eq!(verdict("w8-b1-exact", &rounds), "yes: 0.98 × w8-b1 (≥ 0.95)");
        assert_eq!(verdict("w64-b1", &rounds), "–");
    }

    #[test]
    fn a_lone_append_is_held_against_the_faster_device() {
        let rounds = rounds(&[
            ("w1-b1", "gesta", &[10_000.0]),
            ("w1-b1", "device-sync", &[11_000.0]),
            ("w1-b1", "device-direct", &[12_500.0]),
        ]);
        assert_eq!(verdict("w1-b1", &rounds), "**no**: p50 1.25 × the device (≤ 1.15)");
    }

    #[test]
    fn reads_are_held_against_others_themselves_and_limits() {
        let mut rounds = Rounds::default();
        let result = json!({
            "scan_events_per_second": 8e6, "category_events_per_second": 3e6,
            "load": { "p50_us": 100.0 }, "load_last": { "p50_us": 31.0 },
        });
        rounds.add(("read-b1", GESTA), Run { result, is_disturbed: false });
        let expected = "yes: category 0.38 × all (≥ 0.25); yes: stream, µs 100.00 (≤ 150); \
             **no**: last ten, µs 31.00 (≤ 30)";
        assert_eq!(verdict("read-b1", &rounds), expected);
    }
}
