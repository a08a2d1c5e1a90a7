//! Checks that are tests of the repository, selected by name.
//!
//! Always holds: a name without a test is a failure.

use anyhow::{Context, Result, ensure};

use super::CheckContext;
use crate::step::cargo;

pub(super) fn directory_lock(context: &CheckContext) -> Result<String> {
    pass(context, "gesta-log", "crashes::a_second_opening")
}

pub(super) fn flipped_bytes(context: &CheckContext) -> Result<String> {
    pass(context, "gesta-log", "damage::")
}

pub(super) fn torn_group(context: &CheckContext) -> Result<String> {
    pass(context, "gesta-log", "crashes::a_torn_group")
}

pub(super) fn rebuilds(context: &CheckContext) -> Result<String> {
    pass(context, "gesta", "rebuild")
}

pub(super) fn dead_letters(context: &CheckContext) -> Result<String> {
    pass(context, "gesta", "a_retry_repairs_the_row")
}

pub(super) fn upcasters(context: &CheckContext) -> Result<String> {
    pass(context, "gesta", "each_version_is_read")
}

pub(super) fn on_read(context: &CheckContext) -> Result<String> {
    pass(context, "gesta", "on_read::")
}

pub(super) fn routes(context: &CheckContext) -> Result<String> {
    pass(context, "shop", "http::")
}

/// Runs the tests of a crate's suite whose names contain `filter`.
fn pass(context: &CheckContext, package: &str, filter: &str) -> Result<String> {
    let process = cargo()
        .args(["test", "--package", package, "--test", "suite", filter])
        .current_dir(&context.root)
        .output()
        .context("cargo cannot be started")?;
    let output = String::from_utf8_lossy(&process.stdout);
    ensure!(process.status.success(), "{package} {filter}: {output}");
    let passed = passed(&output).with_context(|| format!("{package} {filter}: no closing line"))?;
    ensure!(passed > 0, "{package} has no test named {filter}");
    Ok(format!("{passed} tests pass"))
}

/// Number of passed tests in the closing line of a run.
fn passed(output: &str) -> Option<usize> {
    let line = output.lines().find(|line| line.starts_with("test result:"))?;
    line.split_whitespace()
        .zip(line.split_whitespace().skip(1))
        .find_map(|(count, word)| (word == "passed;").then(|| count.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_says_how_many_passed() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert_eq!(passed(output), Some(2));
        assert_eq!(passed("nothing ran"), None);
    }
}
