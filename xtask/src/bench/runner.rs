//! The driver with its peers, run once per figure.
//!
//! Invariant: the device is probed before and after a run, and the processor time of other programs
//! is measured during it. A run waits for a quiet device and is repeated if it was disturbed; after
//! `ATTEMPTS_MAX` attempts the last one counts and is marked as disturbed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    loads::{Load, LoadKind},
    rounds::BenchRun,
};
use crate::{
    step::{Stopwatch, cargo, step},
    workspace::Workspace,
};

/// Latency of the device during an undisturbed run, as a multiple of its best latency.
const DEVICE_SLOWER_MAX: f64 = 1.5;
/// Processor share of other programs during an undisturbed run, in processors.
const OTHERS_MAX: f64 = 0.15;
const ATTEMPTS_MAX: usize = 3;
/// Limit of pauses before a run. A device may stay slow for a while after heavy writes.
const PAUSES_MAX: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);
/// Unit of processor time in `/proc/stat`.
const TICKS_A_SECOND: f64 = 100.0;

/// The built driver and the directory for its stores.
pub(super) struct Runner {
    program: PathBuf,
    directory: PathBuf,
    /// Latency of writing 4 KiB to the bare device, in microseconds: best and last.
    best_us: f64,
    last_us: f64,
}

impl Runner {
    pub(super) fn build(workspace: &Workspace, directory: Option<&Path>) -> Result<Self> {
        let target = workspace.target_directory.join("bench");
        let manifest = workspace.root.join("bench/Cargo.toml");
        let mut build = cargo();
        build.args(["build", "--release", "--manifest-path"]).arg(manifest);
        step("the driver with its peers", build.arg("--target-dir").arg(&target))?;
        let directory = match directory {
            Some(directory) => directory.to_owned(),
            None => workspace.target_directory.join("bench-data"),
        };
        fs::create_dir_all(&directory)?;
        let program = target.join("release/gesta-peers");
        let first = probe(&program, &directory)?;
        Ok(Self { program, directory, best_us: first, last_us: first })
    }

    /// Prepares the first run of a load.
    pub(super) fn prepare(&self, load: &Load, engine: &str, events: u64) -> Result<()> {
        let Some(arguments) = load.preparation(events) else { return Ok(()) };
        let mut command = self.command(load, engine, arguments);
        let status = command.status().context("the driver cannot be started")?;
        ensure!(status.success(), "preparing {} of {engine}: {status}", load.name);
        Ok(())
    }

    /// Runs a load, repeatedly if it is disturbed.
    pub(super) fn run(&mut self, load: &Load, engine: &str, seconds: f64) -> Result<BenchRun> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            self.wait_for_quiet()?;
            let run = self.attempt(load, engine, seconds)?;
            if !run.is_disturbed || attempts == ATTEMPTS_MAX {
                return Ok(run);
            }
        }
    }

    fn attempt(&mut self, load: &Load, engine: &str, seconds: f64) -> Result<BenchRun> {
        // A device that is slow before or after the run was probably slow during it.
        let was_slow = self.is_slow();
        let (stopwatch, others_before) = (Stopwatch::start(), processor_seconds()?);
        let result = answer(self.command(load, engine, load.arguments(seconds)))
            .with_context(|| format!("{} of {engine}", load.name))?;
        // The run's own time is not a disturbance.
        let own = number(&result, "all_user_seconds")?;
        let others = processor_seconds()? - others_before - own;
        let share = others / stopwatch.elapsed().as_secs_f64();
        self.probe()?;
        let is_disturbed = was_slow || self.is_slow() || share > OTHERS_MAX;
        Ok(BenchRun { result, is_disturbed })
    }

    fn wait_for_quiet(&mut self) -> Result<()> {
        for _ in 0..PAUSES_MAX {
            if !self.is_slow() {
                return Ok(());
            }
            pause();
            self.probe()?;
        }
        Ok(())
    }

    fn is_slow(&self) -> bool {
        self.last_us > self.best_us * DEVICE_SLOWER_MAX
    }

    fn command(&self, load: &Load, engine: &str, arguments: Vec<String>) -> Command {
        let directory = match load.kind {
            // The prepared store is read in every round.
            LoadKind::Read(_) => self.directory.join(format!("{}-{engine}", load.name)),
            LoadKind::Append(..) | LoadKind::Subscribe(_) => self.directory.join(engine),
            LoadKind::Turns(..) => self.directory.join("turns"),
        };
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--directory").arg(directory);
        // The contenders are among the arguments.
        if !matches!(load.kind, LoadKind::Turns(..)) {
            command.args(["--engine", engine]);
        }
        command
    }

    fn probe(&mut self) -> Result<()> {
        self.last_us = probe(&self.program, &self.directory)?;
        // The best latency so far is the reference for "quiet".
        self.best_us = self.best_us.min(self.last_us);
        Ok(())
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes the stores.
    pub(super) fn clean(&self) -> Result<()> {
        fs::remove_dir_all(&self.directory).context("taking the engines' files away")
    }
}

#[expect(clippy::disallowed_methods, reason = "other work on the machine ends without a sign")]
fn pause() {
    thread::sleep(PAUSE);
}

fn probe(program: &Path, directory: &Path) -> Result<f64> {
    let mut command = Command::new(program);
    command.arg("device").arg(directory);
    number(&answer(command).context("probing the device")?, "write_and_sync_p50_us")
}

/// Runs the driver and parses the object that it prints.
fn answer(mut command: Command) -> Result<Value> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot be started")?;
    ensure!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).context("its answer is not JSON")
}

/// Number at a path of an object.
fn number(object: &Value, path: &str) -> Result<f64> {
    let found = object.pointer(&format!("/{path}")).and_then(Value::as_f64);
    found.with_context(|| format!("{object} has no number at {path}"))
}

/// User time of all programs of the machine, in seconds. Kernel time is left out: it also serves
/// the run.
fn processor_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    // The first line sums all processors; its first two fields are user and nice time.
    let mut fields = stat.split_whitespace().skip(1).map(str::parse::<f64>);
    let mut ticks = || fields.next().context("/proc/stat ends early");
    Ok((ticks()?? + ticks()??) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_are_not_there_are_an_error() {
        let printed = serde_json::json!({ "latency": { "p50_us": 1.5 } });
        assert_eq!(number(&printed, "latency/p50_us").unwrap(), 1.5);
        assert!(number(&printed, "latency/p99_us").is_err());
    }

    #[test]
    fn processor_time_only_grows() {
        let before = processor_seconds().unwrap();
        assert!(before > 0.0 && processor_seconds().unwrap() >= before);
    }

    #[test]
    fn a_program_that_fails_is_no_answer() {
        assert!(answer(Command::new("false")).is_err());
        assert!(answer(Command::new("true")).is_err(), "nothing is not JSON");
    }
}
