//! A command without a field for the id of its aggregate.

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

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "place-order", on = Order, new)]
//~ ERROR missing the id of the aggregate: mark its field with `#[command(id)]`, or give a function,
//~ `#[command(id = path)]`
struct PlaceOrder {
    order: String,
}
