//! The driver with its peers, run once for each figure.
//!
//! Always holds: before and after a run the device is probed, and the processor time of others is
//! counted during it. A run waits for a quiet device, and is made again when the machine had other
//! work meanwhile; after so many attempts the last one counts, and is marked as disturbed.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Load;
use crate::{
    house::House,
    step::{Stopwatch, cargo, step},
};

/// How much slower than at its best the device may be beside a run.
const DEVICE_SLOWER_MAX: f64 = 1.5;
/// How much of one processor others may have beside a run.
const OTHERS_MAX: f64 = 0.15;
const ATTEMPTS_MAX: usize = 4;
/// How often a run waits for the device, and how long each time. A device that only now took much
/// may be slower for a while.
const PAUSES_MAX: usize = 10;
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

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Run {
    pub(super) events_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Processor time of the whole process, for one event.
    pub(super) cpu_us: f64,
    pub(super) memory_bytes: f64,
    /// What the files take, for one event.
    pub(super) disk_bytes: f64,
    pub(super) is_disturbed: bool,
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

    /// One run, if need be made again.
    pub(super) fn append(&mut self, load: &Load, engine: &str, seconds: f64) -> Result<Run> {
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
        let result = answer(self.command(load, engine, seconds))
            .with_context(|| format!("{} of {engine}", load.name))?;
        let own = number(&result, "all_user_seconds")?;
        let others = processor_seconds()? - others_before - own;
        let share = others / stopwatch.elapsed().as_secs_f64();
        self.probe()?;
        let is_disturbed = was_slow || self.is_slow() || share > OTHERS_MAX;
        Ok(Run { is_disturbed, ..Run::read(&result)? })
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

    fn command(&self, load: &Load, engine: &str, seconds: f64) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["append", "--engine", engine, "--condition", load.condition]);
        command.arg("--directory").arg(self.directory.join(engine));
        command.args(["--writers", &load.writers.to_string()]);
        command.args(["--events-per-append", &load.events_per_append.to_string()]);
        command.args(["--seconds", &seconds.to_string()]);
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

impl Run {
    fn read(result: &Value) -> Result<Self> {
        let events = number(result, "events")?;
        ensure!(events > 0.0, "nothing was appended");
        let cpu = number(result, "user_seconds")? + number(result, "system_seconds")?;
        Ok(Self {
            events_per_second: number(result, "events_per_second")?,
            p50_us: number(result, "latency/p50_us")?,
            p99_us: number(result, "latency/p99_us")?,
            cpu_us: cpu * 1e6 / events,
            memory_bytes: number(result, "memory_bytes")?,
            disk_bytes: number(result, "disk_bytes")? / events,
            is_disturbed: false,
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events_per_second, p50_us, p99_us, cpu_us, is_disturbed, .. } = self;
        let disturbed = if *is_disturbed { "  (disturbed)" } else { "" };
        write!(
            f,
            "{events_per_second:>10.0} events/s, p50 {p50_us:>6.0} µs, p99 {p99_us:>6.0} µs, \
             {cpu_us:>5.1} µs of processor an event{disturbed}"
        )
    }
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
    fn a_run_is_read_from_what_the_driver_prints() {
        let printed = serde_json::json!({
            "events": 1_000, "events_per_second": 500.0, "latency": { "p50_us": 1.5, "p99_us": 9.0 },
            "user_seconds": 0.5, "system_seconds": 0.25, "memory_bytes": 7, "disk_bytes": 300_000,
        });
        let run = Run::read(&printed).unwrap();
        assert_eq!((run.events_per_second, run.p50_us, run.p99_us), (500.0, 1.5, 9.0));
        assert_eq!((run.cpu_us, run.disk_bytes), (750.0, 300.0));
        assert!(Run::read(&serde_json::json!({ "events": 0 })).is_err());
        assert!(Run::read(&serde_json::json!({})).is_err());
    }

    #[test]
    fn a_program_that_fails_is_no_answer() {
        assert!(answer(Command::new("false")).is_err());
        assert!(answer(Command::new("true")).is_err(), "nothing is not JSON");
    }
}
