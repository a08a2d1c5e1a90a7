//! Order summaries: one row per order, to list and search.

mod queries;
mod read_model;
mod rows;
mod summary;

pub use queries::FindOrders;
pub use read_model::OrderSummaries;
pub use summary::{OrderSummary, SummaryEvent};
