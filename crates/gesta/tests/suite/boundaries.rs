//! Boundaries of commands: existence, several aggregates, tags.

use gesta::{
    ExecuteError, Gesta, LoadError,
    prelude::*,
    store::{DeleteStream, ExpectedRevision, StoreError},
    testing::given,
};

use crate::accounts::{
    Account, AccountEvent, Charge, Deposited, Email, MatchDeposit, Open, Opened, Owner, OwnerEvent,
    Refused, Registered, Transfer, Withdrawn, balance, deposit, open_accounts, recorded, register,
};

async fn bank(money: &[u64]) -> Gesta {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    open_accounts(&gesta, money).await;
    gesta
}

#[tokio::test]
async fn an_unknown_id_is_not_found() {
    let outcome = bank(&[]).await.execute(deposit(1, 5)).await;
    let Err(ExecuteError::NotFound { stream }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(stream.as_str(), "account-1");
}

#[tokio::test]
async fn what_exists_is_not_created_again() {
    let outcome = bank(&[0]).await.execute(Open { account: 1 }).await;
    let Err(ExecuteError::AlreadyExists { stream }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(stream.as_str(), "account-1");
}

#[tokio::test]
async fn existence_is_judged_on_the_first_aggregate_only() {
    let gesta = bank(&[10]).await;
    let receipt = gesta.execute(Transfer { from: 1, to: 9, cents: 10 }).await.unwrap();
    assert_eq!(receipt.revisions.len(), 2);
    assert!(matches!(
        gesta.execute(Transfer { from: 8, to: 1, cents: 1 }).await,
        Err(ExecuteError::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_transfer_changes_both_accounts_at_once() {
    let gesta = bank(&[10, 0]).await;
    let receipt = gesta.execute(Transfer { from: 1, to: 2, cents: 7 }).await.unwrap();
    let [from, to] = ["account-1", "account-2"].map(|name| StreamName::new(name).unwrap());
    assert_eq!(receipt.revision_of(&from), Some(Revision::new(2)));
    assert_eq!(receipt.revision_of(&to), Some(Revision::new(1)));
    assert_eq!((balance(&gesta, 1).await, balance(&gesta, 2).await), (3, 7));
    let last = recorded(&gesta).await.pop().unwrap();
    assert_eq!(last.position, receipt.position);
}

#[tokio::test]
async fn a_rejection_keeps_its_type_and_its_code() {
    let outcome = bank(&[10, 0]).await.execute(Transfer { from: 1, to: 2, cents: 11 }).await;
    let Err(ExecuteError::Rejected(refused)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused, Refused::NotEnough { missing: 1 });
    assert_eq!(refused.code(), "not-enough-money");
}

#[tokio::test]
async fn as_many_aggregates_as_are_named_are_decided_on() {
    let gesta = bank(&[10, 20, 30]).await;
    gesta.execute(Charge { fees: vec![(3, 1), (1, 2)] }).await.unwrap();
    assert_eq!((balance(&gesta, 1).await, balance(&gesta, 3).await), (8, 29));
}

#[tokio::test]
async fn an_aggregate_that_is_named_twice_is_told_so() {
    let gesta = bank(&[10, 0]).await;
    for outcome in [
        gesta.execute(Transfer { from: 1, to: 1, cents: 1 }).await,
        gesta.execute(Charge { fees: vec![(1, 1), (1, 1)] }).await,
        gesta.execute(Charge { fees: vec![] }).await,
    ] {
        let Err(ExecuteError::Invalid(invalid)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(invalid.field, "id");
    }
    assert_eq!(balance(&gesta, 1).await, 10);
}

#[tokio::test]
async fn a_decision_that_leaves_out_an_aggregate_is_an_error() {
    /// Decides on two accounts and returns events for one.
    #[derive(Command, Serialize, Deserialize)]
    #[command(name = "forget", on = Vec<Account>, either)]
    struct Forget {
        #[command(id)]
        accounts: Vec<u32>,
    }
    impl Decide for Forget {
        type Rejection = std::convert::Infallible;
        fn decide(&self, _: &Vec<Account>) -> Decision<Self> {
            Ok(vec![Opened { owner: None }.into()])
        }
    }
    let gesta = bank(&[]).await;
    let outcome = gesta.execute(Forget { accounts: vec![1, 2] }).await;
    assert!(matches!(outcome, Err(ExecuteError::Unencodable(_))), "{outcome:?}");
    assert!(recorded(&gesta).await.is_empty());
}

#[tokio::test]
async fn a_stream_that_is_only_read_gets_nothing() {
    let gesta = bank(&[0, 10]).await;
    let receipt = gesta.execute(MatchDeposit { account: 1, sponsor: 2 }).await.unwrap();
    assert_eq!(receipt.revisions.len(), 1);
    assert_eq!(balance(&gesta, 1).await, 10);
}

#[tokio::test]
async fn one_email_is_taken_once_over_all_owners() {
    let gesta = bank(&[]).await;
    gesta.execute(register(1, "ann@example.org")).await.unwrap();
    gesta.execute(register(2, "bob@example.org")).await.unwrap();
    assert!(matches!(
        gesta.execute(register(3, "ann@example.org")).await,
        Err(ExecuteError::Rejected(Refused::EmailTaken))
    ));
}

#[tokio::test]
async fn tags_come_from_fields_one_for_each_value() {
    let gesta = bank(&[]).await;
    gesta.execute(register(1, "ann@example.org")).await.unwrap();
    let event = recorded(&gesta).await.pop().unwrap();
    let tags: Vec<&str> = event.tags.iter().map(Tag::as_str).collect();
    assert_eq!(tags, ["email:ann@example.org", "phone:1", "phone:2"]);
}

#[tokio::test]
async fn a_text_that_fits_no_tag_makes_the_command_invalid() {
    let outcome = bank(&[]).await.execute(register(1, &"x".repeat(300))).await;
    let Err(ExecuteError::Invalid(invalid)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(invalid.field, "tag");
}

#[tokio::test]
async fn an_aggregate_of_tags_is_loaded_but_has_no_revision() {
    let gesta = bank(&[]).await;
    gesta.execute(register(1, "ann@example.org")).await.unwrap();
    let ann = "ann@example.org".to_owned();
    let email = gesta.load::<Email>(&ann).await.unwrap().unwrap();
    assert_eq!(email.state, Email { taken: true });
    let outcome = gesta.load::<Email>(&ann).as_of(Revision::FIRST).await;
    assert!(matches!(outcome, Err(LoadError::NoRevision { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_stream_that_was_deleted_for_ever_is_told_so() {
    let gesta = bank(&[10]).await;
    let tombstone = gesta::store::TombstoneStream::new(
        StreamName::new("account-1").unwrap(),
        gesta::store::ExpectedRevision::Any,
    );
    gesta.store().tombstone_stream(tombstone).await.unwrap();
    let outcome = gesta.execute(deposit(1, 1)).await;
    assert!(matches!(outcome, Err(ExecuteError::Store(StoreError::Deleted { .. }))), "{outcome:?}");
}

#[test]
fn tuples_are_tested_with_a_history_for_each() {
    type Accounts = (Account, Account);
    let opened = || AccountEvent::from(Opened { owner: None });
    let rich = AccountEvent::from(Deposited { cents: 10 });
    given::<Accounts>((vec![opened(), rich], vec![opened()]))
        .when(Transfer { from: 1, to: 2, cents: 7 })
        .then((Withdrawn { cents: 7 }.into(), Deposited { cents: 7 }.into()));
    given::<Accounts>((vec![opened()], vec![opened()]))
        .when(Transfer { from: 1, to: 2, cents: 7 })
        .then_rejected(Refused::NotEnough { missing: 7 });
}

#[tokio::test]
async fn what_a_deleted_owner_had_taken_is_free_again() {
    let gesta = bank(&[]).await;
    gesta.execute(register(1, "ann@example.org")).await.unwrap();
    let stream = StreamName::new("owner-1").unwrap();
    let delete = DeleteStream::new(stream, ExpectedRevision::StreamExists);
    gesta.store().delete_stream(delete).await.unwrap();
    gesta.execute(register(2, "ann@example.org")).await.unwrap();
    assert!(matches!(
        gesta.execute(register(3, "ann@example.org")).await,
        Err(ExecuteError::Rejected(Refused::EmailTaken))
    ));
    assert_eq!(recorded(&gesta).await.len(), 3, "two owners and a deletion");
}

#[test]
fn an_aggregate_of_tags_is_tested_like_any_other() {
    let registered = Registered { email: Some("ann@example.org".to_owned()), phones: vec![] };
    let history = vec![OwnerEvent::from(registered)];
    given::<(Owner, Email)>((vec![], history))
        .when(register(2, "ann@example.org"))
        .then_rejected(Refused::EmailTaken);
}

#[test]
fn a_command_that_makes_no_sense_is_told_its_field() {
    given::<Account>([]).when(deposit(1, 0)).then_invalid("cents");
}
