//! An event of version 3 that upcasts version 1.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-opened")]
struct DoorOpenedV1;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-opened", version = 3, from = DoorOpenedV1)]
//~ ERROR evaluation panicked: `from` or `split` must name the version just before: declare the
//~ version in between with its own `from`, or lower this `version` if none was ever recorded
struct DoorOpened;

impl From<DoorOpenedV1> for DoorOpened {
    fn from(_: DoorOpenedV1) -> Self {
        Self
    }
}
