//! Sales: what was sold to whom and where, and what of it went back.
//!
//! Owns: the read model that the report and the statistics of customers answer from. Always holds:
//! all of it is of one moment, because all of it is one read model.

mod queries;
mod read_model;
mod sums;
mod table;

pub use queries::{
    CountrySales, CustomerSales, CustomerStatistics, FindCustomerStatistics, MakeReport, Report,
};
pub use read_model::{Sales, SalesEvent};
