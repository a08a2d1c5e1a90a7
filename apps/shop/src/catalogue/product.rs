//! The product aggregate: name, price, stock and rejections.

use std::collections::BTreeMap;

use gesta::prelude::*;

use super::{ProductEvent, StockKeeping};
use crate::{
    id::{OrderId, ProductId},
    money::Money,
    quantity::Quantity,
};

/// State of one product.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Product {
    pub(super) name: String,
    pub(super) price: Money,
    stock_keeping: StockKeeping,
    /// Pieces that are neither sold nor reserved.
    available: i64,
    reserved: BTreeMap<OrderId, Quantity>,
    known: bool,
}

impl Product {
    /// Returns the name; empty for an unknown product.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the price of a piece; zero for an unknown product.
    #[must_use]
    pub fn price(&self) -> Money {
        self.price
    }

    /// Returns whether the product was added. A command on several products must check this itself.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Returns whether the product's stock is kept; false for an unknown product.
    pub(crate) fn is_tracked(&self) -> bool {
        self.stock_keeping == StockKeeping::Tracked && self.known
    }

    /// Returns the pieces that are reserved for an order.
    pub(crate) fn reserved_for(&self, order: &OrderId) -> Option<Quantity> {
        self.reserved.get(order).copied()
    }

    pub(crate) fn check_available(
        &self,
        product: &ProductId,
        pieces: i64,
    ) -> Result<(), StockRejection> {
        // Without stock keeping, the count starts at zero and says nothing about the stock.
        match self.stock_keeping {
            StockKeeping::Untracked => Ok(()),
            StockKeeping::Tracked if self.available >= pieces => Ok(()),
            StockKeeping::Tracked => Err(self.insufficient_stock(product, pieces)),
        }
    }

    pub(crate) fn insufficient_stock(&self, product: &ProductId, pieces: i64) -> StockRejection {
        let product = product.clone();
        StockRejection::Insufficient { product, requested: pieces, available: self.available }
    }

    /// Adds to the available pieces. Saturates, since stock that is not tracked has no limits.
    fn count(&mut self, pieces: i64) {
        self.available = self.available.saturating_add(pieces);
    }
}

impl Aggregate for Product {
    const CATEGORY: &'static str = "product";
    type Id = ProductId;
    type Event = ProductEvent;

    fn evolve(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::Added(added) => {
                self.name = added.name.clone();
                self.price = added.price;
                self.stock_keeping = added.stock_keeping;
                self.known = true;
            }
            ProductEvent::Renamed(renamed) => self.name = renamed.name.clone(),
            ProductEvent::Repriced(repriced) => self.price = repriced.price,
            ProductEvent::StockReceived(received) => self.count(received.quantity.into()),
            ProductEvent::StockAdjusted(adjusted) => self.count(adjusted.quantity),
            ProductEvent::StockReserved(reserved) => {
                // Reserved pieces are not available, although they have not left the stock yet.
                self.count(-i64::from(reserved.quantity));
                self.reserved.insert(reserved.order_id.clone(), reserved.quantity);
            }
            ProductEvent::StockReleased(released) => {
                self.count(released.quantity.into());
                // Gone, so that a second release of the same order finds nothing to give back.
                self.reserved.remove(&released.order_id);
            }
        }
    }
}

/// Business reasons to refuse a change of stock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum StockRejection {
    /// Fewer pieces are available than requested.
    #[error(
        "insufficient stock of product {product}: {requested} pieces requested, {available} \
         available"
    )]
    #[rejection(code = "insufficient-stock")]
    Insufficient {
        /// Code of the product.
        product: ProductId,
        /// Requested pieces.
        requested: i64,
        /// Available pieces.
        available: i64,
    },
    /// The catalogue does not have the product.
    #[error("product {product} is not in the catalogue")]
    #[rejection(code = "unknown-product")]
    UnknownProduct {
        /// Code of the product.
        product: ProductId,
    },
}
