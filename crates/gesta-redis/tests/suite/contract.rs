//! The cache keeps the contract, from several connections.

use gesta_store::conformance::query_cache::CacheFixture;

use crate::server::{RUNTIME, connect, shared_or_skip};

gesta_store::query_cache_conformance!(|| {
    let url = shared_or_skip()?;
    let connect = move || {
        let cache = RUNTIME.block_on(connect(&url)).query_cache();
        Box::new(cache) as Box<dyn gesta_store::QueryCache>
    };
    Some(CacheFixture::new(connect))
});
