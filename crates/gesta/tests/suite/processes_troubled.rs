//! One failing process never stops the others: it is set aside, told, and nothing of it is lost.

use gesta::{
    Gesta, InstanceQuery, InstanceState, Pipeline, ProcessError, ProcessSetup, ProcessState,
    Revision, StreamName, Subject, WaitingInput,
    store::{ExpectedRevision, SetStreamMetadata, StreamMetadata, TombstoneStream},
    testing::drain,
};
use tower::{ServiceExt as _, layer::layer_fn, service_fn};

use crate::{
    fragile::{
        EVOLVE_PANICS, Fragile, ID_IS_NO_NAME, REACT_PANICS, REACTION_IS_TOO_LARGE, ROUTE_PANICS,
        SENDING_PANICS, Shelves, TIMER_IS_NOT_FINITE, instance, operator,
    },
    library::{LendBook, ReturnBook},
};

/// One book fails; of all others readers are reminded, and of that one after the correction.
async fn only_one_is_set_aside(book: &str, subject: Subject, error: &str) {
    let shelves = Shelves::open().await;
    shelves.lend(book).await;
    shelves.lend_others().await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma", "lolita", "momo", "ulysses"]);
    let (troubled, told) = shelves.only_trouble().await;
    assert_eq!(troubled, subject);
    assert!(told.contains(error), "{told}");
    let status = &shelves.gesta.process_managers()[0];
    assert_eq!((status.troubled, status.set_aside), (1, 1));
    assert_eq!(status.state, ProcessState::Running);
    assert!(status.error.as_deref().unwrap().contains(error));

    let shelves = shelves.reopen().await;
    assert_eq!(shelves.only_trouble().await.0, subject, "it survives the program's end");
    let shelves = shelves.corrected().await;
    shelves.gesta.retry_process("fragile", &subject, &operator()).await.unwrap();
    shelves.day_passes().await;
    assert_eq!(shelves.set_aside().await, []);
    assert!(shelves.reminded().await.contains(&book.to_owned()));
    assert_eq!(shelves.reminded().await.len(), 5);
}

fn book_stream(book: &str) -> Subject {
    Subject::Source(StreamName::new(format!("book-{book}")).unwrap())
}

#[tokio::test]
async fn a_panic_in_route_sets_the_source_stream_aside() {
    only_one_is_set_aside(ROUTE_PANICS, book_stream(ROUTE_PANICS), "no way to route this").await;
}

#[tokio::test]
async fn an_id_that_makes_no_stream_name_sets_the_source_stream_aside() {
    only_one_is_set_aside(ID_IS_NO_NAME, book_stream(ID_IS_NO_NAME), "stream name").await;
}

#[tokio::test]
async fn a_panic_in_evolve_sets_the_process_aside() {
    only_one_is_set_aside(EVOLVE_PANICS, instance(EVOLVE_PANICS), "no way to take this in").await;
}

#[tokio::test]
async fn a_panic_in_react_sets_the_process_aside() {
    only_one_is_set_aside(REACT_PANICS, instance(REACT_PANICS), "no way to react to this").await;
}

#[tokio::test]
async fn a_reaction_over_the_size_limit_sets_the_process_aside() {
    let subject = instance(REACTION_IS_TOO_LARGE);
    only_one_is_set_aside(REACTION_IS_TOO_LARGE, subject, "event bytes").await;
}

#[tokio::test]
async fn a_timer_that_could_not_be_read_again_sets_the_process_aside() {
    let subject = instance(TIMER_IS_NOT_FINITE);
    only_one_is_set_aside(TIMER_IS_NOT_FINITE, subject, "cannot be encoded as JSON").await;
}

#[tokio::test]
async fn an_event_that_does_not_decode_sets_its_stream_aside() {
    let shelves = Shelves::open().await;
    shelves.append("book-poison", "book-lent", r#"{"nope":1}"#).await;
    shelves.lend_others().await;
    shelves.append("book-poison", "book-lent", r#"{"book":"poison","reader":"ann"}"#).await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma", "lolita", "momo", "ulysses"]);
    let shelves = shelves.reopen().await;
    let all = shelves.set_aside().await;
    assert_eq!((all.len(), &all[0].subject), (1, &book_stream("poison")));
    let errors: Vec<bool> = all[0].inputs.iter().map(|input| input.error.is_some()).collect();
    assert_eq!(errors, [true, false], "what comes from that stream waits behind it");
    assert!(all[0].inputs[0].error.as_deref().unwrap().contains("missing field"));
    let number = all[0].inputs[0].number;
    let subject = book_stream("poison");
    shelves.gesta.skip_process_input("fragile", &subject, number, &operator()).await.unwrap();
    shelves.day_passes().await;
    assert_eq!(shelves.set_aside().await, []);
    assert!(shelves.reminded().await.contains(&"poison".to_owned()), "what waited is handled");
    let audited = "olga: skip-process-input fragile stream:book-poison: the bug is mended";
    assert_eq!(shelves.audited().await, [audited]);
}

#[tokio::test]
async fn a_tombstoned_process_stream_sets_the_process_aside_until_it_is_cancelled() {
    let shelves = Shelves::open().await;
    shelves.lend("gone").await;
    drain(&shelves.gesta).await;
    let stream = StreamName::new("process:fragile-gone").unwrap();
    let tombstone = TombstoneStream::new(stream, ExpectedRevision::Any);
    shelves.store.tombstone_stream(tombstone).await.unwrap();
    shelves.lend("gone").await;
    shelves.lend_others().await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await.len(), 4);
    let (subject, error) = shelves.only_trouble().await;
    assert_eq!(subject, instance("gone"));
    assert!(error.contains("is tombstoned"), "{error}");
    let error = shelves.gesta.retry_process("fragile", &subject, &operator()).await.unwrap_err();
    assert!(matches!(error, ProcessError::StillFails { .. }), "{error}");
    assert_eq!(shelves.set_aside().await[0].inputs[0].attempts, 2);
    shelves.gesta.cancel_process("fragile", "gone", &operator()).await.unwrap();
    assert_eq!(shelves.set_aside().await, []);
}

#[tokio::test]
async fn a_truncated_process_stream_sets_the_process_aside() {
    let shelves = Shelves::open().await;
    shelves.lend("cut").await;
    shelves.lend("cut").await;
    drain(&shelves.gesta).await;
    let truncate_before = Some(Revision::new(1));
    let metadata = StreamMetadata::default().truncate_before(truncate_before);
    let stream = StreamName::new("process:fragile-cut").unwrap();
    let expected_metadata = ExpectedRevision::Any;
    let change = SetStreamMetadata::new(stream, expected_metadata, metadata);
    shelves.store.set_stream_metadata(change).await.unwrap();
    let shelves = shelves.reopen().await;
    shelves.lend("cut").await;
    shelves.lend_others().await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await.len(), 4);
    let (subject, error) = shelves.only_trouble().await;
    assert_eq!(subject, instance("cut"));
    assert!(error.contains("is truncated"), "{error}");
    // Cancelled, it can begin anew.
    shelves.gesta.cancel_process("fragile", "cut", &operator()).await.unwrap();
    assert_eq!(shelves.state_of("cut").await, InstanceState::Cancelled);
    shelves.lend("cut").await;
    shelves.day_passes().await;
    assert!(shelves.reminded().await.contains(&"cut".to_owned()));
}

#[tokio::test]
async fn a_command_whose_sending_panics_sets_its_process_aside() {
    let layer = layer_fn(|pipeline: Pipeline| {
        Pipeline::new(service_fn(move |request: gesta::CommandRequest| {
            let pipeline = pipeline.clone();
            async move {
                let is_bad = format!("{request:?}").contains(SENDING_PANICS);
                assert!(!(request.name() == "remind-reader" && is_bad), "the layer has a bug");
                pipeline.oneshot(request).await
            }
        }))
    });
    let shelves = Shelves::open().await;
    let Shelves { store, clock, gesta } = shelves;
    gesta.close().await;
    let manager = Fragile::<false>::default();
    let builder = Gesta::on(std::sync::Arc::clone(&store)).clock(clock.clone());
    let gesta = builder.layer(layer).process_with(manager).open().await.unwrap();
    let shelves = Shelves { store, clock, gesta };
    // The context of a command does not show the book, so its reader does.
    let lend = LendBook::new(SENDING_PANICS, SENDING_PANICS);
    shelves.gesta.execute(lend).await.unwrap();
    shelves.lend_others().await;
    shelves.day_passes().await;
    let reminded = shelves.reminded().await;
    if reminded.len() == 4 {
        let (subject, error) = shelves.only_trouble().await;
        assert_eq!(subject, instance(SENDING_PANICS));
        assert!(error.contains("sending command remind-reader panicked"), "{error}");
    }
    let shelves = shelves.reopen().await;
    for set_aside in shelves.set_aside().await {
        let subject = &set_aside.subject;
        assert!(matches!(set_aside.inputs[0].input, WaitingInput::Command { .. }));
        shelves.gesta.retry_process("fragile", subject, &operator()).await.unwrap();
    }
    drain(&shelves.gesta).await;
    assert_eq!(shelves.reminded().await.len(), 5, "sent once the layer is mended");
}

#[tokio::test]
async fn what_comes_for_a_process_that_is_set_aside_waits_in_order() {
    let shelves = Shelves::open().await;
    shelves.lend(REACT_PANICS).await;
    shelves.gesta.execute(ReturnBook::new(REACT_PANICS)).await.unwrap();
    shelves.lend(REACT_PANICS).await;
    let all = shelves.set_aside().await;
    let types: Vec<String> = all[0]
        .inputs
        .iter()
        .map(|input| match &input.input {
            WaitingInput::Event { event_type, .. } => event_type.as_str().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(types, ["book-lent", "book-returned", "book-lent"]);
    assert_eq!(shelves.state_of(REACT_PANICS).await, InstanceState::Troubled);
    let shelves = shelves.corrected().await;
    shelves.lend(REACT_PANICS).await;
    assert_eq!(shelves.set_aside().await[0].inputs.len(), 4, "also after the start");
    let subject = instance(REACT_PANICS);
    shelves.gesta.retry_process("fragile", &subject, &operator()).await.unwrap();
    let details = shelves.gesta.process_instance("fragile", REACT_PANICS).await.unwrap();
    assert_eq!((details.state, details.revision), (InstanceState::Running, Some(Revision::new(3))));
    assert_eq!(details.timers.len(), 1, "the later loan replaced what the first one set");
}

#[tokio::test]
async fn an_input_that_is_skipped_lets_those_behind_it_go_on() {
    let shelves = Shelves::open().await;
    shelves.lend(EVOLVE_PANICS).await;
    shelves.gesta.execute(ReturnBook::new(EVOLVE_PANICS)).await.unwrap();
    let subject = instance(EVOLVE_PANICS);
    let first = shelves.set_aside().await[0].inputs[0].number;
    let unknown = shelves.gesta.skip_process_input("fragile", &subject, 99, &operator()).await;
    assert!(matches!(unknown, Err(ProcessError::NoSuchInput { number: 99, .. })));
    shelves.gesta.skip_process_input("fragile", &subject, first, &operator()).await.unwrap();
    assert_eq!(shelves.set_aside().await, []);
    let shelves = shelves.reopen().await;
    drain(&shelves.gesta).await;
    assert_eq!(shelves.set_aside().await, [], "what was skipped does not come again");
}

#[tokio::test]
async fn more_than_may_be_set_aside_halts_the_manager_and_loses_nothing() {
    let setup = || ProcessSetup::of(Fragile::<false>::default()).set_aside_at_most(3);
    let shelves = Shelves::open().await.reopen_as(setup()).await;
    for _ in 0..5 {
        shelves.lend(REACT_PANICS).await;
    }
    shelves.lend("emma").await;
    drain(&shelves.gesta).await;
    let status = &shelves.gesta.process_managers()[0];
    assert_eq!(status.state, ProcessState::Halted);
    assert!(status.trouble.as_deref().unwrap().contains("3 set-aside inputs"));
    let subject = instance(REACT_PANICS);
    let number = shelves.gesta.process_set_aside("fragile").await.unwrap()[0].inputs[0].number;
    shelves.gesta.skip_process_input("fragile", &subject, number, &operator()).await.unwrap();
    let corrected = ProcessSetup::of(Fragile::<true>::default()).set_aside_at_most(3);
    let shelves = shelves.reopen_as(corrected).await;
    drain(&shelves.gesta).await;
    while !shelves.set_aside().await.is_empty() {
        shelves.gesta.retry_process("fragile", &subject, &operator()).await.unwrap();
    }
    let details = shelves.gesta.process_instance("fragile", REACT_PANICS).await.unwrap();
    assert_eq!(details.revision, Some(Revision::new(3)), "four of five: one was skipped");
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma", REACT_PANICS]);
}

#[tokio::test]
async fn instances_are_counted_and_found_by_state() {
    let shelves = Shelves::open().await;
    shelves.lend_others().await;
    shelves.lend(REACT_PANICS).await;
    drain(&shelves.gesta).await;
    shelves.gesta.cancel_process("fragile", "emma", &operator()).await.unwrap();
    let counts = shelves.gesta.process_counts("fragile").await.unwrap();
    assert_eq!((counts.running, counts.troubled, counts.ended, counts.cancelled), (3, 1, 0, 1));
    let find = async |query: InstanceQuery| {
        let page = shelves.gesta.process_instances(&query).await.unwrap();
        (page.instances.into_iter().map(|one| one.id).collect::<Vec<_>>(), page.next)
    };
    let query = || InstanceQuery::of("fragile");
    let running = query().in_state(InstanceState::Running);
    assert_eq!(find(running.clone().limit(2)).await.0, ["lolita", "momo"]);
    let (_, next) = find(running.clone().limit(2)).await;
    let rest = find(running.limit(2).after(next.unwrap())).await;
    assert_eq!(rest, (vec!["ulysses".to_owned()], None));
    assert_eq!(find(query().in_state(InstanceState::Cancelled)).await.0, ["emma"]);
    let troubled = query().in_state(InstanceState::Troubled);
    assert_eq!(find(troubled).await.0, [REACT_PANICS]);
    let none = shelves.gesta.process_instance("fragile", "nothing").await;
    assert!(matches!(none, Err(ProcessError::NoSuchInstance { .. })));
}

#[tokio::test]
async fn an_instance_whose_first_input_is_set_aside_has_its_place_among_all() {
    let shelves = Shelves::open().await;
    shelves.lend_others().await;
    shelves.lend(EVOLVE_PANICS).await;
    drain(&shelves.gesta).await;
    let mut after = None;
    let mut pages = Vec::new();
    loop {
        let mut query = InstanceQuery::of("fragile").limit(2);
        query.after = after;
        let page = shelves.gesta.process_instances(&query).await.unwrap();
        pages.push(page.instances.into_iter().map(|one| one.id).collect::<Vec<_>>());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages.concat(), ["emma", EVOLVE_PANICS, "lolita", "momo", "ulysses"]);
}
