//! The common parts of the PostgreSQL servers.
//!
//! Role `postgres` without a password, TCP on loopback only. Writes are synced, as on a real
//! server.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    cache::run,
    ports,
    process::Signal,
    service::{Place, Service},
    unprivileged,
};

/// Settings of every server. Enough connections for test programs side by side; small buffers.
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=64MB",
    "wal_level=logical",
    "max_wal_senders=20",
    "max_replication_slots=20",
    "max_prepared_transactions=64",
];
const LOCK_FILE: &str = "postmaster.pid";
/// Line of the lock file with the server's state, and the state in which it answers.
const STATE_LINE: usize = 7;
const READY: &str = "ready";

/// A PostgreSQL server: a version, or a role among servers.
pub(crate) struct PostgresServer {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) needs: &'static [&'static str],
    /// Finds or downloads the programs.
    pub(super) programs: fn() -> Result<PathBuf>,
    /// Creates the data directory with these programs.
    pub(super) prepare: fn(&Path, &Place) -> Result<()>,
}

impl Service for PostgresServer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn needs(&self) -> &'static [&'static str] {
        self.needs
    }

    fn programs(&self) -> Result<PathBuf> {
        (self.programs)()
    }

    fn prepare(&self, programs: &Path, place: &Place) -> Result<()> {
        fs::create_dir_all(place.small_disk())?;
        (self.prepare)(programs, place)
    }

    /// The server takes the process in its lock file for alive if the process was never waited for,
    /// which happens in containers.
    fn clear(&self, place: &Place) -> Result<()> {
        let path = place.data().join(LOCK_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| path.display().to_string()),
        }
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let program = programs.join("postgres");
        let mut command = match place.small_disk_bytes {
            Some(bytes) => unprivileged::command_with_disk(program, &place.small_disk(), bytes),
            None => unprivileged::command(program),
        };
        command.arg("-D").arg(place.data()).arg("-p").arg(place.port.to_string());
        // Later settings win, so a test may change any of them.
        let settings = SETTINGS.iter().copied().chain(place.settings.iter().map(String::as_str));
        for setting in settings {
            command.args(["-c", setting]);
        }
        command
    }

    /// A replica is ready once it has caught up far enough to answer queries.
    fn is_ready(&self, place: &Place) -> bool {
        // After a crash the file is an old one until the new server listens.
        if !ports::is_open(place.port) {
            return false;
        }
        let state = fs::read_to_string(place.data().join(LOCK_FILE)).unwrap_or_default();
        state.lines().nth(STATE_LINE).is_some_and(|state| state.trim() == READY)
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    fn stop_signal(&self) -> Signal {
        // Fast shutdown: rolls open transactions back and closes connections.
        Signal::INT
    }
}

/// Creates an empty database cluster.
pub(super) fn create_cluster(programs: &Path, place: &Place) -> Result<()> {
    let mut create = unprivileged::command(programs.join("initdb"));
    create.arg("--pgdata").arg(place.data());
    create.args(["--username", "postgres", "--auth", "trust"]);
    create.args(["--encoding", "UTF8", "--locale", "C", "--no-sync"]);
    run(&mut create).map(drop)
}
