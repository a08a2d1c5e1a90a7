//! The catalogue: products with their prices, and their stock where it is kept.
//!
//! Owns: the events, commands, rules and read model of products. Always holds: stock that is kept
//! never falls below what is reserved of it, and never below zero. Not here: who buys what at
//! which price ([`orders`](crate::orders)).

mod commands;
mod events;
mod product;
mod queries;
mod read_model;
mod reservations;
mod routes;
mod stock;

pub use commands::{AddProduct, UpdateProduct};
pub use events::{
    ProductAdded, ProductEvent, ProductRenamed, ProductRepriced, StockAdjusted, StockKeeping,
    StockReceived, StockReleased, StockReserved,
};
pub use product::{Product, StockRejection};
pub use queries::{FindProduct, ListProducts};
pub use read_model::{ProductDetails, Products};
pub use reservations::{ReleaseStock, ReserveStock, Wanted};
pub(crate) use routes::routes;
pub use stock::{AdjustStock, ReceiveStock};
