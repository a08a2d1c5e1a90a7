//! Routes of the commands on a placed order.

use gesta::Gesta;
use gesta_http::{ApiRoute, Problem, RequestFields, Time};

use crate::{
    http::values::{Id, PositiveAmount, Text},
    id::OrderId,
    orders::{CancelOrder, DeliverOrder, DispatchOrder, Order, PayOrder, RefundOrder, pieces_of},
    samples,
};

pub(super) fn routes() -> [ApiRoute; 5] {
    [
        ApiRoute::post("/v1/orders/{orderId}/pay", "Records the payment of an order")
            .update(OrderPayment::into_command)
            .example("orderId", samples::ORDER_TO_PAY)
            .rejects(&["order-already-paid", "order-cancelled", "order-refunded"]),
        ApiRoute::post("/v1/orders/{orderId}/ship", "Records the shipment of an order")
            .update_with(OrderShipment::into_command, add_pieces)
            .operation_id("shipOrder")
            .example("orderId", samples::ORDER_TO_SHIP)
            .rejects(&["order-not-paid", "order-already-shipped"])
            .rejects(&["order-cancelled", "order-refunded", "insufficient-stock"]),
        ApiRoute::post("/v1/orders/{orderId}/deliver", "Records the delivery of an order")
            .update(OrderDelivery::into_command)
            .example("orderId", samples::ORDER_TO_DELIVER)
            .rejects(&["order-not-shipped", "order-already-delivered"])
            .rejects(&["order-cancelled", "order-refunded"]),
        ApiRoute::post("/v1/orders/{orderId}/cancel", "Cancels an order")
            .update(OrderCancellation::into_command)
            .example("orderId", samples::ORDER_TO_CANCEL)
            .rejects(&["order-already-shipped", "order-cancelled", "order-refunded"]),
        ApiRoute::post("/v1/orders/{orderId}/refund", "Refunds all or part of a payment")
            .update(OrderRefund::into_command)
            .example("orderId", samples::ORDER_TO_REFUND)
            .rejects(&["order-not-paid", "order-refunded", "refund-exceeds-payment"]),
    ]
}

/// The payment to record.
#[derive(RequestFields)]
#[request(command = PayOrder, path(order_id: Id<OrderId>))]
struct OrderPayment {
    /// Payment method, such as `invoice`.
    #[request(example = "invoice")]
    method: Text,
    /// Reference of the payment, such as a transaction number.
    #[request(example = "2011-0042")]
    reference: Option<Text>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// The shipment to record.
#[derive(RequestFields)]
#[request(command = DispatchOrder, path(order_id: Id<OrderId>), default(pieces))]
struct OrderShipment {
    /// The carrier's tracking number.
    #[request(example = "JJD000390007")]
    tracking: Option<Text>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

async fn add_pieces(gesta: Gesta, dispatch: DispatchOrder) -> Result<DispatchOrder, Problem> {
    // An order's lines never change once it is placed, so what is read here still holds when the
    // command decides.
    let order = gesta.load::<Order>(&dispatch.order_id).await?;
    // An unknown order has no pieces; the pipeline then reports that it does not exist.
    let pieces = order.map_or_else(Default::default, |order| pieces_of(order.state.lines()));
    Ok(DispatchOrder { pieces, ..dispatch })
}

/// The delivery to record.
#[derive(RequestFields)]
#[request(command = DeliverOrder, path(order_id: Id<OrderId>))]
struct OrderDelivery {
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// Details of the cancellation.
#[derive(RequestFields)]
#[request(command = CancelOrder, path(order_id: Id<OrderId>))]
struct OrderCancellation {
    /// Reason, as free text.
    #[request(example = "ordered twice")]
    reason: Option<Text>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// The refund to record.
#[derive(RequestFields)]
#[request(command = RefundOrder, path(order_id: Id<OrderId>))]
struct OrderRefund {
    /// Amount to refund; defaults to all that is left of the payment.
    #[request(example)]
    amount: Option<PositiveAmount>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}
