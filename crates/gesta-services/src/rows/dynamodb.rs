//! `dynamodb`: an emulator of DynamoDB's interface, dynoxide, with its tables in one SQLite file.
//!
//! It is built from its crate, once. It takes any credentials and any region.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    cache::CargoPackage,
    ports,
    service::{Place, Service},
};

const PACKAGE: CargoPackage = CargoPackage {
    name: "dynoxide-rs",
    version: "3.2.0",
    sha256: "a2d1ffc871ddd8d1d26bcd0a52e32386a8cf08083c0995b78959afa987923ae4",
    features: "native-sqlite,http-server,cli",
};
const PROGRAM: &str = "dynoxide";

/// The emulator of DynamoDB.
pub(crate) struct DynamoDb;

impl Service for DynamoDb {
    fn name(&self) -> &'static str {
        "dynamodb"
    }

    fn about(&self) -> &'static str {
        "dynoxide 3.2.0, an emulator of DynamoDB"
    }

    fn programs(&self) -> Result<PathBuf> {
        PACKAGE.installed()
    }

    fn prepare(&self, _: &Path, place: &Place) -> Result<()> {
        Ok(std::fs::create_dir_all(place.data())?)
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let mut command = Command::new(programs.join(PROGRAM));
        command.args(["serve", "--host", "127.0.0.1", "--log", "quiet"]);
        command.arg("--port").arg(place.port.to_string());
        command.arg("--db-path").arg(place.data().join("tables.sqlite"));
        command.args(&place.settings);
        command
    }

    fn is_ready(&self, place: &Place) -> bool {
        ports::is_open(place.port)
    }

    /// The endpoint. A test makes the URL of a store from it, with a prefix of its own.
    fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }
}
