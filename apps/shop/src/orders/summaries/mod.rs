//! Order summaries: one line for each order, to list and to search.

mod queries;
mod read_model;

pub use queries::{FindOrders, OrderCursor};
pub use read_model::{OrderSummaries, OrderSummary, SummaryEvent};
