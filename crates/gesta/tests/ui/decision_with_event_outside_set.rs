//! A decision that returns an event outside the aggregate's set.

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-opened")]
struct DoorOpened;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "door-closed")]
struct DoorClosed;

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
#[command(name = "close-door", on = Door)]
struct CloseDoor {
    #[command(id)]
    door: u32,
}

impl Decide for CloseDoor {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Door) -> Decision<Self> {
        Ok(DoorClosed.into())
        //~ ERROR `DoorClosed` is not an event of the set `DoorEvent`
        //~ NOTE add a variant that holds it to `DoorEvent`, as in `Opened(DoorOpened)`, or use an
        //~ event of the set
    }
}
