//! Promise 3: a traced program on a real disk acknowledges nothing before its sync.
//!
//! The program is the example `acknowledged` of `gesta-log`; its trace is evaluated in
//! [`super::trace`].

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    CheckContext, Effort,
    trace::{TRACED, Trace, TraceReport},
};
use crate::{
    step::{cargo, rust_flags_and, step},
    test::PLANTED_CFG,
};

const APPENDS_SHORT: usize = 200;
const APPENDS_FULL: usize = 5_000;
/// Enough of each write to distinguish events from prepared space, and for a whole acknowledgement.
const SHOWN_BYTES: &str = "1024";
/// Limit of early acknowledgements listed in the error.
const LISTED_MAX: usize = 3;

pub(super) fn nothing_early(context: &CheckContext) -> Result<String> {
    let count = match context.effort {
        Effort::Short => APPENDS_SHORT,
        Effort::Full => APPENDS_FULL,
    };
    let program = build(context)?;
    let report = traced(&program, &fresh_directory(context, "acknowledged")?, count)?;
    let early = report.early.len();
    let listed: Vec<_> = report.early.into_iter().take(LISTED_MAX).collect();
    ensure!(early == 0, "{early} acknowledged early: {}", listed.join("; "));
    let (writes, syncs) = (report.writes, report.syncs);
    Ok(format!("{count} acknowledged, {writes} writes, {syncs} syncs, none early"))
}

/// Runs the same check on the program with a mutation, which it must find.
pub(super) fn planted_early(context: &CheckContext) -> Result<String> {
    let program = build_planted(context)?;
    let directory = fresh_directory(context, "acknowledged-early")?;
    let report = traced(&program, &directory, APPENDS_SHORT)?;
    let early = report.early.len();
    ensure!(early > 0, "the mutation went unnoticed in {APPENDS_SHORT} appends");
    Ok(format!("{early} of {APPENDS_SHORT} acknowledged early, all reported"))
}

fn build(context: &CheckContext) -> Result<PathBuf> {
    step("the traced program", example().current_dir(&context.root))?;
    Ok(context.target_directory.join("debug/examples/acknowledged"))
}

fn build_planted(context: &CheckContext) -> Result<PathBuf> {
    let target = context.target_directory.join("planted");
    let mut command = example();
    command.arg("--target-dir").arg(&target).env("RUSTFLAGS", rust_flags_and(PLANTED_CFG));
    step("the traced program, with the mutation", command.current_dir(&context.root))?;
    Ok(target.join("debug/examples/acknowledged"))
}

fn example() -> Command {
    let mut command = cargo();
    command.args(["build", "--package", "gesta-log", "--example", "acknowledged"]);
    command
}

/// Creates an empty directory below the target directory, which is on a real disk; a temporary one
/// may not be.
fn fresh_directory(context: &CheckContext, name: &str) -> Result<PathBuf> {
    let directory = context.target_directory.join("prove").join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    Ok(directory.canonicalize()?)
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
