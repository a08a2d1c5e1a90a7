//! An aggregate whose events do not derive `EventSet`.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "order-placed")]
struct OrderPlaced {
    order: String,
}

#[derive(Clone)]
enum OrderEvent {
    Placed(OrderPlaced),
}

#[derive(Default)]
struct Order;

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Id = String;
    type Event = OrderEvent;
    //~ ERROR `OrderEvent` is not an event set
    //~ NOTE derive it on an enum with one event per variant: `#[derive(EventSet, Clone)]`

    fn evolve(&mut self, _: &OrderEvent) {}
}
