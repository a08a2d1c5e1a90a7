//! Checks that are tests of the repository: run by their names, and counted.
//!
//! Always holds: a name that no test bears any more is a failure, not a pass.

use anyhow::{Context, Result, ensure};

use super::Ground;
use crate::step::cargo;

pub(super) fn directory_lock(ground: &Ground) -> Result<String> {
    pass(ground, "gesta-log", "crashes::a_second_opening")
}

pub(super) fn flipped_bytes(ground: &Ground) -> Result<String> {
    pass(ground, "gesta-log", "damage::")
}

pub(super) fn torn_group(ground: &Ground) -> Result<String> {
    pass(ground, "gesta-log", "crashes::a_torn_group")
}

pub(super) fn rebuilds(ground: &Ground) -> Result<String> {
    pass(ground, "gesta", "rebuild")
}

pub(super) fn dead_letters(ground: &Ground) -> Result<String> {
    pass(ground, "gesta", "a_retry_repairs_the_row")
}

pub(super) fn upcasters(ground: &Ground) -> Result<String> {
    pass(ground, "gesta", "each_version_is_read")
}

pub(super) fn on_read(ground: &Ground) -> Result<String> {
    pass(ground, "gesta", "on_read::")
}

pub(super) fn routes(ground: &Ground) -> Result<String> {
    pass(ground, "shop", "http::")
}

/// Runs the tests of a crate's suite whose names contain `filter`.
fn pass(ground: &Ground, package: &str, filter: &str) -> Result<String> {
    let output = cargo()
        .args(["test", "--package", package, "--test", "suite", filter])
        .current_dir(&ground.root)
        .output()
        .context("cargo cannot be started")?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{package} {filter}: {told}");
    let passed = passed(&told).with_context(|| format!("{package} {filter}: no closing line"))?;
    ensure!(passed > 0, "{package} has no test named {filter}");
    Ok(format!("{passed} tests pass"))
}

/// What the closing line of a test run says.
fn passed(told: &str) -> Option<usize> {
    let line = told.lines().find(|line| line.starts_with("test result:"))?;
    line.split_whitespace()
        .zip(line.split_whitespace().skip(1))
        .find_map(|(count, word)| (word == "passed;").then(|| count.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_says_how_many_passed() {
        let told = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert_eq!(passed(told), Some(2));
        assert_eq!(passed("nothing ran"), None);
    }
}
