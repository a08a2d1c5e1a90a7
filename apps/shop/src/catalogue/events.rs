//! Events of products.

use gesta::prelude::*;
use jiff::Timestamp;

use crate::{
    id::{OrderId, ProductId},
    money::Money,
    quantity::Quantity,
};

/// Stock keeping of a product.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum StockKeeping {
    /// Pieces are counted; no more are sold than are in stock.
    #[default]
    Tracked,
    /// Pieces are not counted: a service, or stock that another system keeps.
    Untracked,
}

/// A product was added to the catalogue.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-added")]
#[serde(rename_all = "camelCase")]
pub struct ProductAdded {
    /// Code of the new product.
    pub product_id: ProductId,
    /// Name shown to customers.
    pub name: String,
    /// Price of a piece.
    pub price: Money,
    /// Stock keeping of the product.
    pub stock_keeping: StockKeeping,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// A product's name changed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-renamed")]
#[serde(rename_all = "camelCase")]
pub struct ProductRenamed {
    /// Code of the product.
    pub product_id: ProductId,
    /// New name.
    pub name: String,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// A product's price changed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-repriced")]
#[serde(rename_all = "camelCase")]
pub struct ProductRepriced {
    /// Code of the product.
    pub product_id: ProductId,
    /// New price of a piece.
    pub price: Money,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// Pieces were received into stock.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-received")]
#[serde(rename_all = "camelCase")]
pub struct StockReceived {
    /// Code of the product.
    pub product_id: ProductId,
    /// Number of pieces.
    pub quantity: Quantity,
    /// Reason, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// The number of pieces in stock was corrected.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-adjusted")]
#[serde(rename_all = "camelCase")]
pub struct StockAdjusted {
    /// Code of the product.
    pub product_id: ProductId,
    /// Difference in pieces; negative for fewer.
    pub quantity: i64,
    /// Reason, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// Pieces were reserved for an order.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-reserved")]
#[serde(rename_all = "camelCase")]
pub struct StockReserved {
    /// Code of the product.
    pub product_id: ProductId,
    /// Order that the pieces are reserved for.
    pub order_id: OrderId,
    /// Number of pieces.
    pub quantity: Quantity,
}

/// A reservation was released; its pieces are available again.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-released")]
#[serde(rename_all = "camelCase")]
pub struct StockReleased {
    /// Code of the product.
    pub product_id: ProductId,
    /// Order that the pieces were reserved for.
    pub order_id: OrderId,
    /// Number of pieces.
    pub quantity: Quantity,
}

/// The events of a product.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum ProductEvent {
    /// The product was added.
    Added(ProductAdded),
    /// The name changed.
    Renamed(ProductRenamed),
    /// The price changed.
    Repriced(ProductRepriced),
    /// Pieces were received.
    StockReceived(StockReceived),
    /// The stock was corrected.
    StockAdjusted(StockAdjusted),
    /// Pieces were reserved.
    StockReserved(StockReserved),
    /// A reservation was released.
    StockReleased(StockReleased),
}
