//! How orders look in answers.

use gesta_http::{Schema, Schemas, response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    id::{AccountId, CustomerId, OrderId, ProductId},
    money::Money,
    orders::{
        Address, Discount, DiscountType, Line, OrderDetails, OrderStatus, Payment,
        sales::CustomerStatistics, summaries::OrderSummary,
    },
    quantity::Quantity,
};

response! {
    /// An order.
    OrderDetails {
        /// The order's id.
        order_id: OrderId,
        /// How far it is.
        status: OrderStatus,
        /// Who buys; nobody for a guest.
        customer_id: Option<CustomerId>,
        /// Where it goes.
        shipping_address: Option<Address>,
        /// What is bought, at which prices.
        order_items: Vec<Line>,
        /// What makes it cost less.
        discounts: Vec<Discount>,
        /// The lines' sum.
        subtotal: Money,
        /// What the discounts take away.
        discount: Money,
        /// What it costs.
        total: Money,
        /// What went back.
        refunded: Money,
        /// The account that it is to be paid from.
        payment_account_id: Option<AccountId>,
        /// How it was paid.
        payment: Option<Payment>,
        /// How to find the parcel.
        tracking: Option<String>,
        /// Why it was called off.
        cancel_reason: Option<String>,
        /// When it was placed.
        placed_at: Timestamp,
        /// When it was shipped.
        shipped_at: Option<Timestamp>,
        /// When it arrived.
        delivered_at: Option<Timestamp>,
        /// When it was called off.
        cancelled_at: Option<Timestamp>,
    }
}

response! {
    /// Where an order goes, as far as it was said.
    Address {
        /// Street and number.
        street: Option<String>,
        /// The city.
        city: Option<String>,
        /// The postal code.
        postal_code: Option<String>,
        /// The country.
        country: Option<String>,
    }
}

response! {
    /// So many pieces of a product, at this price each.
    Line {
        /// Which product.
        product_id: ProductId,
        /// What a piece costs.
        unit_price: Money,
        /// How many.
        quantity: Quantity,
    }
}

response! {
    /// Less to pay.
    Discount {
        /// What the value means.
        discount_type as "type": DiscountType,
        /// Per cent, or an amount of money.
        value: Money,
    }
}

response! {
    /// How an order was paid.
    Payment {
        /// How.
        method: String,
        /// Where to find the payment.
        reference: Option<String>,
        /// How much.
        amount: Money,
        /// When.
        paid_at: Timestamp,
    }
}

response! {
    /// An order in one line.
    OrderSummary {
        /// The order's id.
        order_id: OrderId,
        /// Who buys; nobody for a guest.
        customer_id: Option<CustomerId>,
        /// Where it goes.
        country: Option<String>,
        /// How far it is.
        status: OrderStatus,
        /// Its lines.
        lines: u64,
        /// Its pieces.
        units: u64,
        /// What it costs.
        total: Money,
        /// What went back.
        refunded: Money,
        /// When it was placed.
        placed_at: Timestamp,
    }
}

response! {
    /// What a customer bought so far.
    CustomerStatistics {
        /// Who.
        customer_id: CustomerId,
        /// Orders, without those that were cancelled unpaid.
        orders: i64,
        /// Their lines.
        order_lines: i64,
        /// Their pieces.
        units: i64,
        /// What they cost.
        gross_revenue: Money,
        /// What an order costs in the middle, to the hundredth.
        average_order: Option<Money>,
        /// Credit notes.
        credit_notes: i64,
        /// What went back.
        refunded: Money,
        /// What is left of the revenue.
        net_revenue: Money,
        /// When they first bought something or gave something back.
        first_at: Option<Timestamp>,
        /// When they last did.
        last_at: Option<Timestamp>,
    }
}

impl Schema for OrderStatus {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

impl Schema for DiscountType {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "enum": ["percentage", "fixed"] })
    }
}
