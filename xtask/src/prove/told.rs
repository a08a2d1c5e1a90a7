//! A store that `gesta bench tell` appends to, and the log of what it told, kept by this process.
//!
//! Always holds: a line is in the log before anything is judged by it, and nothing is judged here:
//! `gesta bench recount` reads the store back in a process of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Ground;
use crate::step::{Stopwatch, cargo, step};

const POLL: Duration = Duration::from_micros(500);
const KILL: i32 = 9;
/// How long a store may take until its first acknowledgement, and after what ends it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds the program; gives it and an empty directory of this name for a check.
pub(super) fn build(ground: &Ground, name: &str) -> Result<(PathBuf, PathBuf)> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "gesta-cli"]).current_dir(&ground.root);
    step("the program gesta, release build", &mut build)?;
    let directory = ground.target_directory.join("prove").join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    Ok((ground.target_directory.join("release/gesta"), directory))
}

/// A store with its log.
pub(super) struct ToldStore {
    gesta: PathBuf,
    directory: PathBuf,
    pub(super) log: PathBuf,
    lives: u32,
}

/// When a life ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// So long after the program was started.
    AfterStart(Duration),
    /// So long after the first acknowledgement was told.
    AfterFirst(Duration),
}

/// What `gesta bench recount` found.
pub(super) struct Recounted {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) open_and_there: u64,
    pub(super) events: u64,
    pub(super) opened: Duration,
}

impl ToldStore {
    /// An empty one, below a directory.
    pub(super) fn new(gesta: &Path, below: &Path) -> Result<Self> {
        let directory = below.join("store");
        fs::create_dir_all(&directory)?;
        let log = below.join("log");
        Ok(Self { gesta: gesta.to_owned(), directory, log, lives: 0 })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.gesta);
        let url = format!("gesta:{}", self.directory.display());
        command.args(["bench", verb, "--store", &url]).stdin(Stdio::null());
        command
    }

    /// What appends to it in its next life; its standard output is for the log.
    pub(super) fn tell(&mut self, arguments: &[&str]) -> Command {
        self.lives += 1;
        let mut command = self.command("tell");
        command.args(["--life", &self.lives.to_string()]).args(arguments);
        command.stdout(Stdio::piped());
        command
    }

    /// Lets it append until it is killed.
    pub(super) fn live(&mut self, arguments: &[&str], kill: Kill) -> Result<()> {
        let mut child = self.tell(arguments).spawn().context("the program cannot be started")?;
        let started = Stopwatch::start();
        let acknowledged = AtomicUsize::new(0);
        let output = child.stdout.take().context("its standard output is piped")?;
        let status = thread::scope(|scope| {
            let keeper = scope.spawn(|| self.keep(output, &acknowledged));
            let ended = kill_at(&mut child, started, kill, &acknowledged);
            let kept = keeper.join().expect("the keeper of the log does not panic");
            kept.and(ended)
        })?;
        ensure!(status.signal() == Some(KILL), "it ended before it was killed: {status}");
        Ok(())
    }

    /// Keeps what is told until nobody can tell any more.
    pub(super) fn keep(&self, told: ChildStdout, acknowledged: &AtomicUsize) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut file = BufWriter::new(file);
        for line in BufReader::new(told).lines() {
            let line = line?;
            acknowledged.fetch_add(usize::from(line.starts_with("ack ")), Ordering::Release);
            writeln!(file, "{line}")?;
        }
        Ok(file.flush()?)
    }

    /// Reads everything back.
    pub(super) fn recount(&self) -> Result<Recounted> {
        // There is none if no life came as far as to its first line.
        drop(File::options().create(true).append(true).open(&self.log)?);
        let output = self.command("recount").arg("--json").arg(&self.log).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "life {}: {error}", self.lives);
        let found: Value = serde_json::from_slice(&output.stdout)?;
        let number = |name: &str| {
            found.get(name).and_then(Value::as_u64).with_context(|| format!("{name} in {found}"))
        };
        let opened = found.get("open_seconds").and_then(Value::as_f64);
        Ok(Recounted {
            acknowledged: number("acknowledged")?,
            refused: number("refused")?,
            open_and_there: number("open_and_there")?,
            events: number("events")?,
            opened: Duration::from_secs_f64(opened.context("how long it took to open")?),
        })
    }

    /// How many segments and how many runs of the index it has.
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
    acknowledged: &AtomicUsize,
) -> Result<ExitStatus> {
    let rest = match kill {
        Kill::AfterStart(time) => time,
        Kill::AfterFirst(time) => {
            let begun = |child: &mut Child| -> Result<bool> {
                Ok(acknowledged.load(Ordering::Acquire) > 0 || child.try_wait()?.is_some())
            };
            while !begun(child)? && started.elapsed() < PATIENCE {
                thread::park_timeout(POLL);
            }
            started.elapsed() + time
        }
    };
    while let Some(left) = rest.checked_sub(started.elapsed()) {
        thread::park_timeout(left);
    }
    // A child that has ended by itself is told by its status.
    child.kill()?;
    let status = child.wait()?;
    ensure!(started.elapsed() < PATIENCE + rest, "nothing was acknowledged in time");
    Ok(status)
}
