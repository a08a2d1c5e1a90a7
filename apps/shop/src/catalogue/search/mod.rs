//! Full-text search for products, with the feature `search`.

mod queries;
mod read_model;
mod routes;

pub use queries::{CountIndexedProducts, SearchProducts};
pub use read_model::ProductIndex;
pub(crate) use routes::route;
