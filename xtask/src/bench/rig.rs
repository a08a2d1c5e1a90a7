//! The driver with its peers, run once for each figure.
//!
//! Always holds: before and after a run the device is probed, and the processor time of others is
//! counted during it. A run waits for a quiet device, and is made again when the machine had other
//! work meanwhile; after so many attempts the last one counts, and is marked as disturbed.

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
    loads::{Kind, Load},
    rounds::Run,
};
use crate::{
    house::House,
    step::{Stopwatch, cargo, step},
};

/// How much slower than at its best the device may be beside a run.
const DEVICE_SLOWER_MAX: f64 = 1.5;
/// How much of one processor others may have beside a run.
const OTHERS_MAX: f64 = 0.15;
const ATTEMPTS_MAX: usize = 3;
/// How often a run waits for the device, and how long each time. A device that only now took much
/// may be slower for a while.
const PAUSES_MAX: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);
/// How the kernel counts processor time for programs.
const TICKS_A_SECOND: f64 = 100.0;

/// The built driver, and where its engines keep their files.
pub(super) struct Rig {
    program: PathBuf,
    directory: PathBuf,
    /// What 4 KiB take on the bare device, in microseconds: at its best, and last.
    best_us: f64,
    last_us: f64,
}

impl Rig {
    pub(super) fn build(house: &House, directory: Option<&Path>) -> Result<Self> {
        let target = house.target_directory.join("bench");
        let manifest = house.root.join("bench/Cargo.toml");
        let mut build = cargo();
        build.args(["build", "--release", "--manifest-path"]).arg(manifest);
        step("the driver with its peers", build.arg("--target-dir").arg(&target))?;
        let directory = match directory {
            Some(directory) => directory.to_owned(),
            None => house.target_directory.join("bench-data"),
        };
        fs::create_dir_all(&directory)?;
        let program = target.join("release/gesta-bench");
        let first = probe(&program, &directory)?;
        Ok(Self { program, directory, best_us: first, last_us: first })
    }

    /// Does what has to be done before the first run of a load.
    pub(super) fn prepare(&self, load: &Load, engine: &str, events: u64) -> Result<()> {
        let Some(arguments) = load.preparation(events) else { return Ok(()) };
        let mut command = self.command(load, engine, arguments);
        let status = command.status().context("the driver cannot be started")?;
        ensure!(status.success(), "preparing {} of {engine}: {status}", load.name);
        Ok(())
    }

    /// One run, if need be made again.
    pub(super) fn run(&mut self, load: &Load, engine: &str, seconds: f64) -> Result<Run> {
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

    fn attempt(&mut self, load: &Load, engine: &str, seconds: f64) -> Result<Run> {
        let was_slow = self.is_slow();
        let (stopwatch, others_before) = (Stopwatch::start(), processor_seconds()?);
        let result = answer(self.command(load, engine, load.arguments(seconds)))
            .with_context(|| format!("{} of {engine}", load.name))?;
        let own = number(&result, "all_user_seconds")?;
        let others = processor_seconds()? - others_before - own;
        let share = others / stopwatch.elapsed().as_secs_f64();
        self.probe()?;
        let is_disturbed = was_slow || self.is_slow() || share > OTHERS_MAX;
        Ok(Run { result, is_disturbed })
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
            // What it was filled with is read in every round.
            Kind::Read(_) => self.directory.join(format!("{}-{engine}", load.name)),
            Kind::Append(..) | Kind::Subscribe(_) => self.directory.join(engine),
            Kind::Turns(..) => self.directory.join("turns"),
        };
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--directory").arg(directory);
        // Those that take turns were named.
        if !matches!(load.kind, Kind::Turns(..)) {
            command.args(["--engine", engine]);
        }
        command
    }

    fn probe(&mut self) -> Result<()> {
        self.last_us = probe(&self.program, &self.directory)?;
        self.best_us = self.best_us.min(self.last_us);
        Ok(())
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes the engines' files away.
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

/// The object that the driver prints.
fn answer(mut command: Command) -> Result<Value> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot be started")?;
    ensure!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).context("its answer is not JSON")
}

/// A number of an object, by its path.
fn number(object: &Value, path: &str) -> Result<f64> {
    let found = object.pointer(&format!("/{path}")).and_then(Value::as_f64);
    found.with_context(|| format!("there is no number {path} in {object}"))
}

/// Processor time that all programs of the machine spent outside the kernel, which works for the
/// run as well.
fn processor_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
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
