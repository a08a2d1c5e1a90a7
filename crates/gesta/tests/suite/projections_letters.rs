//! Dead letters, as operators handle them: discarded, retried, released, in order and once.

use std::{sync::Arc, time::Duration};

use gesta::{
    DeadLetterId, EventId, EventMetadata, EventType, Gesta, OperationError, StreamName,
    audit::{self, AuditEvent, Operator},
    prelude::*,
    testing::VirtualClock,
};
use gesta_sqlite::{Reader, Sqlite};
use gesta_store::{
    Append, DeadLetter, DeadLetterReason, DeleteStream, EventStore, ExpectedRevision, NewEvent,
    ReadModelStore, ReadModelTx, ReadStream,
};

use crate::bank::{
    AllBalances, Balances, Controls, Fault, StrictBalances, UNLUCKY, deposit, new_store, operator,
};

struct Bank {
    store: Arc<dyn EventStore>,
    models: Sqlite,
    controls: Arc<Controls>,
    gesta: Gesta,
}

impl Bank {
    async fn failing() -> Self {
        let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
        let controls = Controls::failing(Fault::Error);
        let gesta = Self::open(&store, &models, &controls).await;
        Self { store, models, controls, gesta }
    }

    async fn open(store: &Arc<dyn EventStore>, models: &Sqlite, controls: &Arc<Controls>) -> Gesta {
        let projection = Balances(Arc::clone(controls));
        Gesta::on(Arc::clone(store)).project(projection, models).open().await.unwrap()
    }

    /// Deposits in order, and waits until the last one is handled.
    async fn deposit(&self, account: &str, amounts: &[u64]) {
        let mut last = None;
        for amount in amounts {
            last = Some(deposit(&self.gesta, account, *amount).await);
        }
        let wait = self.gesta.wait_for::<Balances>(&last.unwrap());
        wait.within(Duration::from_secs(600)).await.unwrap();
    }

    async fn letters(&self) -> Vec<(DeadLetterId, DeadLetter)> {
        self.gesta.dead_letters().await.unwrap()
    }

    async fn discard(&self, id: &DeadLetterId) {
        self.gesta.discard_dead_letter(id, &operator()).await.unwrap();
    }

    async fn balances(&self) -> Vec<(String, u64)> {
        self.gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await.unwrap()
    }

    /// The balance of an account by its name.
    async fn balance(&self, account: &str) -> u64 {
        let name = format!("account-{account}");
        let found = self.balances().await.into_iter().find(|(one, _)| *one == name);
        found.map_or(0, |(_, balance)| balance)
    }
}

#[tokio::test]
async fn discarding_the_first_letter_of_a_stream_applies_those_behind_it() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[1, UNLUCKY, 100, 200, 300, 400, 500]).await;
    let letters = bank.letters().await;
    assert_eq!(letters.len(), 6, "the one that failed, and five behind it");
    bank.discard(&letters[0].0).await;
    assert_eq!(bank.balance("ann").await, 1_501, "events 1 and 3 to 7");
    assert!(bank.letters().await.is_empty());
    assert_eq!(bank.gesta.projections().await.unwrap()[0].dead_letters, 0);
    bank.deposit("ann", &[1_000]).await;
    assert_eq!(bank.balance("ann").await, 2_501, "the stream is live again");
}

#[tokio::test]
async fn what_fails_behind_a_discarded_letter_is_the_next_first_one() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100, UNLUCKY, 200, 300]).await;
    let letters = bank.letters().await;
    bank.discard(&letters[0].0).await;
    assert_eq!(bank.balance("ann").await, 100, "up to the next one that fails");
    let left: Vec<_> = bank.letters().await.into_iter().map(|(_, letter)| letter).collect();
    let first = letters[2].0.position;
    let failed = DeadLetterReason::Failed { error: "thirteen is unlucky".to_owned(), attempts: 1 };
    let reasons: Vec<_> = left.iter().map(|letter| letter.reason.clone()).collect();
    assert_eq!(
        reasons,
        [failed, DeadLetterReason::Behind { first }, DeadLetterReason::Behind { first }]
    );
    bank.discard(&letters[2].0).await;
    assert_eq!(bank.balance("ann").await, 600);
    assert!(bank.letters().await.is_empty());
}

#[tokio::test]
async fn discarding_a_letter_that_stands_behind_leaves_the_others_in_order() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100, 200]).await;
    let letters = bank.letters().await;
    bank.discard(&letters[1].0).await;
    assert_eq!(bank.balance("ann").await, 0, "the first one still waits");
    assert_eq!(bank.letters().await.len(), 2);
    bank.controls.fix();
    bank.gesta.retry_dead_letter(&letters[0].0, &operator()).await.unwrap();
    assert_eq!(bank.balance("ann").await, UNLUCKY + 200);
}

#[tokio::test]
async fn of_two_streams_with_letters_only_the_discarded_ones_goes_on() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100]).await;
    bank.deposit("ben", &[UNLUCKY, 200]).await;
    let letters = bank.letters().await;
    let ben = letters.iter().find(|(_, one)| one.stream.as_str() == "account-ben").unwrap();
    bank.discard(&ben.0).await;
    assert_eq!((bank.balance("ann").await, bank.balance("ben").await), (0, 200));
    bank.deposit("ann", &[1]).await;
    bank.deposit("ben", &[1]).await;
    assert_eq!((bank.balance("ann").await, bank.balance("ben").await), (0, 201));
    assert_eq!(bank.letters().await.len(), 3);
}

#[tokio::test]
async fn a_discarded_dead_letter_never_takes_effect() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 1]).await;
    let letters = bank.letters().await;
    bank.discard(&letters[0].0).await;
    bank.controls.fix();
    assert_eq!(bank.balance("ann").await, 1);
    let gone = bank.gesta.discard_dead_letter(&letters[0].0, &operator()).await;
    assert!(matches!(gone, Err(OperationError::NoSuchDeadLetter { .. })));
    let nobody = DeadLetterId { projection: "nobody".to_owned(), ..letters[0].0.clone() };
    let unknown = bank.gesta.discard_dead_letter(&nobody, &operator()).await;
    assert!(matches!(unknown, Err(OperationError::NotRegistered { .. })));
}

#[tokio::test]
async fn a_letter_is_tried_with_other_data_and_nothing_is_stored() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[1, UNLUCKY, 100, UNLUCKY, 200]).await;
    let letters = bank.letters().await;
    let with = async |nth: usize, data: &'static str| {
        bank.gesta.rehearse_dead_letter(&letters[nth].0, data.as_bytes()).await
    };
    let same = with(0, r#"{"amount":13}"#).await.unwrap();
    assert_eq!(same.error.as_deref(), Some("thirteen is unlucky"));
    let unreadable = with(0, r#"{"amount":"a lot"}"#).await.unwrap();
    assert!(unreadable.error.unwrap().contains("cannot be read"), "it is decoded as the event is");
    let other = with(0, r#"{"amount":14}"#).await.unwrap();
    assert_eq!((other.error, other.behind), (None, 1), "it, and the one behind it");
    let error = "thirteen is unlucky".to_owned();
    assert_eq!(other.behind_error, Some((letters[2].0.position, error)));
    let later = with(2, r#"{"amount":14}"#).await.unwrap();
    assert_eq!((later.error, later.behind, later.behind_error), (None, 1, None));
    assert_eq!(bank.letters().await, letters);
    assert_eq!(bank.balance("ann").await, 1, "the rows are as they were");
    assert!(audited(&bank.store).await.is_empty());
    bank.controls.fix();
    bank.gesta.retry_dead_letter(&letters[0].0, &operator()).await.unwrap();
    assert_eq!(bank.balance("ann").await, 301 + 2 * UNLUCKY, "the events are as they were");
    let gone = with(0, "{}").await;
    assert!(matches!(gone, Err(OperationError::NoSuchDeadLetter { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_letter_whose_event_was_deleted_cannot_be_tried() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY]).await;
    let id = bank.letters().await.remove(0).0;
    // It would drop the letters of a deleted stream.
    bank.gesta.pause_projection("balances", &operator()).await.unwrap();
    let stream = StreamName::new("account-ann").unwrap();
    bank.store.delete_stream(DeleteStream::new(stream, ExpectedRevision::Any)).await.unwrap();
    let gone = bank.gesta.rehearse_dead_letter(&id, "{}").await;
    assert!(matches!(gone, Err(OperationError::EventGone { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_crash_while_a_letter_is_discarded_changes_nothing() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100, 200]).await;
    let letters = bank.letters().await;
    bank.gesta.clone().close().await;

    // The first of those behind is applied, and the commit does not come.
    let gated = Controls::gated(0);
    let gesta = Bank::open(&bank.store, &bank.models, &gated).await;
    let by = operator();
    let mut discarding = Box::pin(gesta.discard_dead_letter(&letters[0].0, &by));
    tokio::select! {
        biased;
        () = gated.until_at_gate() => {}
        outcome = &mut discarding => panic!("it waits: {outcome:?}"),
    }
    drop(discarding);
    gesta.close().await;

    let gesta = Bank::open(&bank.store, &bank.models, &Controls::free()).await;
    let bank = Bank { gesta, ..bank };
    bank.deposit("ben", &[1]).await;
    assert_eq!(bank.letters().await.len(), 3, "letter and rows are as they were");
    assert_eq!(bank.balance("ann").await, 0);
    bank.discard(&letters[0].0).await;
    assert_eq!(bank.balance("ann").await, 300);
}

#[tokio::test]
async fn what_an_earlier_version_left_waiting_behind_a_discarded_letter_is_applied() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100, 200]).await;
    let letters = bank.letters().await;
    bank.gesta.clone().close().await;
    // An earlier version forgot the first letter alone.
    let id = bank.models.list_read_models("balances").await.unwrap().remove(0).id;
    let mut tx = bank.models.begin(&id).await.unwrap();
    assert!(tx.delete_dead_letter(letters[0].0.position).await.unwrap());
    tx.commit().await.unwrap();

    let gesta = Bank::open(&bank.store, &bank.models, &bank.controls).await;
    let bank = Bank { gesta, ..bank };
    bank.deposit("ann", &[1_000]).await;
    assert_eq!(bank.balance("ann").await, 1_300);
    assert!(bank.letters().await.is_empty());
}

#[tokio::test]
async fn two_programs_that_retry_one_letter_apply_it_once() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100]).await;
    let other = Bank::open(&bank.store, &bank.models, &bank.controls).await;
    let id = bank.letters().await.remove(0).0;
    while other.dead_letters().await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bank.controls.fix();
    let by = operator();
    let both =
        tokio::join!(bank.gesta.retry_dead_letter(&id, &by), other.retry_dead_letter(&id, &by),);
    assert!(both.0.is_ok() || both.1.is_ok(), "{both:?}");
    assert_eq!(bank.balance("ann").await, UNLUCKY + 100, "once");
    assert!(bank.letters().await.is_empty());
}

#[tokio::test]
async fn a_letter_that_another_program_has_discarded_holds_nothing_back() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100]).await;
    let other = Bank::open(&bank.store, &bank.models, &bank.controls).await;
    while other.dead_letters().await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = bank.letters().await.remove(0).0;
    bank.gesta.clone().close().await;
    other.discard_dead_letter(&id, &operator()).await.unwrap();
    let gesta = Bank::open(&bank.store, &bank.models, &bank.controls).await;
    let bank = Bank { gesta, ..bank };
    // Either of the two programs may apply them.
    bank.deposit("ann", &[200, 300]).await;
    assert_eq!(bank.balance("ann").await, 600);
    assert!(bank.letters().await.is_empty());
}

#[tokio::test]
async fn a_strict_projection_goes_on_behind_a_discarded_letter() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let strict = StrictBalances(Controls::failing(Fault::Error));
    let gesta = Gesta::on(Arc::clone(&store)).project(strict, &models).open().await.unwrap();
    deposit(&gesta, "ann", UNLUCKY).await;
    let last = deposit(&gesta, "ann", 100).await;
    while gesta.dead_letters().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = gesta.dead_letters().await.unwrap().remove(0).0;
    gesta.discard_dead_letter(&id, &operator()).await.unwrap();
    gesta.wait_for::<StrictBalances>(&last).await.unwrap();
    let rows = gesta.ask::<_, Reader>(AllBalances::<StrictBalances>::of()).await.unwrap();
    assert_eq!(rows, [("account-ann".to_owned(), 100)]);
}

/// Operations in the audit stream: actor, operation, target, and the reason of an order or the
/// error of a failure.
async fn audited(store: &Arc<dyn EventStore>) -> Vec<(String, String, String, Option<String>)> {
    let read = ReadStream::forwards(audit::stream());
    let events = store.read_stream(read).collect_events().await.unwrap();
    events
        .iter()
        .map(|event| {
            let read = Recorded::<AuditEvent>::read(event).unwrap().event;
            let actor = EventMetadata::from_json(&event.metadata).actor.unwrap_or_default();
            match read {
                AuditEvent::Ordered(it) => (actor, it.operation, it.target, it.reason),
                AuditEvent::Failed(it) => (actor, it.operation, it.target, Some(it.error)),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

#[tokio::test]
async fn an_operators_act_on_a_letter_is_recorded_with_its_failure_and_an_unknown_target_is_not() {
    let bank = Bank::failing().await;
    bank.deposit("ann", &[UNLUCKY, 100]).await;
    let id = bank.letters().await.remove(0).0;
    let missing = DeadLetterId { position: Position::new(99), ..id.clone() };
    let by = Operator::new("ben").because("a typing error of the till");
    assert!(bank.gesta.discard_dead_letter(&missing, &by).await.is_err());
    assert!(bank.gesta.retry_dead_letter(&missing, &by).await.is_err());
    assert!(bank.gesta.rebuild("nobody", &by).await.is_err());
    assert!(audited(&bank.store).await.is_empty());
    assert!(bank.gesta.retry_dead_letter(&id, &Operator::new("ann")).await.is_err());
    bank.gesta.discard_dead_letter(&id, &by).await.unwrap();
    let recorded = audited(&bank.store).await;
    let (ann, ben) = ("ann".to_owned(), "ben".to_owned());
    let (target, reason) = (id.to_string(), Some("a typing error of the till".to_owned()));
    assert_eq!(
        recorded,
        [
            (ann.clone(), "retry-dead-letter".to_owned(), target.clone(), None),
            (ann, "retry-dead-letter".to_owned(), target.clone(), Some("still-fails".to_owned())),
            (ben, "discard-dead-letter".to_owned(), target, reason),
        ]
    );
}

#[tokio::test]
async fn after_closing_waits_and_questions_end_at_once() {
    use gesta::{AskError, WaitError};

    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = Bank::open(&store, &models, &Controls::free()).await;
    let receipt = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
    gesta.clone().close().await;
    let closed = WaitError::Closed { projection: "balances" };
    let later = Duration::from_secs(3_600);
    let asked = gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).within(later);
    let outcome = tokio::time::timeout(Duration::from_secs(1), asked).await.expect("at once");
    assert!(matches!(outcome, Err(AskError::Wait(error)) if error == closed));
    let wait = gesta.wait_for::<Balances>(&receipt).within(later);
    assert_eq!(tokio::time::timeout(Duration::from_secs(1), wait).await, Ok(Err(closed)));
    let ordered = gesta.rebuild("balances", &operator()).await;
    assert!(matches!(ordered, Err(OperationError::Unavailable { .. })));
    assert!(audited(&store).await.is_empty());
}

#[tokio::test]
async fn a_wait_that_goes_on_while_the_application_is_closed_ends() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let controls = Controls::gated(0);
    let gesta = Bank::open(&store, &models, &controls).await;
    let receipt = deposit(&gesta, "ann", 1).await;
    let waiting = tokio::spawn({
        let gesta = gesta.clone();
        async move { gesta.wait_for::<Balances>(&receipt).within(Duration::from_secs(60)).await }
    });
    controls.until_at_gate().await;
    gesta.close().await;
    let outcome = waiting.await.unwrap();
    assert_eq!(outcome, Err(gesta::WaitError::Closed { projection: "balances" }));
}

/// Appends an event that decodes as nothing.
async fn poison(store: &Arc<dyn EventStore>, account: usize) -> Position {
    let event_type = EventType::new("deposited").unwrap();
    let event = NewEvent::json(EventId::random(), event_type, "[1, 2]");
    let stream = StreamName::new(format!("account-poison{account}")).unwrap();
    let append = Append::to(stream, ExpectedRevision::NoStream, [event]);
    store.append(append).await.unwrap().position
}

#[tokio::test]
async fn five_hundred_events_that_cannot_be_read_or_applied_hold_up_no_other_for_any_time() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let (controls, clock) = (Controls::failing(Fault::Error), VirtualClock::new());
    let builder = Gesta::on(Arc::clone(&store)).clock(clock.clone());
    let builder = builder.project(Balances(Arc::clone(&controls)), &models);
    let bank = Bank { gesta: builder.open().await.unwrap(), store, models, controls };
    for number in 0..250 {
        poison(&bank.store, number).await;
        deposit(&bank.gesta, &format!("unlucky{number}"), UNLUCKY).await;
    }
    tokio::select! {
        biased;
        () = bank.deposit("ann", &[1]) => {}
        () = clock.until_asleep(Duration::from_secs(1)) => panic!("it pauses between attempts"),
    }
    assert_eq!(bank.balance("ann").await, 1);
    let letters = bank.letters().await;
    assert_eq!(letters.len(), 500);
    let attempts = |name: &str| {
        let of_name = letters.iter().map(|(_, letter)| letter);
        let of_name = of_name.filter(|letter| letter.stream.as_str().contains(name));
        let attempts = of_name.map(|letter| match letter.reason {
            DeadLetterReason::Failed { attempts, .. } => attempts,
            DeadLetterReason::Behind { .. } => 0,
        });
        attempts.collect::<std::collections::BTreeSet<u32>>()
    };
    assert_eq!(attempts("poison"), [1].into(), "what is read wrong is read wrong again");
    assert_eq!(attempts("unlucky"), [5].into());
}
