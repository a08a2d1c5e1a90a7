//! An aggregate whose category has a `-`.

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
    const CATEGORY: &'static str = "front-door";
    type Id = u32;
    type Event = DoorEvent;

    fn evolve(&mut self, _: &DoorEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "open-door", on = Door)]
//~ ERROR evaluation panicked: the CATEGORY of an aggregate must be non-empty and contain neither
//~ `-` nor `$`, since a stream's category ends at the first `-` of its name; change it
struct OpenDoor {
    #[command(id)]
    door: u32,
}
