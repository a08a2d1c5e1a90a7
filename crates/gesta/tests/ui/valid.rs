//! An aggregate with an event, a command and a rejection, all correct.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "order-placed")]
struct OrderPlaced {
    order: String,
}

#[derive(EventSet, Clone)]
enum OrderEvent {
    Placed(OrderPlaced),
}

#[derive(Default)]
struct Order;

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Id = String;
    type Event = OrderEvent;

    fn evolve(&mut self, _: &OrderEvent) {}
}

#[derive(Debug, Rejection)]
#[rejection(code = "shop-closed")]
struct ShopClosed;

impl std::fmt::Display for ShopClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the shop is closed")
    }
}

impl std::error::Error for ShopClosed {}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "place-order", on = Order, new)]
struct PlaceOrder {
    #[command(id)]
    order: String,
}

impl Decide for PlaceOrder {
    type Rejection = ShopClosed;

    fn decide(&self, _: &Order) -> Decision<Self> {
        Ok(OrderPlaced { order: self.order.clone() }.into())
    }
}
