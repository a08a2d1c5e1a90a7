//! Line 3: a program on the real disk, traced, acknowledges nothing before its sync.
//!
//! The program is the example `acknowledged` of `gesta-log`; what its trace means is in
//! [`super::trace`].

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    Effort, Ground,
    trace::{TRACED, Trace, Verdict},
};
use crate::step::{cargo, step};

const APPENDS_SHORT: usize = 200;
const APPENDS_FULL: usize = 5_000;
/// Enough of each write to tell an event from prepared space, and for a whole acknowledgement.
const SHOWN_BYTES: &str = "1024";
/// How many early acknowledgements are told one by one.
const TOLD_MAX: usize = 3;

pub(super) fn nothing_early(ground: &Ground) -> Result<String> {
    let count = match ground.effort {
        Effort::Short => APPENDS_SHORT,
        Effort::Full => APPENDS_FULL,
    };
    let program = build(ground)?;
    let verdict = traced(&program, &fresh_directory(ground)?, count)?;
    let early = verdict.early.len();
    let told: Vec<_> = verdict.early.into_iter().take(TOLD_MAX).collect();
    ensure!(early == 0, "{early} acknowledged early: {}", told.join("; "));
    let (writes, syncs) = (verdict.writes, verdict.syncs);
    Ok(format!("{count} acknowledged, {writes} writes, {syncs} syncs, none early"))
}

fn build(ground: &Ground) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "gesta-log", "--example", "acknowledged"]);
    step("the traced program", command.current_dir(&ground.root))?;
    Ok(ground.target_directory.join("debug/examples/acknowledged"))
}

/// Below the target directory, which is on a real disk where a temporary one may not be.
fn fresh_directory(ground: &Ground) -> Result<PathBuf> {
    let directory = ground.target_directory.join("prove/acknowledged");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    Ok(directory.canonicalize()?)
}

fn traced(program: &Path, directory: &Path, count: usize) -> Result<Verdict> {
    let (store, trace) = (directory.join("store"), directory.join("trace"));
    let output = Command::new("strace")
        .args(["-f", "-y", "-s", SHOWN_BYTES, "-e", TRACED, "-o"])
        .arg(&trace)
        .arg(program)
        .arg(&store)
        .arg(count.to_string())
        .stderr(Stdio::inherit())
        .output()
        .context("strace cannot be started; install it (`apt-get install strace`)")?;
    ensure!(output.status.success(), "the traced program: {}", output.status);
    let verdict = Trace::read(&fs::read_to_string(&trace)?, &store)?.judge();
    let said = output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"ack "));
    let (said, seen) = (said.count(), verdict.acknowledged);
    ensure!(said == count && seen == count, "of {count} appends {said} were said, {seen} seen");
    Ok(verdict)
}
