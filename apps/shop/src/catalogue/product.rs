//! The product: its name, its price, and how many pieces there are.

use std::collections::BTreeMap;

use gesta::prelude::*;

use super::{ProductEvent, StockKeeping};
use crate::{
    id::{OrderId, ProductId},
    money::Money,
    quantity::Quantity,
};

/// One product.
#[derive(Debug, Default)]
pub struct Product {
    pub(super) name: String,
    pub(super) price: Money,
    stock_keeping: StockKeeping,
    /// Pieces that are neither sold nor set aside.
    free: i64,
    reserved: BTreeMap<OrderId, Quantity>,
    known: bool,
}

impl Product {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a piece costs.
    #[must_use]
    pub fn price(&self) -> Money {
        self.price
    }

    /// Whether it was ever added: a command over several products has to ask.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Returns whether the product's stock is kept. An unknown product's is not.
    pub(crate) fn is_tracked(&self) -> bool {
        self.stock_keeping == StockKeeping::Tracked && self.known
    }

    /// What is set aside for an order.
    pub(crate) fn reserved_for(&self, order: &OrderId) -> Option<Quantity> {
        self.reserved.get(order).copied()
    }

    /// Whether that many pieces can be taken away.
    pub(crate) fn can_spare(&self, product: &ProductId, pieces: i64) -> Result<(), StockRejection> {
        match self.stock_keeping {
            StockKeeping::Untracked => Ok(()),
            StockKeeping::Tracked if self.free >= pieces => Ok(()),
            StockKeeping::Tracked => Err(self.insufficient(product, pieces)),
        }
    }

    /// The refusal to take away more pieces than are free.
    pub(crate) fn insufficient(&self, product: &ProductId, pieces: i64) -> StockRejection {
        let product = product.clone();
        StockRejection::Insufficient { product, wanted: pieces, free: self.free }
    }

    /// Stock that nobody keeps may go below zero; no count of it ever leaves what can be counted.
    fn count(&mut self, pieces: i64) {
        self.free = self.free.saturating_add(pieces);
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
                self.count(-i64::from(reserved.quantity));
                self.reserved.insert(reserved.order_id.clone(), reserved.quantity);
            }
            ProductEvent::StockReleased(released) => {
                self.count(released.quantity.into());
                self.reserved.remove(&released.order_id);
            }
        }
    }
}

/// Why stock stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum StockRejection {
    /// There are not as many pieces.
    #[error("{wanted} of {product} are wanted, {free} are there")]
    #[rejection(code = "insufficient-stock")]
    Insufficient {
        /// Of which product.
        product: ProductId,
        /// How many were wanted.
        wanted: i64,
        /// How many are there.
        free: i64,
    },
    /// The catalogue does not have the product.
    #[error("the catalogue has no product {product}")]
    #[rejection(code = "unknown-product")]
    UnknownProduct {
        /// Which one.
        product: ProductId,
    },
}
