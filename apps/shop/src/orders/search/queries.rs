//! The full-text search for orders.

use gesta::{
    Answer, Query, QueryError,
    search::{Cursor, Facet, Filter, Search, SearchReader},
};
use gesta_http::PageRequest;
use jiff::Timestamp;

use super::{
    OrderIndex,
    read_model::{ADDRESS, CODES, COUNTRY, CUSTOMER, PLACED_AT, PRODUCTS, STATUS, micros},
};
use crate::{
    http::found::Found,
    id::CustomerId,
    orders::{OrderStatus, summaries::OrderSummary},
};

/// Searches orders, the best match first; all given conditions must hold.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = OrderIndex, answer = Found<OrderSummary>)]
pub struct SearchOrders {
    /// Words that the ids, the address, or the products' codes and names must have; each may be a
    /// prefix, and a longer one may have a typo.
    pub text: String,
    /// Customer of the order.
    pub customer: Option<CustomerId>,
    /// Current status.
    pub status: Option<OrderStatus>,
    /// Earliest time of placement, inclusive.
    pub from: Option<Timestamp>,
    /// Latest time of placement, exclusive.
    pub to: Option<Timestamp>,
    /// Page to return.
    pub page: PageRequest<Cursor>,
}

impl SearchOrders {
    fn search(&self) -> Search {
        let mut search = Search::new()
            .text(&self.text)
            .facet(Facet::of(STATUS))
            .facet(Facet::of(COUNTRY))
            .highlight(PRODUCTS)
            .highlight(CODES)
            .highlight(ADDRESS)
            .after(self.page.after.clone())
            .limit(self.page.limit.number().into());
        if let Some(customer) = &self.customer {
            search = search.filter(Filter::is(CUSTOMER, customer.as_str()));
        }
        if let Some(status) = self.status {
            search = search.filter(Filter::is(STATUS, status.as_str()));
        }
        if let Some(from) = self.from {
            search = search.filter(Filter::dates(PLACED_AT, micros(from)..));
        }
        if let Some(to) = self.to {
            search = search.filter(Filter::dates(PLACED_AT, ..micros(to)));
        }
        search
    }
}

impl Answer<SearchReader> for SearchOrders {
    async fn answer(&self, reader: &mut SearchReader) -> Result<Self::Answer, QueryError> {
        let results = reader.search(&self.search()).await?;
        Found::read(results).map_err(QueryError::because)
    }
}

/// Counts the documents of the index.
#[derive(Query, Clone, Copy, Debug)]
#[query(reads = OrderIndex, answer = u64)]
pub struct CountIndexedOrders;

impl Answer<SearchReader> for CountIndexedOrders {
    async fn answer(&self, reader: &mut SearchReader) -> Result<u64, QueryError> {
        Ok(reader.search(&Search::new().limit(1)).await?.total)
    }
}
