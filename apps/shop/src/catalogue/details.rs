//! A product, as queries return it, and its changes by events.

use gesta::Revision;
use gesta_http::Schema;
use serde::{Deserialize, Serialize};

use super::{ProductEvent, StockKeeping};
use crate::{id::ProductId, money::Money, read_models::first_revision, search};

/// A product, as returned by queries.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct ProductDetails {
    /// Code of the product.
    pub product_id: ProductId,
    /// Name shown to customers.
    pub name: String,
    /// Price of a piece.
    pub price: Money,
    /// Pieces available for sale; absent if stock is not tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<i64>,
    /// Revision of the product's stream, for the ETag.
    #[serde(skip, default = "first_revision")]
    pub revision: Revision,
}

impl ProductDetails {
    /// Returns the product after an event, but for its revision. `None` for a product whose stream
    /// lost its beginning.
    pub(super) fn after(known: Option<Self>, event: &ProductEvent) -> Option<Self> {
        let counted = |pieces: i64| {
            let mut product = known.clone()?;
            product.stock = product.stock.map(|stock| stock + pieces);
            Some(product)
        };
        match event {
            ProductEvent::Added(added) => Some(Self {
                product_id: added.product_id.clone(),
                name: added.name.clone(),
                price: added.price,
                stock: (added.stock_keeping == StockKeeping::Tracked).then_some(0),
                revision: Revision::FIRST,
            }),
            ProductEvent::Renamed(renamed) => {
                known.map(|product| Self { name: renamed.name.clone(), ..product })
            }
            ProductEvent::Repriced(repriced) => {
                known.map(|product| Self { price: repriced.price, ..product })
            }
            ProductEvent::StockReceived(received) => counted(received.quantity.into()),
            ProductEvent::StockAdjusted(adjusted) => counted(adjusted.quantity),
            ProductEvent::StockReserved(reserved) => counted(-i64::from(reserved.quantity)),
            ProductEvent::StockReleased(released) => counted(released.quantity.into()),
        }
    }
}

/// Returns the product of an event.
pub(super) fn product_of(event: &ProductEvent) -> &ProductId {
    match event {
        ProductEvent::Added(added) => &added.product_id,
        ProductEvent::Renamed(renamed) => &renamed.product_id,
        ProductEvent::Repriced(repriced) => &repriced.product_id,
        ProductEvent::StockReceived(received) => &received.product_id,
        ProductEvent::StockAdjusted(adjusted) => &adjusted.product_id,
        ProductEvent::StockReserved(reserved) => &reserved.product_id,
        ProductEvent::StockReleased(released) => &released.product_id,
    }
}

/// Returns the words by which a product is found.
pub(super) fn words(product: &ProductId, name: &str) -> String {
    search::words([product.as_str(), name])
}
