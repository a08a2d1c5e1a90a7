//! The order: how far it is, and when the shop says no.

use std::fmt;

use gesta::prelude::*;

use super::{Line, OrderEvent};
use crate::{id::OrderId, money::Money};

/// How far an order is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum OrderStatus {
    /// Waits for its payment.
    #[default]
    Placed,
    /// Waits to be shipped.
    Paid,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
    /// Called off. What was paid may still go back.
    Cancelled,
    /// All that was paid went back.
    Refunded,
}

impl OrderStatus {
    /// Every status, in the order of an order's life.
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

    /// After money went back; an order that was called off stays so.
    pub(super) fn after_refund(self, left: Money) -> Self {
        match self {
            Self::Cancelled => Self::Cancelled,
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

/// A text that is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no status of an order")]
pub struct NotAStatus(String);

impl TryFrom<String> for OrderStatus {
    type Error = NotAStatus;

    fn try_from(text: String) -> Result<Self, NotAStatus> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or(NotAStatus(text))
    }
}

/// One order.
#[derive(Debug, Default)]
pub struct Order {
    pub(super) status: OrderStatus,
    lines: Vec<Line>,
    /// What it costs.
    pub(super) total: Money,
    /// What came in and did not go back.
    pub(super) left: Money,
    pub(super) was_paid: bool,
}

impl Order {
    /// The lines, as they were placed.
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
                self.left = refunded.left;
                self.status = self.status.after_refund(refunded.left);
            }
        }
    }
}

/// Why nothing happens to an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum OrderRejection {
    /// It waits for its payment.
    #[error("the order is not paid")]
    #[rejection(code = "order-not-paid")]
    NotPaid,
    /// It was paid before.
    #[error("the order is paid already")]
    #[rejection(code = "order-already-paid")]
    AlreadyPaid,
    /// It was not handed to a carrier.
    #[error("the order is not shipped")]
    #[rejection(code = "order-not-shipped")]
    NotShipped,
    /// It is on its way, or has arrived.
    #[error("the order is shipped already")]
    #[rejection(code = "order-already-shipped")]
    AlreadyShipped,
    /// It has arrived.
    #[error("the order is delivered already")]
    #[rejection(code = "order-already-delivered")]
    AlreadyDelivered,
    /// It was called off.
    #[error("the order is cancelled")]
    #[rejection(code = "order-cancelled")]
    Cancelled,
    /// All that was paid went back.
    #[error("the order is refunded")]
    #[rejection(code = "order-refunded")]
    Refunded,
    /// More is asked back than is left.
    #[error("{wanted} is wanted back, {left} is left of what was paid")]
    #[rejection(code = "refund-exceeds-payment")]
    RefundExceedsPayment {
        /// What was wanted.
        wanted: Money,
        /// What is left.
        left: Money,
    },
}
