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
use crate::{
    step::{cargo, rust_flags_and, step},
    test::PLANTED_CFG,
};

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
    let verdict = traced(&program, &fresh_directory(ground, "acknowledged")?, count)?;
    let early = verdict.early.len();
    let told: Vec<_> = verdict.early.into_iter().take(TOLD_MAX).collect();
    ensure!(early == 0, "{early} acknowledged early: {}", told.join("; "));
    let (writes, syncs) = (verdict.writes, verdict.syncs);
    Ok(format!("{count} acknowledged, {writes} writes, {syncs} syncs, none early"))
}

/// The same check over the same program with the bug planted: it has to find something.
pub(super) fn planted_early(ground: &Ground) -> Result<String> {
    let program = build_planted(ground)?;
    let directory = fresh_directory(ground, "acknowledged-early")?;
    let verdict = traced(&program, &directory, APPENDS_SHORT)?;
    let early = verdict.early.len();
    ensure!(early > 0, "the planted bug went unnoticed in {APPENDS_SHORT} appends");
    Ok(format!("{early} of {APPENDS_SHORT} acknowledged early, and found"))
}

fn build(ground: &Ground) -> Result<PathBuf> {
    step("the traced program", example().current_dir(&ground.root))?;
    Ok(ground.target_directory.join("debug/examples/acknowledged"))
}

fn build_planted(ground: &Ground) -> Result<PathBuf> {
    let target = ground.target_directory.join("planted");
    let mut command = example();
    command.arg("--target-dir").arg(&target).env("RUSTFLAGS", rust_flags_and(PLANTED_CFG));
    step("the traced program, bug planted", command.current_dir(&ground.root))?;
    Ok(target.join("debug/examples/acknowledged"))
}

fn example() -> Command {
    let mut command = cargo();
    command.args(["build", "--package", "gesta-log", "--example", "acknowledged"]);
    command
}

/// Below the target directory, which is on a real disk where a temporary one may not be.
fn fresh_directory(ground: &Ground, name: &str) -> Result<PathBuf> {
    let directory = ground.target_directory.join("prove").join(name);
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
