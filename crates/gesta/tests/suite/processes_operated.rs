//! Operations on processes take effect once and are recorded in the audit stream.

use gesta::{
    InstanceState, ProcessError,
    store::{CorrelationId, Filter, ReadAll},
    testing::drain,
};

use crate::{
    fragile::{REACT_PANICS, Shelves, instance, operator},
    library::{LendBook, Library, MoveAway},
};

#[tokio::test]
async fn a_cancelled_instance_does_nothing_any_more_and_a_new_beginning_is_a_new_life() {
    let shelves = Shelves::open().await;
    shelves.lend("emma").await;
    drain(&shelves.gesta).await;
    shelves.gesta.cancel_process("fragile", "emma", &operator()).await.unwrap();
    shelves.day_passes().await;
    assert!(shelves.reminded().await.is_empty());
    assert_eq!(shelves.state_of("emma").await, InstanceState::Cancelled);
    let again = shelves.gesta.cancel_process("fragile", "emma", &operator()).await;
    assert!(matches!(again, Err(ProcessError::Ended { .. })));
    let unknown = shelves.gesta.cancel_process("fragile", "nobody", &operator()).await;
    assert!(matches!(unknown, Err(ProcessError::NoSuchInstance { .. })));
    shelves.lend("emma").await;
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma"]);
    let counts = shelves.gesta.process_counts("fragile").await.unwrap();
    assert_eq!((counts.running, counts.cancelled), (1, 0));
    let audited = shelves.audited().await;
    assert_eq!(audited, ["olga: cancel-process fragile instance:emma: the bug is mended"]);
}

#[tokio::test]
async fn an_instance_that_is_set_aside_is_cancelled_with_all_that_waits() {
    let shelves = Shelves::open().await;
    shelves.lend(REACT_PANICS).await;
    shelves.lend(REACT_PANICS).await;
    drain(&shelves.gesta).await;
    shelves.gesta.cancel_process("fragile", REACT_PANICS, &operator()).await.unwrap();
    assert_eq!(shelves.set_aside().await, []);
    let shelves = shelves.corrected().await;
    shelves.day_passes().await;
    assert!(shelves.reminded().await.is_empty(), "what waited is left out for good");
    assert_eq!(shelves.state_of(REACT_PANICS).await, InstanceState::Cancelled);
}

#[tokio::test]
async fn a_timer_is_fired_before_it_is_due_and_only_once() {
    let shelves = Shelves::open().await;
    shelves.lend("emma").await;
    drain(&shelves.gesta).await;
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    let timer = details.timers[0].id;
    let fire =
        async || shelves.gesta.fire_process_timer("fragile", "emma", timer, &operator()).await;
    fire().await.unwrap();
    drain(&shelves.gesta).await;
    assert_eq!(shelves.reminded().await, ["emma"]);
    assert!(matches!(fire().await, Err(ProcessError::NoSuchTimer { .. })));
    shelves.day_passes().await;
    assert_eq!(shelves.reminded().await, ["emma"]);
    assert_eq!(shelves.audited().await.len(), 1, "an order that was refused changes nothing");
}

#[tokio::test]
async fn a_refused_command_is_sent_again_as_a_new_one() {
    let shelves = Shelves::open().await;
    shelves.gesta.execute(MoveAway::new("ann")).await.unwrap();
    shelves.lend("emma").await;
    shelves.day_passes().await;
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    assert_eq!(details.state, InstanceState::Ended);
    let refused = &details.refused[0];
    assert_eq!(
        (refused.name.as_str(), refused.kind.rejection_code()),
        ("remind-reader", Some("reader-moved-away"))
    );
    let resend = async |command| {
        shelves.gesta.resend_process_command("fragile", "emma", command, &operator()).await
    };
    resend(refused.id).await.unwrap();
    assert!(matches!(resend(refused.id).await, Err(ProcessError::NoSuchRefusedCommand { .. })));
    drain(&shelves.gesta).await;
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    assert_eq!(details.refused.len(), 1, "it was refused again");
    assert_ne!(details.refused[0].id, refused.id, "as another command");
    let lost = Library::happened(shelves.store.as_ref()).await;
    assert_eq!(lost.iter().filter(|one| *one == "emma lost").count(), 1);
}

#[tokio::test]
async fn a_command_that_is_sent_again_stays_in_its_conversation() {
    let shelves = Shelves::open().await;
    shelves.gesta.execute(MoveAway::new("ann")).await.unwrap();
    let lend = shelves.gesta.execute(LendBook::new("emma", "ann"));
    lend.correlation_id("counter-7").await.unwrap();
    shelves.day_passes().await;
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    let command = details.refused[0].id;
    shelves.gesta.resend_process_command("fragile", "emma", command, &operator()).await.unwrap();
    drain(&shelves.gesta).await;
    let told = Filter::Correlation(CorrelationId::new("counter-7").unwrap());
    let told = ReadAll::forwards().filter(told);
    let told = shelves.store.read_all(told).collect_events().await.unwrap();
    let told: Vec<_> = told.iter().map(|event| event.event_type.as_str()).collect();
    let from = told.iter().position(|one| *one == "process-command-resent").unwrap();
    assert_eq!(told[from..], ["process-command-resent", "process-command-settled"]);
}

#[tokio::test]
async fn a_command_that_is_sent_again_survives_the_programs_end() {
    let shelves = Shelves::open().await;
    shelves.gesta.execute(MoveAway::new("ann")).await.unwrap();
    shelves.lend("emma").await;
    shelves.day_passes().await;
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    let command = details.refused[0].id;
    shelves.gesta.resend_process_command("fragile", "emma", command, &operator()).await.unwrap();
    let shelves = shelves.reopen().await;
    drain(&shelves.gesta).await;
    let details = shelves.gesta.process_instance("fragile", "emma").await.unwrap();
    assert_eq!(details.commands, []);
    assert_eq!(details.refused.len(), 1);
    assert_ne!(details.refused[0].id, command);
}

#[tokio::test]
async fn orders_about_what_is_not_set_aside_are_refused() {
    let shelves = Shelves::open().await;
    shelves.lend(REACT_PANICS).await;
    drain(&shelves.gesta).await;
    let retry = shelves.gesta.retry_process("fragile", &instance("emma"), &operator()).await;
    assert!(matches!(retry, Err(ProcessError::NotSetAside { .. })));
    let timer = "0.0".parse().unwrap();
    let fire = shelves.gesta.fire_process_timer("fragile", REACT_PANICS, timer, &operator()).await;
    assert!(matches!(fire, Err(ProcessError::IsSetAside { .. })));
    let unknown = shelves.gesta.retry_process("frail", &instance("emma"), &operator()).await;
    assert!(matches!(unknown, Err(ProcessError::ProcessNotRegistered(_))));
    assert!(shelves.audited().await.is_empty());
}
