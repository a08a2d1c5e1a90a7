//! Order summaries: one row per order, to list and search.

mod queries;
mod read_model;

pub use queries::FindOrders;
pub use read_model::{OrderSummaries, OrderSummary, SummaryEvent};
