//! The import into a log with read models and stored states in FerretDB, which stands in for
//! MongoDB, while the importer is killed and the server is restarted. Run it with the shop's
//! feature `mongodb`.

use anyhow::{Result, ensure};
use gesta::{mongodb::MongoReadModels, store::conformance::block_on};
use gesta_services::{
    OwnServer,
    e2e::{empty_directory, figures},
};

use crate::disturbed_import::{DisturbedShop, stored_states};

#[test]
fn an_import_survives_with_read_models_and_stored_states_in_mongodb() -> Result<()> {
    let Some(server) = OwnServer::start_or_skip("ferretdb") else { return Ok(()) };
    let log = format!("gesta:{}", empty_directory("mongodb-import")?.join("store").display());
    let url = format!("{}/shop", server.url());
    let places = ["--read-models", &url, "--snapshots", &url];
    // FerretDB that is killed while it creates a collection cannot create it any more.
    let shop = DisturbedShop::new(&log, &places)?.begin()?.restart(server).disturb()?;
    let stored = stored_states(&log, &block_on(MongoReadModels::connect(&url))?)?;
    drop(shop);
    ensure!(stored > 0, "no state of a product was stored");
    figures(format!("{stored} states stored"))
}
