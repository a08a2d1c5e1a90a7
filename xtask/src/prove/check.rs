//! A check: a command of cargo, the form in which it runs, and its outcome.

use std::{
    env, fmt,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use gesta_services::e2e::FORM;

use super::{
    executables::Executables,
    figures::{self, Ran},
};
use crate::step::{Stopwatch, cargo, rust_flags_and};

/// Duration of the checks: a few seconds each, or as long as their figures need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    Short,
    Full,
}

/// Folders and form of a run.
pub(super) struct Checkout {
    pub(super) root: PathBuf,
    pub(super) target_directory: PathBuf,
    pub(super) effort: Effort,
    /// Tests that are built already. `None`: each check builds its own.
    pub(super) built: Option<Executables>,
}

pub(super) struct Check {
    pub(super) shows: &'static str,
    by: By,
    is_full_only: bool,
}

/// Command of a check.
#[derive(Clone, Copy)]
enum By {
    /// An end-to-end test: package and name.
    EndToEnd(&'static str, &'static str),
    /// Tests of a target of a crate: package, target and filter.
    Tests(&'static str, &'static str, &'static str),
    Cargo(CargoRun),
}

/// Any other command of cargo.
#[derive(Clone, Copy)]
pub(super) struct CargoRun {
    pub(super) arguments: &'static str,
    /// Directory below the target directory, and flags, for builds of another kind.
    pub(super) built_apart: Option<(&'static str, &'static str)>,
    /// Variable of the full form, unless a person has set it.
    pub(super) if_full: Option<(&'static str, &'static str)>,
    /// Evaluation of the output.
    pub(super) figures: fn(&Ran) -> Result<String>,
}

/// Result of a check.
pub(super) enum Outcome {
    Holds(String),
    Fails(anyhow::Error),
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(figures) => write!(f, "holds: {figures}"),
            Self::Fails(error) => write!(f, "FAILS: {error:#}"),
            Self::Skipped => f.write_str("left out of the short form"),
        }
    }
}

impl Check {
    pub(super) const fn e2e(
        shows: &'static str,
        package: &'static str,
        name: &'static str,
    ) -> Self {
        Self { shows, by: By::EndToEnd(package, name), is_full_only: false }
    }

    pub(super) const fn suite(
        shows: &'static str,
        package: &'static str,
        filter: &'static str,
    ) -> Self {
        Self { shows, by: By::Tests(package, "suite", filter), is_full_only: false }
    }

    /// The tests of the end-to-end tests' own modules.
    pub(super) const fn tests(shows: &'static str, package: &'static str) -> Self {
        Self { shows, by: By::Tests(package, "e2e", "::tests::"), is_full_only: false }
    }

    pub(super) const fn cargo(shows: &'static str, run: CargoRun) -> Self {
        Self { shows, by: By::Cargo(run), is_full_only: false }
    }

    /// Leaves the check out of the short form, because it takes long.
    pub(super) const fn full_only(self) -> Self {
        Self { is_full_only: true, ..self }
    }

    pub(super) fn run(&self, checkout: &Checkout) -> Outcome {
        if self.is_full_only && checkout.effort == Effort::Short {
            return Outcome::Skipped;
        }
        self.figures(checkout).map_or_else(Outcome::Fails, Outcome::Holds)
    }

    fn figures(&self, checkout: &Checkout) -> Result<String> {
        let mut command = self.command(checkout)?;
        let stopwatch = Stopwatch::start();
        // Cargo's progress goes to the terminal. The output is evaluated, or explains a failure.
        let process =
            command.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
        let output = String::from_utf8_lossy(&process.stdout).into_owned();
        ensure!(process.status.success(), "{output}");
        let ran = Ran { output, elapsed: stopwatch.elapsed() };
        match self.by {
            By::EndToEnd(..) => figures::reported(&ran),
            By::Tests(..) => figures::passed(&ran),
            By::Cargo(run) => (run.figures)(&ran),
        }
    }

    fn command(&self, checkout: &Checkout) -> Result<Command> {
        let tests = |package, target, filter| match &checkout.built {
            Some(built) => built.command(package, target, filter),
            None => {
                let mut command = cargo();
                command.current_dir(&checkout.root);
                command.args(["test", "--package", package, "--test", target, filter, "--"]);
                Ok(command)
            }
        };
        let mut command = match self.by {
            By::EndToEnd(package, name) => {
                let mut command = tests(package, "e2e", name)?;
                command.arg("--show-output");
                command
            }
            By::Tests(package, target, filter) => tests(package, target, filter)?,
            By::Cargo(CargoRun { arguments, built_apart, if_full, .. }) => {
                let mut command = cargo();
                command.current_dir(&checkout.root).args(arguments.split(' '));
                if let Some((directory, flags)) = built_apart {
                    command.env("CARGO_TARGET_DIR", checkout.target_directory.join(directory));
                    command.env("RUSTFLAGS", rust_flags_and(flags));
                }
                if let Some((name, value)) = if_full
                    && checkout.effort == Effort::Full
                    && env::var_os(name).is_none()
                {
                    command.env(name, value);
                }
                command
            }
        };
        match checkout.effort {
            Effort::Full => command.env(FORM, "full"),
            Effort::Short => command.env_remove(FORM),
        };
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn checkout(effort: Effort) -> Checkout {
        let (root, target_directory) = (PathBuf::from("."), PathBuf::from("target"));
        Checkout { root, target_directory, effort, built: None }
    }

    fn version(figures: fn(&Ran) -> Result<String>) -> Check {
        let run = CargoRun { arguments: "--version", built_apart: None, if_full: None, figures };
        Check::cargo("", run)
    }

    fn outcome(check: &Check, effort: Effort) -> String {
        check.run(&checkout(effort)).to_string()
    }

    #[test]
    fn the_outcome_is_that_of_the_command_and_its_figures() {
        assert_eq!(outcome(&version(|_| Ok("5 of 5".to_owned())), Effort::Short), "holds: 5 of 5");
        assert_eq!(
            outcome(&version(|_| bail!("one was lost")), Effort::Short),
            "FAILS: one was lost"
        );
        let fails = Check::suite("", "no-such-crate", "none");
        assert!(outcome(&fails, Effort::Short).starts_with("FAILS"));
    }

    #[test]
    fn a_long_check_is_left_out_of_the_short_form_only() {
        let long = version(|_| Ok("5 of 5".to_owned())).full_only();
        assert_eq!(outcome(&long, Effort::Short), "left out of the short form");
        assert_eq!(outcome(&long, Effort::Full), "holds: 5 of 5");
    }

    #[test]
    fn the_form_is_passed_to_end_to_end_tests() {
        let check = Check::e2e("", "shop", "demo");
        let form = |effort| {
            let command = check.command(&checkout(effort)).unwrap();
            let form = command.get_envs().find(|(name, _)| *name == FORM);
            form.and_then(|(_, value)| Some(value?.to_str()?.to_owned()))
        };
        assert_eq!(form(Effort::Full).as_deref(), Some("full"));
        assert_eq!(form(Effort::Short), None);
    }
}
