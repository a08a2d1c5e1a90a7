//! One order with all its details, projected on read.
//!
//! No background task fills these rows. A read takes the stored row, applies the events since then,
//! and stores the row again.

use gesta::{OnRead, Projection, Recorded};
use gesta_http::Schema;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, Amounts, Discount, Line, OrderEvent, OrderPlaced, OrderStatus};
use crate::{
    id::{AccountId, CustomerId, OrderId},
    money::Money,
};

/// The projection that returns an [`OrderDetails`] per order, computed on read.
#[derive(Debug)]
pub struct OrderCard;

impl Projection for OrderCard {
    const NAME: &'static str = "order-card";
    type Event = OrderEvent;
}

impl OnRead for OrderCard {
    const CATEGORY: &'static str = "order";
    type Id = OrderId;
    type Row = Option<OrderDetails>;

    fn evolve(row: &mut Option<OrderDetails>, event: &Recorded<OrderEvent>) {
        match (&event.event, row) {
            (OrderEvent::Placed(placed), row) => *row = Some(OrderDetails::of(placed)),
            (event, Some(order)) => order.evolve(event),
            // A truncated stream lacks the placement; the rest does not describe an order.
            (_, None) => {}
        }
    }
}

/// An order, as returned by queries.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct OrderDetails {
    /// Id of the order.
    pub order_id: OrderId,
    /// Current status.
    pub status: OrderStatus,
    /// Customer; absent for a guest order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Shipping address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// Products, quantities and unit prices.
    pub order_items: Vec<Line>,
    /// Discounts on the sum of the lines.
    pub discounts: Vec<Discount>,
    /// Sum of the lines.
    pub subtotal: Money,
    /// Sum of the discounts.
    pub discount: Money,
    /// Amount to pay.
    pub total: Money,
    /// Sum of the refunds.
    pub refunded: Money,
    /// Account to pay from; absent for other payment methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_account_id: Option<AccountId>,
    /// Payment; absent until the order is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// The carrier's tracking number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// Reason for the cancellation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// Time of placement.
    pub placed_at: Timestamp,
    /// Time of shipment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<Timestamp>,
    /// Time of arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Time of cancellation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
}

/// Payment of an order.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Payment method, such as `invoice`.
    pub method: String,
    /// Reference of the payment, such as a transaction number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Amount paid.
    pub amount: Money,
    /// Time of payment.
    pub paid_at: Timestamp,
}

impl OrderDetails {
    fn of(placed: &OrderPlaced) -> Self {
        let Amounts { subtotal, discount, total } = placed.amounts;
        Self {
            order_id: placed.order_id.clone(),
            status: OrderStatus::Placed,
            customer_id: placed.customer_id.clone(),
            shipping_address: placed.shipping_address.clone(),
            order_items: placed.lines.clone(),
            discounts: placed.discounts.clone(),
            subtotal,
            discount,
            total,
            refunded: Money::ZERO,
            payment_account_id: placed.payment_account_id.clone(),
            payment: None,
            tracking: None,
            cancel_reason: None,
            placed_at: placed.occurred_at,
            shipped_at: None,
            delivered_at: None,
            cancelled_at: None,
        }
    }

    fn evolve(&mut self, event: &OrderEvent) {
        match event {
            // Not reached for a valid stream, which has one placement at its start.
            OrderEvent::Placed(placed) => *self = Self::of(placed),
            OrderEvent::Paid(paid) => {
                self.status = OrderStatus::Paid;
                self.payment = Some(Payment {
                    method: paid.method.clone(),
                    reference: paid.reference.clone(),
                    amount: paid.amount,
                    paid_at: paid.occurred_at,
                });
            }
            OrderEvent::Shipped(shipped) => {
                self.status = OrderStatus::Shipped;
                self.tracking = shipped.tracking.clone();
                self.shipped_at = Some(shipped.occurred_at);
            }
            OrderEvent::Delivered(delivered) => {
                self.status = OrderStatus::Delivered;
                self.delivered_at = Some(delivered.occurred_at);
            }
            OrderEvent::Cancelled(cancelled) => {
                self.status = OrderStatus::Cancelled;
                self.cancel_reason = cancelled.reason.clone();
                self.cancelled_at = Some(cancelled.occurred_at);
            }
            OrderEvent::Refunded(refunded) => {
                self.refunded += refunded.amount;
                // The same rule as in the aggregate, so that both show the same status.
                self.status = self.status.after_refund(refunded.left);
            }
        }
    }
}
