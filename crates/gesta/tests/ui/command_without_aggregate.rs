//! A command that names no aggregate.

use gesta::prelude::*;

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "place-order", new)]
//~ ERROR missing the aggregate of the command: `#[command(on = Order, …)]`
struct PlaceOrder {
    #[command(id)]
    order: String,
}
