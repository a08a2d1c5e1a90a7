//! Conflicts: a decision takes effect only on the state that it has read.

use std::{
    future::{pending, ready},
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta::{Clock, ExecuteError, Gesta, RetryPolicy, Sleep, prelude::*};

use crate::{
    accounts::{
        Charge, Email, MatchDeposit, Open, Owner, Refused, Registered, Transfer, balance, deposit,
        open_accounts, recorded, register,
    },
    scripted::Scripted,
};

/// A bank with hooks between a decision and its append.
async fn bank(money: &[u64]) -> (Gesta, Gesta, Scripted) {
    let store = Scripted::new();
    let no_wait = RetryPolicy::default().wait_max(Duration::ZERO);
    let gesta = Gesta::on(Arc::new(store.clone())).retry(no_wait).open().await.unwrap();
    open_accounts(&gesta, money).await;
    // Another program: commands within one program wait for each other.
    let other = Gesta::on(Arc::new(store.clone())).retry(no_wait).open().await.unwrap();
    (gesta, other, store)
}

async fn spend(gesta: Gesta, account: u32, cents: u64) {
    gesta.execute(Charge { fees: vec![(account, cents)] }).await.unwrap();
}

#[tokio::test]
async fn after_a_conflict_the_decision_is_made_again_on_the_new_state() {
    let (gesta, other, store) = bank(&[10, 0]).await;
    store.next_first(async move { spend(other, 1, 5).await });
    let outcome = gesta.execute(Transfer { from: 1, to: 2, cents: 7 }).await;
    let Err(ExecuteError::Rejected(refused)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused, Refused::NotEnough { missing: 2 });
}

#[tokio::test]
async fn a_decision_that_still_holds_takes_effect_after_a_conflict() {
    let (gesta, other, store) = bank(&[10, 0]).await;
    store.next_first(async move { spend(other, 1, 3).await });
    gesta.execute(Transfer { from: 1, to: 2, cents: 7 }).await.unwrap();
    assert_eq!((balance(&gesta, 1).await, balance(&gesta, 2).await), (0, 7));
}

#[tokio::test]
async fn a_stream_that_was_only_read_is_checked_too() {
    let (gesta, other, store) = bank(&[0, 10]).await;
    store.next_first(async move { spend(other, 2, 10).await });
    let outcome = gesta.execute(MatchDeposit { account: 1, sponsor: 2 }).await;
    assert!(matches!(outcome, Err(ExecuteError::Rejected(_))), "{outcome:?}");
    assert_eq!(balance(&gesta, 1).await, 0);
}

#[tokio::test]
async fn a_query_that_was_read_is_checked_too() {
    let (gesta, other, store) = bank(&[]).await;
    store.next_first(async move {
        other.execute(register(1, "ann@example.org")).await.unwrap();
    });
    let outcome = gesta.execute(register(2, "ann@example.org")).await;
    let Err(ExecuteError::Rejected(refused)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused, Refused::EmailTaken);
}

#[tokio::test]
async fn a_rejection_is_judged_by_what_was_so_at_one_moment() {
    let (gesta, other, store) = bank(&[0, 0]).await;
    store.next_first(async move { drop(other.execute(deposit(2, 10)).await.unwrap()) });
    // The sponsor has no money when it is read, but gets some before the rejection is final.
    gesta.execute(MatchDeposit { account: 1, sponsor: 2 }).await.unwrap();
    assert_eq!(balance(&gesta, 1).await, 10);
}

#[tokio::test]
async fn of_two_that_create_the_same_one_does() {
    let (gesta, other, store) = bank(&[]).await;
    store.next_first(async move { drop(other.execute(Open { account: 1 }).await.unwrap()) });
    let outcome = gesta.execute(Open { account: 1 }).await;
    assert!(matches!(outcome, Err(ExecuteError::AlreadyExists { .. })), "{outcome:?}");
    assert_eq!(recorded(&gesta).await.len(), 1);
}

/// Registers an owner with two e-mails, which reads two queries.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "register-twice", on = (Owner, Email, Email), new, id = RegisterTwice::ids)]
struct RegisterTwice {
    emails: (String, String),
}

impl RegisterTwice {
    fn ids(&self) -> (u32, String, String) {
        (2, self.emails.0.clone(), self.emails.1.clone())
    }
}

impl Decide for RegisterTwice {
    type Rejection = Refused;

    fn decide(&self, (_, first, second): &(Owner, Email, Email)) -> Decision<Self> {
        if first.taken || second.taken {
            return Err(Refused::EmailTaken);
        }
        let registered = |email: &str| Registered { email: Some(email.to_owned()), phones: vec![] };
        let both = [registered(&self.emails.0), registered(&self.emails.1)];
        Ok((both.map(Into::into).into(), Events::none(), Events::none()))
    }
}

#[tokio::test]
async fn what_comes_between_two_queries_is_not_missed() {
    let (gesta, other, store) = bank(&[]).await;
    store.before_head(async {});
    store.before_head(async move {
        other.execute(register(1, "ann@example.org")).await.unwrap();
    });
    let emails = ("ann@example.org".to_owned(), "ann@example.com".to_owned());
    let outcome = gesta.execute(RegisterTwice { emails }).await;
    let Err(ExecuteError::Rejected(refused)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused, Refused::EmailTaken);
}

#[tokio::test]
async fn what_a_query_does_not_match_is_no_conflict() {
    let (gesta, other, store) = bank(&[]).await;
    let before = recorded(&gesta).await.len();
    store.next_first(async move {
        other.execute(register(1, "bob@example.org")).await.unwrap();
    });
    gesta.execute(register(2, "ann@example.org")).await.unwrap();
    assert_eq!(recorded(&gesta).await.len(), before + 2);
}

/// A clock that records pauses and never reaches a timeout.
#[derive(Clone, Debug, Default)]
struct Pauses(Arc<Mutex<Vec<Duration>>>);

impl Clock for Pauses {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH
    }

    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(pending())
    }

    fn pause(&self, duration: Duration) -> Sleep {
        self.0.lock().unwrap().push(duration);
        Box::pin(ready(()))
    }
}

#[tokio::test]
async fn attempts_are_bounded_and_so_are_the_pauses_between_them() {
    let store = Scripted::new();
    let pauses = Pauses::default();
    let policy = RetryPolicy::default()
        .attempts_max(NonZeroU32::new(3).unwrap())
        .first_wait_max(Duration::from_millis(10))
        .wait_max(Duration::from_millis(15));
    let open = || Gesta::on(Arc::new(store.clone())).clock(pauses.clone()).retry(policy).open();
    let (slow, other) = (open().await.unwrap(), open().await.unwrap());
    open_accounts(&slow, &[0]).await;
    for _ in 0..3 {
        let other = other.clone();
        store.next_first(async move { drop(other.execute(deposit(1, 1)).await.unwrap()) });
        store.next_first(async {});
    }
    let outcome = slow.execute(deposit(1, 100)).await;
    assert!(matches!(outcome, Err(ExecuteError::Conflict(_))), "{outcome:?}");
    let bounds = [10, 15].map(Duration::from_millis);
    let pauses = pauses.0.lock().unwrap().clone();
    assert_eq!(pauses.len(), bounds.len());
    assert!(pauses.iter().zip(bounds).all(|(pause, bound)| *pause <= bound), "{pauses:?}");
    assert_eq!(balance(&slow, 1).await, 3, "only the others' deposits");
}

#[tokio::test]
async fn a_revision_that_the_caller_expects_is_checked() {
    let (gesta, ..) = bank(&[10]).await;
    let head = Revision::new(1);
    let outcome = gesta.execute(deposit(1, 1)).expect_revision(Revision::FIRST).await;
    let Err(ExecuteError::RevisionMismatch { expected, head: at, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((expected, at), (Revision::FIRST, Some(head)));
    gesta.execute(deposit(1, 1)).expect_revision(head).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_is_behind_is_told_so_before_the_business_is_asked() {
    let (gesta, ..) = bank(&[10, 0]).await;
    let transfer = || Transfer { from: 1, to: 2, cents: 11 };
    let outcome = gesta.execute(transfer()).expect_revision(Revision::FIRST).await;
    assert!(matches!(outcome, Err(ExecuteError::RevisionMismatch { .. })), "{outcome:?}");
    let outcome = gesta.execute(transfer()).expect_revision(Revision::new(1)).await;
    assert!(matches!(outcome, Err(ExecuteError::Rejected(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_revision_is_expected_of_the_first_aggregate_only() {
    let (gesta, ..) = bank(&[10, 0]).await;
    let transfer = gesta.execute(Transfer { from: 1, to: 2, cents: 5 });
    transfer.expect_revision(Revision::new(1)).await.unwrap();
    assert_eq!(balance(&gesta, 2).await, 5);
}

#[tokio::test]
async fn a_revision_that_the_caller_expects_is_not_tried_again() {
    let (gesta, other, store) = bank(&[10]).await;
    store.next_first(async move { spend(other, 1, 1).await });
    let outcome = gesta.execute(deposit(1, 1)).expect_revision(Revision::new(1)).await;
    let Err(ExecuteError::RevisionMismatch { head, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(head, Some(Revision::new(2)));
    assert_eq!(balance(&gesta, 1).await, 9);
}
