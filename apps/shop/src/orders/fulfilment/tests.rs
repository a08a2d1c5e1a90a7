//! Reactions of the fulfilment process to each input.

use gesta::{
    Rejection,
    testing::{Reaction, reaction},
};

use super::*;
use crate::{
    accounts::AccountRejection,
    catalogue::StockRejection,
    orders::{Amounts, Line, OrderRejection},
};

const NOW: RecordedAt = RecordedAt::from_micros(7_000_000);

fn order_id() -> OrderId {
    OrderId::new("1").unwrap()
}

fn account_id() -> AccountId {
    AccountId::new("ann").unwrap()
}

fn product(id: &str) -> ProductId {
    ProductId::new(id).unwrap()
}

fn pieces(number: u64) -> Quantity {
    Quantity::new(number).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(7).unwrap()
}

/// An order with two lines of mugs and one of jugs, for this total.
fn placed_for(total: i64) -> OrderPlaced {
    let line = |id, quantity| Line {
        product_id: product(id),
        unit_price: Money::whole(1),
        quantity: pieces(quantity),
    };
    OrderPlaced {
        order_id: order_id(),
        customer_id: None,
        shipping_address: None,
        lines: vec![line("mug", 2), line("jug", 1), line("mug", 3)],
        discounts: vec![],
        amounts: Amounts {
            subtotal: Money::whole(6),
            discount: Money::whole(6 - total),
            total: Money::whole(total),
        },
        payment_account_id: Some(account_id()),
        occurred_at: Timestamp::UNIX_EPOCH,
    }
}

fn placed() -> Input<Fulfilment> {
    Input::event(placed_for(6))
}

fn reserved(id: &str, quantity: u64) -> Input<Fulfilment> {
    let quantity = pieces(quantity);
    Input::event(StockReserved { product_id: product(id), order_id: order_id(), quantity })
}

fn withdrawn() -> Input<Fulfilment> {
    Input::event(MoneyWithdrawn {
        account_id: account_id(),
        amount: Money::whole(6),
        reference: "order 1".to_owned(),
        destination: None,
        occurred_at: now(),
    })
}

fn paid_by(method: &str) -> Input<Fulfilment> {
    Input::event(OrderPaid {
        order_id: order_id(),
        method: method.to_owned(),
        reference: Some("order 1".to_owned()),
        amount: Money::whole(6),
        occurred_at: now(),
    })
}

fn shipped() -> Input<Fulfilment> {
    Input::event(OrderShipped { order_id: order_id(), tracking: None, occurred_at: now() })
}

fn cancelled() -> Input<Fulfilment> {
    Input::event(OrderCancelled { order_id: order_id(), reason: None, occurred_at: now() })
}

fn reserve() -> ReserveStock {
    let wanted = |id, number| ReservationItem { product_id: product(id), quantity: pieces(number) };
    ReserveStock { order_id: order_id(), items: vec![wanted("jug", 1), wanted("mug", 5)] }
}

fn release() -> ReleaseStock {
    ReleaseStock { order_id: order_id(), product_ids: vec![product("jug"), product("mug")] }
}

fn withdraw() -> WithdrawMoney {
    WithdrawMoney {
        account_id: account_id(),
        amount: Money::whole(6),
        reference: "order 1".to_owned(),
        destination: None,
        occurred_at: now(),
    }
}

fn deposit() -> DepositMoney {
    DepositMoney {
        account_id: account_id(),
        amount: Money::whole(6),
        reference: "order 1".to_owned(),
        source: Some("refund".to_owned()),
        occurred_at: now(),
    }
}

fn pay() -> PayOrder {
    PayOrder {
        order_id: order_id(),
        method: "account".to_owned(),
        reference: Some("order 1".to_owned()),
        occurred_at: now(),
    }
}

fn ship() -> ShipOrder {
    ShipOrder { order_id: order_id(), tracking: None, occurred_at: now() }
}

fn cancel(reason: &str) -> CancelOrder {
    CancelOrder { order_id: order_id(), reason: Some(reason.to_owned()), occurred_at: now() }
}

fn after(inputs: impl IntoIterator<Item = Input<Fulfilment>>) -> Reaction<Fulfilment> {
    reaction().given(inputs).at(NOW)
}

fn none() -> Effects<Fulfilment> {
    Effects::none()
}

#[test]
fn stock_of_each_product_is_set_aside_first() {
    let effects = none().send(reserve()).after(Fulfilment::PAYMENT_TIMEOUT, PaymentDue);
    after([]).when(placed()).then(effects);
}

#[test]
fn money_is_taken_once_all_stock_is_set_aside() {
    after([placed()]).when(reserved("mug", 5)).then(none());
    let all_but_one = [placed(), reserved("mug", 5)];
    after(all_but_one).when(reserved("jug", 1)).then(none().send(withdraw()));
}

/// Inputs up to the last reservation.
fn reserving() -> Vec<Input<Fulfilment>> {
    vec![placed(), reserved("mug", 5), reserved("jug", 1)]
}

fn and(mut before: Vec<Input<Fulfilment>>, input: Input<Fulfilment>) -> Vec<Input<Fulfilment>> {
    before.push(input);
    before
}

#[test]
fn an_order_is_paid_with_the_money_and_then_shipped() {
    after(reserving()).when(withdrawn()).then(none().send(pay()));
    let taken = || and(reserving(), withdrawn());
    after(taken()).when(paid_by("account")).then(none().send(ship()).cancel(PaymentDue));
    let paid = and(taken(), paid_by("account"));
    after(paid).when(shipped()).then(none().cancel(PaymentDue).end());
}

#[test]
fn an_order_that_costs_nothing_is_paid_at_once() {
    let free = [Input::event(placed_for(0)), reserved("mug", 5)];
    after(free).when(reserved("jug", 1)).then(none().send(pay()));
}

#[test]
fn an_order_is_cancelled_when_stock_is_short() {
    let short =
        StockRejection::Insufficient { product: product("mug"), requested: 5, available: 1 };
    let reason = "insufficient stock of product mug: 5 pieces requested, 1 available";
    after([placed()]).when(Input::rejected(&reserve(), &short)).then(none().send(cancel(reason)));
}

fn too_little() -> impl Rejection {
    AccountRejection::InsufficientFunds { amount: Money::whole(6), balance: Money::whole(1) }
}

#[test]
fn an_order_is_cancelled_when_the_money_is_too_little() {
    let rejection = too_little();
    let effects = none().send(cancel(&rejection.to_string()));
    after(reserving()).when(Input::rejected(&withdraw(), &rejection)).then(effects);
}

#[test]
fn a_cancelled_order_sets_its_stock_free() {
    let refused = and(reserving(), Input::rejected(&withdraw(), &too_little()));
    after(refused).when(cancelled()).then(none().send(release()).cancel(PaymentDue).end());
}

#[test]
fn an_order_that_is_not_paid_in_time_is_cancelled() {
    let effects = none().send(cancel("the order was not paid in time"));
    after(reserving()).when(Input::Timer(PaymentDue)).then(effects);
    let paid = and(and(reserving(), withdrawn()), paid_by("account"));
    after(paid).when(Input::Timer(PaymentDue)).then(none());
}

#[test]
fn money_that_comes_after_the_order_was_cancelled_goes_back() {
    let waiting = || and(reserving(), cancelled());
    after(reserving()).when(cancelled()).then(none().send(release()).cancel(PaymentDue));
    after(waiting()).when(withdrawn()).then(none().send(deposit()).end());
    after(waiting()).when(Input::rejected(&withdraw(), &too_little())).then(none().end());
}

#[test]
fn money_that_was_taken_for_an_order_that_somebody_else_paid_goes_back() {
    let refused = || Input::rejected(&pay(), &OrderRejection::AlreadyPaid);
    let by_hand = || and(and(reserving(), withdrawn()), paid_by("cash"));
    after(by_hand()).when(refused()).then(none().send(deposit()));
    let returned = and(and(by_hand(), refused()), shipped());
    after(returned)
        .when(Input::rejected(&ship(), &OrderRejection::AlreadyShipped))
        .then(none().end());
    after(and(reserving(), paid_by("cash"))).when(withdrawn()).then(none().send(deposit()));
}

#[test]
fn an_order_that_was_paid_and_is_cancelled_is_refunded() {
    let paid = and(and(reserving(), withdrawn()), paid_by("account"));
    let refund = RefundOrder { order_id: order_id(), amount: None, occurred_at: now() };
    let undone = none().send(release()).cancel(PaymentDue).send(deposit()).send(refund).end();
    after(paid).when(cancelled()).then(undone);
}

#[test]
fn an_order_that_somebody_else_paid_ships_once_its_stock_is_set_aside() {
    let by_hand = || vec![placed(), paid_by("cash"), reserved("mug", 5)];
    after([placed()]).when(paid_by("cash")).then(none().cancel(PaymentDue));
    after(by_hand()).when(reserved("jug", 1)).then(none().send(ship()));
}
