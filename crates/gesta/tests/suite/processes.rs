//! Processes react once to each input, even across crashes and restarts.

use std::{sync::Arc, time::Duration};

use gesta::{
    Builder, Gesta, OpenError, ProcessState, RetryPolicy,
    store::{
        DeleteStream, EventStore, ExpectedRevision, Overload, ReadAll, StoreError,
        memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};

use crate::{
    library::{LendBook, Library, MONTH, MoveAway, Reminder, ReturnBook},
    scripted::{Scene, Scripted},
};

fn library(store: Arc<dyn EventStore>, clock: &VirtualClock) -> Builder {
    let at_once = RetryPolicy::default().first_wait_max(Duration::ZERO);
    let at_once = at_once.wait_max(Duration::ZERO);
    Gesta::on(store).clock(clock.clone()).retry(at_once).process_with(Reminder::after(MONTH))
}

struct Scenery {
    store: Arc<dyn EventStore>,
    clock: VirtualClock,
    gesta: Gesta,
}

impl Scenery {
    async fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    async fn on(store: Arc<dyn EventStore>) -> Self {
        let clock = VirtualClock::new();
        let gesta = library(Arc::clone(&store), &clock).open().await.unwrap();
        Self { store, clock, gesta }
    }

    async fn month_passes(&self) {
        self.clock.advance(MONTH);
        drain(&self.gesta).await;
    }

    async fn reopen(self) -> Self {
        let Self { store, clock, gesta } = self;
        gesta.close().await;
        let gesta = library(Arc::clone(&store), &clock).open().await.unwrap();
        Self { store, clock, gesta }
    }

    async fn lend(&self, book: &str, reader: &str) {
        self.gesta.execute(LendBook::new(book, reader)).await.unwrap();
        drain(&self.gesta).await;
    }

    async fn happened(&self) -> Vec<String> {
        Library::happened(self.store.as_ref()).await
    }
}

#[tokio::test]
async fn a_timer_fires_when_it_is_due_and_not_before() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    assert_eq!(library.happened().await, ["emma lent to ann"]);
    library.clock.advance(MONTH - Duration::from_millis(1));
    drain(&library.gesta).await;
    assert_eq!(library.happened().await, ["emma lent to ann"]);
    library.clock.advance(Duration::from_millis(1));
    drain(&library.gesta).await;
    assert_eq!(library.happened().await, ["emma lent to ann", "ann reminded of emma"]);
}

#[tokio::test]
async fn a_cancelled_timer_never_fires() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    library.gesta.execute(ReturnBook::new("emma")).await.unwrap();
    drain(&library.gesta).await;
    library.month_passes().await;
    assert_eq!(library.happened().await, ["emma lent to ann", "emma returned"]);
    assert_eq!(library.gesta.process_managers()[0].timers, 0);
}

#[tokio::test]
async fn a_timer_that_is_set_again_is_due_at_the_later_time() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    library.clock.advance(MONTH / 2);
    library.lend("emma", "bob").await;
    library.clock.advance(MONTH / 2);
    drain(&library.gesta).await;
    assert_eq!(library.happened().await, ["emma lent to ann", "emma lent to bob"]);
    assert_eq!(library.gesta.process_managers()[0].timers, 1);
}

#[tokio::test]
async fn a_rejection_comes_back_to_the_process_that_sent_the_command() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    library.gesta.execute(MoveAway::new("ann")).await.unwrap();
    library.month_passes().await;
    let expected = ["emma lent to ann", "ann moved away", "emma lost"];
    assert_eq!(library.happened().await, expected);
}

#[tokio::test]
async fn a_process_that_has_ended_reacts_to_nothing_any_more_but_a_new_beginning() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    library.month_passes().await;
    library.month_passes().await;
    let before = ["emma lent to ann", "ann reminded of emma", "emma lost"];
    assert_eq!(library.happened().await, before);
    library.gesta.execute(ReturnBook::new("emma")).await.unwrap();
    library.month_passes().await;
    assert_eq!(library.happened().await.last().unwrap(), "emma returned");
    assert_eq!(library.gesta.process_managers()[0].timers, 0);
}

#[tokio::test]
async fn what_happened_before_a_manager_was_there_is_handled() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let before = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    before.execute(LendBook::new("emma", "ann")).await.unwrap();
    let library = Scenery::on(store).await;
    drain(&library.gesta).await;
    library.month_passes().await;
    assert_eq!(library.happened().await, ["emma lent to ann", "ann reminded of emma"]);
}

/// A rebuilt program does the same before and after scavenging, which takes such events.
#[tokio::test]
async fn what_was_deleted_before_a_manager_was_there_is_not_handled() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let before = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    let lent = before.execute(LendBook::new("emma", "ann")).await.unwrap();
    before.execute(LendBook::new("persuasion", "ben")).await.unwrap();
    for (stream, _) in lent.revisions {
        let expected = ExpectedRevision::StreamExists;
        store.delete_stream(DeleteStream::new(stream, expected)).await.unwrap();
    }
    let library = Scenery::on(store).await;
    drain(&library.gesta).await;
    library.month_passes().await;
    assert_eq!(
        library.happened().await,
        ["emma lent to ann", "persuasion lent to ben", "ben reminded of persuasion"]
    );
}

#[tokio::test]
async fn timers_that_are_pending_when_the_program_ends_fire_once() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    let library = library.reopen().await;
    assert_eq!(library.happened().await, ["emma lent to ann"]);
    library.month_passes().await;
    let library = library.reopen().await;
    drain(&library.gesta).await;
    assert_eq!(library.happened().await, ["emma lent to ann", "ann reminded of emma"]);
}

#[tokio::test]
async fn a_directory_keeps_timers_and_is_free_again_once_the_program_has_closed() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().display());
    let library = Scenery::on(gesta::open(&url).await.unwrap()).await;
    library.lend("emma", "ann").await;
    let Scenery { store, clock, gesta } = library;
    gesta.close().await;
    drop(store);
    let store = gesta::open(&url).await.unwrap();
    let gesta = self::library(Arc::clone(&store), &clock).open().await.unwrap();
    clock.advance(MONTH);
    drain(&gesta).await;
    let happened = Library::happened(store.as_ref()).await;
    assert_eq!(happened, ["emma lent to ann", "ann reminded of emma"]);
}

#[tokio::test]
async fn timers_that_came_due_while_nothing_ran_fire_at_the_start() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    let Scenery { store, clock, gesta } = library;
    gesta.close().await;
    clock.advance(MONTH);
    let gesta = self::library(Arc::clone(&store), &clock).open().await.unwrap();
    drain(&gesta).await;
    let happened = Library::happened(store.as_ref()).await;
    assert_eq!(happened, ["emma lent to ann", "ann reminded of emma"]);
}

#[tokio::test]
async fn a_command_whose_outcome_is_unknown_is_sent_again_under_the_same_id() {
    let scripted = Scripted::new();
    let library = Scenery::on(Arc::new(scripted.clone())).await;
    library.lend("emma", "ann").await;
    scripted.next_first(async {});
    scripted.next(Scene::LoseAnswer);
    library.month_passes().await;
    let status = &library.gesta.process_managers()[0];
    assert_eq!((status.commands, status.trouble.is_some()), (1, true));
    library.clock.advance(Duration::from_millis(50));
    drain(&library.gesta).await;
    assert_eq!(library.happened().await, ["emma lent to ann", "ann reminded of emma"]);
    let status = &library.gesta.process_managers()[0];
    assert_eq!((status.commands, status.trouble.as_deref()), (0, None));
}

#[tokio::test]
async fn a_command_that_waits_does_not_hold_up_other_processes() {
    let scripted = Scripted::new();
    let library = Scenery::on(Arc::new(scripted.clone())).await;
    library.lend("emma", "ann").await;
    library.lend("lolita", "bob").await;
    scripted.next_first(async {});
    scripted.next_first(async {});
    scripted.next(Scene::Fail(StoreError::Overloaded(Overload::DiskFull {
        reason: "/data".to_owned(),
    })));
    library.month_passes().await;
    assert_eq!(library.happened().await.len(), 3, "one of two is reminded");
    library.clock.advance(Duration::from_millis(50));
    drain(&library.gesta).await;
    assert_eq!(library.happened().await.len(), 4);
}

#[tokio::test]
async fn while_it_is_paused_a_manager_does_nothing_and_afterwards_everything() {
    let library = Scenery::new().await;
    library.lend("emma", "ann").await;
    library.gesta.pause_process("reminder", &gesta::audit::Operator::new("ann")).await.unwrap();
    assert_eq!(library.gesta.process_managers()[0].state, ProcessState::Paused);
    library.month_passes().await;
    library.lend("lolita", "bob").await;
    assert_eq!(library.happened().await, ["emma lent to ann", "lolita lent to bob"]);
    assert_eq!(library.gesta.process_managers()[0].timers, 1);
    library.gesta.resume_process("reminder", &gesta::audit::Operator::new("ann")).await.unwrap();
    drain(&library.gesta).await;
    assert_eq!(library.happened().await.last().unwrap(), "ann reminded of emma");
    assert_eq!(library.gesta.process_managers()[0].timers, 2);
}

#[tokio::test]
async fn a_manager_that_is_not_there_is_not_paused() {
    let library = Scenery::new().await;
    let error = library
        .gesta
        .pause_process("remainder", &gesta::audit::Operator::new("ann"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "process manager remainder is not registered");
}

#[tokio::test]
async fn two_that_run_the_same_processes_do_everything_once() {
    let one = Scenery::new().await;
    let other = library(Arc::clone(&one.store), &one.clock).open().await.unwrap();
    for book in ["emma", "lolita", "momo"] {
        one.lend(book, "ann").await;
    }
    one.clock.advance(MONTH);
    drain(&one.gesta).await;
    drain(&other).await;
    let mut happened = one.happened().await;
    happened.sort();
    happened.dedup();
    assert_eq!(one.happened().await.len(), 6);
    assert_eq!(happened.len(), 6, "nothing happened twice");
}

#[tokio::test]
async fn what_a_process_does_says_why() {
    let library = Scenery::new().await;
    let lend = library.gesta.execute(LendBook::new("emma", "ann")).correlation_id("counter-7");
    lend.metadata("traceparent", "00-7").metadata("tenant", "north").await.unwrap();
    drain(&library.gesta).await;
    library.month_passes().await;
    let mut events = library.store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
    events.retain(|event| !event.stream.as_str().contains("processes:journal-"));
    let [lent, set, fired, reminded, settled] = &events[..] else {
        panic!("{} events", events.len());
    };
    for event in [lent, set, fired, reminded, settled] {
        assert_eq!(event.correlation_id.as_ref().unwrap().as_str(), "counter-7");
    }
    let cause = |event: &gesta::store::RecordedEvent| {
        event.causation_id.as_ref().unwrap().as_str().to_owned()
    };
    assert_eq!(cause(set), lent.id.to_string());
    assert_eq!(cause(fired), set.id.to_string());
    assert_eq!(cause(reminded), fired.id.to_string());
    let metadata = gesta::EventMetadata::from_json(&reminded.metadata);
    assert_eq!(metadata.actor.as_deref(), Some("process:reminder"));
    assert_eq!(cause(settled), metadata.command_id.unwrap().as_str());
    // The trace context is passed on, also through a timer; other entries are not.
    for event in [set, fired, reminded] {
        let custom = gesta::EventMetadata::from_json(&event.metadata).custom;
        let entries: Vec<_> = custom.iter().map(|(key, value)| format!("{key} {value}")).collect();
        assert_eq!(entries, ["traceparent \"00-7\""]);
    }
}

#[tokio::test]
async fn two_managers_of_one_name_do_not_open() {
    let reminder = || Reminder::after(MONTH);
    let twice = Gesta::at("memory:").process_with(reminder()).process_with(reminder());
    assert!(matches!(twice.open().await, Err(OpenError::DuplicateProcess { process: "reminder" })));
}
