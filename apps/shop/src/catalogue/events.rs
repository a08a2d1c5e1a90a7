//! What happens to products.

use gesta::prelude::*;
use jiff::Timestamp;

use crate::{
    id::{OrderId, ProductId},
    money::Money,
    quantity::Quantity,
};

/// Whether the shop counts how many pieces of a product it has.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum StockKeeping {
    /// It does, and sells no more than it has.
    #[default]
    Tracked,
    /// It does not: a service, or a product whose stock is kept elsewhere.
    Untracked,
}

/// A product came into the catalogue.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-added")]
#[serde(rename_all = "camelCase")]
pub struct ProductAdded {
    /// Under which code.
    pub product_id: ProductId,
    /// What it is called.
    pub name: String,
    /// What a piece costs.
    pub price: Money,
    /// Whether its stock is kept.
    pub stock_keeping: StockKeeping,
    /// When.
    pub occurred_at: Timestamp,
}

/// A product has another name.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-renamed")]
#[serde(rename_all = "camelCase")]
pub struct ProductRenamed {
    /// Which one.
    pub product_id: ProductId,
    /// What it is called now.
    pub name: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// A product has another price.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "product-repriced")]
#[serde(rename_all = "camelCase")]
pub struct ProductRepriced {
    /// Which one.
    pub product_id: ProductId,
    /// What a piece costs now.
    pub price: Money,
    /// When.
    pub occurred_at: Timestamp,
}

/// Pieces came in.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-received")]
#[serde(rename_all = "camelCase")]
pub struct StockReceived {
    /// Of which product.
    pub product_id: ProductId,
    /// How many.
    pub quantity: Quantity,
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// Somebody counted, or something broke: there are more pieces or fewer.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-adjusted")]
#[serde(rename_all = "camelCase")]
pub struct StockAdjusted {
    /// Of which product.
    pub product_id: ProductId,
    /// How many more, or fewer when below zero.
    pub quantity: i64,
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// Pieces are set aside for an order.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-reserved")]
#[serde(rename_all = "camelCase")]
pub struct StockReserved {
    /// Of which product.
    pub product_id: ProductId,
    /// For which order.
    pub order_id: OrderId,
    /// How many.
    pub quantity: Quantity,
}

/// Pieces that were set aside for an order can be sold again.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "stock-released")]
#[serde(rename_all = "camelCase")]
pub struct StockReleased {
    /// Of which product.
    pub product_id: ProductId,
    /// For which order they were set aside.
    pub order_id: OrderId,
    /// How many.
    pub quantity: Quantity,
}

/// Everything that happens to a product.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum ProductEvent {
    /// Added to the catalogue.
    Added(ProductAdded),
    /// Renamed.
    Renamed(ProductRenamed),
    /// Repriced.
    Repriced(ProductRepriced),
    /// Stock came in.
    StockReceived(StockReceived),
    /// Stock was counted anew.
    StockAdjusted(StockAdjusted),
    /// Stock was set aside.
    StockReserved(StockReserved),
    /// Stock was set free.
    StockReleased(StockReleased),
}
