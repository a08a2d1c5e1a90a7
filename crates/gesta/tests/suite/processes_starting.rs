//! Managers start without their whole past, wherever their store was taken, and handle instances
//! side by side.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gesta::{
    InstanceState, Position, ProcessSetup, StreamName,
    store::{
        Category, DeleteStream, EventStore, ExpectedRevision, Filter, Overload, ReadAll,
        StoreError, memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};

use crate::{
    fragile::{REACT_PANICS, Shelves, operator},
    library::{LendBook, Library, ReturnBook},
    scripted::{Scene, Scripted},
    watched::{Watched, moved},
};

#[tokio::test]
async fn a_start_reads_what_is_pending_and_not_the_whole_past() {
    let memory = Arc::new(MemoryStore::new());
    let shelves = Shelves::on(memory.clone(), VirtualClock::new()).await;
    for number in 0..1_100 {
        let book = format!("book {}", number % 550);
        shelves
            .append(
                &format!("book-{book}"),
                "book-lent",
                &format!(r#"{{"book":"{book}","reader":"ann"}}"#),
            )
            .await;
    }
    shelves.lend(REACT_PANICS).await;
    drain(&shelves.gesta).await;
    let Shelves { clock, gesta, .. } = shelves;
    gesta.close().await;

    let watched = Watched::over(memory.clone());
    let shelves = Shelves::on(Arc::new(watched.clone()), clock).await;
    drain(&shelves.gesta).await;
    let after = watched.subscribed.lock().unwrap()[0];
    assert!(after > Position::new(900), "it goes on from its checkpoint, {after}");
    assert!(!watched.read_a_category.load(Ordering::SeqCst), "the past is not read");
    let read = watched.streams.lock().unwrap().clone();
    assert!(read.len() < 300, "{} streams were read", read.len());
    assert_eq!(shelves.gesta.process_managers()[0].timers, 550, "all timers are known");
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await.len(), 550, "each once");
    assert_eq!(shelves.only_trouble().await.0.to_string(), format!("instance:{REACT_PANICS}"));
}

#[tokio::test]
async fn after_a_crash_only_the_inputs_of_about_the_last_second_are_repeated() {
    let memory = Arc::new(MemoryStore::new());
    let shelves = Shelves::on(memory.clone(), VirtualClock::new()).await;
    for number in 0..20 {
        shelves.lend(&format!("book {number}")).await;
    }
    drain(&shelves.gesta).await;
    let lent = memory.head().await.unwrap().position;
    shelves.clock.advance(Duration::from_secs(1));
    shelves.lend("the first after a second").await;
    drain(&shelves.gesta).await;
    shelves.lend("the second").await;
    drain(&shelves.gesta).await;
    let Shelves { clock, gesta, .. } = shelves;
    drop(gesta);

    let watched = Watched::over(memory.clone());
    let shelves = Shelves::on(Arc::new(watched.clone()), clock).await;
    drain(&shelves.gesta).await;
    let after = watched.subscribed.lock().unwrap()[0];
    assert!(after >= lent, "it goes on from {after}, and {lent} was passed a second before");
    assert_eq!(shelves.gesta.process_managers()[0].timers, 22, "all timers are known");
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await.len(), 22, "each once");
}

#[tokio::test]
async fn a_program_that_was_closed_and_is_opened_again_handles_nothing_twice() {
    let memory = Arc::new(MemoryStore::new());
    let shelves = Shelves::on(memory.clone(), VirtualClock::new()).await;
    for number in 0..50 {
        shelves.lend(&format!("book {number}")).await;
    }
    shelves.lend(REACT_PANICS).await;
    shelves.day_passes().await;
    shelves.lend("late").await;
    drain(&shelves.gesta).await;
    let Shelves { clock, gesta, .. } = shelves;
    gesta.close().await;
    let closed_at = memory.head().await.unwrap().position;

    for _ in 0..2 {
        let watched = Watched::over(memory.clone());
        let shelves = Shelves::on(Arc::new(watched.clone()), clock.clone()).await;
        drain(&shelves.gesta).await;
        // An instance reads its stream for each input that it handles.
        let read = watched.streams.lock().unwrap().clone();
        let handled = read.iter().filter(|name| name.starts_with("process:")).count();
        assert_eq!(handled, 0, "{read:?}");
        let after = watched.subscribed.lock().unwrap()[0];
        let lent = Filter::Categories(vec![Category::new("book").unwrap()]);
        let again = ReadAll::forwards().from(after.next()).filter(lent);
        assert_eq!(memory.read_all(again).collect_events().await.unwrap(), [], "from {after}");
        assert_eq!(shelves.gesta.process_managers()[0].timers, 1, "the late one's is known");
        shelves.gesta.close().await;
        let head = memory.head().await.unwrap().position;
        assert_eq!(head, closed_at, "where nothing was done, nothing is written");
    }
}

#[tokio::test]
async fn a_program_that_is_closed_in_the_middle_of_its_work_goes_on_with_the_rest() {
    let watched = Watched::over(Arc::default()).slow_at("process:fragile-momo");
    let store = watched.store.clone();
    let shelves = Shelves::on(Arc::new(watched), VirtualClock::new()).await;
    shelves.lend("emma").await;
    shelves.lend("momo").await;
    shelves.lend("ulysses").await;
    // All but one are handled, and that one is on its way.
    while shelves.gesta.process_managers()[0].timers < 2 {
        tokio::task::yield_now().await;
    }
    let Shelves { clock, gesta, .. } = shelves;
    gesta.close().await;
    let shelves = Shelves::on(store, clock).await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma", "momo", "ulysses"], "each once");
}

#[tokio::test]
async fn a_close_that_its_caller_gives_up_releases_the_store() {
    let memory = Arc::new(MemoryStore::new());
    let Shelves { clock, gesta, store } = Shelves::on(memory.clone(), VirtualClock::new()).await;
    drain(&gesta).await;
    gesta.close().await;
    drop(store);

    let watched = Watched::over(memory.clone()).slow_at("processes:journal-fragile");
    let shelves = Shelves::on(Arc::new(watched), clock).await;
    shelves.lend("emma").await;
    drain(&shelves.gesta).await;
    let Shelves { gesta, store, .. } = shelves;
    drop(store);
    tokio::select! {
        biased;
        () = gesta.close() => panic!("no append to the journal is answered"),
        () = turns(1_000) => {}
    }
    turns(1_000).await;
    assert_eq!(Arc::strong_count(&memory), 1, "only this test holds the store");
}

/// Lets the other tasks run `count` times.
async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_without_a_journal_as_older_versions_wrote_it_is_gone_on_with() {
    let shelves = Shelves::open().await;
    shelves.lend_others().await;
    shelves.day_passes().await;
    shelves.lend("new").await;
    drain(&shelves.gesta).await;
    let no_journal = |stream: &StreamName| !stream.as_str().starts_with("processes:journal");
    let store = moved(shelves.store.as_ref(), no_journal).await;
    let shelves = Shelves::on(store, shelves.clock).await;
    drain(&shelves.gesta).await;
    assert_eq!(shelves.gesta.process_managers()[0].timers, 1);
    shelves.day_passes().await;
    let reminded = ["emma", "lolita", "momo", "new", "ulysses"];
    assert_eq!(shelves.reminded().await, reminded, "each once");
    let shelves = shelves.reopen().await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, reminded);
}

#[tokio::test]
async fn a_store_whose_positions_are_others_is_gone_on_with_where_it_was() {
    let shelves = Shelves::open().await;
    shelves.lend(REACT_PANICS).await;
    shelves.lend_others().await;
    shelves.lend(REACT_PANICS).await;
    drain(&shelves.gesta).await;
    // The checkpoint is there, and of another incarnation; three books were lent since.
    let store = moved(shelves.store.as_ref(), |_| true).await;
    let shelves = Shelves::on(store, shelves.clock).await;
    drain(&shelves.gesta).await;
    assert_eq!(shelves.set_aside().await[0].inputs.len(), 2);
    let shelves = shelves.corrected().await;
    let (subject, _) = shelves.only_trouble().await;
    shelves.gesta.retry_process("fragile", &subject, &operator()).await.unwrap();
    shelves.day_passes().await;
    let reminded = ["emma", "lolita", "momo", REACT_PANICS, "ulysses"];
    assert_eq!(shelves.reminded().await, reminded, "each once");
}

#[tokio::test]
async fn what_an_operator_skipped_stays_skipped_in_a_store_that_was_moved() {
    let shelves = Shelves::open().await;
    shelves.append("book-poison", "book-lent", r#"{"book":"poison"}"#).await;
    drain(&shelves.gesta).await;
    let poison = shelves.set_aside().await.remove(0);
    let (subject, number) = (&poison.subject, poison.inputs[0].number);
    shelves.gesta.skip_process_input("fragile", subject, number, &operator()).await.unwrap();
    let mut shelves = shelves;
    for _ in 0..2 {
        let store = moved(shelves.store.as_ref(), |_| true).await;
        shelves.gesta.close().await;
        shelves = Shelves::on(store, shelves.clock).await;
        drain(&shelves.gesta).await;
        assert_eq!(shelves.set_aside().await, []);
    }
}

#[tokio::test]
async fn a_checkpoint_whose_event_is_not_in_the_store_is_told_and_nothing_is_skipped() {
    let memory = Arc::new(MemoryStore::new());
    let shelves = Shelves::on(memory, VirtualClock::new()).await;
    let begins = gesta::Begin::Now;
    shelves.lend("emma").await;
    let Shelves { store, clock, gesta } = shelves;
    gesta.close().await;
    let setup = ProcessSetup::of(crate::processes_lives::Renamed::default()).begins(begins);
    let shelves = Shelves::with(store, clock, setup.clone()).await;
    let journal = |stream: &StreamName| stream.as_str() == "processes:journal-sturdy";
    let store = moved(shelves.store.as_ref(), journal).await;
    shelves.gesta.close().await;
    let shelves = Shelves::with(store, shelves.clock.clone(), setup).await;
    shelves.clock.until_asleep(Duration::from_secs(1)).await;
    let trouble = shelves.gesta.process_managers()[0].trouble.clone().unwrap();
    assert!(trouble.contains("belongs to another store"), "{trouble}");
}

#[tokio::test]
async fn an_event_too_large_to_copy_is_read_again_and_missed_where_it_is_gone() {
    let memory = Arc::new(MemoryStore::new());
    let shelves = Shelves::on(memory.clone(), VirtualClock::new()).await;
    let reader = "r".repeat(100_000);
    for book in ["emma", "momo"] {
        let data = format!(r#"{{"book":"{book}","reader":"{reader}"}}"#);
        shelves.append(&format!("book-{book}"), "book-lent", &data).await;
    }
    drain(&shelves.gesta).await;
    let stream = StreamName::new("process:fragile-emma").unwrap();
    let read = gesta::store::ReadStream::forwards(stream);
    let kept = memory.read_stream(read).collect_events().await.unwrap();
    assert!(kept[0].data.len() < 1_000, "{} bytes are kept", kept[0].data.len());
    let stream = StreamName::new("book-momo").unwrap();
    let delete = DeleteStream::new(stream, ExpectedRevision::Any);
    memory.delete_stream(delete).await.unwrap();
    let shelves = shelves.reopen().await;
    shelves.day_passes().await;
    let happened = Library::happened(memory.as_ref()).await;
    // The name is too long, so the reminder is refused and the book is written off.
    assert!(happened.contains(&"emma lost".to_owned()));
    let (subject, error) = shelves.only_trouble().await;
    assert_eq!(subject.to_string(), "instance:momo");
    assert!(error.contains("no longer exists"), "{error}");
}

#[tokio::test]
async fn an_instance_whose_store_is_slow_does_not_hold_up_the_others() {
    let slow = Watched::over(Arc::new(MemoryStore::new())).slow_at("process:fragile-emma");
    let shelves = Shelves::on(Arc::new(slow.clone()), VirtualClock::new()).await;
    shelves.lend("emma").await;
    shelves.gesta.execute(ReturnBook::new("emma")).await.unwrap();
    for book in ["lolita", "momo"] {
        shelves.lend(book).await;
    }
    let begun = async |id: &str| shelves.gesta.process_instance("fragile", id).await.is_ok();
    while !begun("momo").await {
        tokio::task::yield_now().await;
    }
    assert!(!begun("emma").await);
    let position = shelves.gesta.process_managers()[0].position;
    slow.go_on();
    slow.go_on();
    while shelves.gesta.process_managers()[0].position == position {
        slow.go_on();
        tokio::task::yield_now().await;
    }
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    assert_eq!(details.timers.len(), 0, "its inputs were handled in order");
    assert_eq!(details.state, InstanceState::Running);
}

#[tokio::test]
async fn trouble_of_the_store_pauses_the_manager_and_sets_nothing_aside() {
    let scripted = Scripted::new();
    let shelves = Shelves::on(Arc::new(scripted.clone()), VirtualClock::new()).await;
    drain(&shelves.gesta).await;
    scripted.next_first(async {});
    scripted.next(Scene::Fail(StoreError::Overloaded(Overload::DiskFull {
        reason: "/data".to_owned(),
    })));
    shelves.gesta.execute(LendBook::new("emma", "ann")).await.unwrap();
    shelves.clock.until_asleep(Duration::from_secs(1)).await;
    let status = &shelves.gesta.process_managers()[0];
    assert!(status.trouble.as_deref().unwrap().contains("no space left"));
    assert_eq!(status.troubled, 0);
    shelves.clock.advance(Duration::from_secs(1));
    while shelves.gesta.process_managers()[0].trouble.is_some() {
        tokio::task::yield_now().await;
    }
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma"]);
}
