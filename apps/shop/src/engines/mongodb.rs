//! MongoDB: read models as documents, and stored states.

use anyhow::Result;
use gesta::{
    Builder,
    mongodb::{MongoReadModels, MongoUrl},
};
use shop::read_models::ReadModels;

use super::driver::{Driver, EngineFuture};

pub(super) struct MongoDriver;

impl Driver for MongoDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        let checked = url.parse::<MongoUrl>();
        checked.map(|url| url.to_string()).map_err(|error| error.to_string())
    }

    fn open_read_models<'a>(&'a self, url: &'a str) -> EngineFuture<'a, ReadModels> {
        Box::pin(async move { Ok(MongoReadModels::connect(url).await?.into()) })
    }

    fn keep_snapshots<'a>(&'a self, url: &'a str, builder: Builder) -> EngineFuture<'a, Builder> {
        Box::pin(async move {
            let states = MongoReadModels::connect(url).await?;
            Ok(shop::snapshots::keep_all(builder, &states))
        })
    }
}
