//! Line 3: a disk that drops what was not synced, in all the ways of the simulation.
//!
//! The program judges itself: it fails where a seed breaks a promise, and where the seeds did too
//! little. Here is how many it plays, and how long it may take.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::Ground;
use crate::step::{Stopwatch, cargo, step};

const SEEDS: u64 = 10_000;
/// What these seeds may take, on two cores.
const TIME_MAX: Duration = Duration::from_secs(240);

pub(super) fn breaks_no_promise(ground: &Ground) -> Result<String> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "gesta-sim"]).current_dir(&ground.root);
    step("the simulation", &mut build)?;
    let stopwatch = Stopwatch::start();
    let output = Command::new(ground.target_directory.join("release/gesta-sim"))
        .arg(SEEDS.to_string())
        .output()
        .context("the simulation cannot be started")?;
    let took = stopwatch.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(took <= TIME_MAX, "{SEEDS} seeds took {} s", took.as_secs());
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    let median = median_of(&told, "disk operations").context("the simulation tells no medians")?;
    Ok(format!("{SEEDS} seeds, the median one with {median} disk operations, each kind of fault"))
}

/// The third figure of the table's row with this name.
fn median_of<'a>(told: &'a str, row: &str) -> Option<&'a str> {
    let figures = told.lines().find_map(|line| line.strip_prefix(row))?;
    figures.split_whitespace().nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_read_from_its_row() {
        let told = "events   1 2 3 4 5\ndisk operations   10  20  274 300 400\n1.0 s";
        assert_eq!(median_of(told, "disk operations"), Some("274"));
        assert_eq!(median_of(told, "crashes"), None);
    }
}
