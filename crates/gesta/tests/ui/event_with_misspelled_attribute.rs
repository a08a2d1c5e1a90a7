//! An event with a misspelled attribute.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(nane = "order-placed")]
//~ ERROR unknown attribute of an event; expected `name = "…"`, `version = N`, `from = OldEvent`,
//~ `split = OldEvent` or `codec = Codec`
struct OrderPlaced {
    order: String,
}
