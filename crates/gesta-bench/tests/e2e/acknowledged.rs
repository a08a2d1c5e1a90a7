//! A traced program on a real disk acknowledges nothing before its sync.
//!
//! The program is the example `acknowledged` of `gesta-log`; its trace is evaluated in
//! [`trace`](crate::trace).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use gesta_services::e2e::{build, cargo, empty_directory, figures, given_program, is_full, target};

use crate::trace::{TRACED, Trace, TraceReport};

/// Makes the program acknowledge early, among other mutations.
const PLANTED_CFG: &str = "--cfg gesta_planted";
/// Example of `gesta-log`.
const EXAMPLE: [&str; 4] = ["--package", "gesta-log", "--example", "acknowledged"];

const APPENDS_SHORT: usize = 200;
const APPENDS_FULL: usize = 5_000;
/// Enough of each write to distinguish events from prepared space, and for a whole acknowledgement.
const SHOWN_BYTES: &str = "1024";
/// Limit of early acknowledgements listed in the error.
const LISTED_MAX: usize = 3;

#[test]
fn nothing_is_acknowledged_before_its_sync() -> Result<()> {
    let count = if is_full() { APPENDS_FULL } else { APPENDS_SHORT };
    let report = traced(&example(false)?, &empty_directory("acknowledged")?, count)?;
    let early = report.early.len();
    let listed: Vec<_> = report.early.into_iter().take(LISTED_MAX).collect();
    ensure!(early == 0, "{early} acknowledged early: {}", listed.join("; "));
    let (writes, syncs) = (report.writes, report.syncs);
    figures(format!("{count} acknowledged, {writes} writes, {syncs} syncs, none early"))
}

/// Runs the same check on the program with a mutation, which it must find.
#[test]
fn an_early_acknowledgement_is_detected() -> Result<()> {
    let report = traced(&example(true)?, &empty_directory("acknowledged-early")?, APPENDS_SHORT)?;
    let early = report.early.len();
    ensure!(early > 0, "the mutation went unnoticed in {APPENDS_SHORT} appends");
    figures(format!("{early} of {APPENDS_SHORT} acknowledged early, all reported"))
}

/// Builds the program, with mutations in a target directory of their own. Returns its path.
fn example(is_planted: bool) -> Result<PathBuf> {
    if !is_planted && let Some(given) = given_program("examples/acknowledged")? {
        return Ok(given);
    }
    let target = if is_planted { target()?.join("planted") } else { target()? };
    let mut command = cargo();
    command.arg("build").args(EXAMPLE).arg("--target-dir").arg(&target);
    if is_planted {
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.env("RUSTFLAGS", format!("{flags} {PLANTED_CFG}"));
    }
    build(&mut command)?;
    Ok(target.join("debug/examples/acknowledged"))
}

fn traced(program: &Path, directory: &Path, count: usize) -> Result<TraceReport> {
    let (store, trace) = (directory.join("store"), directory.join("trace"));
    let output = Command::new("strace")
        // `-f` follows threads, `-y` prints the path of each descriptor.
        .args(["-f", "-y", "-s", SHOWN_BYTES, "-e", TRACED, "-o"])
        .arg(&trace)
        .arg(program)
        .arg(&store)
        .arg(count.to_string())
        .stderr(Stdio::inherit())
        .output()
        .context("strace cannot be started; install it (`apt-get install strace`)")?;
    ensure!(output.status.success(), "the traced program: {}", output.status);
    let report = Trace::read(&fs::read_to_string(&trace)?, &store)?.check();
    let printed =
        output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"ack "));
    // Acknowledgements missing in the trace would hide early ones.
    let (printed, seen) = (printed.count(), report.acknowledged);
    ensure!(
        printed == count && seen == count,
        "of {count} appends {printed} were printed and {seen} traced"
    );
    Ok(report)
}
