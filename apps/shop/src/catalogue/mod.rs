//! The catalogue: products, prices, and stock where it is tracked.
//!
//! Owns: the events, commands, rules and read model of products. Invariant: the available pieces of
//! a tracked product are never negative, so no piece is reserved twice. Not here: purchases
//! ([`orders`](crate::orders)).

mod commands;
mod details;
mod events;
mod product;
mod queries;
mod read_model;
mod reservations;
mod routes;
mod rows;
#[cfg(feature = "search")]
pub mod search;
mod stock;

pub use commands::{AddProduct, UpdateProduct};
pub use details::ProductDetails;
pub use events::{
    ProductAdded, ProductEvent, ProductRenamed, ProductRepriced, StockAdjusted, StockKeeping,
    StockReceived, StockReleased, StockReserved,
};
pub use product::{Product, StockRejection};
pub use queries::{FindProduct, ListProducts};
pub use read_model::Products;
pub use reservations::{ReleaseStock, ReservationItem, ReserveStock};
pub(crate) use routes::routes;
pub use stock::{AdjustStock, ReceiveStock};
