//! An event that does not derive `Serialize`.

use gesta::prelude::*;

#[derive(Event, Deserialize, Clone)]
#[event(name = "order-placed")]
struct OrderPlaced {
//~ ERROR the trait bound `OrderPlaced: serde::Serialize` is not satisfied
//~ NOTE for local types consider adding `#[derive(serde::Serialize)]` to your `OrderPlaced` type
    order: String,
}
