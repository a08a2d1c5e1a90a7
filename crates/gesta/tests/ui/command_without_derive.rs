//! A decision of a struct that does not derive `Command`.

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

#[derive(Serialize, Deserialize, Clone)]
struct PlaceOrder {
    order: String,
}

impl Decide for PlaceOrder {
//~ ERROR `PlaceOrder` is not a command
//~ NOTE derive it: `#[derive(Command, Serialize, Deserialize)]` with `#[command(name = "…", on =
//~ Aggregate)]`
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Order) -> Decision<Self> {
    //~ ERROR `PlaceOrder` is not a command
    //~ NOTE derive it: `#[derive(Command, Serialize, Deserialize)]` with `#[command(name = "…", on
    //~ = Aggregate)]`
        Ok(OrderPlaced { order: self.order.clone() }.into())
    }
}
