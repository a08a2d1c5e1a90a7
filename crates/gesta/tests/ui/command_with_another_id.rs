//! A command whose id has another type than the aggregate's.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-opened")]
struct DoorOpened;

#[derive(EventSet, Clone)]
enum DoorEvent {
    Opened(DoorOpened),
}

#[derive(Default)]
struct Door;

impl Aggregate for Door {
    const CATEGORY: &'static str = "door";
    type Id = u32;
    type Event = DoorEvent;

    fn evolve(&mut self, _: &DoorEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "open-door", on = Door)]
struct OpenDoor {
    #[command(id)]
    door: String,
    //~ ERROR the id of this command's boundary is `u32`; its fields give `String`
    //~ NOTE give the fields with `#[command(id)]` the type of the aggregate's `type Id`, one field
    //~ for each aggregate in order, or name a function: `#[command(id = path)]`
}
