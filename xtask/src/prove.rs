//! `cargo xtask prove`: the project's promises, and the commands that check them.
//!
//! Owns: the selection of promises and the report, which is also written to `target/prove.txt`.
//! Invariants: a check that cannot run, or that runs no test, fails; a skipped check is reported
//! as skipped, never as passed. Not here: the checks. They are tests of the crates, and run without
//! this command too, such as `cargo test -p shop --test e2e serve_kills`.
//!
//! To add a check, write a test in `tests/e2e/` of a crate that ends with its figures, and enter it
//! in [`promises`].

use std::{fmt, fs::File, io::Write as _};

use anyhow::{Context, Result, ensure};

use crate::{step::Stopwatch, workspace::Workspace};

mod check;
mod executables;
mod figures;
mod promises;

use self::{
    check::{Checkout, Effort, Outcome},
    executables::Executables,
    promises::{PROMISES, Promise},
};

/// File below the target directory.
const REPORT: &str = "prove.txt";

/// Parsed arguments of the command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProveRequest {
    promise: Option<&'static str>,
    effort: Effort,
    /// Builds the tests with every feature, as `cargo xtask test --all` does.
    is_built_at_once: bool,
}

impl ProveRequest {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut request = Self { promise: None, effort: Effort::Full, is_built_at_once: false };
        for argument in arguments {
            match argument.as_str() {
                "--short" => {
                    request.effort = Effort::Short;
                    continue;
                }
                "--all" => {
                    request.is_built_at_once = true;
                    continue;
                }
                _ => {}
            }
            let known = PROMISES.iter().find(|promise| promise.name == *argument);
            let promise = known.with_context(|| {
                let names = PROMISES.iter().map(|promise| promise.name);
                let names = names.collect::<Vec<_>>().join(", ");
                format!("unknown promise {argument}; expected one of {names}")
            })?;
            ensure!(request.promise.is_none(), "name one promise, or none for all");
            request.promise = Some(promise.name);
        }
        // The figures of the full form are those of released programs.
        let is_short = request.effort == Effort::Short;
        ensure!(is_short || !request.is_built_at_once, "--all belongs to --short");
        Ok(request)
    }

    /// Without a selection, all promises are checked.
    fn promises(&self) -> impl Iterator<Item = &'static Promise> {
        PROMISES.iter().filter(|promise| self.promise.is_none_or(|name| name == promise.name))
    }
}

/// Number of checks by outcome.
#[derive(Default)]
struct Tally {
    held: usize,
    failed: usize,
    left_out: usize,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Holds(_) => &mut self.held,
            Outcome::Fails(_) => &mut self.failed,
            Outcome::Skipped => &mut self.left_out,
        } += 1;
    }

    fn into_result(self) -> Result<()> {
        ensure!(self.failed == 0, "prove: {} checks fail", self.failed);
        Ok(())
    }
}

/// The report, on standard output and in a file.
struct Report(File);

impl Report {
    fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        println!("{line}");
        writeln!(self.0, "{line}").context(REPORT)
    }
}

pub(crate) fn run(request: &ProveRequest) -> Result<()> {
    let Workspace { root, target_directory, .. } = Workspace::open()?;
    let mut report = Report(File::create(target_directory.join(REPORT)).context(REPORT)?);
    let built = request.is_built_at_once.then(|| Executables::build(&target_directory));
    let built = built.transpose()?;
    let checkout = Checkout { root, target_directory, effort: request.effort, built };
    let mut tally = Tally::default();
    for promise in request.promises() {
        report.line(format_args!("\n{}. {}", promise.name, promise.statement))?;
        for check in promise.checks {
            report.line(format_args!("   - {}", check.shows))?;
            // Each check prints its title first: it may run for minutes.
            let stopwatch = Stopwatch::start();
            let outcome = check.run(&checkout);
            let seconds = stopwatch.elapsed().as_secs_f64();
            report.line(format_args!("     {outcome} ({seconds:.1} s)"))?;
            tally.add(&outcome);
        }
    }
    let Tally { held, failed, left_out } = tally;
    report.line(format_args!(
        "\nprove: {held} hold, {failed} fail, {left_out} left out of the short form"
    ))?;
    tally.into_result()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use anyhow::anyhow;

    use super::*;

    fn request(text: &str) -> Result<ProveRequest> {
        ProveRequest::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn one_promise_or_all_can_be_selected() {
        let every = ProveRequest { promise: None, effort: Effort::Full, is_built_at_once: false };
        assert_eq!(request("").unwrap(), every);
        let short = ProveRequest { promise: Some("3"), effort: Effort::Short, ..every };
        assert_eq!(request("3 --short").unwrap(), short);
        let of_one_build = ProveRequest { is_built_at_once: true, ..short };
        assert_eq!(request("3 --short --all").unwrap(), of_one_build);
        let named = ProveRequest { promise: Some("engine-kills"), ..every };
        assert_eq!(request("engine-kills").unwrap(), named);
        assert_eq!(request("").unwrap().promises().count(), PROMISES.len());
        assert_eq!(named.promises().count(), 1);
        for wrong in ["0", "10", "three", "--quick", "1 2", "3 --all"] {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn promises_are_numbered_in_order_and_have_unique_names() {
        let numbered = PROMISES.iter().take_while(|promise| promise.name.parse::<usize>().is_ok());
        assert!((1..).zip(numbered).all(|(number, promise)| promise.name == format!("{number}")));
        let names: HashSet<_> = PROMISES.iter().map(|promise| promise.name).collect();
        assert_eq!(names.len(), PROMISES.len());
    }

    #[test]
    fn a_check_that_fails_fails_the_command() {
        let mut tally = Tally::default();
        tally.add(&Outcome::Skipped);
        tally.add(&Outcome::Fails(anyhow!("one was lost")));
        assert!(tally.into_result().is_err());
    }
}
