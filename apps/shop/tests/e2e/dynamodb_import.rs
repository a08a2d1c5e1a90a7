//! The import with events, read models or both in an emulator of DynamoDB, while the importer is
//! killed and the servers are restarted. Run it with the shop's feature `dynamodb`.

use anyhow::{Result, ensure};
use gesta::{dynamodb::DynamoReadModels, store::conformance::block_on};
use gesta_services::{
    OwnServer,
    e2e::{empty_directory, figures},
};

use crate::disturbed_import::{DisturbedShop, stored_states};

fn url_of(server: &OwnServer) -> String {
    format!("dynamodb://local/shop?endpoint={}&emulator=yes", server.url())
}

/// Checks events and stored states in DynamoDB with read models in SQLite.
#[test]
fn an_import_into_dynamodb_survives_kills_and_restarts_of_the_server() -> Result<()> {
    let Some(server) = OwnServer::start_or_skip("dynamodb") else { return Ok(()) };
    let (url, local) = (url_of(&server), empty_directory("dynamodb-import")?);
    let local = local.to_string_lossy();
    let places = ["--snapshots", &url, "--local", &local];
    let shop = DisturbedShop::new(&url, &places)?.restart(server).disturb()?;
    let stored = stored_states(&url, &block_on(DynamoReadModels::connect(&url))?)?;
    drop(shop);
    ensure!(stored > 0, "no state of a product was stored");
    figures(format!("{stored} states stored"))
}

/// Checks events in DynamoDB with read models in PostgreSQL.
#[test]
fn an_import_into_dynamodb_survives_with_read_models_in_postgresql() -> Result<()> {
    let Some(events) = OwnServer::start_or_skip("dynamodb") else { return Ok(()) };
    let Some(rows) = OwnServer::start_or_skip("postgres") else { return Ok(()) };
    let local = empty_directory("dynamodb-postgres-import")?;
    let (url, local) = (url_of(&events), local.to_string_lossy());
    let places = ["--read-models", &rows.url(), "--local", &local];
    DisturbedShop::new(&url, &places)?.restart(events).restart(rows).disturb().map(drop)
}

/// Checks events and read models in DynamoDB.
#[test]
fn an_import_survives_with_events_and_read_models_in_dynamodb() -> Result<()> {
    let Some(server) = OwnServer::start_or_skip("dynamodb") else { return Ok(()) };
    let local = empty_directory("dynamodb-both-import")?;
    let (url, local) = (url_of(&server), local.to_string_lossy());
    let places = ["--read-models", &url, "--local", &local];
    DisturbedShop::new(&url, &places)?.restart(server).disturb().map(drop)
}
