//! One order with everything about it, as fresh as its last event: a projection on read.
//!
//! Nothing fills these rows in advance. Reading one takes the stored row, folds what has happened
//! since, and stores it again.

use gesta::{OnRead, Projection, Recorded};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, Amounts, Discount, Line, OrderEvent, OrderPlaced, OrderStatus};
use crate::{
    id::{AccountId, CustomerId, OrderId},
    money::Money,
};

/// Keeps an [`OrderDetails`] for each order that somebody has read.
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
            // An order begins by being placed; without its beginning nothing can be said of it.
            (_, None) => {}
        }
    }
}

/// An order, as queries answer.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrderDetails {
    /// Which one.
    pub order_id: OrderId,
    /// How far it is.
    pub status: OrderStatus,
    /// Who buys; nobody for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// What is bought, at which prices.
    pub order_items: Vec<Line>,
    /// What makes it cost less.
    pub discounts: Vec<Discount>,
    /// The lines' sum.
    pub subtotal: Money,
    /// What the discounts take away.
    pub discount: Money,
    /// What it costs.
    pub total: Money,
    /// What went back.
    pub refunded: Money,
    /// The account that it is to be paid from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_account_id: Option<AccountId>,
    /// How it was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// How to find the parcel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// Why it was called off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it was shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<Timestamp>,
    /// When it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// When it was called off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
}

/// How an order was paid.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// How.
    pub method: String,
    /// Where to find the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// How much.
    pub amount: Money,
    /// When.
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
                self.status = self.status.after_refund(refunded.left);
            }
        }
    }
}
