//! Orders, from placement to delivery or refund, and credit notes.
//!
//! Owns: the events, commands and rules of orders and credit notes, and the read models of sales.
//! Invariant: an order is paid before it ships, and refunds never exceed the payment. Not here:
//! stock and list prices ([`catalogue`](crate::catalogue)), customers' balances
//! ([`accounts`](crate::accounts)).

mod amounts;
mod card;
pub mod credit_notes;
mod dispatch;
mod events;
mod fulfilment;
mod order;
mod place;
mod prices;
mod routes;
pub mod sales;
#[cfg(feature = "search")]
pub mod search;
mod steps;
pub mod summaries;

pub use amounts::{Amounts, Discount, DiscountType, Line};
pub use card::{OrderCard, OrderDetails, Payment};
pub use dispatch::{DispatchOrder, DispatchRejection, pieces_of};
pub use events::{
    Address, OrderCancelled, OrderDelivered, OrderEvent, OrderPaid, OrderPlaced, OrderRefunded,
    OrderShipped,
};
pub use fulfilment::{Fulfilment, FulfilmentEvent, PaymentDue};
pub use order::{Order, OrderRejection, OrderStatus};
pub use place::{DISCOUNTS_MAX, ITEMS_MAX, OrderItem, PlaceOrder, PlaceRejection};
pub use prices::{Prices, catalogue_prices};
pub(crate) use routes::routes;
pub use steps::{CancelOrder, DeliverOrder, PayOrder, RefundOrder, ShipOrder};
