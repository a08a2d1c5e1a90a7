//! Fulfilment: an order that names an account is paid from it, and shipped.
//!
//! Always holds: stock is set aside before money is taken, and money is taken before the order
//! ships; money that was taken for an order that does not ship goes back. Whatever is to be undone
//! is undone once the order is cancelled, by this process or by somebody else: so nothing is
//! undone of an order that shipped in between. Not here: orders that name no account; they are paid
//! and shipped by explicit commands.

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

/// How it says that an order was paid from an account.
const METHOD: &str = "account";

/// The longest reason of a cancellation.
const REASON_CHARS_MAX: usize = 200;

/// Who takes the money, as events say it.
const ACTOR: &str = "process:fulfilment";

/// Sets stock aside, takes the payment and ships; cancels the order where that cannot be done.
#[derive(Clone, Debug)]
pub struct Fulfilment {
    pay_within: Duration,
    order: Option<Ordered>,
    /// What is not set aside yet.
    missing: BTreeSet<ProductId>,
    funds: Funds,
    paid: bool,
    end: Option<End>,
}

/// What the process needs to know of an order.
#[derive(Clone, Debug)]
struct Ordered {
    order_id: OrderId,
    account_id: AccountId,
    /// What it costs to the hundredth: an order is not rounded, an account is.
    charge: Money,
    /// Nothing, if the pieces of a product are more than can be counted.
    wanted: Option<Vec<ReservationItem>>,
    products: Vec<ProductId>,
}

/// Where the customer's money is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Funds {
    /// On the account.
    Untouched,
    /// Maybe on its way.
    Asked,
    /// Taken, and the order does not know yet.
    Taken,
    /// Taken, and the order is paid by it.
    Used,
    /// On its way back.
    Returned,
}

/// How an order ends, as far as fulfilment is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Shipped,
    Cancelled,
}

impl Fulfilment {
    /// How long a payment may take, unless told otherwise.
    pub const PAY_WITHIN: Duration = Duration::from_secs(30 * 60);

    /// Cancels an order that is not paid so long after it was placed.
    #[must_use]
    pub const fn paying_within(pay_within: Duration) -> Self {
        Self {
            pay_within,
            order: None,
            missing: BTreeSet::new(),
            funds: Funds::Untouched,
            paid: false,
            end: None,
        }
    }
}

impl Default for Fulfilment {
    fn default() -> Self {
        Self::paying_within(Self::PAY_WITHIN)
    }
}

/// What matters to fulfilment.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum FulfilmentEvent {
    /// There is an order.
    Placed(OrderPlaced),
    /// Stock of a product is set aside.
    Reserved(StockReserved),
    /// Money was taken.
    Withdrawn(MoneyWithdrawn),
    /// The order is paid.
    Paid(OrderPaid),
    /// The order is on its way.
    Shipped(OrderShipped),
    /// The order was called off.
    Cancelled(OrderCancelled),
}

/// The payment should be there by now.
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

    fn route(event: &Recorded<FulfilmentEvent>) -> Route {
        match &event.event {
            FulfilmentEvent::Placed(placed) if placed.payment_account_id.is_some() => {
                Route::start(&placed.order_id)
            }
            FulfilmentEvent::Placed(_) => Route::Ignore,
            FulfilmentEvent::Reserved(reserved) => Route::continue_with(&reserved.order_id),
            FulfilmentEvent::Withdrawn(withdrawn) => {
                // A reference is free text: only what this process took is a payment.
                let own = event.metadata.actor.as_deref() == Some(ACTOR);
                let order = withdrawn.reference.strip_prefix("order ").filter(|_| own);
                order.map_or(Route::Ignore, Route::continue_with)
            }
            FulfilmentEvent::Paid(paid) => Route::continue_with(&paid.order_id),
            FulfilmentEvent::Shipped(shipped) => Route::continue_with(&shipped.order_id),
            FulfilmentEvent::Cancelled(cancelled) => Route::continue_with(&cancelled.order_id),
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        match input {
            Input::Event(event) => self.evolve_by(event),
            Input::Timer(PaymentDue) => {}
            Input::Rejected(rejected) if rejected.is::<WithdrawMoney>() => {
                self.funds = Funds::Untouched;
            }
            Input::Rejected(rejected)
                if rejected.is::<PayOrder>() && self.funds == Funds::Taken =>
            {
                self.funds = Funds::Returned;
            }
            Input::Rejected(_) => {}
        }
    }

    fn react(&self, input: &Input<Self>, at: RecordedAt) -> Effects<Self> {
        let Some(order) = &self.order else { return Effects::none() };
        let job = Job { order, now: moment(at) };
        match input {
            Input::Event(event) => self.react_to(event, &job),
            Input::Timer(PaymentDue) if self.is_open() => job.cancel("it was not paid in time"),
            Input::Timer(PaymentDue) => Effects::none(),
            Input::Rejected(rejected) if rejected.is::<ReserveStock>() => {
                job.cancel(&rejected.reason)
            }
            Input::Rejected(rejected) if rejected.is::<WithdrawMoney>() && self.is_open() => {
                job.cancel(&rejected.reason)
            }
            Input::Rejected(rejected)
                if rejected.is::<PayOrder>() && self.funds == Funds::Returned =>
            {
                self.ended(job.give_back(Effects::none()))
            }
            Input::Rejected(_) => self.ended(Effects::none()),
        }
    }
}

impl Fulfilment {
    fn evolve_by(&mut self, event: &FulfilmentEvent) {
        match event {
            FulfilmentEvent::Placed(placed) => {
                self.order = Ordered::of(placed);
                self.missing = placed.lines.iter().map(|line| line.product_id.clone()).collect();
            }
            FulfilmentEvent::Reserved(reserved) => {
                self.missing.remove(&reserved.product_id);
                let costs = self.order.as_ref().is_some_and(|order| order.charge > Money::ZERO);
                if self.missing.is_empty() && self.is_open() && costs {
                    self.funds = Funds::Asked;
                }
            }
            FulfilmentEvent::Withdrawn(_) => {
                self.funds = if self.is_open() { Funds::Taken } else { Funds::Returned };
            }
            FulfilmentEvent::Paid(paid) => {
                self.paid = true;
                let own = paid.method == METHOD && paid.reference == self.reference();
                if own && self.funds == Funds::Taken {
                    self.funds = Funds::Used;
                }
            }
            FulfilmentEvent::Shipped(_) => self.end = Some(End::Shipped),
            FulfilmentEvent::Cancelled(_) => self.end = Some(End::Cancelled),
        }
    }

    fn react_to(&self, event: &FulfilmentEvent, job: &Job<'_>) -> Effects<Self> {
        match event {
            FulfilmentEvent::Placed(_) => job.reserve(self.pay_within),
            FulfilmentEvent::Reserved(_) if self.missing.is_empty() => self.after_reserving(job),
            FulfilmentEvent::Reserved(_) => Effects::none(),
            FulfilmentEvent::Withdrawn(_) if self.funds == Funds::Taken => job.pay(),
            FulfilmentEvent::Withdrawn(_) => self.ended(job.give_back(Effects::none())),
            FulfilmentEvent::Paid(_) if self.missing.is_empty() && self.end.is_none() => {
                job.ship().cancel(PaymentDue)
            }
            FulfilmentEvent::Paid(_) => Effects::none().cancel(PaymentDue),
            FulfilmentEvent::Shipped(_) => self.ended(Effects::none().cancel(PaymentDue)),
            FulfilmentEvent::Cancelled(_) => {
                let undone = job.release().cancel(PaymentDue);
                self.ended(if self.funds == Funds::Used { job.refund(undone) } else { undone })
            }
        }
    }

    fn after_reserving(&self, job: &Job<'_>) -> Effects<Self> {
        match (self.end, self.paid, self.funds) {
            (Some(_), _, _) => Effects::none(),
            (None, true, _) => job.ship(),
            (None, false, Funds::Asked) => job.take_money(),
            (None, false, _) => job.pay(),
        }
    }

    /// Whether the order waits for its payment.
    fn is_open(&self) -> bool {
        self.end.is_none() && !self.paid
    }

    /// The process ends with these effects, if the order has ended and all money has settled.
    fn ended(&self, effects: Effects<Self>) -> Effects<Self> {
        let settled = !matches!(self.funds, Funds::Asked | Funds::Taken);
        if self.end.is_some() && settled { effects.end() } else { effects }
    }

    fn reference(&self) -> Option<String> {
        self.order.as_ref().map(|order| order.reference())
    }
}

impl Ordered {
    fn of(placed: &OrderPlaced) -> Option<Self> {
        let account_id = placed.payment_account_id.clone()?;
        let pieces = pieces_of(&placed.lines);
        let products = pieces.keys().cloned().collect();
        let wanted = |(product_id, pieces)| {
            Some(ReservationItem { product_id, quantity: Quantity::new(pieces).ok()? })
        };
        let wanted = pieces.into_iter().map(wanted).collect();
        let charge = placed.amounts.total.part_of(1)?;
        let order_id = placed.order_id.clone();
        Some(Self { order_id, account_id, charge, wanted, products })
    }

    fn reference(&self) -> String {
        format!("order {}", self.order_id)
    }
}

/// The commands of one order, at one time.
struct Job<'a> {
    order: &'a Ordered,
    now: Timestamp,
}

impl Job<'_> {
    fn order_id(&self) -> OrderId {
        self.order.order_id.clone()
    }

    fn reserve(&self, pay_within: Duration) -> Effects<Fulfilment> {
        let Some(items) = self.order.wanted.clone() else {
            return self.cancel("nobody has so many pieces");
        };
        let reserve = ReserveStock { order_id: self.order_id(), items };
        Effects::none().send(reserve).after(pay_within, PaymentDue)
    }

    fn take_money(&self) -> Effects<Fulfilment> {
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
            reference: Some(self.order.reference()),
            occurred_at: self.now,
        })
    }

    fn ship(&self) -> Effects<Fulfilment> {
        let order_id = self.order_id();
        Effects::none().send(ShipOrder { order_id, tracking: None, occurred_at: self.now })
    }

    fn cancel(&self, reason: &str) -> Effects<Fulfilment> {
        // Why something was refused may be longer than a reason may be.
        let plain = reason.chars().filter(|character| !character.is_control());
        let reason = Some(plain.take(REASON_CHARS_MAX).collect());
        let order_id = self.order_id();
        Effects::none().send(CancelOrder { order_id, reason, occurred_at: self.now })
    }

    fn release(&self) -> Effects<Fulfilment> {
        let (order_id, product_ids) = (self.order_id(), self.order.products.clone());
        Effects::none().send(ReleaseStock { order_id, product_ids })
    }

    fn give_back(&self, effects: Effects<Fulfilment>) -> Effects<Fulfilment> {
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
        self.give_back(effects).send(refund)
    }
}

/// The time as the shop's events write it.
fn moment(at: RecordedAt) -> Timestamp {
    let micros = i64::try_from(at.micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
