//! Steps: programs run one after another by a command, each announced and timed.
//!
//! Invariants: what a step writes is shown at once, so its last output is the last output shown;
//! a failed step ends the command.

use std::{
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
pub(crate) use gesta_services::e2e::cargo;

/// A timer of real time.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "durations shown to a person are real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Runs a program under a title and prints its duration.
pub(crate) fn step(title: &str, command: &mut Command) -> Result<()> {
    step_by(title, command, |command| Ok(command.status()?))
}

/// Runs a program under a title by a function of the caller's, and prints its duration.
pub(crate) fn step_by(
    title: &str,
    command: &mut Command,
    run: impl FnOnce(&mut Command) -> Result<ExitStatus>,
) -> Result<()> {
    println!("\n== {title}");
    let stopwatch = Stopwatch::start();
    let status = run(command).with_context(|| format!("{title}: cannot be started"))?;
    let seconds = stopwatch.elapsed().as_secs_f64();
    ensure!(status.success(), "{title}: {status} after {seconds:.1} s");
    println!("== {title}: ok, {seconds:.1} s");
    Ok(())
}

/// Appends a flag to the caller's `RUSTFLAGS`.
pub(crate) fn rust_flags_and(flag: &str) -> String {
    match std::env::var("RUSTFLAGS") {
        Ok(flags) if !flags.is_empty() => format!("{flags} {flag}"),
        _ => flag.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_ends_the_command() {
        let error = step("cargo on a bad day", cargo().arg("no-such-command")).unwrap_err();
        assert!(error.to_string().starts_with("cargo on a bad day: exit status"), "{error}");
    }

    #[test]
    fn a_step_that_cannot_start_ends_the_command() {
        assert!(step("nothing", &mut Command::new("no-such-program-anywhere")).is_err());
    }

    #[test]
    fn a_step_that_succeeds_lets_the_command_go_on() {
        assert!(step("cargo's version", cargo().arg("--version")).is_ok());
    }
}
