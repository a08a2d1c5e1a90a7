//! Regressions found in reviews.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gesta::{
    Apply, ApplyError, AsOf, ExecuteError, FailurePolicy, Gesta, OnRead, OperationError,
    Projection, ProjectionState, ReadTypedRows, SnapshotPolicy, TypedRows, WaitError, prelude::*,
};
use gesta_sqlite::{Reader, Sqlite};
use gesta_store::{EventStore, MemoryReadModels, Rows};

use crate::{
    accounts::{self, open_accounts},
    bank::{
        Account, AllBalances, BalanceEvent, Balances, Controls, Deposited, Fault, StrictBalances,
        UNLUCKY, deposit, new_store, operator, replayed,
    },
    scripted::Scripted,
};

async fn open<P: Apply<gesta_sqlite::Tx>>(
    store: &Arc<dyn EventStore>,
    projection: P,
    models: &Sqlite,
) -> Gesta {
    Gesta::on(Arc::clone(store)).project(projection, models).open().await.unwrap()
}

async fn state(gesta: &Gesta) -> ProjectionState {
    gesta.projections().await.unwrap().remove(0).state
}

// ---- 1

#[tokio::test]
async fn of_two_commands_of_one_id_at_once_the_other_payload_is_refused() {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    open_accounts(&gesta, &[0]).await;
    // Another program: commands of one program wait for each other.
    let twin = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    store.next_first(async move {
        twin.execute(accounts::deposit(1, 5)).command_id("request-1").await.unwrap();
    });
    let outcome = gesta.execute(accounts::deposit(1, 6)).command_id("request-1").await;
    assert!(matches!(outcome, Err(ExecuteError::CommandIdReused { .. })), "{outcome:?}");
}

// ---- 2

/// A next version whose tables cannot be created.
struct Unprepared;

impl Projection for Unprepared {
    const NAME: &'static str = "balances";
    const VERSION: u32 = 2;
    type Event = BalanceEvent;
}

impl<Tx: Rows> Apply<Tx> for Unprepared {
    async fn prepare(&self, _: &mut Tx) -> Result<(), ApplyError> {
        Err(ApplyError::because("a typing error in a table"))
    }

    async fn apply(&self, _: &mut Tx, _: &[Recorded<BalanceEvent>]) -> Result<(), ApplyError> {
        Ok(())
    }
}

#[tokio::test]
async fn the_old_read_model_answers_while_the_new_one_cannot_be_prepared() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let old = open(&store, Balances(Controls::free()), &models).await;
    let receipt = deposit(&old, "ann", 5).await;
    old.wait_for::<Balances>(&receipt).await.unwrap();
    old.close().await;

    let gesta = open(&store, Unprepared, &models).await;
    let asked = gesta.ask::<_, Reader>(AllBalances::<Unprepared>::of()).await;
    assert_eq!(asked.unwrap(), [("account-ann".to_owned(), 5)]);
}

#[tokio::test]
async fn an_order_to_a_projection_in_trouble_is_answered() {
    let gesta = open(&new_store(), Unprepared, &Sqlite::temporary().await.unwrap()).await;
    let ordered =
        tokio::time::timeout(Duration::from_secs(600), gesta.rebuild("balances", &operator()))
            .await;
    let outcome = ordered.expect("nothing waits without a bound");
    assert!(matches!(outcome, Err(OperationError::Unavailable { .. })), "{outcome:?}");
}

// ---- 3

#[tokio::test]
async fn a_halted_rebuild_does_not_halt_those_who_wait_for_the_one_that_answers() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, StrictBalances(Controls::failing(Fault::Error)), &models).await;
    let failing = deposit(&gesta, "ann", UNLUCKY).await;
    let wait = gesta.wait_for::<StrictBalances>(&failing).within(Duration::from_secs(60)).await;
    assert!(matches!(wait, Err(WaitError::Halted { .. })));
    let id = gesta.dead_letters().await.unwrap().remove(0).0;
    gesta.discard_dead_letter(&id, &operator()).await.unwrap();

    gesta.rebuild("balances", &operator()).await.unwrap();
    while !matches!(state(&gesta).await, ProjectionState::Rebuilding(now) if now.halted.is_some()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = deposit(&gesta, "ben", 2).await;
    assert_eq!(gesta.wait_for::<StrictBalances>(&after).await, Ok(()));
}

#[tokio::test]
async fn what_halts_a_rebuild_is_listed_and_can_be_discarded() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let controls = Controls::failing(Fault::Error);
    let gesta = open(&store, StrictBalances(Arc::clone(&controls)), &models).await;
    deposit(&gesta, "ann", UNLUCKY).await;
    while !matches!(state(&gesta).await, ProjectionState::Halted { .. }) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = gesta.dead_letters().await.unwrap().remove(0).0;
    gesta.discard_dead_letter(&id, &operator()).await.unwrap();
    gesta.rebuild("balances", &operator()).await.unwrap();
    while !matches!(state(&gesta).await, ProjectionState::Rebuilding(now) if now.halted.is_some()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let letters = gesta.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1, "the event that halts the rebuild");
    gesta.discard_dead_letter(&letters[0].0, &operator()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(state(&gesta).await, ProjectionState::Running, "it was switched to");
}

// ---- 4

struct StrictDoubled(Arc<Controls>);

impl Projection for StrictDoubled {
    const NAME: &'static str = "balances";
    const VERSION: u32 = 2;
    const FAILURE_POLICY: FailurePolicy = FailurePolicy::Halt;
    type Event = BalanceEvent;
}

impl<Tx: Rows> Apply<Tx> for StrictDoubled {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<BalanceEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let BalanceEvent::Deposited(Deposited { amount }) = event.event;
            if amount == UNLUCKY && !self.0.fixed.load(Ordering::SeqCst) {
                return Err(ApplyError::because("thirteen is unlucky"));
            }
            let account = event.stream.as_str();
            let before: u64 = tx.get("balances", account).await?.unwrap_or_default();
            tx.put("balances", account, &(before + 2 * amount)).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_new_version_never_writes_into_the_read_model_of_the_old_one() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let old = open(&store, Balances(Controls::failing(Fault::Error)), &models).await;
    let failing = deposit(&old, "ann", UNLUCKY).await;
    old.wait_for::<Balances>(&failing).within(Duration::from_secs(60)).await.unwrap();
    old.close().await;

    let controls = Controls::free();
    let gesta = open(&store, StrictDoubled(Arc::clone(&controls)), &models).await;
    while !matches!(state(&gesta).await, ProjectionState::Rebuilding(now) if now.halted.is_some()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    controls.fix();
    let id = gesta.dead_letters().await.unwrap().remove(0).0;
    let _ = gesta.retry_dead_letter(&id, &operator()).await;
    let asked = gesta.ask::<_, Reader>(AllBalances::<StrictDoubled>::of()).await.unwrap();
    let (one, two) = (replayed(&store, 1).await, replayed(&store, 2).await);
    let switched = state(&gesta).await == ProjectionState::Running;
    let right = if switched { asked == two } else { asked.is_empty() || asked == one };
    assert!(right, "switched: {switched}, version 1 answers {asked:?}");
}

// ---- 5

#[tokio::test]
async fn a_projection_that_catches_up_lets_others_run() {
    let store = new_store();
    let writer = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    for amount in 0..5_000 {
        deposit(&writer, "ann", amount).await;
    }
    let controls = Controls::free();
    // Read models in memory are never pending.
    let balances = Balances(Arc::clone(&controls));
    let gesta = Gesta::on(store).project(balances, &MemoryReadModels::new()).open().await.unwrap();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    let applied = controls.applied.load(Ordering::SeqCst);
    assert!(applied <= 512, "{applied} events were applied before anybody else had a turn");
    gesta.close().await;
}

// ---- 6

struct Total;

impl Projection for Total {
    const NAME: &'static str = "account-card";
    type Event = BalanceEvent;
}

impl OnRead for Total {
    const CATEGORY: &'static str = Account::CATEGORY;
    type Id = String;
    type Row = Vec<u64>;

    fn evolve(row: &mut Vec<u64>, event: &Recorded<BalanceEvent>) {
        let BalanceEvent::Deposited(Deposited { amount }) = event.event;
        let sum = row.pop().unwrap_or_default();
        row.push(sum + amount);
    }
}

#[tokio::test]
async fn two_projections_on_read_of_one_name_are_refused() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let builder = Gesta::on(Arc::clone(&store))
        .project_on_read(crate::on_read::Card, &models)
        .project_on_read(Total, &models);
    let Ok(gesta) = builder.open().await else { return };
    deposit(&gesta, "ann", 1).await;
    deposit(&gesta, "ann", 2).await;
    let ann = "ann".to_owned();
    gesta.read_on_demand::<crate::on_read::Card>(&ann, AsOf::Now).await.unwrap();
    let total = gesta.read_on_demand::<Total>(&ann, AsOf::Now).await.unwrap().unwrap();
    assert_eq!(total.row, [3], "an answer equals a fold of the whole stream");
}

// ---- 7

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "measured")]
struct Measured {
    value: f64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum GaugeEvent {
    Measured(Measured),
}

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Gauge {
    sum: f64,
}

impl Aggregate for Gauge {
    const CATEGORY: &'static str = "gauge";
    type Id = u32;
    type Event = GaugeEvent;

    fn evolve(&mut self, event: &GaugeEvent) {
        let GaugeEvent::Measured(Measured { value }) = event;
        self.sum += value;
    }
}

#[test]
fn an_events_number_is_read_as_it_was_written() {
    let mut wrong = 0;
    for step in 1..=10_000_u32 {
        let value = f64::from(step).sqrt() / 7.0e-11;
        let stored = serde_json::to_vec(&Measured { value }).unwrap();
        let read: Measured = serde_json::from_slice(&stored).unwrap();
        wrong += u32::from(read.value != value);
    }
    assert_eq!(wrong, 0, "numbers of 10,000 came back as others");
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "measure", on = Gauge, either)]
struct Measure {
    #[command(id)]
    gauge: u32,
    value: f64,
}

impl Decide for Measure {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Gauge) -> Decision<Self> {
        Ok(Measured { value: self.value }.into())
    }
}

#[tokio::test]
async fn a_load_from_a_snapshot_of_a_float_equals_a_full_replay() {
    let store = new_store();
    let plain = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    let snapshots = MemoryReadModels::new();
    let policy = SnapshotPolicy::every(1).fold_version(1);
    let gesta = Gesta::on(Arc::clone(&store)).snapshots::<Gauge>(&snapshots, policy);
    let gesta = gesta.open().await.unwrap();
    for step in 1..=300_u32 {
        let value = f64::from(step).sqrt() / 7.0e-11;
        gesta.execute(Measure { gauge: 1, value }).await.unwrap();
    }
    let from_snapshot = gesta.load::<Gauge>(&1).await.unwrap().unwrap();
    let replayed = plain.load::<Gauge>(&1).await.unwrap().unwrap();
    assert_eq!(from_snapshot, replayed);
}

// ---- 8

#[tokio::test]
async fn a_stream_whose_events_have_all_expired_takes_commands() {
    use gesta_store::{ExpectedRevision, SetStreamMetadata, StreamMetadata};
    let now = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let clock = {
        let now = Arc::clone(&now);
        move || gesta_store::RecordedAt::from_micros(now.load(Ordering::SeqCst))
    };
    let store: Arc<dyn EventStore> = Arc::new(gesta_store::memory::MemoryStore::with_clock(clock));
    let gesta = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    deposit(&gesta, "ann", 1).await;
    let metadata = StreamMetadata::default().max_age(Duration::from_secs(1));
    let stream = gesta_store::StreamName::new("account-ann").unwrap();
    let change = SetStreamMetadata::new(stream, ExpectedRevision::Any, metadata);
    store.set_stream_metadata(change).await.unwrap();
    now.store(10_000_000, Ordering::SeqCst);
    let command = crate::bank::Deposit { account: "ann".to_owned(), amount: 2 };
    let outcome = gesta.execute(command).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

// ---- 9

/// Opens a second account and charges any number of others.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "charge-and-note", on = (Vec<accounts::Account>, accounts::Account), new)]
struct ChargeAndNote {
    #[command(id)]
    fresh: Vec<u32>,
    #[command(id)]
    bank: u32,
}

impl Decide for ChargeAndNote {
    type Rejection = std::convert::Infallible;

    fn decide(&self, (fresh, _): &(Vec<accounts::Account>, accounts::Account)) -> Decision<Self> {
        let opened = |_| accounts::Opened { owner: None }.into();
        Ok((fresh.iter().map(opened).collect(), accounts::Deposited { cents: 1 }.into()))
    }
}

#[tokio::test]
async fn an_empty_vec_does_not_pass_its_existence_on() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    open_accounts(&gesta, &[1]).await;
    let outcome = gesta.execute(ChargeAndNote { fresh: vec![], bank: 1 }).await;
    assert!(!matches!(outcome, Err(ExecuteError::AlreadyExists { .. })), "{outcome:?}");
}

// ---- 10

#[tokio::test]
async fn a_repeat_that_cannot_be_looked_up_is_not_said_to_be_without_effect() {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    open_accounts(&gesta, &[0]).await;
    gesta.execute(accounts::deposit(1, 5)).command_id("request-1").await.unwrap();
    let reason = "a sync failed".to_owned();
    *store.fail_find.lock().unwrap() = Some(gesta_store::StoreError::Stopped { reason });
    let error = gesta.execute(accounts::deposit(1, 5)).command_id("request-1").await.unwrap_err();
    assert!(!error.is_definite(), "{error:?}, and yet it was appended");
}
