//! Response schemas of orders and customer statistics.

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
    /// An order, as returned by queries.
    OrderDetails {
        /// Id of the order.
        order_id: OrderId,
        /// Current status.
        status: OrderStatus,
        /// Customer; absent for a guest order.
        customer_id: Option<CustomerId>,
        /// Shipping address.
        shipping_address: Option<Address>,
        /// Products, quantities and unit prices.
        order_items: Vec<Line>,
        /// Discounts on the sum of the lines.
        discounts: Vec<Discount>,
        /// Sum of the lines.
        subtotal: Money,
        /// Sum of the discounts.
        discount: Money,
        /// Amount to pay.
        total: Money,
        /// Sum of the refunds.
        refunded: Money,
        /// Account to pay from; absent for other payment methods.
        payment_account_id: Option<AccountId>,
        /// Payment; absent until the order is paid.
        payment: Option<Payment>,
        /// The carrier's tracking number.
        tracking: Option<String>,
        /// Reason for the cancellation.
        cancel_reason: Option<String>,
        /// Time of placement.
        placed_at: Timestamp,
        /// Time of shipment.
        shipped_at: Option<Timestamp>,
        /// Time of arrival.
        delivered_at: Option<Timestamp>,
        /// Time of cancellation.
        cancelled_at: Option<Timestamp>,
    }
}

response! {
    /// A shipping address; every part is optional.
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
    /// A number of pieces of one product, with the unit price.
    Line {
        /// Code of the product.
        product_id: ProductId,
        /// Price of a piece. Negative in corrections of imported orders.
        unit_price: Money,
        /// Number of pieces.
        quantity: Quantity,
    }
}

response! {
    /// A discount on the sum of an order's lines.
    Discount {
        /// Meaning of the value.
        discount_type as "type": DiscountType,
        /// Percentage, or amount of money.
        value: Money,
    }
}

response! {
    /// Payment of an order.
    Payment {
        /// Payment method, such as `invoice`.
        method: String,
        /// Reference of the payment, such as a transaction number.
        reference: Option<String>,
        /// Amount paid.
        amount: Money,
        /// Time of payment.
        paid_at: Timestamp,
    }
}

response! {
    /// Summary of an order, for lists.
    OrderSummary {
        /// Id of the order.
        order_id: OrderId,
        /// Customer; absent for a guest order.
        customer_id: Option<CustomerId>,
        /// Country of the shipping address.
        country: Option<String>,
        /// Current status.
        status: OrderStatus,
        /// Number of lines.
        lines: u64,
        /// Number of pieces.
        units: u64,
        /// Amount to pay.
        total: Money,
        /// Sum of the refunds.
        refunded: Money,
        /// Time of placement.
        placed_at: Timestamp,
    }
}

response! {
    /// Totals of a customer's orders and credit notes.
    CustomerStatistics {
        /// Id of the customer.
        customer_id: CustomerId,
        /// Number of orders, without those that were cancelled unpaid.
        orders: i64,
        /// Number of order lines.
        order_lines: i64,
        /// Number of ordered pieces.
        units: i64,
        /// Sum of the orders' totals.
        gross_revenue: Money,
        /// Average total of an order, rounded to hundredths; absent without orders.
        average_order: Option<Money>,
        /// Number of credit notes.
        credit_notes: i64,
        /// Sum of credit notes and refunds.
        refunded: Money,
        /// Gross revenue minus refunds.
        net_revenue: Money,
        /// Time of the first order or credit note.
        first_at: Option<Timestamp>,
        /// Time of the last order or credit note.
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
