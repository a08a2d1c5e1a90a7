//! A set with two events of one name.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "order-placed")]
struct OrderPlaced {
    order: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "order-placed")]
struct OrderPaid {
    order: String,
}

#[derive(EventSet, Clone)]
//~ ERROR evaluation panicked: two events of this set have the same name; change one `#[event(name =
//~ …)]`
enum OrderEvent {
    Placed(OrderPlaced),
    Paid(OrderPaid),
}
