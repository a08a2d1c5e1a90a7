//! Full-text indexes, in the process and on a server.

use gesta::{
    Builder,
    search::{SearchStore, SearchUrl},
};
use gesta_http::Api;

use super::driver::{Driver, EngineFuture, Indexes};

pub(super) struct SearchDriver;

impl Driver for SearchDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        let parsed = url.parse::<SearchUrl>().map_err(|invalid| invalid.to_string())?;
        Ok(parsed.to_string())
    }

    fn open_indexes<'a>(&'a self, url: &'a str) -> EngineFuture<'a, Box<dyn Indexes>> {
        Box::pin(async move {
            let indexes: Box<dyn Indexes> = Box::new(SearchStore::open_url(url.parse()?).await?);
            Ok(indexes)
        })
    }
}

impl Indexes for SearchStore {
    fn project(&self, builder: Builder) -> Builder {
        shop::read_side::project_search(builder, self)
    }

    fn api(&self) -> Api {
        shop::http::api_with_search()
    }

    #[cfg(feature = "everything")]
    fn store(&self) -> &SearchStore {
        self
    }

    fn close(self: Box<Self>) -> EngineFuture<'static, ()> {
        Box::pin(async move {
            SearchStore::close(*self).await;
            Ok(())
        })
    }
}
