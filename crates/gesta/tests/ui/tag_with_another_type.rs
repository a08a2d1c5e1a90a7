//! Tags with a constant that does not exist, and with a value of another type.

use gesta::prelude::*;

const DOOR: TagKey<u32> = TagKey::new("door");

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-opened")]
struct DoorOpened {
    #[event(tag = DOR)]
    //~ ERROR cannot find value `DOR` in this scope
    door: u32,
    #[event(tag = DOOR)]
    room: String,
    //~ ERROR mismatched types
}
