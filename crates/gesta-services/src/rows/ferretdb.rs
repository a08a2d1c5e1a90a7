//! `ferretdb`: FerretDB 1.24, a server of MongoDB's protocol with its documents in SQLite files.
//!
//! It is built from its Go module, once. It has no transactions and no change streams, and a
//! conditional update of it reads first and writes then. Later versions need an extension of
//! PostgreSQL that no package has.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    cache::GoModule,
    ports,
    service::{Place, Service},
};

const MODULE: GoModule = GoModule {
    name: "ferretdb",
    path: "github.com/FerretDB/FerretDB",
    version: "v1.24.2",
    sum: "h1:trrUU0LbmusMbyubhPS1IELncvrIwKrsRT2LW1UUWCw=",
    program: "./cmd/ferretdb",
    // The server panics at its start without it.
    files: &[["build/version/version.txt", "v1.24.2\n"]],
};

/// FerretDB, which stands in for MongoDB.
pub(crate) struct FerretDb;

impl Service for FerretDb {
    fn name(&self) -> &'static str {
        "ferretdb"
    }

    fn about(&self) -> &'static str {
        "FerretDB 1.24.2, a server of MongoDB's protocol"
    }

    fn programs(&self) -> Result<PathBuf> {
        MODULE.installed().context("FerretDB needs Go from version 1.24 on, and a module proxy")
    }

    fn prepare(&self, _: &Path, place: &Place) -> Result<()> {
        let data = place.data();
        std::fs::create_dir_all(&data).with_context(|| data.display().to_string())
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let data = place.data();
        let mut command = Command::new(programs.join(MODULE.name));
        command.args(["--handler=sqlite", "--telemetry=disable", "--log-level=warn"]);
        command.arg(format!("--sqlite-url=file:{}/", data.display()));
        command.arg(format!("--state-dir={}", data.display()));
        command.arg(format!("--listen-addr=127.0.0.1:{}", place.port)).arg("--debug-addr=-");
        // A test may add any option, such as `repl-set-name=rs0`.
        command.args(place.settings.iter().map(|setting| format!("--{setting}")));
        command
    }

    fn is_ready(&self, place: &Place) -> bool {
        ports::is_open(place.port)
    }

    /// The server. A test adds a database of its own.
    fn url(&self, port: u16) -> String {
        format!("mongodb://127.0.0.1:{port}")
    }
}
