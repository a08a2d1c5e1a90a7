//! Sales: revenue and refunds of the shop, by country and by customer.
//!
//! Owns: the read model behind the report and the customer statistics. Invariant: a report is of
//! one position, because it is read from one read model.

mod queries;
mod read_model;
mod rows;
mod sold;
mod sums;
mod table;

pub use queries::{
    CountrySales, CustomerSales, CustomerStatistics, FindCustomerStatistics, MakeReport, Report,
};
pub use read_model::{Sales, SalesEvent};
