//! The order aggregate: status, payment and rejections.

use std::fmt;

use gesta::prelude::*;
use gesta_http::Schema;

use super::{Line, OrderEvent};
use crate::{id::OrderId, money::Money};

/// Status of an order.
#[derive(Serialize, Deserialize, Schema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum OrderStatus {
    /// Awaits payment.
    #[default]
    Placed,
    /// Awaits shipment.
    Paid,
    /// Handed to a carrier.
    Shipped,
    /// Arrived at the customer.
    Delivered,
    /// Cancelled. A payment may still be refunded.
    Cancelled,
    /// Fully refunded.
    Refunded,
}

impl OrderStatus {
    /// Every status, in the order of a normal course.
    pub const ALL: [Self; 6] =
        [Self::Placed, Self::Paid, Self::Shipped, Self::Delivered, Self::Cancelled, Self::Refunded];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }

    /// Returns the status after a refund that leaves `left` of the payment. A cancelled order stays
    /// cancelled.
    pub(super) fn after_refund(self, left: Money) -> Self {
        match self {
            Self::Cancelled => Self::Cancelled,
            // A partial refund, such as for one broken piece, does not end the order.
            _ if left > Money::ZERO => self,
            Self::Placed | Self::Paid | Self::Shipped | Self::Delivered | Self::Refunded => {
                Self::Refunded
            }
        }
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a text that names no order status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an order status")]
pub struct InvalidOrderStatus(String);

impl TryFrom<String> for OrderStatus {
    type Error = InvalidOrderStatus;

    fn try_from(text: String) -> Result<Self, InvalidOrderStatus> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or(InvalidOrderStatus(text))
    }
}

/// State of one order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Order {
    pub(super) status: OrderStatus,
    lines: Vec<Line>,
    /// Amount to pay.
    pub(super) total: Money,
    /// Amount paid and not refunded.
    pub(super) left: Money,
    pub(super) was_paid: bool,
}

impl Order {
    /// The order's lines; they never change after placement.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Id = OrderId;
    type Event = OrderEvent;

    fn evolve(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed(placed) => {
                self.lines = placed.lines.clone();
                self.total = placed.amounts.total;
            }
            OrderEvent::Paid(paid) => {
                self.status = OrderStatus::Paid;
                self.left = paid.amount;
                self.was_paid = true;
            }
            OrderEvent::Shipped(_) => self.status = OrderStatus::Shipped,
            OrderEvent::Delivered(_) => self.status = OrderStatus::Delivered,
            OrderEvent::Cancelled(_) => self.status = OrderStatus::Cancelled,
            OrderEvent::Refunded(refunded) => {
                // The event states the rest, so the fold need not repeat the arithmetic.
                self.left = refunded.left;
                self.status = self.status.after_refund(refunded.left);
            }
        }
    }
}

/// Business reasons to refuse a command on an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum OrderRejection {
    /// The order is not paid.
    #[error("the order is not paid")]
    #[rejection(code = "order-not-paid")]
    NotPaid,
    /// The order was paid before.
    #[error("the order is already paid")]
    #[rejection(code = "order-already-paid")]
    AlreadyPaid,
    /// The order was not handed to a carrier.
    #[error("the order is not shipped")]
    #[rejection(code = "order-not-shipped")]
    NotShipped,
    /// The order was shipped, and maybe delivered.
    #[error("the order is already shipped")]
    #[rejection(code = "order-already-shipped")]
    AlreadyShipped,
    /// The order was delivered before.
    #[error("the order is already delivered")]
    #[rejection(code = "order-already-delivered")]
    AlreadyDelivered,
    /// The order was cancelled.
    #[error("the order is cancelled")]
    #[rejection(code = "order-cancelled")]
    Cancelled,
    /// The payment was refunded in full.
    #[error("the order is fully refunded")]
    #[rejection(code = "order-refunded")]
    Refunded,
    /// The refund exceeds the rest of the payment.
    #[error("cannot refund {requested}: only {left} of the payment is left")]
    #[rejection(code = "refund-exceeds-payment")]
    RefundExceedsPayment {
        /// Requested refund.
        requested: Money,
        /// Amount paid and not refunded.
        left: Money,
    },
}
