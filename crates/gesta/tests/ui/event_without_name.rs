//! An event without a name.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
struct OrderPlaced {
//~ ERROR missing the event's name: `#[event(name = "order-placed")]`
    order: String,
}
