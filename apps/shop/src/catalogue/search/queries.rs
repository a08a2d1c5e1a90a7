//! The full-text search for products.

use gesta::{
    Answer, Query, QueryError,
    search::{Cursor, Facet, Search, SearchReader},
};
use gesta_http::PageRequest;

use super::{
    ProductIndex,
    read_model::{CODE, NAME, STOCK},
};
use crate::{catalogue::ProductDetails, http::found::Found};

/// Searches products, the best match first.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = ProductIndex, answer = Found<ProductDetails>)]
pub struct SearchProducts {
    /// Words that the code or name must have; each may be a prefix, and a longer one may have a
    /// typo.
    pub text: String,
    /// Page to return.
    pub page: PageRequest<Cursor>,
}

impl Answer<SearchReader> for SearchProducts {
    async fn answer(&self, reader: &mut SearchReader) -> Result<Self::Answer, QueryError> {
        let search = Search::new()
            .text(&self.text)
            .facet(Facet::of(STOCK))
            .highlight(NAME)
            .highlight(CODE)
            .after(self.page.after.clone())
            .limit(self.page.limit.number().into());
        let results = reader.search(&search).await?;
        Found::read(results).map_err(QueryError::because)
    }
}

/// Counts the documents of the index.
#[derive(Query, Clone, Copy, Debug)]
#[query(reads = ProductIndex, answer = u64)]
pub struct CountIndexedProducts;

impl Answer<SearchReader> for CountIndexedProducts {
    async fn answer(&self, reader: &mut SearchReader) -> Result<u64, QueryError> {
        Ok(reader.search(&Search::new().limit(1)).await?.total)
    }
}
