//! Full-text search for orders, with the feature `search`.
//!
//! An index in place of the summaries' own: relevance, typos, facets, highlights.

mod queries;
mod read_model;
mod routes;

pub use queries::{CountIndexedOrders, SearchOrders};
pub use read_model::OrderIndex;
pub(crate) use routes::route;
