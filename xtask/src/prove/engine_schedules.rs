//! Promise engine-schedules: the engine's threads under seeded schedules.
//!
//! The tests `shuttle_tests` of `gesta-log`, built with `shuttle` instead of system threads, run
//! scenarios under the number of schedules in `GESTA_SCHEDULES`. The same build can contain
//! mutations between threads, each of which some scenario must catch. Always holds: only executed
//! schedules are counted.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{CheckContext, Effort};
use crate::{
    step::{cargo, rust_flags_and, step},
    test::PLANTED_CFG,
};

const SHUTTLE_CFG: &str = "--cfg gesta_shuttle";
/// Number of schedules over all scenarios.
const SCHEDULES_SHORT: u64 = 8_000;
const SCHEDULES_FULL: u64 = 100_000;
/// Environment variable with the number of schedules; a person may set it to run more.
const SCHEDULES: &str = "GESTA_SCHEDULES";
const BUGS: &str = "shuttle_tests::mutations::";

pub(super) fn answer_every_append(context: &CheckContext) -> Result<String> {
    let schedules = match (std::env::var(SCHEDULES), context.effort) {
        (Ok(asked), _) => asked.parse().context("GESTA_SCHEDULES is not a number")?,
        (Err(_), Effort::Short) => SCHEDULES_SHORT,
        (Err(_), Effort::Full) => SCHEDULES_FULL,
    };
    let output = run(context, schedules, &["shuttle_tests::", "--skip", BUGS])?;
    let (scenes, executed) = executed(&output);
    ensure!(executed >= schedules, "{executed} of {schedules} schedules were executed");
    Ok(format!("{executed} schedules of {scenes} scenes, each append answered once"))
}

pub(super) fn planted_are_caught(context: &CheckContext) -> Result<String> {
    let output = run(context, SCHEDULES_SHORT, &[BUGS])?;
    let caught: Vec<_> = output.lines().filter_map(|line| line.strip_prefix("caught ")).collect();
    ensure!(!caught.is_empty(), "no mutation is enabled");
    for how in &caught {
        println!("     {}", how.chars().take(120).collect::<String>());
    }
    Ok(format!("each of {} mutations between threads", caught.len()))
}

/// Runs the tests with these names.
fn run(context: &CheckContext, schedules: u64, names: &[&str]) -> Result<String> {
    step("the engine with shuttle threads", command(context).arg("--no-run"))?;
    let process = command(context)
        .args(["--", "--show-output"])
        .args(names)
        .env(SCHEDULES, schedules.to_string())
        .output()
        .context("cargo cannot be started")?;
    let output = String::from_utf8_lossy(&process.stdout).into_owned();
    ensure!(process.status.success(), "{output}");
    Ok(output)
}

fn command(context: &CheckContext) -> Command {
    let mut command = cargo();
    command
        .args(["test", "--package", "gesta-log", "--lib", "--target-dir"])
        .arg(context.target_directory.join("shuttle"))
        .env("RUSTFLAGS", rust_flags_and(&format!("{SHUTTLE_CFG} {PLANTED_CFG}")))
        .current_dir(&context.root);
    command
}

/// Number of scenarios that ran, and of their schedules in total.
fn executed(output: &str) -> (usize, u64) {
    let scene = |line: &str| line.strip_suffix(" schedules")?.rsplit_once(": ")?.1.parse().ok();
    let executed: Vec<u64> = output.lines().filter_map(scene).collect();
    (executed.len(), executed.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_played_is_counted_by_scene() {
        let output =
            "---- one stdout ----\na write fails: 889 schedules\n\nno room: 889 schedules\nok";
        assert_eq!(executed(output), (2, 1_778));
        assert_eq!(executed("running 0 tests\ntest result: ok. 0 passed"), (0, 0));
    }
}
