//! The engine under `kill -9`: acknowledged appends are present once, in order, with their bytes.
//!
//! The program `gesta-bench` appends from several threads: single events and batches, to one or two
//! streams, with conditions that hold, race and fail. This process records its acknowledgements.
//! After each kill a new process opens the store and reads everything back.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use gesta_bench::load::workload::random_fraction;
use gesta_services::e2e::{empty_directory, figures, is_full, program};

use crate::oracle::{Kill, OracleReport, OracleStore};

const KILLS_FULL: u32 = 300;
const KILLS_SHORT: u32 = 10;
/// One run of this number is killed right after its start, in whatever state it is.
const EARLY_ONE_IN: u32 = 4;
/// Latest time of an early kill.
const EARLY_MAX: Duration = Duration::from_millis(25);
/// Acknowledged appends before a late kill. Counted, so that a slow machine proves as much.
const APPENDS_MIN: u64 = 40;
const APPENDS_MAX: u64 = 160;
/// Latest time of a late kill after these appends.
const LATE_MAX: Duration = Duration::from_millis(1);
/// Segment sizes, in rotation; small segments are sealed, flushed and compacted within a run.
const SEGMENT_BYTES: [&str; 3] = ["24576", "65536", "262144"];

/// Writers and events per append of `cargo xtask bench`; each load ends with a kill.
const LOADS: [(&str, &str); 5] = [("1", "1"), ("8", "1"), ("64", "1"), ("1", "100"), ("8", "100")];
const LOAD_SECONDS_FULL: u64 = 3;

#[test]
fn acknowledged_appends_survive_kills_on_a_growing_store() -> Result<()> {
    let directory = empty_directory("engine-kills")?;
    let kills = if is_full() { KILLS_FULL } else { KILLS_SHORT };
    let program = program("gesta-bench", "gesta-bench")?;
    let mut store = OracleStore::new(&program, &directory)?;
    let mut opened = Vec::new();
    let mut last = None;
    let mut awaited = 0;
    for (run, segment) in (0..kills).zip(SEGMENT_BYTES.into_iter().cycle()) {
        let arguments =
            ["--writers", "8", "--streams", "300", "--tags", "300", "--segment-bytes", segment];
        // Early kills meet the opening and recovery, later ones appends and compaction.
        let kill = match run % EARLY_ONE_IN {
            1 => Kill::AfterStart(EARLY_MAX.mul_f64(random_fraction())),
            _ => {
                let more = (APPENDS_MAX - APPENDS_MIN) as f64 * random_fraction();
                let appends = APPENDS_MIN + more as u64;
                awaited += appends;
                Kill::AfterAppends(appends, LATE_MAX.mul_f64(random_fraction()))
            }
        };
        store.run_until_killed(&arguments, kill)?;
        let found = store.check()?;
        opened.push(found.opened);
        last = Some(found);
    }
    let found = last.expect("there are kills");
    let (segments, runs) = store.files()?;
    let summary = format!(
        "{kills} kills; {}; {segments} segments, {runs} runs of the index; {}",
        counts(&found),
        times(&mut opened)
    );
    ensure!(found.acknowledged >= awaited, "fewer than the {awaited} awaited: {summary}");
    fs::remove_dir_all(directory)?;
    figures(summary)
}

#[test]
fn acknowledged_appends_survive_a_kill_during_each_load() -> Result<()> {
    let directory = empty_directory("engine-loads")?;
    let seconds = if is_full() { LOAD_SECONDS_FULL } else { 1 };
    let program = program("gesta-bench", "gesta-bench")?;
    let mut by_load = Vec::new();
    for (writers, events) in LOADS {
        let name = format!("w{writers}-b{events}");
        let below = directory.join(&name);
        let mut store = OracleStore::new(&program, &below)?;
        let arguments = ["--writers", writers, "--events-per-append", events];
        store.run_until_killed(&arguments, Kill::AfterAppends(1, Duration::from_secs(seconds)))?;
        let found = store.check()?;
        by_load.push(format!("{name}: {}, {}", counts(&found), times(&mut [found.opened])));
        fs::remove_dir_all(below)?;
    }
    figures(by_load.join("; "))
}

fn counts(found: &OracleReport) -> String {
    let OracleReport { acknowledged, refused, unanswered_present, events, .. } = found;
    format!(
        "{acknowledged} acknowledged appends present once, {refused} refused ones not, \
         {unanswered_present} without an answer present; {events} events"
    )
}

fn times(opened: &mut [Duration]) -> String {
    opened.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let (median, worst) = (opened.get(opened.len() / 2), opened.last());
    match opened.len() {
        1 => format!("opened in {:.1} ms", millis(worst)),
        _ => format!("opened in {:.1} ms, at worst {:.1} ms", millis(median), millis(worst)),
    }
}
