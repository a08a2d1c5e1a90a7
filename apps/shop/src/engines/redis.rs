//! Redis: the cache of queries, which nodes share, and stored states.

use std::sync::Arc;

use gesta::{
    Builder,
    redis::{Redis, RedisOptions},
    store::{QueryCache, without_password},
};

use super::driver::{Driver, EngineFuture};

pub(super) struct RedisDriver;

impl Driver for RedisDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        url.parse::<RedisOptions>().map_err(|error| error.to_string())?;
        Ok(without_password(url).into_owned())
    }

    /// Opens the cache. A server that does not answer is left out until it does.
    fn open_cache<'a>(&'a self, url: &'a str) -> EngineFuture<'a, Arc<dyn QueryCache>> {
        Box::pin(async move {
            let cache: Arc<dyn QueryCache> = Arc::new(Redis::connect(url).await?.query_cache());
            Ok(cache)
        })
    }

    fn keep_snapshots<'a>(&'a self, url: &'a str, builder: Builder) -> EngineFuture<'a, Builder> {
        Box::pin(async move {
            let states = Redis::connect(url).await?.snapshots();
            Ok(shop::snapshots::keep_all(builder, &states))
        })
    }
}
