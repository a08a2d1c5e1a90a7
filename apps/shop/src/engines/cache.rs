//! The cache of queries in the memory of this process.

use std::{future::ready, sync::Arc};

use gesta::{MemoryQueryCache, store::QueryCache};

use super::driver::{Driver, EngineFuture};

pub(super) struct MokaDriver;

impl Driver for MokaDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        if url != "moka:" {
            return Err("`moka:` takes no path".to_owned());
        }
        Ok(url.to_owned())
    }

    fn open_cache<'a>(&'a self, _: &'a str) -> EngineFuture<'a, Arc<dyn QueryCache>> {
        let cache: Arc<dyn QueryCache> = Arc::new(MemoryQueryCache::new());
        Box::pin(ready(Ok(cache)))
    }
}
