//! The shop as a server process of a check.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use gesta::EventId;
use gesta_services::e2e::{empty_directory, program};
use serde_json::Value;

use crate::client::Client;

const POLL: Duration = Duration::from_millis(20);
const POLLS_MAX: usize = 1_500;
/// Address of `shop demo`.
const DEMO_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3_000));

/// Builds the command-line tool. Returns its path.
pub(super) fn gesta() -> Result<PathBuf> {
    program("gesta-cli", "gesta")
}

/// The built shop and the directory for its stores.
pub(super) struct Shop {
    program: PathBuf,
    gesta: PathBuf,
    directory: PathBuf,
}

impl Shop {
    /// Builds the program, and creates an empty directory of this name.
    pub(super) fn build(name: &str) -> Result<Self> {
        let (program, directory) = (program("shop", "shop")?, empty_directory(name)?);
        Ok(Self { program, gesta: gesta()?, directory })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Path of a store.
    pub(super) fn store(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Appends an event directly to a store that is not served.
    pub(super) fn append(
        &self,
        store: &Path,
        stream: &str,
        event_type: &str,
        data: &Value,
    ) -> Result<()> {
        let id = EventId::random().to_string();
        self.append_with_id(store, stream, &id, (event_type, data))
    }

    /// Appends an event with this id to a store that is not served.
    pub(super) fn append_with_id(
        &self,
        store: &Path,
        stream: &str,
        id: &str,
        (event_type, data): (&str, &Value),
    ) -> Result<()> {
        fs::create_dir_all(store)?;
        let output = Command::new(&self.gesta)
            .args(["append", "--store", &url(store), "--type", event_type, "--id", id])
            .args(["--data", &data.to_string(), stream])
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "gesta append {stream}: {error}");
        Ok(())
    }

    /// Deletes a stream of a store that is not served.
    pub(super) fn delete(&self, store: &Path, stream: &str) -> Result<()> {
        let output = Command::new(&self.gesta)
            .args(["delete", "--yes", "--store", &url(store), stream])
            .stdin(Stdio::null())
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "gesta delete {stream}: {error}");
        Ok(())
    }

    /// Imports a table into a store that is not served.
    pub(super) fn import(&self, table: &Path, store: &Path) -> Result<()> {
        let mut import = Command::new(&self.program);
        import.arg("import").arg(table).args(["--store", &url(store)]).stdout(Stdio::null());
        let status = import.stdin(Stdio::null()).status()?;
        ensure!(status.success(), "shop import: {status}");
        Ok(())
    }

    /// Returns the shop's report on a store that is not served.
    pub(super) fn report(&self, store: &Path) -> Result<Value> {
        let mut report = Command::new(&self.program);
        let output = report.args(["report", "--json", "--store", &url(store)]).output()?;
        ensure!(output.status.success(), "shop report: {}", output.status);
        serde_json::from_slice(&output.stdout).context("shop report --json")
    }

    /// Starts `shop demo` in an empty directory: it imports its sample and serves.
    pub(super) fn demo(&self) -> Result<Server> {
        let child = Command::new(&self.program)
            .arg("demo")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("the shop cannot be started")?;
        Server { child, address: DEMO_ADDRESS }.once_ready()
    }

    /// Serves a store on a free port; returns when it is ready.
    pub(super) fn serve(&self, store: &Path) -> Result<Server> {
        self.start(store)?.once_ready()
    }

    /// Serves a store whose users are welcomed `seconds` after they were created, and which finds
    /// events by every id that a request may name.
    pub(super) fn serve_with_late_welcomes(&self, store: &Path, seconds: u64) -> Result<Server> {
        let url = format!("{}?index=event-id,correlation,causation", url(store));
        self.start_with(&url, &["--welcome-after", &seconds.to_string()])?.once_ready()
    }

    /// Starts serving a store on a free port, without waiting.
    pub(super) fn start(&self, store: &Path) -> Result<Server> {
        self.start_with(&url(store), &[])
    }

    fn start_with(&self, url: &str, options: &[&str]) -> Result<Server> {
        // The system picks a free port; a race for it is unlikely on a test machine.
        let free = TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        drop(free);
        let child = Command::new(&self.program)
            .args(["serve", "--listen", &address.to_string(), "--store", url])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("the shop cannot be started")?;
        Ok(Server { child, address })
    }
}

fn url(store: &Path) -> String {
    format!("gesta:{}", store.display())
}

/// A running shop; killed when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    fn once_ready(mut self) -> Result<Self> {
        for _ in 0..POLLS_MAX {
            if self.ready() {
                return Ok(self);
            }
            // Report a failed start at once instead of after the time limit.
            ensure!(self.child.try_wait()?.is_none(), "the shop ended while it started");
            thread::park_timeout(POLL);
        }
        bail!("the shop was not ready in time")
    }

    fn ready(&self) -> bool {
        let answer =
            Client::connect(self.address).and_then(|mut client| client.get("/health/ready", &[]));
        answer.is_ok_and(|reply| reply.status == 200)
    }

    /// Kills the process with `SIGKILL`.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.kill());
    }
}
