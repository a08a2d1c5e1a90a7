//! The interface of a service: how its programs are obtained, started, seen to be ready, stopped.
//!
//! Not here: processes, ports and files of a running server (`server.rs`).

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::process::Signal;

/// A kind of server that tests may ask for.
pub(crate) trait Service: Sync {
    /// Unique name, in lower case with hyphens.
    fn name(&self) -> &'static str;

    /// The program with its version, for people.
    fn about(&self) -> &'static str;

    /// Names of the services that have to run first.
    fn needs(&self) -> &'static [&'static str] {
        &[]
    }

    /// Makes the programs available, and returns the directory that contains them.
    ///
    /// # Errors
    ///
    /// If they cannot be downloaded or are not installed. The error says how to install them.
    fn programs(&self) -> Result<PathBuf>;

    /// Fills the empty data directory before the first start.
    fn prepare(&self, programs: &Path, place: &Place) -> Result<()>;

    /// Removes what a killed server leaves and what could keep the next one from starting. Called
    /// before each start, without a running server.
    fn clear(&self, place: &Place) -> Result<()> {
        let _ = place;
        Ok(())
    }

    /// Returns the command that runs the server in the foreground.
    fn command(&self, programs: &Path, place: &Place) -> Command;

    /// Time within which the server answers after it was started.
    fn ready_within(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Returns whether the server answers.
    fn is_ready(&self, place: &Place) -> bool;

    /// Returns the URL for clients.
    fn url(&self, port: u16) -> String;

    /// The signal that ends the server in an orderly and quick way.
    fn stop_signal(&self) -> Signal {
        Signal::TERM
    }
}

/// Place of one server: its directory and ports.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
    /// Settings of this server only, such as `max_connections=5`.
    pub(crate) settings: Vec<String>,
    /// Size of the small disk that only this server sees, in bytes.
    pub(crate) small_disk_bytes: Option<u64>,
    /// Ports of the services that this one needs.
    pub(crate) needed: Vec<(&'static str, u16)>,
}

impl Place {
    /// Directory of the server's data.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// File to which the server's output is appended.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Directory of the small disk.
    pub(crate) fn small_disk(&self) -> PathBuf {
        self.directory.join("small-disk")
    }

    /// Returns the port of a service that this one needs.
    pub(crate) fn port_of(&self, name: &str) -> Result<u16> {
        let found = self.needed.iter().find(|(needed, _)| *needed == name);
        found.map(|(_, port)| *port).with_context(|| format!("{name} does not run"))
    }
}
