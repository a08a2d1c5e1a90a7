//! Parameters of the paths of orders and customers.

use gesta_http::request;

use crate::{
    http::values::Id,
    id::{CustomerId, OrderId},
};

request! {
    /// Path of an order.
    pub(super) struct OrderPath {
        /// Id of the order.
        order_id: Id<OrderId>,
    }
}

request! {
    /// Path of a customer.
    pub(super) struct CustomerPath {
        /// Id of the customer.
        customer_id: Id<CustomerId>,
    }
}
