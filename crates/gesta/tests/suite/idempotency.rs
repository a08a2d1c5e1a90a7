//! Idempotency: a command sent twice takes effect once.

use std::sync::{Arc, atomic::Ordering};

use gesta::{
    CommandIdScope, EventMetadata, ExecuteError, Gesta, Receipt, RecordedWhen, prelude::*,
};
use gesta_store::{Append, Appended, EventStore, ExpectedRevision, NewEvent, Position, StoreError};

use crate::{
    accounts::{
        Account, Charge, Deposit, Deposited, Open, Refused, Transfer, Withdrawn, balance, deposit,
        open_accounts, recorded, register,
    },
    scripted::{Scene, Scripted},
};

/// Another program on the same store: commands within one program wait for each other.
async fn elsewhere(store: &Scripted) -> Gesta {
    Gesta::on(Arc::new(store.clone())).open().await.unwrap()
}

async fn bank(money: &[u64]) -> (Gesta, Scripted) {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    open_accounts(&gesta, money).await;
    (gesta, store)
}

/// The receipt of a repeat.
fn repeated(first: &Receipt) -> Receipt {
    let mut receipt = first.clone();
    receipt.recorded = RecordedWhen::Earlier;
    receipt
}

#[tokio::test]
async fn a_repeat_gets_the_first_receipt() {
    let (gesta, _) = bank(&[10, 0]).await;
    let transfer = || Transfer { from: 1, to: 2, cents: 5 };
    let first = gesta.execute(transfer()).command_id("request-1").await.unwrap();
    gesta.execute(deposit(1, 1)).await.unwrap();
    assert_eq!(gesta.execute(transfer()).command_id("request-1").await.unwrap(), repeated(&first));
    assert_eq!(balance(&gesta, 2).await, 5);
}

#[tokio::test]
async fn a_repeat_of_a_command_that_creates_is_no_second_creation() {
    let (gesta, _) = bank(&[]).await;
    let first = gesta.execute(Open { account: 1 }).command_id("request-1").await.unwrap();
    let second = gesta.execute(Open { account: 1 }).command_id("request-1").await.unwrap();
    assert_eq!(second, repeated(&first));
}

#[tokio::test]
async fn the_same_id_with_another_payload_is_refused() {
    let (gesta, _) = bank(&[10]).await;
    gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    let outcome = gesta.execute(deposit(1, 6)).command_id("request-1").await;
    let Err(ExecuteError::CommandIdReused { command_id }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(command_id.as_str(), "request-1");
    assert_eq!(balance(&gesta, 1).await, 15);
}

#[tokio::test]
async fn an_id_is_scoped_by_actor_and_command() {
    let (gesta, _) = bank(&[0]).await;
    let by = |actor: &str| gesta.execute(deposit(1, 5)).command_id("1").actor(actor);
    let first = by("ann").await.unwrap();
    assert_ne!(by("ben").await.unwrap(), first);
    gesta.execute(Open { account: 7 }).command_id("1").actor("ann").await.unwrap();
    assert_eq!(by("ann").await.unwrap(), repeated(&first));
    assert_eq!(balance(&gesta, 1).await, 10);
}

#[tokio::test]
async fn an_id_has_the_scope_that_the_application_names() {
    let (gesta, _) = bank(&[0]).await;
    let within =
        |scope, actor: &str| gesta.execute(deposit(1, 5)).command_id("1").actor(actor).scope(scope);
    let tenant = CommandIdScope::named;
    let first = within(tenant("a"), "ann").await.unwrap();
    assert_eq!(within(tenant("a"), "ben").await.unwrap(), repeated(&first));
    assert_ne!(within(tenant("b"), "ann").await.unwrap(), first);

    let first = within(CommandIdScope::Store, "ann").await.unwrap();
    assert_eq!(within(CommandIdScope::Store, "ben").await.unwrap(), repeated(&first));
    let other = gesta.execute(Open { account: 7 }).command_id("1").scope(CommandIdScope::Store);
    let outcome = other.await;
    assert!(matches!(outcome, Err(ExecuteError::CommandIdReused { .. })), "{outcome:?}");
    assert_eq!(balance(&gesta, 1).await, 15);
}

/// Appends the deposit of `request-1` as versions without scopes recorded it.
async fn deposited_by_an_earlier_version(store: &Scripted, actor: &str) -> Appended {
    // Without defaults among the fields, the hash is that of earlier versions.
    let digest = deposit(1, 5).payload_digest().unwrap().to_string();
    let digest = digest.strip_prefix("2:").unwrap();
    let metadata = format!(
        r#"{{"commandId":"request-1","command":"deposit","payloadDigest":"{digest}",
           "actor":"{actor}"}}"#
    );
    let id = EventId::derived_from("request-1", 0);
    let event = NewEvent::json(id, EventType::new("money-deposited").unwrap(), r#"{"cents":5}"#);
    let event = event.metadata(metadata);
    let account = gesta::stream_of::<Account>(&1).unwrap();
    store.append(Append::to(account, ExpectedRevision::Any, [event])).await.unwrap()
}

#[tokio::test]
async fn a_retry_across_an_upgrade_finds_an_execution_under_an_unscoped_id() {
    let (gesta, store) = bank(&[0]).await;
    let appended = deposited_by_an_earlier_version(&store, "ann").await;
    let by = |actor: &str| gesta.execute(deposit(1, 5)).command_id("request-1").actor(actor);
    assert_eq!(by("ann").await.unwrap().position, appended.position);
    let reused = gesta.execute(deposit(1, 6)).command_id("request-1").actor("ann").await;
    assert!(matches!(reused, Err(ExecuteError::CommandIdReused { .. })), "{reused:?}");
    assert_eq!(balance(&gesta, 1).await, 5);
    assert!(by("ben").await.unwrap().position > appended.position);
    assert_eq!(balance(&gesta, 1).await, 10);
}

#[tokio::test]
async fn a_retry_across_a_deployment_that_added_optional_fields_gets_the_first_receipt() {
    let (gesta, store) = bank(&[0]).await;
    let before = Refund { account: 1, parts: vec![RefundPart { cents: 5 }] };
    let first = gesta.execute(before).command_id("request-1").await.unwrap();
    gesta.close().await;

    // The client sends the same body; the deployed program reads it into a wider command.
    let body = r#"{"account":1,"parts":[{"cents":5}]}"#;
    let retry = || serde_json::from_str::<WiderRefund>(body).unwrap();
    let gesta = elsewhere(&store).await;
    assert_eq!(gesta.execute(retry()).command_id("request-1").await.unwrap(), repeated(&first));
    for other in [
        WiderRefund { reason: Some("broken".to_owned()), ..retry() },
        WiderRefund { urgent: true, ..retry() },
        WiderRefund { currency: "USD".to_owned(), ..retry() },
        WiderRefund { parts: vec![WiderPart { cents: 5, fee: true }], ..retry() },
    ] {
        let outcome = gesta.execute(other).command_id("request-1").await;
        assert!(matches!(outcome, Err(ExecuteError::CommandIdReused { .. })), "{outcome:?}");
    }
    assert_eq!(balance(&gesta, 1).await, 5);
}

#[tokio::test]
async fn what_the_edge_filled_in_may_differ() {
    let (gesta, _) = bank(&[10]).await;
    let at = |now| Deposit { now, ..deposit(1, 5) };
    let first = gesta.execute(at(1)).command_id("request-1").await.unwrap();
    assert_eq!(gesta.execute(at(2)).command_id("request-1").await.unwrap(), repeated(&first));
}

#[tokio::test]
async fn without_an_id_the_same_command_is_another_one() {
    let (gesta, _) = bank(&[10]).await;
    let first = gesta.execute(deposit(1, 5)).await.unwrap();
    let second = gesta.execute(deposit(1, 5)).await.unwrap();
    assert_ne!(first.command_id, second.command_id);
    assert_eq!(balance(&gesta, 1).await, 20);
}

#[tokio::test]
async fn a_rejection_is_not_remembered() {
    let (gesta, _) = bank(&[0, 0]).await;
    let transfer = || Transfer { from: 1, to: 2, cents: 5 };
    let outcome = gesta.execute(transfer()).command_id("request-1").await;
    assert!(matches!(outcome, Err(ExecuteError::Rejected(_))), "{outcome:?}");
    gesta.execute(deposit(1, 5)).await.unwrap();
    gesta.execute(transfer()).command_id("request-1").await.unwrap();
    assert_eq!(balance(&gesta, 2).await, 5);
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_giving_the_command_again() {
    let (gesta, store) = bank(&[0]).await;
    store.next(Scene::LoseAnswer);
    let outcome = gesta.execute(deposit(1, 5)).command_id("request-1").await;
    let Err(error @ ExecuteError::Unavailable { .. }) = outcome else { panic!("{outcome:?}") };
    assert!(!error.is_definite());
    gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    assert_eq!(balance(&gesta, 1).await, 5);
}

#[tokio::test]
async fn a_repeat_whose_first_execution_is_archived_is_definite_and_names_the_event() {
    let (gesta, store) = bank(&[0]).await;
    gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    let (position, reason) = (Position::new(2), "restore it".to_owned());
    *store.fail_find.lock().unwrap() = Some(StoreError::Archived { position, reason });
    let outcome = gesta.execute(deposit(1, 5)).command_id("request-1").await;
    let Err(error @ ExecuteError::Store(StoreError::Archived { .. })) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.is_definite());
    assert_eq!(balance(&gesta, 1).await, 5);
}

#[tokio::test]
async fn two_of_the_same_id_at_once_take_effect_once() {
    let (gesta, store) = bank(&[0]).await;
    let twin = elsewhere(&store).await;
    store.next_first(async move {
        twin.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    });
    let receipt = gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    assert_eq!(receipt.position, recorded(&gesta).await.pop().unwrap().position);
    assert_eq!(balance(&gesta, 1).await, 5);
}

#[tokio::test]
async fn a_new_command_is_looked_up_once_and_says_that_it_was_recorded_now() {
    let (gesta, store) = bank(&[10]).await;
    let before = store.finds.load(Ordering::Relaxed);
    let execute = gesta.execute(deposit(1, 5)).command_id("request-1");
    let receipt = execute.scope(CommandIdScope::Store).await.unwrap();
    assert_eq!(receipt.recorded, RecordedWhen::Now);
    assert_eq!(store.finds.load(Ordering::Relaxed) - before, 1);
}

#[tokio::test]
async fn a_repeat_that_is_judged_by_its_own_effect_gets_the_first_receipt() {
    let (gesta, store) = bank(&[10, 0]).await;
    let transfer = || Transfer { from: 1, to: 2, cents: 10 };
    let (twin, other) = (elsewhere(&store).await, elsewhere(&store).await);
    store.next_first(async move {
        // Changes the account first, so that the later append differs from a plain repeat.
        other.execute(deposit(2, 1)).await.unwrap();
        twin.execute(transfer()).command_id("request-1").await.unwrap();
    });
    let receipt = gesta.execute(transfer()).command_id("request-1").await.unwrap();
    assert_eq!(receipt.command_id.as_str(), "request-1");
    assert_eq!((balance(&gesta, 1).await, balance(&gesta, 2).await), (0, 11));
}

#[tokio::test]
async fn a_repeat_that_comes_too_late_to_be_seen_first_is_no_second_creation() {
    let (gesta, store) = bank(&[]).await;
    let twin = elsewhere(&store).await;
    store.after_find(async move {
        twin.execute(Open { account: 1 }).command_id("request-1").await.unwrap();
    });
    let receipt = gesta.execute(Open { account: 1 }).command_id("request-1").await.unwrap();
    assert_eq!(receipt.position, recorded(&gesta).await.pop().unwrap().position);
}

#[tokio::test]
async fn events_say_who_asked_and_why() {
    let (gesta, _) = bank(&[]).await;
    let open = gesta.execute(Open { account: 1 }).command_id("request-1").actor("ann");
    open.correlation_id("conversation-1").causation_id("event-7").await.unwrap();
    let event = recorded(&gesta).await.pop().unwrap();
    assert_eq!(event.correlation_id.unwrap().as_str(), "conversation-1");
    assert_eq!(event.causation_id.unwrap().as_str(), "event-7");
    let metadata = EventMetadata::from_json(&event.metadata);
    assert_eq!(metadata.actor.as_deref(), Some("ann"));
    assert_eq!(metadata.command.as_deref(), Some("open-account"));
    assert_eq!(metadata.command_id, Some(CommandId::new("request-1").unwrap()));
    assert_eq!(metadata.payload_digest, Some(Open { account: 1 }.payload_digest().unwrap()));
}

#[tokio::test]
async fn entries_of_the_application_are_in_the_metadata_of_each_event() {
    let (gesta, _) = bank(&[10, 0]).await;
    let before = recorded(&gesta).await.len();
    let transfer = || {
        let transfer = gesta.execute(Transfer { from: 1, to: 2, cents: 5 }).command_id("request-1");
        transfer.metadata("tenant", 7)
    };
    let first = transfer().metadata("traceparent", "00-1").await.unwrap();
    // A retry has a trace of its own.
    assert_eq!(transfer().metadata("traceparent", "00-2").await.unwrap(), repeated(&first));
    let events = recorded(&gesta).await.split_off(before);
    assert_eq!(events.len(), 2);
    for event in events {
        let custom = EventMetadata::from_json(&event.metadata).custom;
        assert_eq!(custom.get::<u32>("tenant"), Some(7));
        assert_eq!(custom.get::<String>("traceparent").as_deref(), Some("00-1"));
    }
    let refused = transfer().metadata("actor", "eve").await;
    let Err(ExecuteError::Invalid(invalid)) = refused else { panic!("{refused:?}") };
    assert_eq!(invalid.field, "actor");
    assert_eq!(invalid.reason, "is a key of the framework; choose another");
}

#[tokio::test]
async fn a_command_is_its_events_cause_and_conversation_unless_told() {
    let (gesta, _) = bank(&[]).await;
    let receipt = gesta.execute(Open { account: 1 }).await.unwrap();
    let event = recorded(&gesta).await.pop().unwrap();
    assert_eq!(event.correlation_id, Some(receipt.command_id.begins()));
    assert_eq!(event.causation_id, Some(receipt.command_id.causes()));
}

#[tokio::test]
async fn ids_that_are_none_are_told_by_their_field() {
    let (gesta, _) = bank(&[]).await;
    let long = "x".repeat(256);
    let open = || gesta.execute(Open { account: 1 });
    for (outcome, field) in [
        (open().command_id("").await, "command id"),
        (open().actor("\0").await, "actor"),
        (open().correlation_id(long.clone()).await, "correlation id"),
        (open().causation_id(long).await, "causation id"),
    ] {
        let Err(ExecuteError::Invalid(invalid)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(invalid.field, field);
    }
}

#[tokio::test]
async fn the_order_of_the_first_event_does_not_matter_to_a_repeat() {
    // The first aggregate gets no event here, so the first event is the second's.
    let (gesta, _) = bank(&[]).await;
    let first = gesta.execute(register(1, "ann@example.org")).command_id("request-1").await;
    let second = gesta.execute(register(1, "ann@example.org")).command_id("request-1").await;
    assert_eq!(second.unwrap(), repeated(&first.unwrap()));
    let taken = gesta.execute(register(2, "ann@example.org")).command_id("request-2").await;
    assert!(matches!(taken, Err(ExecuteError::Rejected(Refused::EmailTaken))));
}

#[tokio::test]
async fn a_decision_without_events_is_remembered() {
    let (gesta, _) = bank(&[10]).await;
    let look = |cents| Visit { account: 1, at_least: cents };
    let first = gesta.execute(look(10)).command_id("request-1").await.unwrap();
    assert!(first.revisions.is_empty());
    let account = gesta::stream_of::<Account>(&1).unwrap();
    assert_eq!(first.head_of(&account), Some(Revision::new(1)));
    // By now the decision would differ.
    gesta.execute(Charge { fees: vec![(1, 10)] }).await.unwrap();
    assert_eq!(gesta.execute(look(10)).command_id("request-1").await.unwrap(), repeated(&first));
    assert_eq!(balance(&gesta, 1).await, 0);
    let other = gesta.execute(look(5)).command_id("request-1").await;
    assert!(matches!(other, Err(ExecuteError::CommandIdReused { .. })), "{other:?}");
    gesta.execute(look(10)).command_id("request-2").await.unwrap();
    assert_eq!(balance(&gesta, 1).await, 10);
}

#[tokio::test]
async fn a_command_that_cannot_come_again_leaves_no_receipt() {
    let (gesta, _) = bank(&[10]).await;
    let before = recorded(&gesta).await.len();
    gesta.execute(Visit { account: 1, at_least: 10 }).await.unwrap();
    assert_eq!(recorded(&gesta).await.len(), before);
    gesta.execute(Visit { account: 1, at_least: 10 }).command_id("request-1").await.unwrap();
    let receipt = recorded(&gesta).await.pop().unwrap();
    assert_eq!(receipt.stream.as_str(), "receipts-commands");
}

#[tokio::test]
async fn a_rejection_is_remembered_if_the_application_says_so() {
    let store = Scripted::new();
    let open = || Gesta::on(Arc::new(store.clone())).remember_rejections::<Fetch>().open();
    let gesta = open().await.unwrap();
    open_accounts(&gesta, &[0]).await;
    let fetch = || Fetch { account: 1, cents: 5 };
    let refused = |outcome: Result<_, ExecuteError<TooLittle>>| match outcome {
        Err(ExecuteError::Rejected(TooLittle { missing })) => missing,
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(refused(gesta.execute(fetch()).command_id("request-1").await), 5);
    gesta.execute(deposit(1, 4)).await.unwrap();
    assert_eq!(refused(gesta.execute(fetch()).command_id("request-1").await), 5);
    assert_eq!(refused(gesta.execute(fetch()).command_id("request-2").await), 1);
    gesta.execute(deposit(1, 4)).await.unwrap();
    // A restarted program finds it as well.
    let again = open().await.unwrap();
    assert_eq!(refused(again.execute(fetch()).command_id("request-1").await), 5);
    again.execute(fetch()).await.unwrap();
}

#[tokio::test]
async fn after_it_was_closed_an_application_executes_nothing_and_says_so() {
    let (gesta, _) = bank(&[0]).await;
    gesta.clone().close().await;
    let outcome = gesta.execute(deposit(1, 5)).await;
    assert!(matches!(outcome, Err(ExecuteError::Closed)), "{outcome:?}");
    assert_eq!(outcome.unwrap_err().to_string(), "the application is closed");
    assert_eq!(balance(&gesta, 1).await, 0);
}

/// Tops an account up if its balance is low.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "top-up", on = Account)]
struct Visit {
    #[command(id)]
    account: u32,
    at_least: u64,
}

impl Decide for Visit {
    type Rejection = std::convert::Infallible;

    fn decide(&self, account: &Account) -> Decision<Self> {
        match self.at_least.saturating_sub(account.cents) {
            0 => Ok(Events::none()),
            cents => Ok(Deposited { cents }.into()),
        }
    }
}

#[derive(Debug, thiserror::Error, Rejection, Serialize, Deserialize)]
#[error("{missing} cents are missing")]
#[rejection(code = "too-little")]
pub(crate) struct TooLittle {
    missing: u64,
}

/// Withdraws money; its rejections can be stored.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "fetch", on = Account)]
pub(crate) struct Fetch {
    #[command(id)]
    account: u32,
    cents: u64,
}

impl Decide for Fetch {
    type Rejection = TooLittle;

    fn decide(&self, account: &Account) -> Decision<Self> {
        match self.cents.saturating_sub(account.cents) {
            0 => Ok(Withdrawn { cents: self.cents }.into()),
            missing => Err(TooLittle { missing }),
        }
    }
}

/// Pays back in parts.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "refund", on = Account)]
struct Refund {
    #[command(id)]
    account: u32,
    parts: Vec<RefundPart>,
}

#[derive(Serialize, Deserialize)]
struct RefundPart {
    cents: u64,
}

impl Decide for Refund {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Deposited { cents: self.parts.iter().map(|part| part.cents).sum() }.into())
    }
}

/// [`Refund`] in a later version of the program.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "refund", on = Account)]
struct WiderRefund {
    #[serde(default = "euro")]
    currency: String,
    reason: Option<String>,
    #[command(id)]
    account: u32,
    #[serde(default)]
    urgent: bool,
    parts: Vec<WiderPart>,
}

#[derive(Serialize, Deserialize)]
struct WiderPart {
    cents: u64,
    #[serde(default)]
    fee: bool,
}

fn euro() -> String {
    "EUR".to_owned()
}

impl Decide for WiderRefund {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Deposited { cents: self.parts.iter().map(|part| part.cents).sum() }.into())
    }
}
