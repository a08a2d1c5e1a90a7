//! Starts, ends and restarts of processes and managers, and the reference time of timers.

use std::{sync::Arc, time::UNIX_EPOCH};

use gesta::{
    AfterEnd, Begin, Clock, EventMetadata, Gesta, InstanceState, NotUnderstood, OpenError,
    ProcessSetup,
    prelude::*,
    store::{EventStore, ReadAll, memory::MemoryStore},
    testing::{VirtualClock, drain},
};

use crate::{
    fragile::{DAY, Days, EVOLVE_PANICS, Fragile, Shelves},
    library::{
        BookEvent, BookLent, LendBook, Library, MoveAway, RemindReader, Reminder, WriteOffBook,
    },
};

/// A store that records by the clock that everything else goes by.
fn recording_by(clock: &VirtualClock) -> Arc<dyn EventStore> {
    let clock = clock.clone();
    Arc::new(MemoryStore::with_clock(move || {
        let since_1970 = clock.now().duration_since(UNIX_EPOCH).unwrap();
        RecordedAt::from_micros(u64::try_from(since_1970.as_micros()).unwrap())
    }))
}

async fn shelves_recording_by_the_clock() -> Shelves {
    let clock = VirtualClock::new();
    Shelves::on(recording_by(&clock), clock).await
}

#[tokio::test]
async fn a_timer_counts_from_when_the_event_was_recorded_however_late_it_is_handled() {
    let shelves = shelves_recording_by_the_clock().await;
    shelves.gesta.pause_process("fragile", &gesta::audit::Operator::new("ann")).await.unwrap();
    shelves.lend("emma").await;
    shelves.clock.advance(2 * DAY);
    let shelves = shelves.reopen().await;
    drain(&shelves.gesta).await;
    assert_eq!(shelves.reminded().await, ["emma"], "at once: it was due a day ago");
}

/// Sets its timers from when it handles, and one upon another.
#[derive(Clone, Default)]
struct Patient(Option<BookLent>);

impl ProcessManager for Patient {
    const NAME: &'static str = "fragile";
    type Event = BookEvent;
    type Timer = Days;
    type Commands = (RemindReader,);

    fn route(event: &Recorded<BookEvent>) -> Routing {
        let BookEvent::Lent(lent) = &event.event else { return Routing::Ignore };
        Routing::start(&lent.book)
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(BookEvent::Lent(lent)) = input {
            self.0 = Some(lent.clone());
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let Some(BookLent { book, reader }) = self.0.clone() else { return Effects::none() };
        match input {
            Input::Event(_) => Effects::none().after_handling(DAY, Days(1.0)),
            Input::Timer(Days(day)) if *day < 2.0 => Effects::none().after(DAY, Days(2.0)),
            Input::Timer(_) => Effects::none().send(RemindReader { reader, book }),
            Input::Rejected(_) => Effects::none(),
        }
    }
}

#[tokio::test]
async fn a_timer_may_count_from_when_the_event_is_handled_and_the_next_one_from_that_one() {
    let shelves = shelves_recording_by_the_clock().await;
    shelves.gesta.pause_process("fragile", &gesta::audit::Operator::new("ann")).await.unwrap();
    shelves.lend("emma").await;
    shelves.clock.advance(5 * DAY);
    let shelves = shelves.reopen_as(ProcessSetup::of(Patient::default())).await;
    drain(&shelves.gesta).await;
    assert!(shelves.reminded().await.is_empty(), "a day from now");
    shelves.clock.advance(3 * DAY);
    drain(&shelves.gesta).await;
    assert_eq!(shelves.reminded().await, ["emma"], "the second timer counts from the first one");
}

#[tokio::test]
async fn a_start_after_the_end_begins_a_new_life_that_the_former_one_does_not_reach() {
    let shelves = Shelves::open().await;
    shelves.gesta.execute(MoveAway::new("ann")).await.unwrap();
    shelves.lend("emma").await;
    shelves.day_passes().await;
    assert_eq!(shelves.state_of("emma").await, InstanceState::Ended);
    shelves.gesta.execute(LendBook::new("emma", "bob")).await.unwrap();
    drain(&shelves.gesta).await;
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    assert_eq!((details.state, details.timers.len()), (InstanceState::Running, 1));
    let shelves = shelves.reopen().await;
    shelves.day_passes().await;
    let happened = Library::happened(shelves.store.as_ref()).await;
    assert_eq!(happened.last().unwrap(), "bob reminded of emma");
    let counts = shelves.gesta.process_counts("fragile").await.unwrap();
    assert_eq!((counts.running, counts.ended), (1, 0));
}

/// Does nothing for a process that has ended.
#[derive(Clone, Default)]
struct Once;

impl ProcessManager for Once {
    const NAME: &'static str = "once";
    const AFTER_END: AfterEnd = AfterEnd::Ignore;
    type Event = BookEvent;
    type Timer = Days;
    type Commands = (RemindReader, WriteOffBook);

    fn route(event: &Recorded<BookEvent>) -> Routing {
        Fragile::<false>::route(event)
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        Effects::none().end()
    }
}

#[tokio::test]
async fn a_start_after_the_end_that_the_definition_ignores_is_counted() {
    let setup = ProcessSetup::of(Once);
    let shelves = Shelves::with(Arc::new(MemoryStore::new()), VirtualClock::new(), setup).await;
    for _ in 0..3 {
        shelves.lend("emma").await;
    }
    drain(&shelves.gesta).await;
    assert_eq!(shelves.gesta.process_managers()[0].ignored, 2);
    let details = shelves.gesta.process_instance("once", "emma").await.unwrap();
    assert_eq!((details.state, details.revision), (InstanceState::Ended, Some(Revision::FIRST)));
}

#[tokio::test]
async fn a_manager_that_begins_now_leaves_the_past_alone_and_keeps_its_beginning() {
    let clock = VirtualClock::new();
    let store = recording_by(&clock);
    let before = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    before.execute(LendBook::new("emma", "ann")).await.unwrap();
    let setup = |begins| ProcessSetup::of(Fragile::<false>::default()).begins(begins);
    let shelves = Shelves::with(store, clock, setup(Begin::Now)).await;
    shelves.lend("momo").await;
    // It is kept at the first run: what came between two runs is handled.
    let Shelves { store, clock, gesta } = shelves;
    gesta.close().await;
    before.execute(LendBook::new("lolita", "ann")).await.unwrap();
    let shelves = Shelves::with(store, clock, setup(Begin::Now)).await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["lolita", "momo"]);
    let shelves = shelves.reopen_as(setup(Begin::AtTheStart)).await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["lolita", "momo"]);
}

#[tokio::test]
async fn a_manager_that_begins_at_a_time_handles_what_was_recorded_since() {
    let clock = VirtualClock::new();
    let store = recording_by(&clock);
    let before = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    let mut times = Vec::new();
    for book in ["emma", "lolita", "momo", "ulysses"] {
        let receipt = before.execute(LendBook::new(book, "ann")).await.unwrap();
        let at = ReadAll::forwards().from(receipt.position).limit(1);
        times.push(store.read_all(at).collect_events().await.unwrap()[0].recorded_at);
        clock.advance(DAY);
    }
    let setup = ProcessSetup::of(Fragile::<false>::default()).begins(Begin::At(times[2]));
    let shelves = Shelves::with(store, clock, setup).await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["momo", "ulysses"]);
}

/// The fragile manager under another name.
#[derive(Clone, Default)]
pub(crate) struct Renamed(Option<BookLent>);

impl ProcessManager for Renamed {
    const NAME: &'static str = "sturdy";
    type Event = BookEvent;
    type Timer = Days;
    type Commands = (RemindReader, WriteOffBook);

    fn route(event: &Recorded<BookEvent>) -> Routing {
        Fragile::<true>::route(event)
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(BookEvent::Lent(lent)) = input {
            self.0 = Some(lent.clone());
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let Some(BookLent { book, reader }) = self.0.clone() else { return Effects::none() };
        match input {
            Input::Event(_) => Effects::none().after(DAY, Days(1.0)),
            Input::Timer(_) => Effects::none().send(RemindReader { reader, book }),
            Input::Rejected(_) => Effects::none(),
        }
    }
}

#[tokio::test]
async fn a_renamed_manager_goes_on_with_its_streams_and_does_nothing_twice() {
    let shelves = Shelves::open().await;
    shelves.lend("emma").await;
    shelves.day_passes().await;
    shelves.lend("momo").await;
    drain(&shelves.gesta).await;
    let renamed = || ProcessSetup::of(Renamed::default()).formerly("fragile");
    let shelves = shelves.reopen_as(renamed()).await.reopen_as(renamed()).await;
    shelves.lend("lolita").await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma", "lolita", "momo"], "each once");
    assert_eq!(shelves.gesta.process_managers()[0].name, "sturdy");
    let events = shelves.store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
    let actors = events.iter().filter(|event| event.event_type.as_str() == "reader-reminded");
    let actors: Vec<_> =
        actors.map(|event| EventMetadata::from_json(&event.metadata).actor.unwrap()).collect();
    assert_eq!(actors, ["process:fragile"; 3], "who gives the commands stays the same, too");
}

#[tokio::test]
async fn what_a_renamed_manager_has_set_aside_is_of_a_stream_with_the_former_name() {
    let shelves = Shelves::open().await;
    shelves.lend(EVOLVE_PANICS).await;
    drain(&shelves.gesta).await;
    let renamed = ProcessSetup::of(Renamed::default()).formerly("fragile");
    let shelves = shelves.reopen_as(renamed).await;
    drain(&shelves.gesta).await;
    let set_aside = shelves.gesta.process_set_aside("sturdy").await.unwrap();
    let streams: Vec<_> = set_aside.iter().map(|one| one.stream.as_str()).collect();
    assert_eq!(streams, ["process:fragile-evolve panics"]);
}

#[tokio::test]
async fn a_former_name_that_cannot_be_taken_over_is_refused() {
    let shelves = Shelves::open().await;
    let formerly = || ProcessSetup::of(Fragile::<false>::default()).formerly("frail");
    let open = |builder: gesta::Builder| builder.open();
    let on = || Gesta::on(Arc::clone(&shelves.store));
    drain(&shelves.gesta).await;
    let both = open(on().process_set_up(formerly())).await;
    assert!(matches!(both, Err(OpenError::ProcessFormerly { process: "fragile", .. })));
    let of_another = ProcessSetup::of(Renamed::default()).formerly("fragile");
    let fragile = Fragile::<false>::default();
    let taken = open(on().process_with(fragile.clone()).process_set_up(of_another)).await;
    assert!(matches!(taken, Err(OpenError::ProcessFormerly { process: "sturdy", .. })));
    let itself = open(on().process_set_up(ProcessSetup::of(fragile).formerly("fragile"))).await;
    assert!(matches!(itself, Err(OpenError::ProcessFormerly { .. })));
}

/// A definition that has lost an event type, and a timer's and a command's form.
#[derive(Clone, Default)]
struct Changed<const IGNORES: bool>(Option<String>);

#[derive(EventSet, Clone, Debug, PartialEq)]
enum LentOnly {
    Lent(BookLent),
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Renaming {
    TimeIsUp,
}

impl<const IGNORES: bool> ProcessManager for Changed<IGNORES> {
    const NAME: &'static str = "fragile";
    const NOT_UNDERSTOOD: NotUnderstood =
        if IGNORES { NotUnderstood::Ignore } else { NotUnderstood::SetAside };
    type Event = LentOnly;
    type Timer = Renaming;
    type Commands = (WriteOffBook,);

    fn route(event: &Recorded<LentOnly>) -> Routing {
        let LentOnly::Lent(lent) = &event.event;
        Routing::start(&lent.book)
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(LentOnly::Lent(lent)) = input {
            self.0 = Some(lent.book.clone());
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match (input, self.0.clone()) {
            (Input::Event(_), _) => Effects::none().after(DAY, Renaming::TimeIsUp),
            (Input::Timer(_), Some(book)) => Effects::none().send(WriteOffBook { book }).end(),
            (_, _) => Effects::none(),
        }
    }
}

/// One process with an input of a type that is gone, one with a timer that is not understood.
async fn with_a_past() -> Shelves {
    let shelves = Shelves::open().await;
    shelves.lend("returned").await;
    shelves.append("book-returned", "book-returned", r#"{"book":"returned"}"#).await;
    shelves.lend("pending").await;
    drain(&shelves.gesta).await;
    shelves
}

#[tokio::test]
async fn what_a_new_definition_does_not_understand_sets_aside_only_the_processes_that_have_it() {
    let shelves = with_a_past().await;
    let changed = ProcessSetup::of(Changed::<false>::default());
    let shelves = shelves.reopen_as(changed).await;
    shelves.lend("new").await;
    shelves.lend("returned").await;
    shelves.day_passes().await;
    let happened = Library::happened(shelves.store.as_ref()).await;
    assert!(happened.contains(&"new lost".to_owned()), "{happened:?}");
    let all = shelves.set_aside().await;
    let subjects: Vec<String> = all.iter().map(|one| one.subject.to_string()).collect();
    assert_eq!(subjects, ["instance:pending", "instance:returned"]);
}

#[tokio::test]
async fn what_a_new_definition_does_not_understand_is_left_out_where_it_says_so() {
    let shelves = with_a_past().await;
    let changed = ProcessSetup::of(Changed::<true>::default());
    let shelves = shelves.reopen_as(changed).await;
    shelves.lend("returned").await;
    shelves.lend("pending").await;
    shelves.day_passes().await;
    assert_eq!(shelves.set_aside().await, []);
    let happened = Library::happened(shelves.store.as_ref()).await;
    for lost in ["returned lost", "pending lost"] {
        assert!(happened.contains(&lost.to_owned()), "{happened:?}");
    }
}

#[tokio::test]
async fn settings_of_the_former_life_do_not_leak_into_the_new_one() {
    let setup = ProcessSetup::of(Reminder::after(DAY));
    let shelves = Shelves::with(Arc::new(MemoryStore::new()), VirtualClock::new(), setup).await;
    shelves.lend("emma").await;
    shelves.day_passes().await;
    shelves.day_passes().await;
    shelves.gesta.execute(LendBook::new("emma", "bob")).await.unwrap();
    shelves.day_passes().await;
    let happened = Library::happened(shelves.store.as_ref()).await;
    assert_eq!(happened.last().unwrap(), "bob reminded of emma");
}
