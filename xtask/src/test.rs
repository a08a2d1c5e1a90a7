//! `cargo xtask test`: the README's test command. Needs a Rust toolchain and a C compiler, nothing
//! else.
//!
//! Always holds: planted bugs are compiled only here and by `prove`, by a `cfg`, into target
//! directories of their own; no other build can contain them.

use std::process::Command;

use anyhow::Result;

use crate::{
    house::House,
    step::{Stopwatch, cargo, rust_flags_and, step},
    tidy,
};

/// The crate whose second build contains the planted bugs.
const SIMULATION: &str = "gesta-sim";
pub(crate) const PLANTED_CFG: &str = "--cfg gesta_planted";

/// Tests these crates, or all when none is named.
pub(crate) fn run(crates: &[String]) -> Result<()> {
    let stopwatch = Stopwatch::start();
    tidy::run()?;
    let house = House::open()?;
    step(&format!("tests of {}", scope(crates)), &mut tests(crates))?;
    if planted_belongs_to(crates, &house) {
        step("planted bugs are caught", &mut planted(&house))?;
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

fn planted_belongs_to(crates: &[String], house: &House) -> bool {
    let asked = crates.is_empty() || crates.iter().any(|name| name == SIMULATION);
    asked && house.packages.iter().any(|package| package.name == SIMULATION)
}

fn planted(house: &House) -> Command {
    let mut command = cargo();
    command
        .args(["test", "--package", SIMULATION, "--target-dir"])
        .arg(house.target_directory.join("planted"))
        .env("RUSTFLAGS", rust_flags_and(PLANTED_CFG));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house::Package;

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
        let without = House::of(&[]);
        assert!(!planted_belongs_to(&[], &without));
        let house = House { packages: vec![Package::named(SIMULATION)], ..without };
        assert!(planted_belongs_to(&[], &house));
        assert!(planted_belongs_to(&names(&["gesta", SIMULATION]), &house));
        assert!(!planted_belongs_to(&names(&["gesta"]), &house));
        let command = planted(&house);
        assert!(words(&command).ends_with("--target-dir target/planted"));
        let flags = command.get_envs().find(|(name, _)| *name == "RUSTFLAGS").unwrap().1.unwrap();
        assert!(flags.to_string_lossy().ends_with(PLANTED_CFG));
    }
}
