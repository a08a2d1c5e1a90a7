//! PostgreSQL: events and read models.

use anyhow::Result;
use gesta::{
    postgres::{OpenError, OpenMode, PostgresReadModels, PostgresStore},
    store::EventStore as _,
};
use shop::read_models::ReadModels;

use super::driver::{Driver, EngineFuture, check_store};

pub(super) struct PostgresDriver;

impl Driver for PostgresDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        check_store(url)
    }

    fn has_store<'a>(&'a self, url: &'a str) -> EngineFuture<'a, bool> {
        Box::pin(async move {
            match PostgresStore::connect_to(url.parse()?, OpenMode::Existing).await {
                Ok(store) => {
                    store.close().await?;
                    Ok(true)
                }
                Err(OpenError::NoStore { .. }) => Ok(false),
                // Opening brings its tables to this version.
                Err(OpenError::OlderSchema { .. }) => Ok(true),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn open_read_models<'a>(&'a self, url: &'a str) -> EngineFuture<'a, ReadModels> {
        Box::pin(async move { Ok(PostgresReadModels::connect(url).await?.into()) })
    }
}
