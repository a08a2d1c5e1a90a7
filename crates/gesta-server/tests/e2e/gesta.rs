//! The program `gesta serve` as a process of its own.
//!
//! Owns: [`Gesta`], which is killed when it is dropped, and its memory as the system counts it. The
//! program is built once, in debug for the short form and in release for the full one.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use gesta_services::{
    e2e::{self, is_full},
    free_port,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tonic::transport::{Channel, Endpoint};

use crate::{
    client::{Client, Credentials, streams_client::StreamsClient},
    group_client::GroupClient,
};

/// A running server.
pub(crate) struct Gesta {
    pub(crate) address: SocketAddr,
    arguments: Vec<OsString>,
    child: Child,
    /// Kept open: the server prints to it in the end.
    _output: BufReader<ChildStdout>,
}

impl Gesta {
    /// Serves the store in a directory without protection.
    pub(crate) fn start(store: &Path, options: &[&str]) -> Result<Self> {
        let options = options.iter().copied().chain(["--insecure"]);
        Self::start_with(store, &options.collect::<Vec<_>>())
    }

    /// Serves the store in a directory with these options.
    pub(crate) fn start_with(store: &Path, options: &[&str]) -> Result<Self> {
        fs::create_dir_all(store)?;
        // Clients of a test are in this process.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let store = format!("gesta:{}", store.display());
        let arguments = ["serve", "--json", "--store", &store, "--listen", &address.to_string()];
        let arguments: Vec<_> =
            arguments.iter().chain(options).map(|argument| OsString::from(*argument)).collect();
        let (child, output) = spawn(&arguments)?;
        Ok(Self { address, arguments, child, _output: output })
    }

    /// Kills the process with `SIGKILL`.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts the server again after a kill, at the same address.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let (child, output) = spawn(&self.arguments)?;
        (self.child, self._output) = (child, output);
        Ok(())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A channel that connects when it is used, and again after each loss.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect_timeout(Duration::from_secs(10)).connect_lazy()
    }

    pub(crate) async fn client(&self) -> Client {
        StreamsClient::with_interceptor(self.channel().await, Credentials::default())
    }

    pub(crate) async fn groups(&self) -> GroupClient {
        GroupClient::new(self.channel().await)
    }

    /// Returns the resident memory now, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        resident_kib(self.child.id())
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Gesta {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.kill());
    }
}

/// Returns the resident memory of a process, in KiB.
pub(crate) fn resident_kib(process_id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

/// Starts the program, and returns when it serves.
fn spawn(arguments: &[OsString]) -> Result<(Child, BufReader<ChildStdout>)> {
    let mut child = Command::new(program()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("gesta cannot be started")?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    while !line.contains("\"address\"") {
        line.clear();
        let read = output.read_line(&mut line)?;
        ensure!(read > 0, "gesta ended while it started: {:?}", child.wait());
    }
    Ok((child, output))
}

/// Builds the program for the form of the test, and returns its path.
pub(crate) fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let build = if is_full() { e2e::program } else { e2e::debug_program };
    let program = build("gesta-cli", "gesta")?;
    Ok(PROGRAM.get_or_init(|| program))
}
