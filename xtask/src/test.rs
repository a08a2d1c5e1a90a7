//! `cargo xtask test`: the test command of the README. Needs only a Rust toolchain and a C
//! compiler; tests of servers that do not run are skipped, and listed in the end.
//!
//! Invariants: mutations are compiled only here and by `prove`, behind a `cfg`, into separate
//! target directories; no other build contains them.

use std::{fmt, process::Command};

use anyhow::{Result, bail};

use crate::{
    failed_tests::FailedTests,
    services::ServicesOfTests,
    step::{Stopwatch, cargo, rust_flags_and, step, step_by},
    tidy,
    workspace::Workspace,
};

/// The crate whose second build contains the mutations.
const SIMULATION: &str = "gesta-sim";
pub(crate) const PLANTED_CFG: &str = "--cfg gesta_planted";

/// The crates whose tests run.
#[derive(Debug, PartialEq)]
pub(crate) enum Tested {
    /// The default members of the workspace, which need no large dependencies.
    Default,
    /// Every member with every feature.
    All,
    Named(Vec<String>),
}

impl Tested {
    /// Parses `--all`, or `-p CRATE -p CRATE`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        match arguments {
            [] => return Ok(Self::Default),
            [flag] if flag == "--all" => return Ok(Self::All),
            _ => {}
        }
        let names = arguments.chunks(2).map(|pair| match pair {
            [flag, name] if flag == "-p" => Ok(name.clone()),
            _ => bail!("expected --all, or -p CRATE"),
        });
        Ok(Self::Named(names.collect::<Result<_>>()?))
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Default | Self::All => true,
            Self::Named(names) => names.iter().any(|named| named == name),
        }
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default members"),
            Self::All => f.write_str("the workspace"),
            Self::Named(names) => f.write_str(&names.join(", ")),
        }
    }
}

pub(crate) fn run(tested: &Tested) -> Result<()> {
    let stopwatch = Stopwatch::start();
    tidy::run()?;
    let workspace = Workspace::open()?;
    let services = ServicesOfTests::begin(&workspace.target_directory)?;
    let mut tests = tests(tested);
    services.pass_to(&mut tests);
    let mut failed = FailedTests::default();
    let run = |tests: &mut Command| failed.of_run(tests);
    let passed = step_by(&format!("tests of {tested}"), &mut tests, run);
    // The table belongs to failed tests as well, and servers that were started end in any case.
    let served = services.end();
    failed.print();
    passed.and(served)?;
    if planted_belongs_to(tested, &workspace) {
        step("mutations are caught", &mut planted(&workspace))?;
    }
    println!("\nAll steps passed in {:.0} s.", stopwatch.elapsed().as_secs_f64());
    Ok(())
}

fn tests(tested: &Tested) -> Command {
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    match tested {
        Tested::Default => {}
        Tested::All => {
            command.args(["--workspace", "--all-features"]);
        }
        Tested::Named(names) => {
            command.args(names.iter().flat_map(|name| ["--package", name]));
        }
    }
    command
}

fn planted_belongs_to(tested: &Tested, workspace: &Workspace) -> bool {
    // A workspace without the crate has no mutations to test.
    tested.has(SIMULATION) && workspace.packages.iter().any(|package| package.name == SIMULATION)
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

    fn parsed(text: &str) -> Result<Tested> {
        Tested::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_names_the_default_members_are_tested() {
        assert_eq!(words(&tests(&parsed("").unwrap())), "test --no-fail-fast");
        assert_eq!(
            words(&tests(&parsed("--all").unwrap())),
            "test --no-fail-fast --workspace --all-features"
        );
        let two = tests(&parsed("-p gesta -p shop").unwrap());
        assert_eq!(words(&two), "test --no-fail-fast --package gesta --package shop");
    }

    #[test]
    fn crates_are_named_one_by_one() {
        for refused in ["-p", "gesta shop", "--all -p gesta"] {
            assert!(parsed(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn planted_bugs_are_built_apart_and_only_with_their_crate() {
        let without = Workspace::of(&[]);
        assert!(!planted_belongs_to(&Tested::All, &without));
        let workspace = Workspace { packages: vec![Package::named(SIMULATION)], ..without };
        assert!(planted_belongs_to(&Tested::Default, &workspace));
        assert!(planted_belongs_to(&parsed("-p gesta -p gesta-sim").unwrap(), &workspace));
        assert!(!planted_belongs_to(&parsed("-p gesta").unwrap(), &workspace));
        let command = planted(&workspace);
        assert!(words(&command).ends_with("--target-dir target/planted -- planted::"));
        let flags = command.get_envs().find(|(name, _)| *name == "RUSTFLAGS").unwrap().1.unwrap();
        assert!(flags.to_string_lossy().ends_with(PLANTED_CFG));
    }
}
