//! A set with a struct that does not derive `Event`.

use gesta::prelude::*;

#[derive(Serialize, Deserialize, Clone)]
struct OrderPlaced {
    order: String,
}

#[derive(EventSet, Clone)]
//~ ERROR `OrderPlaced` is not an event
//~ NOTE derive it: `#[derive(Event, Serialize, Deserialize, Clone)]` with `#[event(name = "…")]`
enum OrderEvent {
    Placed(OrderPlaced),
    //~ ERROR `OrderPlaced` is not an event
    //~ NOTE derive it: `#[derive(Event, Serialize, Deserialize, Clone)]` with `#[event(name =
    //~ "…")]`
}
