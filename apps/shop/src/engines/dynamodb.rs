//! DynamoDB: events, read models as rows, and stored states.

use anyhow::Result;
use gesta::{
    Builder,
    dynamodb::{DynamoReadModels, DynamoStore, OpenError, OpenMode},
    store::EventStore as _,
};
use shop::read_models::ReadModels;

use super::driver::{Driver, EngineFuture, check_store};

pub(super) struct DynamoDriver;

impl Driver for DynamoDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        check_store(url)
    }

    fn has_store<'a>(&'a self, url: &'a str) -> EngineFuture<'a, bool> {
        Box::pin(async move {
            match DynamoStore::connect_to(url.parse()?, OpenMode::Existing).await {
                Ok(store) => {
                    store.close().await?;
                    Ok(true)
                }
                Err(OpenError::NoStore { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn open_read_models<'a>(&'a self, url: &'a str) -> EngineFuture<'a, ReadModels> {
        Box::pin(async move { Ok(DynamoReadModels::connect(url).await?.into()) })
    }

    fn keep_snapshots<'a>(&'a self, url: &'a str, builder: Builder) -> EngineFuture<'a, Builder> {
        Box::pin(async move {
            let states = DynamoReadModels::connect(url).await?;
            Ok(shop::snapshots::keep_all(builder, &states))
        })
    }
}
