//! The fulfilment process: pays an order from an account, and ships it.
//!
//! Invariants: stock is reserved before money is withdrawn, and money is withdrawn before the order
//! ships; money withdrawn for an order that does not ship is paid back. Compensation starts only
//! once the order is cancelled, by this process or by a user, so that nothing is undone for an
//! order that shipped in between. Not here: orders without a payment account; explicit commands pay
//! and ship them.

use std::{collections::BTreeSet, time::Duration};

use gesta::prelude::*;
use jiff::Timestamp;

use super::{
    CancelOrder, OrderCancelled, OrderPaid, OrderPlaced, OrderShipped, PayOrder, RefundOrder,
    ShipOrder, pieces_of,
};
use crate::{
    accounts::{DepositMoney, MoneyWithdrawn, WithdrawMoney},
    catalogue::{ReleaseStock, ReservationItem, ReserveStock, StockReserved},
    id::{AccountId, OrderId, ProductId},
    money::Money,
    quantity::Quantity,
};

/// Payment method of orders that this process paid.
const METHOD: &str = "account";

/// Maximum length of a cancellation's reason.
const REASON_CHARS_MAX: usize = 200;

/// Actor in the metadata of this process's commands.
const ACTOR: &str = "process:fulfilment";

/// Reserves stock, takes the payment and ships; cancels the order if that fails.
#[derive(Clone, Debug)]
pub struct Fulfilment {
    payment_timeout: Duration,
    order: Option<OrderFacts>,
    /// Products that are not reserved yet.
    unreserved: BTreeSet<ProductId>,
    payment: PaymentState,
    paid: bool,
    outcome: Option<Outcome>,
}

/// The parts of an order that the process needs.
#[derive(Clone, Debug)]
struct OrderFacts {
    order_id: OrderId,
    account_id: AccountId,
    /// Total in whole hundredths: an order may have finer amounts, a payment must not.
    charge: Money,
    /// `None` if the pieces of a product exceed the maximum quantity.
    items: Option<Vec<ReservationItem>>,
    products: Vec<ProductId>,
}

/// Progress of the payment from the customer's account.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PaymentState {
    /// Nothing was withdrawn.
    Untouched,
    /// The withdrawal was sent; its result is unknown.
    Requested,
    /// Withdrawn, but not yet recorded on the order.
    Withdrawn,
    /// Withdrawn and recorded as the order's payment.
    Applied,
    /// Withdrawn and paid back.
    Returned,
}

/// Outcome of an order, as far as fulfilment is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Shipped,
    Cancelled,
}

impl Fulfilment {
    /// Default time from placement to payment.
    pub const PAYMENT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

    /// Creates the process; it cancels an order that is unpaid after this time.
    #[must_use]
    pub const fn with_payment_timeout(payment_timeout: Duration) -> Self {
        Self {
            payment_timeout,
            order: None,
            unreserved: BTreeSet::new(),
            payment: PaymentState::Untouched,
            paid: false,
            outcome: None,
        }
    }
}

impl Default for Fulfilment {
    fn default() -> Self {
        Self::with_payment_timeout(Self::PAYMENT_TIMEOUT)
    }
}

/// The events that the process handles.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum FulfilmentEvent {
    /// An order was placed.
    Placed(OrderPlaced),
    /// Stock of one product was reserved.
    Reserved(StockReserved),
    /// Money was withdrawn from an account.
    Withdrawn(MoneyWithdrawn),
    /// The order was paid.
    Paid(OrderPaid),
    /// The order was shipped.
    Shipped(OrderShipped),
    /// The order was cancelled.
    Cancelled(OrderCancelled),
}

/// The timer that fires when the time for the payment is over.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PaymentDue;

impl ProcessManager for Fulfilment {
    const NAME: &'static str = "fulfilment";
    type Event = FulfilmentEvent;
    type Timer = PaymentDue;
    type Commands = (
        ReserveStock,
        ReleaseStock,
        WithdrawMoney,
        DepositMoney,
        PayOrder,
        ShipOrder,
        CancelOrder,
        RefundOrder,
    );

    fn route(event: &Recorded<FulfilmentEvent>) -> Routing {
        match &event.event {
            FulfilmentEvent::Placed(placed) if placed.payment_account_id.is_some() => {
                Routing::start(&placed.order_id)
            }
            // Without a payment account, other commands pay and ship the order.
            FulfilmentEvent::Placed(_) => Routing::Ignore,
            FulfilmentEvent::Reserved(reserved) => Routing::continue_with(&reserved.order_id),
            FulfilmentEvent::Withdrawn(withdrawn) => {
                // The reference is free text, so only a withdrawal by this process counts.
                let own = event.metadata.actor.as_deref() == Some(ACTOR);
                let order = withdrawn.reference.strip_prefix("order ").filter(|_| own);
                order.map_or(Routing::Ignore, Routing::continue_with)
            }
            FulfilmentEvent::Paid(paid) => Routing::continue_with(&paid.order_id),
            FulfilmentEvent::Shipped(shipped) => Routing::continue_with(&shipped.order_id),
            FulfilmentEvent::Cancelled(cancelled) => Routing::continue_with(&cancelled.order_id),
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        // State first, effects in `react`: a replay runs only this half and sends nothing.
        match input {
            Input::Event(event) => self.evolve_by(event),
            Input::Timer(PaymentDue) => {}
            // Nothing was withdrawn, so nothing needs to be paid back.
            Input::Rejected(rejected) if rejected.is::<WithdrawMoney>() => {
                self.payment = PaymentState::Untouched;
            }
            // Another payment or a cancellation came first: the money goes back.
            Input::Rejected(rejected)
                if rejected.is::<PayOrder>() && self.payment == PaymentState::Withdrawn =>
            {
                self.payment = PaymentState::Returned;
            }
            Input::Rejected(_) => {}
        }
    }

    fn react(&self, input: &Input<Self>, at: RecordedAt) -> Effects<Self> {
        // `None` if the order has no payment account; such an order has no instance either.
        let Some(order) = &self.order else { return Effects::none() };
        let commands = OrderCommands { order, now: to_timestamp(at) };
        match input {
            Input::Event(event) => self.react_to(event, &commands),
            Input::Timer(PaymentDue) if self.is_open() => {
                commands.cancel("the order was not paid in time")
            }
            // Too late: the order was paid or has ended since the timer was set.
            Input::Timer(PaymentDue) => Effects::none(),
            // Nothing is reserved or withdrawn yet, so there is nothing else to undo.
            Input::Rejected(rejected) if rejected.is::<ReserveStock>() => {
                commands.cancel(&rejected.reason)
            }
            Input::Rejected(rejected) if rejected.is::<WithdrawMoney>() && self.is_open() => {
                commands.cancel(&rejected.reason)
            }
            Input::Rejected(rejected)
                if rejected.is::<PayOrder>() && self.payment == PaymentState::Returned =>
            {
                self.end_if_settled(commands.pay_back(Effects::none()))
            }
            // A cancellation that came too late, for example: the order has shipped.
            Input::Rejected(_) => self.end_if_settled(Effects::none()),
        }
    }
}

impl Fulfilment {
    fn evolve_by(&mut self, event: &FulfilmentEvent) {
        match event {
            FulfilmentEvent::Placed(placed) => {
                self.order = OrderFacts::of(placed);
                self.unreserved = placed.lines.iter().map(|line| line.product_id.clone()).collect();
            }
            FulfilmentEvent::Reserved(reserved) => {
                self.unreserved.remove(&reserved.product_id);
                let costs = self.order.as_ref().is_some_and(|order| order.charge > Money::ZERO);
                // Reacting to the last reservation sends the withdrawal.
                if self.unreserved.is_empty() && self.is_open() && costs {
                    self.payment = PaymentState::Requested;
                }
            }
            FulfilmentEvent::Withdrawn(_) => {
                // The order may have ended while the withdrawal was under way.
                self.payment =
                    if self.is_open() { PaymentState::Withdrawn } else { PaymentState::Returned };
            }
            FulfilmentEvent::Paid(paid) => {
                self.paid = true;
                // The order may have been paid by other means while the withdrawal was under way.
                let own = paid.method == METHOD && paid.reference == self.reference();
                if own && self.payment == PaymentState::Withdrawn {
                    self.payment = PaymentState::Applied;
                }
            }
            FulfilmentEvent::Shipped(_) => self.outcome = Some(Outcome::Shipped),
            FulfilmentEvent::Cancelled(_) => self.outcome = Some(Outcome::Cancelled),
        }
    }

    fn react_to(&self, event: &FulfilmentEvent, commands: &OrderCommands<'_>) -> Effects<Self> {
        match event {
            FulfilmentEvent::Placed(_) => commands.reserve(self.payment_timeout),
            FulfilmentEvent::Reserved(_) if self.unreserved.is_empty() => {
                self.after_reserving(commands)
            }
            FulfilmentEvent::Reserved(_) => Effects::none(),
            FulfilmentEvent::Withdrawn(_) if self.payment == PaymentState::Withdrawn => {
                commands.pay()
            }
            // The order ended while the money was on its way: it goes straight back.
            FulfilmentEvent::Withdrawn(_) => {
                self.end_if_settled(commands.pay_back(Effects::none()))
            }
            FulfilmentEvent::Paid(_) if self.unreserved.is_empty() && self.outcome.is_none() => {
                commands.ship().cancel(PaymentDue)
            }
            // Paid by other means before the stock was reserved; the last reservation ships it.
            FulfilmentEvent::Paid(_) => Effects::none().cancel(PaymentDue),
            FulfilmentEvent::Shipped(_) => self.end_if_settled(Effects::none().cancel(PaymentDue)),
            FulfilmentEvent::Cancelled(_) => {
                // Releases all products: releasing one that was not reserved has no effect.
                let undone = commands.release().cancel(PaymentDue);
                self.end_if_settled(if self.payment == PaymentState::Applied {
                    commands.refund(undone)
                } else {
                    undone
                })
            }
        }
    }

    fn after_reserving(&self, commands: &OrderCommands<'_>) -> Effects<Self> {
        match (self.outcome, self.paid, self.payment) {
            // The order ended first; its cancellation has released the stock.
            (Some(_), _, _) => Effects::none(),
            // Paid by other means while the stock was being reserved.
            (None, true, _) => commands.ship(),
            (None, false, PaymentState::Requested) => commands.withdraw(),
            // An order that costs nothing is paid without a withdrawal.
            (None, false, _) => commands.pay(),
        }
    }

    /// Returns whether the order still awaits its payment.
    fn is_open(&self) -> bool {
        self.outcome.is_none() && !self.paid
    }

    /// Ends the process with these effects if the order has ended and no money is in transit.
    fn end_if_settled(&self, effects: Effects<Self>) -> Effects<Self> {
        // An instance that has ended receives no inputs: a withdrawal would never be paid back.
        let settled = !matches!(self.payment, PaymentState::Requested | PaymentState::Withdrawn);
        if self.outcome.is_some() && settled { effects.end() } else { effects }
    }

    fn reference(&self) -> Option<String> {
        self.order.as_ref().map(|order| order.reference())
    }
}

impl OrderFacts {
    fn of(placed: &OrderPlaced) -> Option<Self> {
        let account_id = placed.payment_account_id.clone()?;
        let pieces = pieces_of(&placed.lines);
        let products = pieces.keys().cloned().collect();
        // One too large quantity makes the whole list `None`: the order cannot be reserved.
        let item = |(product_id, pieces)| {
            Some(ReservationItem { product_id, quantity: Quantity::new(pieces).ok()? })
        };
        let items = pieces.into_iter().map(item).collect();
        let charge = placed.amounts.total.round_to_hundredths();
        let order_id = placed.order_id.clone();
        Some(Self { order_id, account_id, charge, items, products })
    }

    fn reference(&self) -> String {
        format!("order {}", self.order_id)
    }
}

/// Builds the commands for one order, all with the same business time.
struct OrderCommands<'a> {
    order: &'a OrderFacts,
    now: Timestamp,
}

impl OrderCommands<'_> {
    fn order_id(&self) -> OrderId {
        self.order.order_id.clone()
    }

    fn reserve(&self, payment_timeout: Duration) -> Effects<Fulfilment> {
        let Some(items) = self.order.items.clone() else {
            return self.cancel("the quantity of a product exceeds the maximum");
        };
        // One command for all products: all are reserved or none, so nothing is left to release
        // after a rejection.
        let reserve = ReserveStock { order_id: self.order_id(), items };
        Effects::none().send(reserve).after(payment_timeout, PaymentDue)
    }

    fn withdraw(&self) -> Effects<Fulfilment> {
        Effects::none().send(WithdrawMoney {
            account_id: self.order.account_id.clone(),
            amount: self.order.charge,
            reference: self.order.reference(),
            destination: None,
            occurred_at: self.now,
        })
    }

    fn pay(&self) -> Effects<Fulfilment> {
        Effects::none().send(PayOrder {
            order_id: self.order_id(),
            method: METHOD.to_owned(),
            // By this reference the payment is recognized as this process's own.
            reference: Some(self.order.reference()),
            occurred_at: self.now,
        })
    }

    fn ship(&self) -> Effects<Fulfilment> {
        let order_id = self.order_id();
        Effects::none().send(ShipOrder { order_id, tracking: None, occurred_at: self.now })
    }

    fn cancel(&self, reason: &str) -> Effects<Fulfilment> {
        // A rejection text may be longer than `CancelOrder` accepts.
        let plain = reason.chars().filter(|character| !character.is_control());
        let reason = Some(plain.take(REASON_CHARS_MAX).collect());
        let order_id = self.order_id();
        Effects::none().send(CancelOrder { order_id, reason, occurred_at: self.now })
    }

    fn release(&self) -> Effects<Fulfilment> {
        let (order_id, product_ids) = (self.order_id(), self.order.products.clone());
        Effects::none().send(ReleaseStock { order_id, product_ids })
    }

    fn pay_back(&self, effects: Effects<Fulfilment>) -> Effects<Fulfilment> {
        effects.send(DepositMoney {
            account_id: self.order.account_id.clone(),
            amount: self.order.charge,
            reference: self.order.reference(),
            source: Some("refund".to_owned()),
            occurred_at: self.now,
        })
    }

    fn refund(&self, effects: Effects<Fulfilment>) -> Effects<Fulfilment> {
        let order_id = self.order_id();
        let refund = RefundOrder { order_id, amount: None, occurred_at: self.now };
        self.pay_back(effects).send(refund)
    }
}

fn to_timestamp(at: RecordedAt) -> Timestamp {
    // The input's recorded time and not the clock: a repeated reaction sends equal commands.
    let micros = i64::try_from(at.micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
