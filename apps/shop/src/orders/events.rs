//! Events of orders.

use gesta::prelude::*;
use gesta_http::Schema;
use jiff::Timestamp;

use super::{Amounts, Discount, Line};
use crate::{
    id::{AccountId, CustomerId, OrderId},
    money::Money,
};

/// A shipping address; every part is optional.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Street and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street: Option<String>,
    /// The city.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// The postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// The country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// An order was placed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-placed")]
#[serde(rename_all = "camelCase")]
pub struct OrderPlaced {
    /// Id of the new order.
    pub order_id: OrderId,
    /// Customer; absent for a guest order.
    #[event(tag = "customer")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Shipping address.
    #[event(personal)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// Products, quantities and unit prices.
    pub lines: Vec<Line>,
    /// Discounts on the sum of the lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
    /// Subtotal, discount and total.
    pub amounts: Amounts,
    /// Account to pay from; `None` for other payment methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_account_id: Option<AccountId>,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// An order was paid in full.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-paid")]
#[serde(rename_all = "camelCase")]
pub struct OrderPaid {
    /// Id of the order.
    pub order_id: OrderId,
    /// Payment method, such as `invoice`.
    pub method: String,
    /// Reference of the payment, such as a transaction number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Amount paid.
    pub amount: Money,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// An order was handed to a carrier.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-shipped")]
#[serde(rename_all = "camelCase")]
pub struct OrderShipped {
    /// Id of the order.
    pub order_id: OrderId,
    /// The carrier's tracking number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// An order arrived at the customer.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-delivered")]
#[serde(rename_all = "camelCase")]
pub struct OrderDelivered {
    /// Id of the order.
    pub order_id: OrderId,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// An order was cancelled before shipment.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-cancelled")]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// Id of the order.
    pub order_id: OrderId,
    /// Reason, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// All or part of an order's payment was refunded.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-refunded")]
#[serde(rename_all = "camelCase")]
pub struct OrderRefunded {
    /// Id of the order.
    pub order_id: OrderId,
    /// Amount refunded by this event.
    pub amount: Money,
    /// Amount paid and not refunded, after this event.
    pub left: Money,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// The events of an order.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum OrderEvent {
    /// The order was placed.
    Placed(OrderPlaced),
    /// The order was paid.
    Paid(OrderPaid),
    /// The order was shipped.
    Shipped(OrderShipped),
    /// The order arrived.
    Delivered(OrderDelivered),
    /// The order was cancelled.
    Cancelled(OrderCancelled),
    /// All or part of the payment was refunded.
    Refunded(OrderRefunded),
}
