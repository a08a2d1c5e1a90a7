//! `cargo xtask test`: the test command of the README. Needs only a Rust toolchain and a C
//! compiler; tests of servers that do not run are skipped, and listed in the end.
//!
//! Invariants: mutations are compiled only here and by `prove`, behind a `cfg`, into separate
//! target directories; no other build contains them.

use std::process::Command;

use anyhow::Result;

use crate::{
    services::ServicesOfTests,
    step::{Stopwatch, cargo, rust_flags_and, step},
    tidy,
    workspace::Workspace,
};

/// The crate whose second build contains the mutations.
const SIMULATION: &str = "gesta-sim";
pub(crate) const PLANTED_CFG: &str = "--cfg gesta_planted";

/// Tests these crates, or all if the list is empty.
pub(crate) fn run(crates: &[String]) -> Result<()> {
    let stopwatch = Stopwatch::start();
    tidy::run()?;
    let workspace = Workspace::open()?;
    let services = ServicesOfTests::begin(&workspace.target_directory)?;
    let mut tests = tests(crates);
    services.pass_to(&mut tests);
    let tested = step(&format!("tests of {}", scope(crates)), &mut tests);
    // The table belongs to failed tests as well, and servers that were started end in any case.
    let served = services.end();
    tested.and(served)?;
    if planted_belongs_to(crates, &workspace) {
        step("mutations are caught", &mut planted(&workspace))?;
    }
    println!("\nAll steps passed in {:.0} s.", stopwatch.elapsed().as_secs_f64());
    Ok(())
}

fn scope(crates: &[String]) -> String {
    if crates.is_empty() { "the workspace".to_owned() } else { crates.join(", ") }
}

fn tests(crates: &[String]) -> Command {
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    if crates.is_empty() {
        command.arg("--workspace");
    }
    for name in crates {
        command.args(["--package", name]);
    }
    command
}

fn planted_belongs_to(crates: &[String], workspace: &Workspace) -> bool {
    let asked = crates.is_empty() || crates.iter().any(|name| name == SIMULATION);
    // A workspace without the crate has no mutations to test.
    asked && workspace.packages.iter().any(|package| package.name == SIMULATION)
}

fn planted(workspace: &Workspace) -> Command {
    let mut command = cargo();
    command
        .args(["test", "--package", SIMULATION, "--test", "suite", "--target-dir"])
        .arg(workspace.target_directory.join("planted"))
        // The other tests ran without mutations.
        .args(["--", "planted::"])
        // Other flags would rebuild everything, hence the separate target directory.
        .env("RUSTFLAGS", rust_flags_and(PLANTED_CFG));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    fn words(command: &Command) -> String {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn without_names_the_whole_workspace_is_tested() {
        assert_eq!(words(&tests(&[])), "test --no-fail-fast --workspace");
        let two = tests(&names(&["gesta", "shop"]));
        assert_eq!(words(&two), "test --no-fail-fast --package gesta --package shop");
    }

    #[test]
    fn planted_bugs_are_built_apart_and_only_with_their_crate() {
        let without = Workspace::of(&[]);
        assert!(!planted_belongs_to(&[], &without));
        let workspace = Workspace { packages: vec![Package::named(SIMULATION)], ..without };
        assert!(planted_belongs_to(&[], &workspace));
        assert!(planted_belongs_to(&names(&["gesta", SIMULATION]), &workspace));
        assert!(!planted_belongs_to(&names(&["gesta"]), &workspace));
        let command = planted(&workspace);
        assert!(words(&command).ends_with("--target-dir target/planted -- planted::"));
        let flags = command.get_envs().find(|(name, _)| *name == "RUSTFLAGS").unwrap().1.unwrap();
        assert!(flags.to_string_lossy().ends_with(PLANTED_CFG));
    }
}
