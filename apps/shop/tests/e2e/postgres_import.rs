//! The import with events, read models or both in PostgreSQL, while the importer is killed and the
//! server is restarted.

use anyhow::Result;
use gesta_services::{OwnServer, e2e::empty_directory};

use crate::disturbed_import::DisturbedShop;

/// Checks events in PostgreSQL with read models in SQLite.
#[test]
fn an_import_survives_kills_and_restarts_of_the_server() -> Result<()> {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return Ok(()) };
    let local = empty_directory("postgres-import")?.to_string_lossy().into_owned();
    let read_models = format!("sqlite:{local}");
    let places = ["--read-models", &read_models, "--local", &local];
    DisturbedShop::new(&server.url(), &places)?.restart(server).disturb().map(drop)
}

/// Checks events in the log with read models in PostgreSQL.
#[test]
fn an_import_into_the_log_survives_kills_and_restarts_of_the_server_of_its_read_models()
-> Result<()> {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return Ok(()) };
    let log = format!("gesta:{}", empty_directory("log-import")?.join("store").display());
    DisturbedShop::new(&log, &["--read-models", &server.url()])?.restart(server).disturb().map(drop)
}

/// Checks events and read models in PostgreSQL.
#[test]
fn an_import_survives_kills_and_restarts_of_the_server_of_its_read_models() -> Result<()> {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return Ok(()) };
    DisturbedShop::new(&server.url(), &[])?.restart(server).disturb().map(drop)
}
