//! One program with an official client.

use std::{ffi::OsString, path::PathBuf, process::Command};

use super::server::{Server, StoreKind};

/// A script with the program that runs it, or a program; the address of the server is its last
/// argument.
pub(super) struct Client {
    pub(super) title: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// The packages of a script for Node.
    pub(super) packages: Option<PathBuf>,
}

impl Client {
    pub(super) fn command(&self, server: &Server, store: StoreKind) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(&server.address);
        command.env("GESTA_CLIENT_STORE", store.name());
        if let Some(packages) = &self.packages {
            command.env("NODE_PATH", packages);
        }
        command
    }
}
