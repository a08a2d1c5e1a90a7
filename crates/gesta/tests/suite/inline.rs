//! Inline projections on stores in memory: rows change together with the append.

use std::sync::Arc;

use gesta::{ExecuteError, Gesta, OpenError, Projection, ProjectionState};
use gesta_store::{
    EventStore, InlineError, MemoryReadModels, MemoryReader, StoreError, memory::MemoryStore,
};

use crate::{
    bank::{
        AllBalances, Balances, Controls, Deposit, Fault, StrictBalances, UNLUCKY, deposit,
        operator, replayed,
    },
    partitions::Shared,
};

async fn open(store: &Arc<dyn EventStore>, controls: &Arc<Controls>) -> Gesta {
    let builder = Gesta::on(Arc::clone(store));
    let balances = Balances(Arc::clone(controls));
    builder.project_inline(balances, &MemoryReadModels::new()).open().await.unwrap()
}

/// Returns the balances as they are now, without a wait.
async fn balances(gesta: &Gesta) -> Vec<(String, u64)> {
    gesta.ask::<_, MemoryReader>(AllBalances::<Balances>::of()).await.unwrap()
}

#[tokio::test]
async fn a_query_right_after_a_command_sees_it() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let gesta = open(&store, &Controls::free()).await;
    for amount in 20..120 {
        let receipt = deposit(&gesta, "1", amount).await;
        assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
        assert_eq!(gesta.reached::<Balances>(), Some(receipt.position), "no wait is needed");
    }
    assert!(gesta.projections().await.unwrap().remove(0).inline);
}

#[tokio::test]
async fn an_event_that_the_projection_refuses_fails_its_command() {
    for fault in [Fault::Error, Fault::Panic] {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let controls = Controls::failing(fault);
        let gesta = open(&store, &controls).await;
        deposit(&gesta, "1", 20).await;
        let unlucky = Deposit { account: "1".to_owned(), amount: UNLUCKY };
        let error = gesta.execute(unlucky).await.unwrap_err();
        let ExecuteError::Store(StoreError::Inline(InlineError::Refused { consumer, reason })) =
            error
        else {
            panic!("expected the projection's refusal: {error}");
        };
        assert_eq!(consumer, "inline projection balances");
        assert!(reason.starts_with("deposited of stream account-1: "), "{reason}");
        assert_eq!(store.head().await.unwrap().position.number(), 1, "nothing was appended");
        assert_eq!(balances(&gesta).await, [("account-1".to_owned(), 20)]);
        controls.fix();
        deposit(&gesta, "1", UNLUCKY).await;
        assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
    }
}

/// A database that is busy is no fault of the command.
#[tokio::test]
async fn a_busy_database_does_not_fail_the_command() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let gesta = open(&store, &Controls::failing(Fault::Busy(1))).await;
    let receipt = deposit(&gesta, "1", UNLUCKY).await;
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
    assert_eq!(balances(&gesta).await, [("account-1".to_owned(), UNLUCKY)]);
    deposit(&gesta, "1", 20).await;
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn each_command_is_seen_while_the_projection_is_rebuilt() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let gesta = open(&store, &Controls::free()).await;
    for account in 0..300 {
        deposit(&gesta, &account.to_string(), 20).await;
    }
    gesta.rebuild(Balances::NAME, &operator()).await.unwrap();
    let mut commands = 0;
    while gesta.projections().await.unwrap().remove(0).state != ProjectionState::Running {
        deposit(&gesta, "1", 20).await;
        assert_eq!(balances(&gesta).await.len(), 300);
        let one = |all: Vec<(String, u64)>| all.into_iter().find(|(name, _)| name == "account-1");
        assert_eq!(one(balances(&gesta).await), one(replayed(&store, 1).await));
        commands += 1;
        // Stores in memory never wait, so the rebuild needs a turn.
        tokio::task::yield_now().await;
    }
    assert!(commands > 0, "no command was executed meanwhile");
    let status = gesta.projections().await.unwrap().remove(0);
    assert!(status.old_rows.is_some(), "the rows were replaced: {status:?}");
    deposit(&gesta, "1", 20).await;
    let mut expected = replayed(&store, 1).await;
    expected.sort();
    assert_eq!(balances(&gesta).await, expected);
}

#[tokio::test]
async fn an_inline_projection_cannot_be_paused() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let gesta = open(&store, &Controls::free()).await;
    let refused = gesta.pause_projection(Balances::NAME, &operator()).await;
    let expected = "projection balances cannot be paused: it is inline, so its rows change with \
                    each append";
    assert_eq!(refused.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn events_from_before_the_projection_are_applied_with_the_next_append() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let before = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    for _ in 0..20 {
        deposit(&before, "old", 20).await;
    }
    let gesta = open(&store, &Controls::free()).await;
    for _ in 0..20 {
        // Leaves the projection behind.
        deposit(&before, "old", 20).await;
        deposit(&gesta, "new", 20).await;
        assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
    }
}

/// A projection that halts does not: its commands are refused instead.
#[tokio::test]
async fn a_strict_projection_does_not_halt_at_an_event_that_was_not_appended() {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let (strict, rows) = (StrictBalances(Controls::failing(Fault::Error)), MemoryReadModels::new());
    let gesta = Gesta::on(store).project_inline(strict, &rows).open().await.unwrap();
    let unlucky = Deposit { account: "1".to_owned(), amount: UNLUCKY };
    assert!(gesta.execute(unlucky).await.is_err());
    deposit(&gesta, "1", 20).await;
    let all = gesta.ask::<_, MemoryReader>(AllBalances::<StrictBalances>::of()).await.unwrap();
    assert_eq!(all, [("account-1".to_owned(), 20)]);
}

#[tokio::test]
async fn an_inline_projection_with_partitions_is_refused() {
    let (shared, rows) = (Shared::<6>(Controls::free()), MemoryReadModels::new());
    let error = Gesta::at("memory:").project_inline(shared, &rows).open().await.unwrap_err();
    assert!(matches!(error, OpenError::Partitions { projection: "balances", .. }), "{error}");
}
