//! Definitions change: what instances of a process manager have stored stays readable, or a check
//! says what does not.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use gesta::{
    Gesta, ProcessSetup, Registry, TimerVersions, TypeShape,
    prelude::*,
    store::EventStore,
    stored_processes,
    testing::{VirtualClock, assert_events_locked, assert_processes_understood, drain},
};

use crate::bank::new_store;

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "door-opened")]
struct DoorOpened {
    door: u32,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "door-closed")]
struct DoorClosed {
    times: u8,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum DoorEvent {
    Opened(DoorOpened),
    Closed(DoorClosed),
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
#[command(name = "open-door", on = Door, either)]
struct OpenDoor {
    #[command(id)]
    door: u32,
}

impl Decide for OpenDoor {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Door) -> Decision<Self> {
        Ok(DoorOpened { door: self.door }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "close-door", on = Door)]
struct CloseDoor {
    #[command(id)]
    door: u32,
    times: u8,
}

impl Decide for CloseDoor {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Door) -> Decision<Self> {
        Ok(DoorClosed { times: self.times }.into())
    }
}

#[derive(EventSet, Clone, Debug, PartialEq)]
#[events(read_only)]
enum Openings {
    Opened(DoorOpened),
}

#[derive(EventSet, Clone, Debug, PartialEq)]
#[events(read_only)]
enum Closings {
    Closed(DoorClosed),
}

/// The first timer of the porter.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum OpenForLong {
    Close,
}

/// The same, renamed, with a field that the first one lacks.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Due {
    CloseDoor { times: u8 },
}

impl From<OpenForLong> for Due {
    fn from(OpenForLong::Close: OpenForLong) -> Self {
        Self::CloseDoor { times: 2 }
    }
}

/// A definition of the porter: its event set, its timer type, what it sets, and its versions.
macro_rules! porter {
    ($name:ident, $set:ident, $opened:pat, $timer:ty, $first:expr, $times:expr, $versions:expr) => {
        #[derive(Clone, Default)]
        struct $name {
            door: u32,
        }

        impl ProcessManager for $name {
            const NAME: &'static str = "porter";
            type Event = $set;
            type Timer = $timer;
            type Commands = (CloseDoor,);

            fn timers() -> TimerVersions<$timer> {
                $versions
            }

            fn route(_: &Recorded<$set>) -> Routing {
                Routing::start(7)
            }

            fn evolve(&mut self, input: &Input<Self>) {
                if matches!(input, Input::Event($opened)) {
                    self.door = 7;
                }
            }

            fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
                match input {
                    Input::Event($opened) => Effects::none().after(HOUR, $first),
                    Input::Timer(timer) => {
                        let times: fn(&$timer) -> u8 = $times;
                        let close = CloseDoor { door: self.door, times: times(timer) };
                        Effects::none().send(close).end()
                    }
                    _ => Effects::none(),
                }
            }
        }
    };
}
porter!(First, Openings, Openings::Opened(_), OpenForLong, OpenForLong::Close, |_| 1, {
    TimerVersions::new()
});
porter!(
    Second,
    Openings,
    Openings::Opened(_),
    Due,
    Due::CloseDoor { times: 3 },
    |timer| {
        let Due::CloseDoor { times } = timer;
        *times
    },
    TimerVersions::new().after::<OpenForLong>()
);
porter!(Forgetful, Openings, Openings::Opened(_), Due, Due::CloseDoor { times: 3 }, |_| 3, {
    TimerVersions::new()
});
porter!(Deaf, Closings, Closings::Closed(_), OpenForLong, OpenForLong::Close, |_| 1, {
    TimerVersions::new()
});

/// A store with a porter of the first definition that waits for its timer.
async fn waiting(clock: &VirtualClock) -> Arc<dyn EventStore> {
    let store = new_store();
    let first = Gesta::on(Arc::clone(&store)).clock(clock.clone());
    let first = first.process::<First>().open().await.unwrap();
    first.execute(OpenDoor { door: 7 }).await.unwrap();
    drain(&first).await;
    first.close().await;
    store
}

async fn closings(store: &Arc<dyn EventStore>) -> Vec<u8> {
    let read = gesta::store::ReadAll::forwards();
    let events = store.read_all(read).collect_events().await.unwrap();
    let closed = events.iter().filter_map(|event| Recorded::<Closings>::read(event).ok());
    closed
        .map(|recorded| match recorded.event {
            Closings::Closed(closed) => closed.times,
        })
        .collect()
}

#[tokio::test]
async fn a_timer_that_was_stored_before_it_was_renamed_fires_through_its_upcaster() {
    let clock = VirtualClock::new();
    let store = waiting(&clock).await;
    assert_processes_understood(&ProcessSetup::of(Second::default()), store.as_ref()).await;
    let second = Gesta::on(Arc::clone(&store)).clock(clock.clone());
    let second = second.process::<Second>().open().await.unwrap();
    // The end of time, as recorded times of the store are ahead of the virtual clock.
    clock.advance(Duration::from_secs(3_600 * 24 * 365 * 100));
    drain(&second).await;
    assert_eq!(closings(&store).await, [2], "as the upcaster says");
    assert_eq!(second.process_managers()[0].set_aside, 0);
}

#[tokio::test]
async fn a_new_definition_is_told_which_stored_instances_it_does_not_understand() {
    let store = waiting(&VirtualClock::new()).await;
    let of_timer = stored_processes(&ProcessSetup::of(Forgetful::default()), store.as_ref()).await;
    let [timer] = of_timer.unwrap().try_into().unwrap();
    assert_eq!(timer.stream.as_str(), "process:porter-7");
    assert!(timer.reasons[0].contains("version 1 of timer"), "{timer:?}");
    let of_event = stored_processes(&ProcessSetup::of(Deaf::default()), store.as_ref()).await;
    let [event] = of_event.unwrap().try_into().unwrap();
    assert!(event.reasons[0].contains("door-opened"), "{event:?}");
    assert_processes_understood(&ProcessSetup::of(First::default()), store.as_ref()).await;
}

/// The problems that a check against a lock file reports.
fn refusal(file: &std::path::Path, registry: &Registry) -> String {
    let checked = catch_unwind(AssertUnwindSafe(|| assert_events_locked(file, registry)));
    let refused = checked.expect_err("the lock file is against it");
    refused.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn the_lock_file_holds_what_processes_store() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.lock");
    let first = Registry::new().process::<First>();
    assert!(refusal(&file, &first).contains("the stored types of process porter are not locked"));
    let locked = serde_json::json!({
        "process": "porter",
        "takes": ["door-opened"],
        "timer": "timer",
        "timers": { "1": TypeShape::of::<OpenForLong>() },
        "commands": { "close-door": TypeShape::of::<CloseDoor>() },
    });
    std::fs::write(&file, format!("{locked}\n")).unwrap();
    assert_events_locked(&file, &first);
    let renamed = refusal(&file, &Registry::new().process::<Forgetful>());
    let broken = "version 1 of the timers of process porter no longer matches its lock";
    assert!(renamed.contains(broken), "{renamed}");
    let upcast = refusal(&file, &Registry::new().process::<Second>());
    assert!(!upcast.contains("no longer matches"), "version 2 is only new: {upcast}");
    let lost = refusal(&file, &Registry::new().process::<Deaf>());
    assert!(lost.contains("process porter has handled door-opened"), "{lost}");
    assert!(refusal(&file, &Registry::new()).contains("no process manager has this name"));
}
