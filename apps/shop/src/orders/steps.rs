//! Commands on a placed order; each step requires the earlier ones.

use gesta::prelude::*;
use jiff::Timestamp;

use super::{
    Order, OrderCancelled, OrderDelivered, OrderPaid, OrderRefunded, OrderRejection, OrderShipped,
    OrderStatus,
};
use crate::{checks, id::OrderId, money::Money};

/// Records the full payment of an order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "pay-order", on = Order, validate = PayOrder::check)]
#[serde(rename_all = "camelCase")]
pub struct PayOrder {
    /// Id of the order.
    #[command(id)]
    pub order_id: OrderId,
    /// Payment method, such as `invoice`.
    pub method: String,
    /// Reference of the payment, such as a transaction number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl PayOrder {
    fn check(&self) -> Result<(), InvalidField> {
        checks::text("method", &self.method)?;
        checks::optional_text("reference", self.reference.as_deref())
    }
}

impl Decide for PayOrder {
    type Rejection = OrderRejection;

    fn decide(&self, order: &Order) -> Decision<Self> {
        // Every status is listed: a new one must be decided on here.
        match order.status {
            OrderStatus::Placed => {}
            OrderStatus::Paid | OrderStatus::Shipped | OrderStatus::Delivered => {
                return Err(OrderRejection::AlreadyPaid);
            }
            OrderStatus::Cancelled => return Err(OrderRejection::Cancelled),
            OrderStatus::Refunded => return Err(OrderRejection::Refunded),
        }
        Ok(OrderPaid {
            order_id: self.order_id.clone(),
            method: self.method.clone(),
            reference: self.reference.clone(),
            amount: order.total,
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

/// Records the shipment of a paid order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "ship-order", on = Order, validate = ShipOrder::check)]
#[serde(rename_all = "camelCase")]
pub struct ShipOrder {
    /// Id of the order.
    #[command(id)]
    pub order_id: OrderId,
    /// The carrier's tracking number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl ShipOrder {
    fn check(&self) -> Result<(), InvalidField> {
        checks::optional_text("tracking", self.tracking.as_deref())
    }
}

impl Decide for ShipOrder {
    type Rejection = OrderRejection;

    fn decide(&self, order: &Order) -> Decision<Self> {
        match order.status {
            OrderStatus::Paid => {}
            OrderStatus::Placed => return Err(OrderRejection::NotPaid),
            OrderStatus::Shipped | OrderStatus::Delivered => {
                return Err(OrderRejection::AlreadyShipped);
            }
            OrderStatus::Cancelled => return Err(OrderRejection::Cancelled),
            OrderStatus::Refunded => return Err(OrderRejection::Refunded),
        }
        let (order_id, tracking) = (self.order_id.clone(), self.tracking.clone());
        Ok(OrderShipped { order_id, tracking, occurred_at: self.occurred_at }.into())
    }
}

/// Records the arrival of a shipped order.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "deliver-order", on = Order)]
#[serde(rename_all = "camelCase")]
pub struct DeliverOrder {
    /// Id of the order.
    #[command(id)]
    pub order_id: OrderId,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl Decide for DeliverOrder {
    type Rejection = OrderRejection;

    fn decide(&self, order: &Order) -> Decision<Self> {
        match order.status {
            OrderStatus::Shipped => {}
            OrderStatus::Placed | OrderStatus::Paid => return Err(OrderRejection::NotShipped),
            OrderStatus::Delivered => return Err(OrderRejection::AlreadyDelivered),
            OrderStatus::Cancelled => return Err(OrderRejection::Cancelled),
            OrderStatus::Refunded => return Err(OrderRejection::Refunded),
        }
        let order_id = self.order_id.clone();
        Ok(OrderDelivered { order_id, occurred_at: self.occurred_at }.into())
    }
}

/// Cancels an order that is not shipped. [`RefundOrder`] returns a payment.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "cancel-order", on = Order, validate = CancelOrder::check)]
#[serde(rename_all = "camelCase")]
pub struct CancelOrder {
    /// Id of the order.
    #[command(id)]
    pub order_id: OrderId,
    /// Reason, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl CancelOrder {
    fn check(&self) -> Result<(), InvalidField> {
        checks::optional_text("reason", self.reason.as_deref())
    }
}

impl Decide for CancelOrder {
    type Rejection = OrderRejection;

    fn decide(&self, order: &Order) -> Decision<Self> {
        match order.status {
            OrderStatus::Placed | OrderStatus::Paid => {}
            OrderStatus::Shipped | OrderStatus::Delivered => {
                return Err(OrderRejection::AlreadyShipped);
            }
            OrderStatus::Cancelled => return Err(OrderRejection::Cancelled),
            OrderStatus::Refunded => return Err(OrderRejection::Refunded),
        }
        let (order_id, reason) = (self.order_id.clone(), self.reason.clone());
        Ok(OrderCancelled { order_id, reason, occurred_at: self.occurred_at }.into())
    }
}

/// Refunds all or part of an order's payment.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "refund-order", on = Order, validate = RefundOrder::check)]
#[serde(rename_all = "camelCase")]
pub struct RefundOrder {
    /// Id of the order.
    #[command(id)]
    pub order_id: OrderId,
    /// Amount to refund; defaults to all that is left of the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl RefundOrder {
    fn check(&self) -> Result<(), InvalidField> {
        self.amount.map_or(Ok(()), |amount| checks::positive("amount", amount))
    }
}

impl Decide for RefundOrder {
    type Rejection = OrderRejection;

    fn decide(&self, order: &Order) -> Decision<Self> {
        // Decided by the payment and not by the status: a cancelled order may have been paid.
        if !order.was_paid {
            return Err(OrderRejection::NotPaid);
        }
        if order.left <= Money::ZERO {
            return Err(OrderRejection::Refunded);
        }
        let amount = self.amount.unwrap_or(order.left);
        // Several partial refunds together never exceed the payment.
        if amount > order.left {
            return Err(OrderRejection::RefundExceedsPayment {
                requested: amount,
                left: order.left,
            });
        }
        let (order_id, left) = (self.order_id.clone(), order.left - amount);
        Ok(OrderRefunded { order_id, amount, left, occurred_at: self.occurred_at }.into())
    }
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;
    use proptest::prelude::*;

    use super::*;
    use crate::orders::{Amounts, OrderEvent, OrderPlaced};

    const THEN: Timestamp = Timestamp::UNIX_EPOCH;

    fn id() -> OrderId {
        OrderId::new("536365").unwrap()
    }

    fn placed() -> OrderEvent {
        let total = Money::whole(20);
        OrderPlaced {
            order_id: id(),
            customer_id: None,
            shipping_address: None,
            lines: vec![],
            discounts: vec![],
            amounts: Amounts { subtotal: total, discount: Money::ZERO, total },
            payment_account_id: None,
            occurred_at: THEN,
        }
        .into()
    }

    fn paid() -> OrderPaid {
        let (method, amount) = ("invoice".to_owned(), Money::whole(20));
        OrderPaid { order_id: id(), method, reference: None, amount, occurred_at: THEN }
    }

    fn shipped() -> OrderShipped {
        OrderShipped { order_id: id(), tracking: None, occurred_at: THEN }
    }

    fn delivered() -> OrderDelivered {
        OrderDelivered { order_id: id(), occurred_at: THEN }
    }

    fn cancelled() -> OrderCancelled {
        OrderCancelled { order_id: id(), reason: None, occurred_at: THEN }
    }

    fn refunded(amount: i64, left: i64) -> OrderRefunded {
        let (amount, left) = (Money::whole(amount), Money::whole(left));
        OrderRefunded { order_id: id(), amount, left, occurred_at: THEN }
    }

    fn pay() -> PayOrder {
        PayOrder {
            order_id: id(),
            method: "invoice".to_owned(),
            reference: None,
            occurred_at: THEN,
        }
    }

    fn ship() -> ShipOrder {
        ShipOrder { order_id: id(), tracking: None, occurred_at: THEN }
    }

    fn deliver() -> DeliverOrder {
        DeliverOrder { order_id: id(), occurred_at: THEN }
    }

    fn cancel() -> CancelOrder {
        CancelOrder { order_id: id(), reason: None, occurred_at: THEN }
    }

    fn refund(amount: Option<i64>) -> RefundOrder {
        RefundOrder { order_id: id(), amount: amount.map(Money::whole), occurred_at: THEN }
    }

    /// Returns the shortest history that leads to a status.
    fn history(status: OrderStatus) -> Vec<OrderEvent> {
        let mut events = vec![placed()];
        match status {
            OrderStatus::Placed => {}
            OrderStatus::Paid => events.extend([paid().into()]),
            OrderStatus::Shipped => events.extend([paid().into(), shipped().into()]),
            OrderStatus::Delivered => {
                events.extend([paid().into(), shipped().into(), delivered().into()]);
            }
            OrderStatus::Cancelled => events.extend([cancelled().into()]),
            OrderStatus::Refunded => events.extend([paid().into(), refunded(20, 0).into()]),
        }
        events
    }

    /// Runs a command on an order of each status; returns `accepted` or the rejection's code.
    fn answers<C>(command: impl Fn() -> C) -> [&'static str; 6]
    where
        C: Decide<On = Order>,
    {
        OrderStatus::ALL.map(|status| {
            let mut order = Order::default();
            history(status).iter().for_each(|event| order.evolve(event));
            command().decide(&order).map_or_else(|rejection| rejection.code(), |_| "accepted")
        })
    }

    #[test]
    fn only_an_unpaid_order_is_paid() {
        given::<Order>(history(OrderStatus::Placed)).when(pay()).then(paid());
        let already = "order-already-paid";
        let expected = ["accepted", already, already, already, "order-cancelled", "order-refunded"];
        assert_eq!(answers(pay), expected);
    }

    #[test]
    fn only_a_paid_order_is_shipped() {
        given::<Order>(history(OrderStatus::Paid)).when(ship()).then(shipped());
        let already = "order-already-shipped";
        let expected =
            ["order-not-paid", "accepted", already, already, "order-cancelled", "order-refunded"];
        assert_eq!(answers(ship), expected);
    }

    #[test]
    fn only_a_shipped_order_is_delivered() {
        given::<Order>(history(OrderStatus::Shipped)).when(deliver()).then(delivered());
        let not_yet = "order-not-shipped";
        let already = "order-already-delivered";
        let expected = [not_yet, not_yet, "accepted", already, "order-cancelled", "order-refunded"];
        assert_eq!(answers(deliver), expected);
    }

    #[test]
    fn an_order_is_cancelled_until_it_ships() {
        given::<Order>(history(OrderStatus::Paid)).when(cancel()).then(cancelled());
        let too_late = "order-already-shipped";
        let expected =
            ["accepted", "accepted", too_late, too_late, "order-cancelled", "order-refunded"];
        assert_eq!(answers(cancel), expected);
    }

    #[test]
    fn only_what_was_paid_goes_back() {
        let expected = [
            "order-not-paid",
            "accepted",
            "accepted",
            "accepted",
            "order-not-paid",
            "order-refunded",
        ];
        assert_eq!(answers(|| refund(None)), expected);
    }

    #[test]
    fn a_refund_without_an_amount_returns_all_that_is_left() {
        let mut events = history(OrderStatus::Delivered);
        given::<Order>(events.clone()).when(refund(Some(5))).then(refunded(5, 15));
        events.push(refunded(5, 15).into());
        given::<Order>(events.clone()).when(refund(None)).then(refunded(15, 0));
        events.push(refunded(15, 0).into());
        given::<Order>(events).when(refund(None)).then_rejected(OrderRejection::Refunded);
    }

    #[test]
    fn no_more_goes_back_than_is_left() {
        given::<Order>(history(OrderStatus::Paid)).when(refund(Some(21))).then_rejected(
            OrderRejection::RefundExceedsPayment {
                requested: Money::whole(21),
                left: Money::whole(20),
            },
        );
    }

    #[test]
    fn an_order_that_was_paid_and_cancelled_is_refunded_and_stays_cancelled() {
        let mut events = history(OrderStatus::Paid);
        events.push(cancelled().into());
        given::<Order>(events.clone()).when(refund(None)).then(refunded(20, 0));
        events.push(refunded(20, 0).into());
        given::<Order>(events).when(pay()).then_rejected(OrderRejection::Cancelled);
    }

    /// Runs the step with this number; returns no events if it is rejected.
    fn try_step(order: &Order, step: u8, amount: i64) -> Vec<OrderEvent> {
        let happens = match step {
            0 => pay().decide(order),
            1 => ship().decide(order),
            2 => deliver().decide(order),
            3 => cancel().decide(order),
            _ => refund((amount > 0).then_some(amount)).decide(order),
        };
        happens.map_or_else(|_| Vec::new(), |events| events.into_iter().collect())
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_no_more_goes_back_than_came_in_and_nothing_ships_unpaid(
            asked in prop::collection::vec((0_u8..5, 0_i64..15), 0..12)
        ) {
            let mut order = Order::default();
            order.evolve(&placed());
            let (mut came_in, mut went_back) = (Money::ZERO, Money::ZERO);
            for (step, amount) in asked {
                for event in try_step(&order, step, amount) {
                    match &event {
                        OrderEvent::Paid(paid) => came_in += paid.amount,
                        OrderEvent::Refunded(refunded) => went_back += refunded.amount,
                        OrderEvent::Shipped(_) => prop_assert_eq!(came_in, Money::whole(20)),
                        OrderEvent::Placed(_)
                        | OrderEvent::Delivered(_)
                        | OrderEvent::Cancelled(_) => {}
                    }
                    order.evolve(&event);
                }
                prop_assert!(went_back <= came_in);
                prop_assert_eq!(order.left, came_in - went_back);
            }
        }
    }

    #[test]
    fn a_refund_of_nothing_is_invalid() {
        given::<Order>(history(OrderStatus::Paid)).when(refund(Some(0))).then_invalid("amount");
    }
}
