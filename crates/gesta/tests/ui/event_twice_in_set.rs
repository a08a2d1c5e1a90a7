//! A set that has one event twice.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "order-placed")]
struct OrderPlaced {
    order: String,
}

#[derive(EventSet, Clone)]
enum OrderEvent {
    Placed(OrderPlaced),
    PlacedAgain(OrderPlaced),
    //~ ERROR `OrderPlaced` is in this set twice, as `Placed` and `PlacedAgain`; remove one
}
