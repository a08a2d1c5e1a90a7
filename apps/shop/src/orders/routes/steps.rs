//! Routes of the commands on a placed order.

use gesta_http::{
    JsonBody, OptionalJsonBody, PathOf, Problem, Route, UpdateCommands, Updated, post, request,
};

use super::paths::OrderPath;
use crate::{
    http::{
        occurred_at,
        values::{PositiveAmount, Text, Time},
    },
    orders::{CancelOrder, DeliverOrder, DispatchOrder, Order, PayOrder, RefundOrder, pieces_of},
};

pub(super) fn routes() -> [Route; 5] {
    [
        post("/v1/orders/{orderId}/pay", pay_order, "Records the payment of an order").rejects(&[
            "order-already-paid",
            "order-cancelled",
            "order-refunded",
        ]),
        post("/v1/orders/{orderId}/ship", ship_order, "Records the shipment of an order").rejects(
            &[
                "order-not-paid",
                "order-already-shipped",
                "order-cancelled",
                "order-refunded",
                "insufficient-stock",
            ],
        ),
        post("/v1/orders/{orderId}/deliver", deliver_order, "Records the delivery of an order")
            .rejects(&[
                "order-not-shipped",
                "order-already-delivered",
                "order-cancelled",
                "order-refunded",
            ]),
        post("/v1/orders/{orderId}/cancel", cancel_order, "Cancels an order").rejects(&[
            "order-already-shipped",
            "order-cancelled",
            "order-refunded",
        ]),
        post("/v1/orders/{orderId}/refund", refund_order, "Refunds all or part of a payment")
            .rejects(&["order-not-paid", "order-refunded", "refund-exceeds-payment"]),
    ]
}

request! {
    /// The payment to record.
    struct OrderPayment {
        /// Payment method, such as `invoice`.
        method: Text,
        /// Reference of the payment, such as a transaction number.
        reference: Option<Text>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn pay_order(
    commands: UpdateCommands,
    path: PathOf<OrderPath>,
    JsonBody(payment): JsonBody<OrderPayment>,
) -> Result<Updated, Problem> {
    let pay = PayOrder {
        order_id: path.order_id.0.clone(),
        method: payment.method.0,
        reference: payment.reference.map(|reference| reference.0),
        occurred_at: occurred_at(payment.occurred_at, commands.now()),
    };
    commands.execute(pay).await
}

request! {
    /// The shipment to record.
    struct OrderShipment {
        /// The carrier's tracking number.
        tracking: Option<Text>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn ship_order(
    commands: UpdateCommands,
    path: PathOf<OrderPath>,
    OptionalJsonBody(shipment): OptionalJsonBody<OrderShipment>,
) -> Result<Updated, Problem> {
    let order_id = path.order_id.0.clone();
    // An order's lines never change once it is placed, so what is read here still holds when the
    // command decides.
    let order = commands.gesta().load::<Order>(&order_id).await?;
    let dispatch = DispatchOrder {
        order_id,
        tracking: shipment.tracking.map(|tracking| tracking.0),
        // An unknown order has no pieces; the pipeline then reports that it does not exist.
        pieces: order.map_or_else(Default::default, |order| pieces_of(order.state.lines())),
        occurred_at: occurred_at(shipment.occurred_at, commands.now()),
    };
    commands.execute(dispatch).await
}

request! {
    /// The delivery to record.
    struct OrderDelivery {
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn deliver_order(
    commands: UpdateCommands,
    path: PathOf<OrderPath>,
    OptionalJsonBody(delivery): OptionalJsonBody<OrderDelivery>,
) -> Result<Updated, Problem> {
    let deliver = DeliverOrder {
        order_id: path.order_id.0.clone(),
        occurred_at: occurred_at(delivery.occurred_at, commands.now()),
    };
    commands.execute(deliver).await
}

request! {
    /// Details of the cancellation.
    struct OrderCancellation {
        /// Reason, as free text.
        reason: Option<Text>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn cancel_order(
    commands: UpdateCommands,
    path: PathOf<OrderPath>,
    OptionalJsonBody(cancellation): OptionalJsonBody<OrderCancellation>,
) -> Result<Updated, Problem> {
    let cancel = CancelOrder {
        order_id: path.order_id.0.clone(),
        reason: cancellation.reason.map(|reason| reason.0),
        occurred_at: occurred_at(cancellation.occurred_at, commands.now()),
    };
    commands.execute(cancel).await
}

request! {
    /// The refund to record.
    struct OrderRefund {
        /// Amount to refund; defaults to all that is left of the payment.
        amount: Option<PositiveAmount>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn refund_order(
    commands: UpdateCommands,
    path: PathOf<OrderPath>,
    OptionalJsonBody(refund): OptionalJsonBody<OrderRefund>,
) -> Result<Updated, Problem> {
    let refund = RefundOrder {
        order_id: path.order_id.0.clone(),
        amount: refund.amount.map(|amount| amount.0),
        occurred_at: occurred_at(refund.occurred_at, commands.now()),
    };
    commands.execute(refund).await
}
