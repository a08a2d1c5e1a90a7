//! A command with a misspelled attribute on a field.

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
struct PlaceOrder {
    #[command(id)]
    order: String,
    #[command(edgy)]
    //~ ERROR unknown attribute of a command's field; expected `id` or `edge`
    placed_at: u64,
}
