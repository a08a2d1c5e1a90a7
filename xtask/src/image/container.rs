//! Runs of a built image, as `docker run --read-only` runs it: with fresh volumes, as the image's
//! user, on the network of this machine.
//!
//! Invariant: a program that is still running when its value is dropped is killed.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    image::{
        build::{BuiltImage, inside},
        dockerfile::Owner,
    },
    step::{Stopwatch, step},
};

/// The time that a program has until it answers.
const START: Duration = Duration::from_secs(60);
/// The time that Docker gives a program to end.
const STOP: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);

/// Arguments, variables and files of a run, next to those of the image.
pub(super) struct ContainerOptions<'a> {
    pub(super) arguments: &'a [&'a str],
    pub(super) environment: Vec<(String, String)>,
    /// Files for the program: a directory, and its place in the root.
    pub(super) files: Option<(&'a Path, &'a str)>,
}

/// A program that runs in an image.
pub(super) struct Container {
    process: Child,
}

/// Gives an image the volumes of its Dockerfile, in a directory that is made anew. Only they can be
/// written to from now on.
pub(super) fn add_volumes(image: &mut BuiltImage, folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let mut volumes = Vec::new();
    for (index, volume) in image.volumes.iter().enumerate() {
        let directory = folder.join(index.to_string());
        // A new volume begins with what the image has in its place.
        let mut copy = Command::new("cp");
        copy.arg("--archive").arg(inside(&image.enclosed.root, volume)).arg(&directory);
        step(&format!("VOLUME {volume}"), &mut copy)?;
        image.enclosed.mounts.push((directory.clone(), volume.clone()));
        volumes.push(directory);
    }
    image.enclosed.is_read_only = true;
    Ok(volumes)
}

impl Container {
    /// Starts the image's entry point.
    pub(super) fn start(image: &mut BuiltImage, options: &ContainerOptions<'_>) -> Result<Self> {
        let enclosed = &mut image.enclosed;
        let Owner { user, group } = enclosed.owner;
        ensure!(user != 0 && group != 0, "the image's user is root");
        ensure!(!image.entrypoint.is_empty(), "the image has no entry point");
        let (mounts, variables) = (enclosed.mounts.len(), enclosed.environment.len());
        enclosed.environment.extend(options.environment.iter().cloned());
        enclosed.mounts.extend(options.files.map(|(from, to)| (from.to_owned(), to.to_owned())));
        let entrypoint = image.entrypoint.iter().map(String::as_str);
        let mut command = enclosed.command(entrypoint.chain(options.arguments.iter().copied()));
        enclosed.mounts.truncate(mounts);
        enclosed.environment.truncate(variables);
        println!("\n== ENTRYPOINT {:?} {:?}", image.entrypoint, options.arguments);
        let process = command.stdin(Stdio::null()).spawn().context("unshare cannot be started")?;
        Ok(Self { process })
    }

    /// Waits until a URL answers with a status below 400.
    pub(super) fn ask(&mut self, url: &str, more: &[&str]) -> Result<()> {
        let stopwatch = Stopwatch::start();
        let mut curl = Command::new("curl");
        curl.args(["--fail", "--silent", "--show-error", "--max-time", "10"]).args(more).arg(url);
        loop {
            let output = curl.output().context("curl cannot be started")?;
            if let Some(status) = self.process.try_wait()? {
                bail!("the program ended by itself, with {status}");
            }
            if output.status.success() {
                let answer = String::from_utf8_lossy(&output.stdout);
                println!("\n== GET {url}: {}", answer.trim());
                return Ok(());
            }
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(stopwatch.elapsed() < START, "no answer within {START:?}: {}", error.trim());
            thread::park_timeout(POLL);
        }
    }

    /// Stops the program as Docker does, and expects a graceful end.
    pub(super) fn stop(mut self) -> Result<()> {
        let stopwatch = Stopwatch::start();
        let pid = self.process.id().to_string();
        step("SIGTERM", Command::new("kill").args(["-TERM", &pid]))?;
        loop {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "the program ended with {status}");
                return Ok(());
            }
            ensure!(stopwatch.elapsed() < STOP, "the program has not ended within {STOP:?}");
            thread::park_timeout(POLL);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns a port of loopback that is free now.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
