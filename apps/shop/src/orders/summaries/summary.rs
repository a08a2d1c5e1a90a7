//! The summary of an order, and its changes by events.

use gesta::EventSet;
use gesta_http::Schema;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{ProductAdded, ProductRenamed},
    id::{CustomerId, OrderId},
    money::Money,
    orders::{
        OrderCancelled, OrderDelivered, OrderPaid, OrderPlaced, OrderRefunded, OrderShipped,
        OrderStatus,
    },
    search,
};

/// The events that order summaries are computed from.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum SummaryEvent {
    /// A product was added.
    ProductAdded(ProductAdded),
    /// A product's name changed.
    ProductRenamed(ProductRenamed),
    /// An order was placed.
    Placed(OrderPlaced),
    /// An order was paid.
    Paid(OrderPaid),
    /// An order was shipped.
    Shipped(OrderShipped),
    /// An order arrived.
    Delivered(OrderDelivered),
    /// An order was cancelled.
    Cancelled(OrderCancelled),
    /// A payment was refunded.
    Refunded(OrderRefunded),
}

/// Summary of an order, for lists.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct OrderSummary {
    /// Id of the order.
    pub order_id: OrderId,
    /// Customer; absent for a guest order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Country of the shipping address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Current status.
    pub status: OrderStatus,
    /// Number of lines.
    pub lines: u64,
    /// Number of pieces.
    pub units: u64,
    /// Amount to pay.
    pub total: Money,
    /// Sum of the refunds.
    pub refunded: Money,
    /// Time of placement.
    pub placed_at: Timestamp,
    /// Sort key of the list: the position of the order's first event.
    #[serde(skip)]
    pub(super) number: u64,
}

impl OrderSummary {
    /// The summary of an order that was placed at this position.
    pub(in crate::orders) fn placed(number: u64, placed: &OrderPlaced) -> Self {
        let address = placed.shipping_address.as_ref();
        Self {
            order_id: placed.order_id.clone(),
            customer_id: placed.customer_id.clone(),
            country: address.and_then(|address| address.country.clone()),
            status: OrderStatus::Placed,
            lines: placed.lines.len().try_into().unwrap_or(u64::MAX),
            units: placed.lines.iter().map(|line| u64::from(line.quantity)).sum(),
            total: placed.amounts.total,
            refunded: Money::ZERO,
            placed_at: placed.occurred_at,
            number,
        }
    }

    /// Returns the summary after an event.
    pub(in crate::orders) fn after(mut self, event: &SummaryEvent) -> Self {
        match event {
            SummaryEvent::Paid(_) => self.status = OrderStatus::Paid,
            SummaryEvent::Shipped(_) => self.status = OrderStatus::Shipped,
            SummaryEvent::Delivered(_) => self.status = OrderStatus::Delivered,
            SummaryEvent::Cancelled(_) => self.status = OrderStatus::Cancelled,
            SummaryEvent::Refunded(refunded) => {
                // A partial refund keeps the status.
                self.status = self.status.after_refund(refunded.left);
                self.refunded += refunded.amount;
            }
            // They change no order that is there.
            SummaryEvent::ProductAdded(_)
            | SummaryEvent::ProductRenamed(_)
            | SummaryEvent::Placed(_) => {}
        }
        self
    }
}

impl SummaryEvent {
    /// Returns the order that the event changes, or `None` for one of a product.
    pub(in crate::orders) fn order(&self) -> Option<&OrderId> {
        match self {
            Self::ProductAdded(_) | Self::ProductRenamed(_) => None,
            Self::Placed(placed) => Some(&placed.order_id),
            Self::Paid(paid) => Some(&paid.order_id),
            Self::Shipped(shipped) => Some(&shipped.order_id),
            Self::Delivered(delivered) => Some(&delivered.order_id),
            Self::Cancelled(cancelled) => Some(&cancelled.order_id),
            Self::Refunded(refunded) => Some(&refunded.order_id),
        }
    }
}

/// Returns the words by which an order is found. A name may be missing, such as after the product's
/// stream was deleted.
pub(super) fn words(placed: &OrderPlaced, names: &[Option<String>]) -> String {
    let mut texts = vec![placed.order_id.as_str()];
    texts.extend(placed.customer_id.as_ref().map(CustomerId::as_str));
    if let Some(address) = &placed.shipping_address {
        let parts = [&address.street, &address.city, &address.postal_code, &address.country];
        texts.extend(parts.into_iter().filter_map(Option::as_deref));
    }
    texts.extend(placed.lines.iter().map(|line| line.product_id.as_str()));
    texts.extend(names.iter().filter_map(Option::as_deref));
    search::words(texts)
}
