//! The loads that are measured, who takes each, and what the engine wants to reach in it.
//!
//! Always holds: what is wanted is what the project promises of its speed; a figure is named by its
//! path in what the driver prints.

use anyhow::{Context, Result};

/// A load of the driver.
#[derive(Debug, PartialEq)]
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) engines: &'static [&'static str],
    pub(super) wanted: &'static [Wanted],
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// So many writers, events in an append, and what an append demands.
    Append(u32, u32, &'static str),
    /// So many events in an append of what is read.
    Read(u32),
    /// Appends by so many writers, at half of what they reach without subscribers.
    Subscribe(u32),
    /// One event an append by so many writers, in turns with these others in one process.
    Turns(u32, &'static [&'static str]),
}

/// What a figure of the engine is to be, as a multiple of another one.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) figure: &'static str,
    pub(super) bound: Bound,
    pub(super) of: Of,
}

#[derive(Debug, PartialEq)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, PartialEq)]
pub(super) enum Of {
    /// The same figure of another engine in the same load.
    Engine(&'static str),
    /// Another figure of the same runs.
    Figure(&'static str),
    /// The same figure of those that it takes turns with, the one that makes it harder.
    Beside(&'static [&'static str]),
    /// Nothing: the bound is in the figure's own unit.
    Itself,
}

pub(super) const GESTA: &str = "gesta";
pub(super) const ENGINES: [&str; 5] = [GESTA, "bare", "tephra", "sqlite", "fjall"];
/// The device under the driver: what a lone append's latency is held against.
const DEVICES: &[&str] = &["device-sync", "device-direct"];
/// What appends demand, beside nothing.
const CONDITIONS: &[&str] = &["gesta:query", "gesta:exact"];
/// Those that events are read from again.
const READ: &[&str] = &[GESTA, "tephra", "sqlite", "fjall"];

pub(super) const RATE: &str = "events_per_second";
pub(super) const P50: &str = "latency/p50_us";
pub(super) const P99: &str = "latency/p99_us";
pub(super) const SYNC_P50: &str = "beside/device-sync/latency/p50_us";
pub(super) const DIRECT_P50: &str = "beside/device-direct/latency/p50_us";
pub(super) const QUERY_RATE: &str = "beside/gesta:query/events_per_second";
pub(super) const EXACT_RATE: &str = "beside/gesta:exact/events_per_second";
pub(super) const SCAN: &str = "scan_events_per_second";
pub(super) const CATEGORY: &str = "category_events_per_second";
pub(super) const LOAD_P50: &str = "load/p50_us";
pub(super) const LAST_P50: &str = "load_last/p50_us";
pub(super) const APPEND_P99: &str = "append/p99_us";
pub(super) const DELIVERY_P99: &str = "delivery/p99_us";

pub(super) const LOADS: [Load; 15] = [
    append("w1-b1", 1, 1, &[rate(0.8, Of::Engine("bare"))]),
    append("w8-b1", 8, 1, &[rate(1.2, Of::Engine("tephra")), rate(0.8, Of::Engine("bare"))]),
    query("w8-b1-query", 8),
    exact("w8-b1-exact", 8),
    append("w64-b1", 64, 1, &[rate(1.5, Of::Engine("tephra")), rate(0.8, Of::Engine("bare"))]),
    query("w64-b1-query", 64),
    exact("w64-b1-exact", 64),
    append("w1-b100", 1, 100, &[rate(1.6, Of::Engine("tephra")), rate(0.8, Of::Engine("bare"))]),
    append("w8-b100", 8, 100, &[rate(1.6, Of::Engine("tephra")), rate(0.8, Of::Engine("bare"))]),
    turns("w1-b1-device", 1, DEVICES, &[at_most(P50, 1.15, Of::Beside(DEVICES))]),
    turns("w8-b1-conditions", 8, CONDITIONS, CONDITIONALS),
    turns("w64-b1-conditions", 64, CONDITIONS, CONDITIONALS),
    read("read-b100", 100, READ),
    // One at a time the others would be filled for an hour.
    read("read-b1", 1, &[GESTA, "tephra"]),
    Load {
        name: "subscribe",
        kind: Kind::Subscribe(8),
        engines: &[GESTA, "tephra"],
        wanted: &[at_most(DELIVERY_P99, 3.0, Of::Figure(APPEND_P99))],
    },
];

/// What conditional appends are to reach of unconditional ones.
const CONDITIONALS: &[Wanted] = &[
    Wanted { figure: QUERY_RATE, bound: Bound::AtLeast(0.95), of: Of::Figure(RATE) },
    Wanted { figure: EXACT_RATE, bound: Bound::AtLeast(0.95), of: Of::Figure(RATE) },
];

const fn rate(times: f64, of: Of) -> Wanted {
    Wanted { figure: RATE, bound: Bound::AtLeast(times), of }
}

const fn at_most(figure: &'static str, times: f64, of: Of) -> Wanted {
    Wanted { figure, bound: Bound::AtMost(times), of }
}

const fn append(name: &'static str, writers: u32, events: u32, wanted: &'static [Wanted]) -> Load {
    Load { name, kind: Kind::Append(writers, events, "none"), engines: &ENGINES, wanted }
}

const fn query(name: &'static str, writers: u32) -> Load {
    let kind = Kind::Append(writers, 1, "query");
    Load { name, kind, engines: &[GESTA, "tephra"], wanted: &[] }
}

const fn exact(name: &'static str, writers: u32) -> Load {
    Load { name, kind: Kind::Append(writers, 1, "exact"), engines: &[GESTA], wanted: &[] }
}

const fn turns(
    name: &'static str,
    writers: u32,
    beside: &'static [&'static str],
    wanted: &'static [Wanted],
) -> Load {
    Load { name, kind: Kind::Turns(writers, beside), engines: &[GESTA], wanted }
}

const fn read(name: &'static str, events: u32, engines: &'static [&'static str]) -> Load {
    const WANTED: &[Wanted] = &[
        Wanted { figure: SCAN, bound: Bound::AtLeast(1.0), of: Of::Engine("tephra") },
        Wanted { figure: CATEGORY, bound: Bound::AtLeast(0.25), of: Of::Figure(SCAN) },
        at_most(LOAD_P50, 150.0, Of::Itself),
        at_most(LAST_P50, 30.0, Of::Itself),
    ];
    Load { name, kind: Kind::Read(events), engines, wanted: WANTED }
}

impl Load {
    pub(super) fn of_name(name: &str) -> Result<&'static Self> {
        let known = LOADS.iter().find(|load| load.name == name);
        known.with_context(|| {
            format!("there is no load {name}, only {}", LOADS.map(|load| load.name).join(", "))
        })
    }

    /// What the driver is called with, but for the engine and where it is.
    pub(super) fn arguments(&self, seconds: f64) -> Vec<String> {
        let words = match self.kind {
            Kind::Append(writers, events, condition) => format!(
                "append --writers {writers} --events-per-append {events} --condition {condition}"
            ),
            Kind::Read(_) => "read --filled".to_owned(),
            Kind::Subscribe(writers) => format!("subscribe --writers {writers}"),
            Kind::Turns(writers, beside) => {
                let others = beside.iter().map(|other| format!(" --contender {other}"));
                format!("turns --writers {writers} --contender gesta{}", others.collect::<String>())
            }
        };
        // Each of those that take turns has the time that one alone would have.
        let players = match self.kind {
            Kind::Turns(_, beside) => 1 + beside.len(),
            Kind::Append(..) | Kind::Read(_) | Kind::Subscribe(_) => 1,
        };
        split(&format!("{words} --seconds {}", seconds * players as f64))
    }

    /// What the driver is called with before the first run; none where there is nothing to do.
    pub(super) fn preparation(&self, events: u64) -> Option<Vec<String>> {
        let Kind::Read(events_per_append) = self.kind else { return None };
        let writers = if events_per_append == 1 { 64 } else { 8 };
        Some(split(&format!(
            "read --fill-only --events {events} --events-per-append {events_per_append} \
             --writers {writers}"
        )))
    }
}

fn split(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_can_be_looked_up() {
        for load in &LOADS {
            assert!(load.engines.contains(&GESTA), "{}", load.name);
            for Wanted { of, .. } in load.wanted {
                match of {
                    Of::Engine(engine) => assert!(load.engines.contains(engine), "{engine}"),
                    Of::Beside(others) => {
                        assert_eq!(load.kind, Kind::Turns(1, others), "{}", load.name);
                    }
                    Of::Figure(_) | Of::Itself => {}
                }
            }
        }
    }

    #[test]
    fn only_what_is_read_is_prepared() {
        assert_eq!(Load::of_name("w8-b1").unwrap().preparation(10), None);
        let words = Load::of_name("read-b1").unwrap().preparation(10).unwrap().join(" ");
        assert!(words.contains("--fill-only --events 10 --events-per-append 1 "), "{words}");
        let words = Load::of_name("read-b1").unwrap().arguments(2.5).join(" ");
        assert_eq!(words, "read --filled --seconds 2.5");
        let words = Load::of_name("w8-b1-conditions").unwrap().arguments(2.0).join(" ");
        let expected = "turns --writers 8 --contender gesta --contender gesta:query --contender \
                        gesta:exact --seconds 6";
        assert_eq!(words, expected);
    }
}
