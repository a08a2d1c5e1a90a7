//! Promise 3: the simulation's disk, which drops unsynced writes in every possible way.
//!
//! The program fails if a seed violates the contract or the seeds exercise too little. The number
//! of seeds and the time limit are here.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::CheckContext;
use crate::step::{Stopwatch, cargo, step};

const SEEDS: u64 = 10_000;
/// Time limit for these seeds on two cores.
const TIME_MAX: Duration = Duration::from_secs(240);

pub(super) fn breaks_no_promise(context: &CheckContext) -> Result<String> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "gesta-sim"]).current_dir(&context.root);
    step("the simulation", &mut build)?;
    let stopwatch = Stopwatch::start();
    let output = Command::new(context.target_directory.join("release/gesta-sim"))
        .arg(SEEDS.to_string())
        .output()
        .context("the simulation cannot be started")?;
    let elapsed = stopwatch.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A slow simulation would not be run on every change.
    ensure!(elapsed <= TIME_MAX, "{SEEDS} seeds took {} s", elapsed.as_secs());
    let summary = String::from_utf8_lossy(&output.stdout);
    println!("{summary}");
    let median = median_of(&summary, "disk operations").context("the summary has no medians")?;
    Ok(format!("{SEEDS} seeds, the median one with {median} disk operations, each kind of fault"))
}

/// Third figure of the row with this name.
fn median_of<'a>(summary: &'a str, row: &str) -> Option<&'a str> {
    let figures = summary.lines().find_map(|line| line.strip_prefix(row))?;
    figures.split_whitespace().nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_read_from_its_row() {
        let summary = "events   1 2 3 4 5\ndisk operations   10  20  274 300 400\n1.0 s";
        assert_eq!(median_of(summary, "disk operations"), Some("274"));
        assert_eq!(median_of(summary, "crashes"), None);
    }
}
