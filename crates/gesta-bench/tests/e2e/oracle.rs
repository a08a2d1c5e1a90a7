//! Crash-test oracle: a store written by `gesta-bench record`, and the log of its acknowledgements.
//!
//! Invariant: a line is in the log before it is used, and the log is checked elsewhere:
//! `gesta-bench check` reads the store back in another process.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gesta_bench::load::clock::Stopwatch;
use serde_json::Value;

const POLL: Duration = Duration::from_micros(500);
const KILL: i32 = 9;
/// Limit of the time until enough appends are acknowledged.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store and the log of its acknowledgements.
pub(super) struct OracleStore {
    program: PathBuf,
    directory: PathBuf,
    pub(super) log: PathBuf,
    runs: u32,
}

/// Time of a kill.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// After the start of the program.
    AfterStart(Duration),
    /// After this number of acknowledged appends, and this time.
    AfterAppends(u64, Duration),
}

/// Result of `gesta-bench check`.
pub(super) struct OracleReport {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unanswered_present: u64,
    pub(super) events: u64,
    pub(super) opened: Duration,
}

impl OracleStore {
    /// Creates an empty store below a directory.
    pub(super) fn new(program: &Path, below: &Path) -> Result<Self> {
        let directory = below.join("store");
        fs::create_dir_all(&directory)?;
        let log = below.join("log");
        Ok(Self { program: program.to_owned(), directory, log, runs: 0 })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        let url = format!("gesta:{}", self.directory.display());
        command.args([verb, "--store", &url]).stdin(Stdio::null());
        command
    }

    /// Command of the next run's writer; its standard output belongs in the log.
    pub(super) fn writer(&mut self, arguments: &[&str]) -> Command {
        self.runs += 1;
        let mut command = self.command("record");
        command.args(["--life", &self.runs.to_string()]).args(arguments);
        command.stdout(Stdio::piped());
        command
    }

    /// Runs a writer until it is killed.
    pub(super) fn run_until_killed(&mut self, arguments: &[&str], kill: Kill) -> Result<()> {
        let mut child = self.writer(arguments).spawn().context("the program cannot be started")?;
        let started = Stopwatch::start();
        let acknowledged = AtomicU64::new(0);
        let output = child.stdout.take().context("its standard output is piped")?;
        let status = thread::scope(|scope| {
            let recorder = scope.spawn(|| self.record(output, &acknowledged));
            let ended = kill_at(&mut child, started, kill, &acknowledged);
            let recorded = recorder.join().expect("the recorder of the log does not panic");
            recorded.and(ended)
        })?;
        ensure!(status.signal() == Some(KILL), "the writer ended before it was killed: {status}");
        Ok(())
    }

    /// Appends the writer's output to the log until it is closed.
    pub(super) fn record(&self, output: ChildStdout, acknowledged: &AtomicU64) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut file = BufWriter::new(file);
        for line in BufReader::new(output).lines() {
            let line = line?;
            acknowledged.fetch_add(u64::from(line.starts_with("ack ")), Ordering::Release);
            writeln!(file, "{line}")?;
        }
        Ok(file.flush()?)
    }

    /// Reads the store back and compares it with the log.
    pub(super) fn check(&self) -> Result<OracleReport> {
        // The log is missing if no run printed a line.
        drop(File::options().create(true).append(true).open(&self.log)?);
        let output = self.command("check").arg(&self.log).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "life {}: {error}", self.runs);
        let found: Value = serde_json::from_slice(&output.stdout)?;
        let number = |name: &str| {
            found.get(name).and_then(Value::as_u64).with_context(|| format!("{name} in {found}"))
        };
        let opened = found.get("open_seconds").and_then(Value::as_f64);
        Ok(OracleReport {
            acknowledged: number("acknowledged")?,
            refused: number("refused")?,
            unanswered_present: number("open_and_there")?,
            events: number("events")?,
            opened: Duration::from_secs_f64(opened.context("how long it took to open")?),
        })
    }

    /// Number of segments, and of runs of the index.
    pub(super) fn files(&self) -> Result<(usize, usize)> {
        let (mut segments, mut runs) = (0, 0);
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let end = Path::new(&name).extension().and_then(|end| end.to_str());
            segments += usize::from(end == Some("seg"));
            runs += usize::from(end == Some("run"));
        }
        Ok((segments, runs))
    }
}

fn kill_at(
    child: &mut Child,
    started: Stopwatch,
    kill: Kill,
    acknowledged: &AtomicU64,
) -> Result<ExitStatus> {
    // Time of the kill, measured from the start of the program.
    let (rest, in_time) = match kill {
        Kill::AfterStart(time) => (time, true),
        Kill::AfterAppends(appends, time) => {
            let reached = |child: &mut Child| -> Result<bool> {
                Ok(acknowledged.load(Ordering::Acquire) >= appends || child.try_wait()?.is_some())
            };
            while !reached(child)? && started.elapsed() < PATIENCE {
                thread::park_timeout(POLL);
            }
            let waited = started.elapsed();
            (waited + time, waited < PATIENCE)
        }
    };
    while let Some(left) = rest.checked_sub(started.elapsed()) {
        // A wake-up may be spurious, so the remaining time is computed again.
        thread::park_timeout(left);
    }
    // A writer that ended by itself is found by its status.
    child.kill()?;
    let status = child.wait()?;
    ensure!(in_time, "too little was acknowledged within the time limit");
    Ok(status)
}
