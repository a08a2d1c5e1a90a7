//! The served shop: its address, its memory, and connections to it from any loopback address.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, is_full, program};
use rustix::{
    net::{AddressFamily, SocketType, bind, connect, socket, sockopt::set_socket_recv_buffer_size},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Size of a client's buffer of the system, in bytes.
const RECEIVE_BYTES: usize = 32 << 10;

/// A running shop; killed when dropped.
pub(super) struct Served {
    child: Child,
    pub(super) address: SocketAddr,
    /// Kept open: the shop prints to it in the end.
    _output: BufReader<ChildStdout>,
}

impl Served {
    /// Serves an empty store in a directory of this name.
    pub(super) fn start(name: &str) -> Result<Self> {
        // Its clients are in this process.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
        let program = match is_full() {
            true => program("shop", "shop")?,
            // Built with this test.
            false => env!("CARGO_BIN_EXE_shop").into(),
        };
        let mut child = Command::new(program)
            .args(["serve", "--store", "gesta:./store", "--listen", "127.0.0.1:0"])
            .current_dir(empty_directory(name)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the shop cannot be started")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        let address = loop {
            line.clear();
            ensure!(output.read_line(&mut line)? > 0, "the shop ended while it started");
            let Some(rest) = line.strip_prefix("listening on http://") else { continue };
            break rest.split(',').next().context("an address")?.parse()?;
        };
        Ok(Self { child, address, _output: output })
    }

    pub(super) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Connects from this address of the loopback network, so that the peers are told apart.
    pub(super) fn connect_from(&self, source: Ipv4Addr) -> Result<TcpStream> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        // Small, so that thousands of clients that read nothing leave the machine its memory.
        set_socket_recv_buffer_size(&socket, RECEIVE_BYTES)?;
        bind(&socket, &SocketAddr::from((source, 0)))?;
        connect(&socket, &self.address)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.kill());
    }
}

/// Returns the resident memory of a process, in KiB.
pub(super) fn resident_kib(process_id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

/// Reads all that a connection gets until it is closed, and returns the status of the first answer,
/// or 0 without one.
pub(super) fn status_at_the_end(stream: &mut TcpStream, within: Duration) -> Result<u16> {
    let end = Instant::now() + within;
    let (mut said, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "not closed: {}", String::from_utf8_lossy(&said));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => said.extend(part.iter().take(read)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Closed with some of the request unread.
            Err(_) => break,
        }
        ensure!(said.len() < 1 << 20, "an answer of more than 1 MiB");
    }
    let text = String::from_utf8_lossy(&said);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    Ok(status.map_or(Ok(0), str::parse)?)
}
