//! Projections apply each event once and in order, despite failures.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gesta::{
    AskError, Gesta, OperationError, Position, ProjectionState, ProjectionStatus, WaitError,
    prelude::*,
};
use gesta_sqlite::{Reader, Sqlite, Tx, params};
use gesta_store::{
    Append, DeadLetterReason, EventStore, ExpectedRevision, MemoryReadModels, MemoryReader,
    NewEvent, ReadModelStore, Stage,
};

use crate::bank::{
    AllBalances, Audit, BalanceEvent, Balances, Controls, Deposited, DoubledBalances, Fault,
    StrictBalances, UNLUCKY, deposit, hasty, new_store, operator, replayed,
};

/// More than the events of two pages, of which a memory store makes 256 each.
const THREE_PAGES: u64 = 600;

/// A projection in SQL, with tables of its own.
struct Ledger;

impl Projection for Ledger {
    const NAME: &'static str = "ledger";
    type Event = BalanceEvent;
}

impl Apply<Tx> for Ledger {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        tx.execute_script("create table entries (position integer primary key, amount integer)")?;
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<BalanceEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let BalanceEvent::Deposited(Deposited { amount }) = event.event;
            let position = event.position.number();
            tx.execute("insert into entries values (?1, ?2)", params![position, amount])?;
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Ledger, answer = u64)]
struct Turnover;

impl Answer<Reader> for Turnover {
    async fn answer(&self, ledger: &mut Reader) -> Result<u64, QueryError> {
        let sum = ledger.find("select sum(amount) from entries", [], |row| row.get(0))?;
        Ok(sum.unwrap_or_default())
    }
}

async fn filled(events: u64) -> Arc<dyn EventStore> {
    let store = new_store();
    let writer = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    for number in 0..events {
        deposit(&writer, &format!("a{}", number % 7), number).await;
    }
    store
}

async fn open(store: &Arc<dyn EventStore>, controls: &Arc<Controls>, models: &Sqlite) -> Gesta {
    let projection = Balances(Arc::clone(controls));
    hasty(store).project(projection, models).open().await.unwrap()
}

async fn status(gesta: &Gesta) -> ProjectionStatus {
    gesta.projections().await.unwrap().remove(0)
}

async fn head(store: &Arc<dyn EventStore>) -> Position {
    store.head().await.unwrap().position
}

async fn caught_up<P: gesta::Projection>(gesta: &Gesta) {
    let head = head(gesta.store()).await;
    gesta.wait_for_position::<P>(head).await.unwrap();
}

async fn balances(gesta: &Gesta) -> Vec<(String, u64)> {
    gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await.unwrap()
}

#[tokio::test]
async fn a_query_reads_its_own_write() {
    let gesta = open(&new_store(), &Controls::free(), &Sqlite::temporary().await.unwrap()).await;
    for amount in 1..=20 {
        let receipt = deposit(&gesta, "ann", amount).await;
        let asked = gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).at_least(&receipt);
        assert_eq!(asked.await.unwrap(), [("account-ann".to_owned(), amount * (amount + 1) / 2)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_each_read_their_own_writes() {
    let store = new_store();
    let gesta = open(&store, &Controls::free(), &Sqlite::temporary().await.unwrap()).await;
    let writers = (0..16).map(|writer| {
        let gesta = gesta.clone();
        tokio::spawn(async move {
            let account = format!("account-w{writer}");
            for amount in 1..=20 {
                let receipt = deposit(&gesta, &format!("w{writer}"), 1).await;
                let asked =
                    gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).at_least(&receipt);
                let all = asked.await.unwrap();
                let own = all.iter().find(|(name, _)| *name == account).unwrap();
                assert_eq!(own.1, amount);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn the_same_projection_runs_on_any_store_of_read_models() {
    let store = filled(THREE_PAGES).await;
    let models = MemoryReadModels::new();
    let projection = Balances(Controls::free());
    let gesta = Gesta::on(Arc::clone(&store)).project(projection, &models).open().await.unwrap();
    caught_up::<Balances>(&gesta).await;
    let asked = gesta.ask::<_, MemoryReader>(AllBalances::<Balances>::of()).await.unwrap();
    assert_eq!(asked, replayed(&store, 1).await);
    let other = gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await;
    assert!(matches!(other, Err(AskError::OtherDatabase { projection: "balances" })));
}

#[tokio::test]
async fn a_projection_in_sql_makes_its_tables_once_for_each_read_model() {
    let store = filled(THREE_PAGES).await;
    let models = Sqlite::temporary().await.unwrap();
    let turnover = THREE_PAGES * (THREE_PAGES - 1) / 2;
    for _ in 0..2 {
        let gesta = Gesta::on(Arc::clone(&store)).project(Ledger, &models).open().await.unwrap();
        caught_up::<Ledger>(&gesta).await;
        assert_eq!(gesta.ask(Turnover).await.unwrap(), turnover);
        gesta.rebuild("ledger", &operator()).await.unwrap();
        while status(&gesta).await.state != ProjectionState::Running {
            tokio::task::yield_now().await;
        }
        assert_eq!(gesta.ask(Turnover).await.unwrap(), turnover);
        gesta.close().await;
    }
}

#[tokio::test]
async fn a_crash_between_apply_and_commit_applies_nothing_twice() {
    let store = filled(THREE_PAGES).await;
    let models = Sqlite::temporary().await.unwrap();
    for batches in [0, 1, 1] {
        let controls = Controls::gated(batches);
        let gesta = open(&store, &controls, &models).await;
        for _ in 0..=batches {
            controls.until_at_gate().await;
        }
        assert!(controls.applied.load(Ordering::SeqCst) > 0, "rows were changed, not committed");
        gesta.close().await;
    }
    let gesta = open(&store, &Controls::free(), &models).await;
    caught_up::<Balances>(&gesta).await;
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn a_restart_goes_on_from_the_checkpoint() {
    let store = filled(THREE_PAGES).await;
    let models = Sqlite::temporary().await.unwrap();
    let gesta = open(&store, &Controls::free(), &models).await;
    caught_up::<Balances>(&gesta).await;
    gesta.close().await;

    let again = Controls::free();
    let gesta = open(&store, &again, &models).await;
    let receipt = deposit(&gesta, "ann", 5).await;
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
    assert_eq!(again.applied.load(Ordering::SeqCst), 1, "only what was new");
}

#[tokio::test]
async fn events_that_a_projection_never_sees_are_waited_past() {
    let gesta = open(&new_store(), &Controls::free(), &Sqlite::temporary().await.unwrap()).await;
    let receipt = gesta.execute(Audit { account: "ann".to_owned() }).await.unwrap();
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
    assert_eq!(status(&gesta).await.lag.events, Some(0));
}

#[tokio::test]
async fn waiting_says_why_it_ended() {
    let controls = Controls::gated(0);
    let gesta = open(&new_store(), &controls, &Sqlite::temporary().await.unwrap()).await;
    let receipt = deposit(&gesta, "ann", 5).await;
    let (projection, wanted) = ("balances", receipt.position);
    let unregistered = gesta.wait_for::<crate::on_read::Card>(&receipt).await;
    assert_eq!(unregistered, Err(WaitError::NotRegistered { projection: "account-card" }));

    let late = gesta.wait_for::<Balances>(&receipt).within(Duration::from_secs(1)).await;
    let reached = Position::START;
    assert_eq!(late, Err(WaitError::TimedOut { projection, reached, wanted }));
    let late = gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).at_least(&receipt);
    let late = late.within(Duration::from_secs(1)).await;
    assert!(matches!(late, Err(AskError::Wait(WaitError::TimedOut { .. }))));
    assert!(balances(&gesta).await.is_empty(), "unless told to wait, a query answers at once");

    controls.open_gate();
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
}

#[tokio::test]
async fn an_event_that_fails_is_set_aside_and_a_retry_repairs_the_row() {
    let store = new_store();
    let controls = Controls::failing(Fault::Error);
    let gesta = open(&store, &controls, &Sqlite::temporary().await.unwrap()).await;
    let first = deposit(&gesta, "ann", UNLUCKY).await;
    let behind = deposit(&gesta, "ann", 1).await;
    let other = deposit(&gesta, "ben", 2).await;
    gesta.wait_for::<Balances>(&other).within(Duration::from_secs(60)).await.unwrap();

    assert_eq!(balances(&gesta).await, [("account-ben".to_owned(), 2)], "others go on");
    let letters = gesta.dead_letters().await.unwrap();
    let reasons: Vec<_> = letters.iter().map(|(id, one)| (id.position, &one.reason)).collect();
    let failed = DeadLetterReason::Failed { error: "thirteen is unlucky".to_owned(), attempts: 5 };
    let waits = DeadLetterReason::Behind { first: first.position };
    assert_eq!(reasons, [(first.position, &failed), (behind.position, &waits)]);

    let again = gesta.retry_dead_letter(&letters[1].0, &operator()).await;
    assert!(
        matches!(again, Err(OperationError::StillFails { position, .. }) if position == first.position)
    );
    controls.fix();
    gesta.retry_dead_letter(&letters[0].0, &operator()).await.unwrap();
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
    assert!(gesta.dead_letters().await.unwrap().is_empty());
    assert_eq!(status(&gesta).await.dead_letters, 0);

    let after = deposit(&gesta, "ann", 4).await;
    gesta.wait_for::<Balances>(&after).await.unwrap();
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await, "the stream goes on");
}

#[tokio::test]
async fn dead_letters_and_their_streams_are_remembered_over_a_restart() {
    let store = new_store();
    let models = Sqlite::temporary().await.unwrap();
    let gesta = open(&store, &Controls::failing(Fault::Error), &models).await;
    let failed = deposit(&gesta, "ann", UNLUCKY).await;
    gesta.wait_for::<Balances>(&failed).within(Duration::from_secs(60)).await.unwrap();
    gesta.close().await;

    let gesta = open(&store, &Controls::free(), &models).await;
    let behind = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&behind).await.unwrap();
    let letters = gesta.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 2, "the stream's order is kept");
    gesta.retry_dead_letter(&letters[0].0, &operator()).await.unwrap();
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_set_aside() {
    let store = new_store();
    let gesta = open(&store, &Controls::free(), &Sqlite::temporary().await.unwrap()).await;
    let broken = NewEvent::json(
        EventId::random(),
        EventType::new("deposited").unwrap(),
        r#"{"amount":"x"}"#,
    );
    let stream = StreamName::new("account-ann").unwrap();
    store.append(Append::to(stream, ExpectedRevision::Any, [broken])).await.unwrap();
    caught_up::<Balances>(&gesta).await;
    let (_, letter) = gesta.dead_letters().await.unwrap().remove(0);
    assert!(letter.reason.to_string().contains("cannot be read"), "{}", letter.reason);
}

#[tokio::test]
async fn a_panic_is_the_events_failure_and_not_the_projections_end() {
    let store = new_store();
    let gesta =
        open(&store, &Controls::failing(Fault::Panic), &Sqlite::temporary().await.unwrap()).await;
    deposit(&gesta, "ann", UNLUCKY).await;
    let other = deposit(&gesta, "ben", 2).await;
    gesta.wait_for::<Balances>(&other).within(Duration::from_secs(60)).await.unwrap();
    let (_, letter) = gesta.dead_letters().await.unwrap().remove(0);
    assert!(letter.reason.to_string().contains("panicked: thirteen is very unlucky"));
    assert_eq!(balances(&gesta).await, [("account-ben".to_owned(), 2)]);
}

#[tokio::test]
async fn a_databases_trouble_is_waited_out_and_blames_no_event() {
    let store = new_store();
    let controls = Controls::failing(Fault::Busy(20));
    let gesta = open(&store, &controls, &Sqlite::temporary().await.unwrap()).await;
    let receipt = deposit(&gesta, "ann", UNLUCKY).await;
    gesta.wait_for::<Balances>(&receipt).within(Duration::from_secs(3_600)).await.unwrap();
    assert!(gesta.dead_letters().await.unwrap().is_empty());
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
    assert_eq!(status(&gesta).await.trouble, None);
}

#[tokio::test]
async fn a_strict_projection_halts_before_the_event_until_a_retry() {
    let store = new_store();
    let controls = Controls::failing(Fault::Error);
    let models = Sqlite::temporary().await.unwrap();
    let strict = StrictBalances(Arc::clone(&controls));
    let gesta = Gesta::on(Arc::clone(&store)).project(strict, &models).open().await.unwrap();
    let before = deposit(&gesta, "ann", 1).await;
    let failing = deposit(&gesta, "ann", UNLUCKY).await;
    let after = deposit(&gesta, "ben", 2).await;

    let wait = gesta.wait_for::<StrictBalances>(&after).within(Duration::from_secs(60)).await;
    let (projection, reached, wanted) = ("balances", before.position, after.position);
    assert_eq!(wait, Err(WaitError::Halted { projection, reached, wanted }));
    let state = status(&gesta).await.state;
    assert!(
        matches!(state, ProjectionState::Halted { position, .. } if position == failing.position)
    );

    controls.fix();
    let id = gesta.dead_letters().await.unwrap().remove(0).0;
    gesta.retry_dead_letter(&id, &operator()).await.unwrap();
    gesta.wait_for::<StrictBalances>(&after).await.unwrap();
    let all = gesta.ask::<_, Reader>(AllBalances::<StrictBalances>::of()).await.unwrap();
    assert_eq!(all, replayed(&store, 1).await);
}

#[tokio::test]
async fn a_halted_projection_tries_again_when_the_program_is_started_again() {
    let store = new_store();
    let models = Sqlite::temporary().await.unwrap();
    let failing = StrictBalances(Controls::failing(Fault::Error));
    let gesta = Gesta::on(Arc::clone(&store)).project(failing, &models).open().await.unwrap();
    let receipt = deposit(&gesta, "ann", UNLUCKY).await;
    let wait = gesta.wait_for::<StrictBalances>(&receipt).within(Duration::from_secs(60)).await;
    assert!(matches!(wait, Err(WaitError::Halted { .. })));
    gesta.close().await;

    let fixed = StrictBalances(Controls::free());
    let gesta = Gesta::on(Arc::clone(&store)).project(fixed, &models).open().await.unwrap();
    gesta.wait_for::<StrictBalances>(&receipt).await.unwrap();
    assert!(gesta.dead_letters().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_new_version_is_filled_beside_the_old_one_which_answers_until_the_switch() {
    let store = filled(THREE_PAGES).await;
    let models = Sqlite::temporary().await.unwrap();
    let old = open(&store, &Controls::free(), &models).await;
    caught_up::<Balances>(&old).await;
    old.close().await;

    let controls = Controls::gated(1);
    let doubled = DoubledBalances(Arc::clone(&controls));
    let gesta = Gesta::on(Arc::clone(&store)).project(doubled, &models).open().await.unwrap();
    let ask = || gesta.ask::<_, Reader>(AllBalances::<DoubledBalances>::of());
    controls.until_at_gate().await;
    controls.until_at_gate().await;
    assert_eq!(ask().await.unwrap(), replayed(&store, 1).await, "the old one answers");
    let ProjectionState::Rebuilding(progress) = status(&gesta).await.state else {
        panic!("it is being rebuilt");
    };
    assert_eq!((progress.position, progress.head), (Position::new(256), Position::new(600)));
    let written = deposit(&gesta, "new", 1).await;
    assert_eq!(ask().await.unwrap().len(), 7, "it stays as it is");

    controls.open_gate();
    gesta.wait_for::<DoubledBalances>(&written).await.unwrap();
    assert_eq!(ask().await.unwrap(), replayed(&store, 2).await, "the new one equals a replay");
    assert_eq!(status(&gesta).await.state, ProjectionState::Running);
    let listed = models.list_read_models("balances").await.unwrap();
    let stages: Vec<_> = listed.iter().map(|one| (one.version, one.stage)).collect();
    assert_eq!(stages, [(1, Stage::Retired), (2, Stage::Live)], "the old rows are kept");
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_rebuild_resumes_it() {
    let store = filled(THREE_PAGES).await;
    let models = Sqlite::temporary().await.unwrap();
    let old = open(&store, &Controls::free(), &models).await;
    caught_up::<Balances>(&old).await;
    old.close().await;

    let killed = Controls::gated(1);
    let doubled = DoubledBalances(Arc::clone(&killed));
    let gesta = Gesta::on(Arc::clone(&store)).project(doubled, &models).open().await.unwrap();
    killed.until_at_gate().await;
    killed.until_at_gate().await;
    gesta.close().await;
    let listed = models.list_read_models("balances").await.unwrap();
    assert_eq!(listed[1].stage, Stage::Rebuilding);
    assert_eq!(listed[1].checkpoint.unwrap().position, Position::new(256));

    let resumed = Controls::free();
    let doubled = DoubledBalances(Arc::clone(&resumed));
    let gesta = Gesta::on(Arc::clone(&store)).project(doubled, &models).open().await.unwrap();
    while status(&gesta).await.state != ProjectionState::Running {
        tokio::task::yield_now().await;
    }
    assert_eq!(resumed.applied.load(Ordering::SeqCst), THREE_PAGES - 256, "not from the start");
    let all = gesta.ask::<_, Reader>(AllBalances::<DoubledBalances>::of()).await.unwrap();
    assert_eq!(all, replayed(&store, 2).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_under_live_writes_loses_and_repeats_nothing() {
    let store = filled(THREE_PAGES).await;
    let models = Sqlite::temporary().await.unwrap();
    let gesta = open(&store, &Controls::free(), &models).await;
    caught_up::<Balances>(&gesta).await;
    let before = models.list_read_models("balances").await.unwrap().remove(0).id;

    let writer = tokio::spawn({
        let gesta = gesta.clone();
        async move {
            let account = "account-live".to_owned();
            for amount in 1..=300 {
                let receipt = deposit(&gesta, "live", 1).await;
                let asked =
                    gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).at_least(&receipt);
                assert!(asked.await.unwrap().contains(&(account.clone(), amount)));
            }
        }
    });
    gesta.rebuild("balances", &operator()).await.unwrap();
    writer.await.unwrap();
    while status(&gesta).await.state != ProjectionState::Running {
        let more = deposit(&gesta, "live", 1).await;
        gesta.wait_for::<Balances>(&more).await.unwrap();
    }
    caught_up::<Balances>(&gesta).await;
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
    let after = models.list_read_models("balances").await.unwrap();
    assert_eq!((&after[0].id, after[0].stage), (&before, Stage::Retired));
    assert!(after[1].id.build > before.build);
}

#[tokio::test]
async fn a_rebuild_repairs_what_a_fixed_projection_did_wrong() {
    let store = new_store();
    let controls = Controls::failing(Fault::Error);
    let models = Sqlite::temporary().await.unwrap();
    let gesta = open(&store, &controls, &models).await;
    let receipt = deposit(&gesta, "ann", UNLUCKY).await;
    gesta.wait_for::<Balances>(&receipt).within(Duration::from_secs(60)).await.unwrap();
    controls.fix();
    gesta.rebuild("balances", &operator()).await.unwrap();
    while status(&gesta).await.state != ProjectionState::Running {
        tokio::task::yield_now().await;
    }
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
    assert!(gesta.dead_letters().await.unwrap().is_empty(), "they went with the old read model");
    let unknown = gesta.rebuild("nobody", &operator()).await;
    assert!(matches!(unknown, Err(OperationError::NotRegistered { .. })));
}

#[tokio::test]
async fn a_read_model_of_another_life_of_the_store_is_filled_anew() {
    let models = Sqlite::temporary().await.unwrap();
    let lost = filled(THREE_PAGES).await;
    let gesta = open(&lost, &Controls::free(), &models).await;
    caught_up::<Balances>(&gesta).await;
    gesta.close().await;

    let restored = filled(50).await;
    let gesta = open(&restored, &Controls::free(), &models).await;
    caught_up::<Balances>(&gesta).await;
    assert_eq!(balances(&gesta).await, replayed(&restored, 1).await);
    assert_eq!(status(&gesta).await.state, ProjectionState::Running);
}

#[tokio::test]
async fn a_second_program_on_the_same_read_models_does_no_harm() {
    let store = new_store();
    let models = Sqlite::temporary().await.unwrap();
    let one = open(&store, &Controls::free(), &models).await;
    let other = open(&store, &Controls::free(), &models).await;
    for amount in 1..=30 {
        let receipt = deposit(&one, "ann", amount).await;
        one.wait_for::<Balances>(&receipt).within(Duration::from_secs(600)).await.unwrap();
        other.wait_for::<Balances>(&receipt).within(Duration::from_secs(600)).await.unwrap();
    }
    assert_eq!(balances(&one).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn lag_is_told_in_events_and_in_time() {
    let now = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let clock = {
        let now = Arc::clone(&now);
        move || gesta_store::RecordedAt::from_micros(now.load(Ordering::SeqCst))
    };
    let store: Arc<dyn EventStore> = Arc::new(gesta_store::memory::MemoryStore::with_clock(clock));
    let writer = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    for seconds in 0..4 {
        now.store(seconds * 1_000_000, Ordering::SeqCst);
        deposit(&writer, "ann", 1).await;
    }
    let controls = Controls::gated(0);
    let gesta = open(&store, &controls, &Sqlite::temporary().await.unwrap()).await;
    controls.until_at_gate().await;
    let lag = status(&gesta).await.lag;
    assert_eq!((lag.events, lag.time), (Some(4), Duration::from_secs(3)));
    controls.open_gate();
    caught_up::<Balances>(&gesta).await;
    assert_eq!(status(&gesta).await.lag, gesta::Lag::NONE);
}

#[tokio::test]
async fn two_projections_of_one_name_are_refused() {
    let models = Sqlite::temporary().await.unwrap();
    let builder = Gesta::on(new_store())
        .project(Balances(Controls::free()), &models)
        .project(DoubledBalances(Controls::free()), &models);
    let error = builder.open().await.unwrap_err();
    assert_eq!(error.to_string(), "two projections are named balances");
}

#[tokio::test]
async fn a_projection_follows_the_log_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().join("events").display());
    let read_models = directory.path().join("read-models");
    let controls = Controls::free();
    for start in 0..3 {
        let models = Sqlite::open(&read_models).await.unwrap();
        let projection = Balances(Arc::clone(&controls));
        let gesta = Gesta::at(&url).project(projection, &models).open().await.unwrap();
        for number in 0..40 {
            deposit(&gesta, &format!("a{}", number % 3), start * 100 + number).await;
        }
        let audit = gesta.execute(Audit { account: "a0".to_owned() }).await.unwrap();
        gesta.wait_for::<Balances>(&audit).await.unwrap();
        assert_eq!(balances(&gesta).await, replayed(gesta.store(), 1).await);
        gesta.close().await;
    }
    assert_eq!(controls.applied.load(Ordering::SeqCst), 120, "each event once");
}
