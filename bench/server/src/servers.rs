//! The processes of servers: their start, their memory, their processor time, their end.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Time that a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);

/// A program and how it is started.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    Gesta(PathBuf),
    Umadb(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Gesta,
    Umadb,
}

/// A server that answers. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    /// From the start of the process until it answered.
    pub(crate) ready_after: Duration,
    child: Child,
}

impl Program {
    /// Starts the server on a directory and waits until it answers.
    pub(crate) fn start(self, name: &str, directory: &Path) -> Result<Running> {
        fs::create_dir_all(directory)?;
        let address = free_address()?;
        let (peer, mut command) = match &self {
            Self::Gesta(program) => {
                let mut command = Command::new(program);
                let store = format!("gesta:{}", directory.display());
                command.args(["serve", "--insecure", "--store", &store, "--listen"]);
                command.arg(address.to_string());
                (Peer::Gesta, command)
            }
            Self::Umadb(program) => {
                let mut command = Command::new(program);
                command.arg("--listen").arg(address.to_string()).arg("--db-path").arg(directory);
                (Peer::Umadb, command)
            }
        };
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let ready_after = Duration::ZERO;
        let mut running = Running { name: name.to_owned(), peer, address, ready_after, child };
        running.wait_until_ready(began)?;
        running.ready_after = began.elapsed();
        Ok(running)
    }
}

impl Running {
    fn wait_until_ready(&mut self, began: Instant) -> Result<()> {
        loop {
            let answers = match self.peer {
                Peer::Gesta => says_that_it_is_ready(self.address),
                Peer::Umadb => TcpStream::connect(self.address).is_ok(),
            };
            if answers {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended: {status}", self.name);
            }
            ensure!(began.elapsed() < START_MAX, "{} does not answer", self.name);
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        Ok(1_024 * kilobytes.unwrap_or(0_u64))
    }

    /// Returns the processor time so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program may have spaces.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_secs(ticks) / u32::try_from(ticks_per_second).unwrap_or(100))
    }

    /// Ends the process without warning.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The data are removed afterwards, so that nothing is lost by the kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn says_that_it_is_ready(address: SocketAddr) -> bool {
    let asked = || -> std::io::Result<Vec<u8>> {
        let mut connection = TcpStream::connect(address)?;
        let host = address.to_string();
        let request =
            format!("GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 2"))
}
