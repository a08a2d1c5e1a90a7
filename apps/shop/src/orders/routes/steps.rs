//! What is asked for once an order is placed.

use gesta_http::{
    JsonBody, OptionalJsonBody, PathOf, Problem, Route, UpdateCommands, Updated, post, request,
};

use super::OrderPath;
use crate::{
    http::{
        occurred_at,
        values::{PositiveAmount, Text, Time},
    },
    orders::{CancelOrder, DeliverOrder, DispatchOrder, Order, PayOrder, RefundOrder, pieces_of},
};

pub(super) fn routes() -> [Route; 5] {
    [
        post("/v1/orders/{orderId}/pay", pay_order, "Records that an order was paid").rejects(&[
            "order-already-paid",
            "order-cancelled",
            "order-refunded",
        ]),
        post("/v1/orders/{orderId}/ship", ship_order, "Records that an order was shipped").rejects(
            &[
                "order-not-paid",
                "order-already-shipped",
                "order-cancelled",
                "order-refunded",
                "insufficient-stock",
            ],
        ),
        post("/v1/orders/{orderId}/deliver", deliver_order, "Records that an order arrived")
            .rejects(&[
                "order-not-shipped",
                "order-already-delivered",
                "order-cancelled",
                "order-refunded",
            ]),
        post("/v1/orders/{orderId}/cancel", cancel_order, "Calls an order off").rejects(&[
            "order-already-shipped",
            "order-cancelled",
            "order-refunded",
        ]),
        post("/v1/orders/{orderId}/refund", refund_order, "Gives money of an order back")
            .rejects(&["order-not-paid", "order-refunded", "refund-exceeds-payment"]),
    ]
}

request! {
    /// How an order was paid.
    struct OrderPayment {
        /// How, such as `invoice`.
        method: Text,
        /// Where to find the payment.
        reference: Option<Text>,
        /// When it was paid, if not now.
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
    /// How an order was shipped.
    struct OrderShipment {
        /// How to find the parcel.
        tracking: Option<Text>,
        /// When it was shipped, if not now.
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
        pieces: order.map_or_else(Default::default, |order| pieces_of(order.state.lines())),
        occurred_at: occurred_at(shipment.occurred_at, commands.now()),
    };
    commands.execute(dispatch).await
}

request! {
    /// How an order arrived.
    struct OrderDelivery {
        /// When it arrived, if not now.
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
    /// Why an order is called off.
    struct OrderCancellation {
        /// Why.
        reason: Option<Text>,
        /// When it was called off, if not now.
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
    /// What goes back of an order.
    struct OrderRefund {
        /// How much; all that is left, if it is left out.
        amount: Option<PositiveAmount>,
        /// When it went back, if not now.
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
