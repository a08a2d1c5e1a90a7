//! Turns: concurrent commands of one program on one boundary do not conflict.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use gesta::{
    ExecuteError, Gesta, RetryPolicy, prelude::*, store::memory::MemoryStore, testing::VirtualClock,
};
use tokio::time::timeout;

use crate::{
    accounts::{
        Account, Deposited, MatchDeposit, Open, Refused, Transfer, balance, deposit, open_accounts,
        register,
    },
    scripted::Scripted,
};

const SOON: Duration = Duration::from_secs(20);

/// A bank with a single attempt per command, so that one conflict makes it fail.
async fn bank(money: &[u64]) -> Gesta {
    let once = RetryPolicy::default().attempts_max(NonZeroU32::MIN);
    let gesta = Gesta::at("memory:").retry(once).open().await.unwrap();
    open_accounts(&gesta, money).await;
    gesta
}

/// Executes commands concurrently, each in its own task.
async fn all_at_once<C: Decide>(
    gesta: &Gesta,
    commands: impl IntoIterator<Item = C>,
) -> Vec<Result<gesta::Receipt, ExecuteError<C::Rejection>>> {
    let execute = |command| {
        let gesta = gesta.clone();
        tokio::spawn(async move { gesta.execute(command).await })
    };
    let tasks: Vec<_> = commands.into_iter().map(execute).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(timeout(SOON, task).await.expect("it ends").unwrap());
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_tasks_on_one_aggregate_none_conflicts_with_another() {
    const DEPOSITS: u64 = 64 * 5;
    let gesta = bank(&[0]).await;
    for outcome in all_at_once(&gesta, (0..DEPOSITS).map(|_| deposit(1, 1))).await {
        outcome.unwrap();
    }
    assert_eq!(balance(&gesta, 1).await, DEPOSITS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_several_aggregates_wait_for_each_other_in_one_order() {
    let gesta = bank(&[1_000, 1_000, 1_000]).await;
    let pairs = [(1, 2), (2, 1), (3, 1), (2, 3), (1, 3), (3, 2)];
    let transfers = pairs.into_iter().cycle().take(120);
    let transfers = transfers.map(|(from, to)| Transfer { from, to, cents: 1 });
    for outcome in all_at_once(&gesta, transfers).await {
        outcome.unwrap();
    }
    assert_eq!(balance(&gesta, 1).await, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_commands_on_one_tag_the_later_ones_see_the_first() {
    let gesta = bank(&[]).await;
    let outcomes = all_at_once(&gesta, (0..16).map(|it| register(it, "ann@example.org"))).await;
    let taken = |outcome: &&Result<_, ExecuteError<Refused>>| {
        matches!(outcome, Err(ExecuteError::Rejected(Refused::EmailTaken)))
    };
    assert_eq!(outcomes.iter().filter(taken).count(), 15, "{outcomes:?}");
}

/// Deposits money, or only reads.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "visit-account", on = Account)]
struct Visit {
    #[command(id)]
    account: u32,
    cents: u64,
}

impl Decide for Visit {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        if self.cents == 0 {
            return Ok(Events::none());
        }
        Ok(Deposited { cents: self.cents }.into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_were_let_through_side_by_side_and_write_after_all_lose_no_attempt() {
    let gesta = bank(&[0]).await;
    let visits = |cents| (0..64).map(move |_| Visit { account: 1, cents });
    for cents in [0, 1, 0, 1] {
        for outcome in all_at_once(&gesta, visits(cents)).await {
            outcome.unwrap();
        }
    }
    assert_eq!(balance(&gesta, 1).await, 128);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_read_is_not_waited_for_by_others_who_read_it() {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    open_accounts(&gesta, &[0, 0, 5]).await;
    for _ in 0..8 {
        gesta.execute(MatchDeposit { account: 1, sponsor: 3 }).await.unwrap();
    }
    let (other, twin) = (MatchDeposit { account: 2, sponsor: 3 }, gesta.clone());
    // The second command runs before the first one's append returns.
    store.next_first(async move { drop(twin.execute(other).await.unwrap()) });
    let first = gesta.execute(MatchDeposit { account: 1, sponsor: 3 });
    timeout(SOON, async { first.await }).await.expect("neither waits").unwrap();
    assert_eq!(balance(&gesta, 2).await, 5);
}

#[tokio::test]
async fn a_command_that_was_dropped_while_it_waited_holds_up_nobody() {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    open_accounts(&gesta, &[0]).await;
    let (go_on, told) = tokio::sync::oneshot::channel::<()>();
    store.next_first(async move { told.await.unwrap() });
    let spawn = || {
        let gesta = gesta.clone();
        tokio::spawn(async move { gesta.execute(deposit(1, 1)).await })
    };
    let (first, second, third) = (spawn(), spawn(), spawn());
    tokio::task::yield_now().await;
    second.abort();
    go_on.send(()).unwrap();
    timeout(SOON, first).await.expect("it ends").unwrap().unwrap();
    timeout(SOON, third).await.expect("it ends").unwrap().unwrap();
    assert_eq!(balance(&gesta, 1).await, 2);
}

#[tokio::test]
async fn under_a_clock_that_stands_still_a_command_is_tried_again_all_the_same() {
    let (store, clock) = (Scripted::new(), VirtualClock::new());
    let open = || Gesta::on(Arc::new(store.clone())).clock(clock.clone()).open();
    let (gesta, other) = (open().await.unwrap(), open().await.unwrap());
    open_accounts(&gesta, &[0]).await;
    store.next_first(async move { drop(other.execute(deposit(1, 1)).await.unwrap()) });
    let executed = timeout(SOON, async { gesta.execute(deposit(1, 1)).await });
    executed.await.expect("it does not wait for the clock").unwrap();
    assert_eq!(balance(&gesta, 1).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_commands_that_compete_under_a_virtual_clock_all_end() {
    let (store, clock) = (Arc::new(MemoryStore::new()), VirtualClock::new());
    let open = || Gesta::on(store.clone()).clock(clock.clone()).open();
    let first = open().await.unwrap();
    first.execute(Open { account: 1 }).await.unwrap();
    let mut tasks = Vec::new();
    for program in 0..8 {
        // Half of them run in one program, each of the others in its own.
        let gesta = if program % 2 == 0 { first.clone() } else { open().await.unwrap() };
        tasks.push(tokio::spawn(async move { gesta.execute(deposit(1, 1)).await }));
    }
    for task in tasks {
        timeout(SOON, task).await.expect("it ends").unwrap().unwrap();
    }
    assert_eq!(balance(&first, 1).await, 8);
}
