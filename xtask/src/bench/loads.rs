//! The measured loads, their engines, and the targets for the engine.
//!
//! Invariants: the targets are the project's performance promises; a figure is named by its path in
//! the driver's output.

use anyhow::{Context, Result};

/// A load of the driver.
#[derive(Debug, PartialEq)]
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) kind: LoadKind,
    pub(super) engines: &'static [&'static str],
    pub(super) targets: &'static [Target],
}

#[derive(Debug, PartialEq)]
pub(super) enum LoadKind {
    /// Writers, events per append, and the condition of an append.
    Append(u32, u32, &'static str),
    /// Events per append of the store to read.
    Read(u32),
    /// Writers that append at half of their maximum rate, with subscribers.
    Subscribe(u32),
    /// Writers that append one event each, alternating with these contenders in one process.
    Turns(u32, &'static [&'static str]),
}

/// Target for a figure of the engine, relative to a baseline.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    pub(super) figure: &'static str,
    pub(super) bound: Bound,
    pub(super) baseline: Baseline,
}

#[derive(Debug, PartialEq)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, PartialEq)]
pub(super) enum Baseline {
    /// The same figure of another engine in the same load.
    Engine(&'static str),
    /// Another figure of the same runs.
    Figure(&'static str),
    /// The same figure of the contenders; the hardest one to meet counts.
    Contenders(&'static [&'static str]),
    /// None: the bound has the figure's own unit.
    Absolute,
}

pub(super) const GESTA: &str = "gesta";
pub(super) const ENGINES: [&str; 5] = [GESTA, "bare", "tephra", "sqlite", "fjall"];
/// The bare device under the driver, as baseline for the latency of a single append.
const DEVICES: &[&str] = &["device-sync", "device-direct"];
/// Conditions of appends, compared with unconditional ones.
const CONDITIONS: &[&str] = &["gesta:query", "gesta:exact"];
/// Engines of the read loads.
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
    append("w1-b1", 1, 1, &[rate(0.8, Baseline::Engine("bare"))]),
    append(
        "w8-b1",
        8,
        1,
        &[rate(1.2, Baseline::Engine("tephra")), rate(0.8, Baseline::Engine("bare"))],
    ),
    query("w8-b1-query", 8),
    exact("w8-b1-exact", 8),
    append(
        "w64-b1",
        64,
        1,
        &[rate(1.5, Baseline::Engine("tephra")), rate(0.8, Baseline::Engine("bare"))],
    ),
    query("w64-b1-query", 64),
    exact("w64-b1-exact", 64),
    append(
        "w1-b100",
        1,
        100,
        &[rate(1.6, Baseline::Engine("tephra")), rate(0.8, Baseline::Engine("bare"))],
    ),
    append(
        "w8-b100",
        8,
        100,
        &[rate(1.6, Baseline::Engine("tephra")), rate(0.8, Baseline::Engine("bare"))],
    ),
    turns("w1-b1-device", 1, DEVICES, &[at_most(P50, 1.15, Baseline::Contenders(DEVICES))]),
    turns("w8-b1-conditions", 8, CONDITIONS, CONDITIONALS),
    turns("w64-b1-conditions", 64, CONDITIONS, CONDITIONALS),
    read("read-b100", 100, READ),
    // Filling the other engines with single-event appends would take an hour.
    read("read-b1", 1, &[GESTA, "tephra"]),
    Load {
        name: "subscribe",
        kind: LoadKind::Subscribe(8),
        engines: &[GESTA, "tephra"],
        targets: &[at_most(DELIVERY_P99, 3.0, Baseline::Figure(APPEND_P99))],
    },
];

/// Targets for conditional appends, relative to unconditional ones.
const CONDITIONALS: &[Target] = &[
    Target { figure: QUERY_RATE, bound: Bound::AtLeast(0.95), baseline: Baseline::Figure(RATE) },
    Target { figure: EXACT_RATE, bound: Bound::AtLeast(0.95), baseline: Baseline::Figure(RATE) },
];

const fn rate(times: f64, baseline: Baseline) -> Target {
    Target { figure: RATE, bound: Bound::AtLeast(times), baseline }
}

const fn at_most(figure: &'static str, times: f64, baseline: Baseline) -> Target {
    Target { figure, bound: Bound::AtMost(times), baseline }
}

const fn append(name: &'static str, writers: u32, events: u32, targets: &'static [Target]) -> Load {
    Load { name, kind: LoadKind::Append(writers, events, "none"), engines: &ENGINES, targets }
}

const fn query(name: &'static str, writers: u32) -> Load {
    let kind = LoadKind::Append(writers, 1, "query");
    Load { name, kind, engines: &[GESTA, "tephra"], targets: &[] }
}

const fn exact(name: &'static str, writers: u32) -> Load {
    Load { name, kind: LoadKind::Append(writers, 1, "exact"), engines: &[GESTA], targets: &[] }
}

const fn turns(
    name: &'static str,
    writers: u32,
    others: &'static [&'static str],
    targets: &'static [Target],
) -> Load {
    Load { name, kind: LoadKind::Turns(writers, others), engines: &[GESTA], targets }
}

const fn read(name: &'static str, events: u32, engines: &'static [&'static str]) -> Load {
    const TARGETS: &[Target] = &[
        Target { figure: SCAN, bound: Bound::AtLeast(1.0), baseline: Baseline::Engine("tephra") },
        Target { figure: CATEGORY, bound: Bound::AtLeast(0.25), baseline: Baseline::Figure(SCAN) },
        at_most(LOAD_P50, 150.0, Baseline::Absolute),
        at_most(LAST_P50, 30.0, Baseline::Absolute),
    ];
    Load { name, kind: LoadKind::Read(events), engines, targets: TARGETS }
}

impl Load {
    pub(super) fn by_name(name: &str) -> Result<&'static Self> {
        let known = LOADS.iter().find(|load| load.name == name);
        known.with_context(|| {
            format!(
                "unknown load {name}; expected one of {}",
                LOADS.map(|load| load.name).join(", ")
            )
        })
    }

    /// Arguments of the driver for a run, without engine and directory.
    pub(super) fn arguments(&self, seconds: f64) -> Vec<String> {
        let words = match self.kind {
            LoadKind::Append(writers, events, condition) => format!(
                "append --writers {writers} --events-per-append {events} --condition {condition}"
            ),
            LoadKind::Read(_) => "read --filled".to_owned(),
            LoadKind::Subscribe(writers) => format!("subscribe --writers {writers}"),
            LoadKind::Turns(writers, others) => {
                let others = others.iter().map(|other| format!(" --contender {other}"));
                format!("turns --writers {writers} --contender gesta{}", others.collect::<String>())
            }
        };
        // Each contender gets the time of a single run.
        let contenders = match self.kind {
            LoadKind::Turns(_, others) => 1 + others.len(),
            LoadKind::Append(..) | LoadKind::Read(_) | LoadKind::Subscribe(_) => 1,
        };
        split(&format!("{words} --seconds {}", seconds * contenders as f64))
    }

    /// Arguments of the driver before the first run; `None` if there is nothing to prepare.
    pub(super) fn preparation(&self, events: u64) -> Option<Vec<String>> {
        let LoadKind::Read(events_per_append) = self.kind else { return None };
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
    fn baselines_of_targets_exist() {
        for load in &LOADS {
            assert!(load.engines.contains(&GESTA), "{}", load.name);
            for Target { baseline, .. } in load.targets {
                match baseline {
                    Baseline::Engine(engine) => assert!(load.engines.contains(engine), "{engine}"),
                    Baseline::Contenders(others) => {
                        assert_eq!(load.kind, LoadKind::Turns(1, others), "{}", load.name);
                    }
                    Baseline::Figure(_) | Baseline::Absolute => {}
                }
            }
        }
    }

    #[test]
    fn only_what_is_read_is_prepared() {
        assert_eq!(Load::by_name("w8-b1").unwrap().preparation(10), None);
        let words = Load::by_name("read-b1").unwrap().preparation(10).unwrap().join(" ");
        assert!(words.contains("--fill-only --events 10 --events-per-append 1 "), "{words}");
        let words = Load::by_name("read-b1").unwrap().arguments(2.5).join(" ");
        assert_eq!(words, "read --filled --seconds 2.5");
        let words = Load::by_name("w8-b1-conditions").unwrap().arguments(2.0).join(" ");
        let expected = "turns --writers 8 --contender gesta --contender gesta:query --contender \
                        gesta:exact --seconds 6";
        assert_eq!(words, expected);
    }
}
