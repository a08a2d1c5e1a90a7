//! Line engine-schedules: the engine's threads under schedules that are drawn from seeds.
//!
//! The tests `hand_offs` of `gesta-log`, built with `shuttle` in the place of the system's threads,
//! play scenes by as many schedules as `GESTA_SCHEDULES` asks for. The same build can have bugs
//! planted between its threads, each of which some scene must catch. Always holds: schedules that
//! were not played are not counted.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Effort, Ground};
use crate::{
    step::{cargo, rust_flags_and, step},
    test::PLANTED_CFG,
};

const SHUTTLE_CFG: &str = "--cfg gesta_shuttle";
/// How many schedules are played, of all scenes together.
const SCHEDULES_SHORT: u64 = 8_000;
const SCHEDULES_FULL: u64 = 100_000;
/// By which the tests are told how many, and by which a person asks for more.
const SCHEDULES: &str = "GESTA_SCHEDULES";
const BUGS: &str = "hand_offs::planted::";

pub(super) fn leave_nobody_asleep(ground: &Ground) -> Result<String> {
    let schedules = match (std::env::var(SCHEDULES), ground.effort) {
        (Ok(asked), _) => asked.parse().context("GESTA_SCHEDULES is no number")?,
        (Err(_), Effort::Short) => SCHEDULES_SHORT,
        (Err(_), Effort::Full) => SCHEDULES_FULL,
    };
    let told = run(ground, schedules, &["hand_offs::", "--skip", BUGS])?;
    let (scenes, played) = played(&told);
    ensure!(played >= schedules, "{played} of {schedules} schedules were played");
    Ok(format!("{played} schedules of {scenes} scenes, each append answered once"))
}

pub(super) fn planted_are_caught(ground: &Ground) -> Result<String> {
    let told = run(ground, SCHEDULES_SHORT, &[BUGS])?;
    let caught: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("caught ")).collect();
    ensure!(!caught.is_empty(), "no bug is planted");
    for how in &caught {
        println!("     {}", how.chars().take(120).collect::<String>());
    }
    Ok(format!("each of {} bugs between threads", caught.len()))
}

/// Runs the tests that these words name.
fn run(ground: &Ground, schedules: u64, names: &[&str]) -> Result<String> {
    step("the engine with all its threads in one", command(ground).arg("--no-run"))?;
    let output = command(ground)
        .args(["--", "--show-output"])
        .args(names)
        .env(SCHEDULES, schedules.to_string())
        .output()
        .context("cargo cannot be started")?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{told}");
    Ok(told)
}

fn command(ground: &Ground) -> Command {
    let mut command = cargo();
    command
        .args(["test", "--package", "gesta-log", "--lib", "--target-dir"])
        .arg(ground.target_directory.join("shuttle"))
        .env("RUSTFLAGS", rust_flags_and(&format!("{SHUTTLE_CFG} {PLANTED_CFG}")))
        .current_dir(&ground.root);
    command
}

/// How many scenes were played, and by how many schedules in all.
fn played(told: &str) -> (usize, u64) {
    let scene = |line: &str| line.strip_suffix(" schedules")?.rsplit_once(": ")?.1.parse().ok();
    let played: Vec<u64> = told.lines().filter_map(scene).collect();
    (played.len(), played.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_played_is_counted_by_scene() {
        let told =
            "---- one stdout ----\na write fails: 889 schedules\n\nno room: 889 schedules\nok";
        assert_eq!(played(told), (2, 1_778));
        assert_eq!(played("running 0 tests\ntest result: ok. 0 passed"), (0, 0));
    }
}
