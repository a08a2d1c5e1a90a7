//! A personal field whose members are written into the event.

use gesta::prelude::*;

#[derive(Serialize, Deserialize, Clone)]
struct FullName {
    first: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-joined")]
struct UserJoined {
    #[event(personal)]
    //~ ERROR `personal` cannot follow `#[serde(flatten)]`, which gives the field no name of its
    //~ own; write its fields out
    #[serde(flatten)]
    name: FullName,
}
