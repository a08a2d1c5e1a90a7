//! What happens to orders.

use gesta::prelude::*;
use jiff::Timestamp;

use super::{Amounts, Discount, Line};
use crate::{
    id::{AccountId, CustomerId, OrderId},
    money::Money,
};

/// Where to, as far as it was said.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
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
    /// Under which id.
    pub order_id: OrderId,
    /// Who buys; nobody for a guest.
    #[event(tag = "customer")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    /// What is bought, at which prices.
    pub lines: Vec<Line>,
    /// What makes it cost less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
    /// What it costs.
    pub amounts: Amounts,
    /// The account that it will be paid from, if one is to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_account_id: Option<AccountId>,
    /// When.
    pub occurred_at: Timestamp,
}

/// An order was paid.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-paid")]
#[serde(rename_all = "camelCase")]
pub struct OrderPaid {
    /// Which one.
    pub order_id: OrderId,
    /// How, such as `invoice`.
    pub method: String,
    /// Where to find the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// How much.
    pub amount: Money,
    /// When.
    pub occurred_at: Timestamp,
}

/// An order was handed to a carrier.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-shipped")]
#[serde(rename_all = "camelCase")]
pub struct OrderShipped {
    /// Which one.
    pub order_id: OrderId,
    /// How to find the parcel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// An order arrived.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-delivered")]
#[serde(rename_all = "camelCase")]
pub struct OrderDelivered {
    /// Which one.
    pub order_id: OrderId,
    /// When.
    pub occurred_at: Timestamp,
}

/// An order was called off before it was shipped.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-cancelled")]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// Which one.
    pub order_id: OrderId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// Money of an order went back.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "order-refunded")]
#[serde(rename_all = "camelCase")]
pub struct OrderRefunded {
    /// Which one.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// How much of what was paid is left now.
    pub left: Money,
    /// When.
    pub occurred_at: Timestamp,
}

/// Everything that happens to an order.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum OrderEvent {
    /// Placed.
    Placed(OrderPlaced),
    /// Paid.
    Paid(OrderPaid),
    /// Shipped.
    Shipped(OrderShipped),
    /// Delivered.
    Delivered(OrderDelivered),
    /// Cancelled.
    Cancelled(OrderCancelled),
    /// Refunded, wholly or in part.
    Refunded(OrderRefunded),
}
