//! Switch-overs of rebuilt read models: confirmed where events are missing, rolled back, killed;
//! and damaged files, which are named, kept aside and rebuilt.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gesta::{
    AskError, Component, Gesta, OldRows, OperationError, ProjectionState, ProjectionStatus,
    QueryError, Severity, SnapshotPolicy, WaitError, prelude::*,
};
use gesta_sqlite::{Reader, Sqlite};
use gesta_store::{DatabaseError, EventStore, MemoryReadModels, ReadModelStore, Stage};

use crate::bank::{
    AllBalances, Balances, Controls, DoubledBalances, Fault, UNLUCKY, deposit, new_store, operator,
    replayed,
};

async fn open<P: Apply<gesta_sqlite::Tx>>(
    store: &Arc<dyn EventStore>,
    projection: P,
    models: &Sqlite,
) -> Gesta {
    Gesta::on(Arc::clone(store)).project(projection, models).open().await.unwrap()
}

async fn status(gesta: &Gesta) -> ProjectionStatus {
    gesta.projections().await.unwrap().remove(0)
}

/// Waits for a state of the projection.
async fn until(gesta: &Gesta, wanted: impl Fn(&ProjectionState) -> bool) -> ProjectionStatus {
    for _ in 0..100_000 {
        let status = status(gesta).await;
        if wanted(&status.state) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the projection is still {:?}", status(gesta).await.state);
}

fn is_running(state: &ProjectionState) -> bool {
    *state == ProjectionState::Running
}

fn is_awaiting(state: &ProjectionState) -> bool {
    matches!(state, ProjectionState::AwaitingConfirmation(_))
}

async fn settled(gesta: &Gesta) {
    let head = gesta.store().head().await.unwrap().position;
    let wait = gesta.wait_for_position::<Balances>(head).within(Duration::from_secs(600));
    wait.await.unwrap();
}

async fn balances(gesta: &Gesta) -> Vec<(String, u64)> {
    gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await.unwrap()
}

fn names(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(name, balance)| (format!("account-{name}"), *balance)).collect()
}

/// Rows of version 1 in which everything is applied, and a program in which one event fails now.
async fn broken_since(store: &Arc<dyn EventStore>, models: &Sqlite) -> Gesta {
    let sound = open(store, Balances(Controls::free()), models).await;
    deposit(&sound, "ann", UNLUCKY).await;
    deposit(&sound, "ben", 2).await;
    settled(&sound).await;
    sound.close().await;
    open(store, Balances(Controls::failing(Fault::Error)), models).await
}

// ---- a rebuild that has set events aside

#[tokio::test]
async fn a_rebuild_that_set_events_aside_does_not_take_over_until_an_operator_confirms_it() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = broken_since(&store, &models).await;
    let before = gesta.confirm_switch("balances", &operator()).await;
    assert!(matches!(before, Err(OperationError::NothingToConfirm { .. })));
    gesta.rebuild("balances", &operator()).await.unwrap();
    let ProjectionState::AwaitingConfirmation(pending) = until(&gesta, is_awaiting).await.state
    else {
        panic!("it awaits confirmation")
    };
    assert_eq!((pending.dead_letters, pending.dead_letters_before), (1, 0));
    assert_eq!(balances(&gesta).await, names(&[("ann", UNLUCKY), ("ben", 2)]));
    let more = deposit(&gesta, "ben", 1).await;
    gesta.wait_for::<Balances>(&more).await.unwrap();
    assert_eq!(balances(&gesta).await, names(&[("ann", UNLUCKY), ("ben", 3)]), "it goes on");
    let health = gesta.health().await;
    let states: Vec<_> = health.causes.iter().map(|cause| cause.state).collect();
    assert!(states.contains(&"awaiting-confirmation"), "{states:?}");

    gesta.confirm_switch("balances", &operator()).await.unwrap();
    until(&gesta, is_running).await;
    assert_eq!(balances(&gesta).await, names(&[("ben", 3)]));
}

#[tokio::test]
async fn a_rebuild_whose_dead_letters_are_repaired_takes_over_by_itself() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    broken_since(&store, &models).await.close().await;
    let controls = Controls::failing(Fault::Error);
    let gesta = open(&store, Balances(Arc::clone(&controls)), &models).await;
    gesta.rebuild("balances", &operator()).await.unwrap();
    until(&gesta, is_awaiting).await;
    controls.fix();
    let id = gesta.dead_letters().await.unwrap().remove(0).0;
    gesta.retry_dead_letter(&id, &operator()).await.unwrap();
    until(&gesta, is_running).await;
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn a_new_version_that_sets_events_aside_awaits_confirmation_over_restarts() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    broken_since(&store, &models).await.close().await;
    for _ in 0..2 {
        let doubled = DoubledBalances(Controls::failing(Fault::Error));
        let gesta = open(&store, doubled, &models).await;
        until(&gesta, is_awaiting).await;
        let ask = gesta.ask::<_, Reader>(AllBalances::<DoubledBalances>::of());
        assert_eq!(ask.await.unwrap(), names(&[("ann", UNLUCKY), ("ben", 2)]), "the old rows");
        // The old rows do not advance, so waiting fails at once.
        let written = deposit(&gesta, "cid", 1).await;
        let wait = gesta.wait_for::<DoubledBalances>(&written).await;
        assert!(matches!(wait, Err(WaitError::Halted { .. })), "{wait:?}");
        let worst = gesta.health().await.worst();
        assert_eq!(worst, Some(Severity::Unready));
        gesta.close().await;
    }
    let gesta = open(&store, DoubledBalances(Controls::failing(Fault::Error)), &models).await;
    until(&gesta, is_awaiting).await;
    gesta.confirm_switch("balances", &operator()).await.unwrap();
    until(&gesta, is_running).await;
    let ask = gesta.ask::<_, Reader>(AllBalances::<DoubledBalances>::of()).await.unwrap();
    assert_eq!(ask, names(&[("ben", 4), ("cid", 4)]));
}

// ---- old rows

#[tokio::test]
async fn a_switch_over_is_rolled_back_to_the_old_rows_which_catch_up_first() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = broken_since(&store, &models).await;
    let none = gesta.roll_back("balances", &operator()).await;
    assert!(matches!(none, Err(OperationError::NoOldRows { projection: "balances" })));
    gesta.rebuild("balances", &operator()).await.unwrap();
    until(&gesta, is_awaiting).await;
    gesta.confirm_switch("balances", &operator()).await.unwrap();
    let switched = until(&gesta, is_running).await;
    assert!(matches!(switched.old_rows, Some(OldRows { build: 1, version: 1, .. })));
    let later = deposit(&gesta, "cid", 5).await;
    gesta.wait_for::<Balances>(&later).await.unwrap();

    gesta.roll_back("balances", &operator()).await.unwrap();
    let rows = loop {
        let rows = balances(&gesta).await;
        assert!(rows.contains(&("account-cid".to_owned(), 5)), "never less than before: {rows:?}");
        if rows.len() == 3 {
            break rows;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(rows, names(&[("ann", UNLUCKY), ("ben", 2), ("cid", 5)]));
    let old = until(&gesta, is_running).await.old_rows.unwrap();
    assert_eq!(old.build, 2, "what it replaced is kept in turn");

    gesta.drop_old_rows("balances", &operator()).await.unwrap();
    assert_eq!(models.list_read_models("balances").await.unwrap().len(), 1);
    let none = gesta.drop_old_rows("balances", &operator()).await;
    assert!(matches!(none, Err(OperationError::NoOldRows { .. })));
}

#[tokio::test]
async fn old_rows_and_a_roll_back_survive_a_kill() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    deposit(&gesta, "ann", 1).await;
    settled(&gesta).await;
    gesta.rebuild("balances", &operator()).await.unwrap();
    until(&gesta, is_running).await;
    deposit(&gesta, "ann", 2).await;
    settled(&gesta).await;
    gesta.close().await;

    let gated = Controls::gated(0);
    let gesta = open(&store, Balances(Arc::clone(&gated)), &models).await;
    until(&gesta, is_running).await;
    gesta.roll_back("balances", &operator()).await.unwrap();
    gated.until_at_gate().await;
    gesta.close().await;
    let listed = models.list_read_models("balances").await.unwrap();
    let stages: Vec<_> = listed.iter().map(|one| (one.id.build, one.stage)).collect();
    assert_eq!(stages, [(1, Stage::Rebuilding), (2, Stage::Live)]);

    let gesta = open(&store, Balances(Controls::free()), &models).await;
    let running = until(&gesta, is_running).await;
    assert_eq!(running.old_rows.map(|old| old.build), Some(2), "it was gone on with");
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn the_program_of_the_version_before_goes_on_with_its_old_rows() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let old = open(&store, Balances(Controls::free()), &models).await;
    for amount in 1..=20 {
        deposit(&old, "ann", amount).await;
    }
    settled(&old).await;
    old.close().await;
    let new = open(&store, DoubledBalances(Controls::free()), &models).await;
    until(&new, is_running).await;
    let refused = new.roll_back("balances", &operator()).await.unwrap_err();
    assert!(matches!(refused, OperationError::OtherVersion { old: 1, program: 2, .. }));
    assert!(refused.to_string().contains("start the program with version 1"), "{refused}");
    deposit(&new, "ben", 5).await;
    new.close().await;

    let controls = Controls::free();
    let back = open(&store, Balances(Arc::clone(&controls)), &models).await;
    until(&back, is_running).await;
    assert_eq!(balances(&back).await, replayed(&store, 1).await);
    let applied = controls.applied.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(applied, 1, "only what its rows had not seen");
    back.close().await;
    let again = open(&store, DoubledBalances(Controls::free()), &models).await;
    until(&again, is_running).await;
    let ask = again.ask::<_, Reader>(AllBalances::<DoubledBalances>::of()).await.unwrap();
    assert_eq!(ask, replayed(&store, 2).await);
}

// ---- damaged files

#[derive(Clone, Copy, Debug)]
enum Damage {
    Header,
    FlippedPages,
    CutShort,
    Empty,
}

fn strike(path: &Path, damage: Damage) {
    let mut file = File::options().write(true).open(path).unwrap();
    let bytes = file.metadata().unwrap().len();
    match damage {
        Damage::Header => file.write_all(&[0xA5; 512]).unwrap(),
        Damage::CutShort => file.set_len(bytes / 2).unwrap(),
        Damage::Empty => file.set_len(0).unwrap(),
        Damage::FlippedPages => {
            // All but the first page, where the definitions of the tables are.
            file.seek(SeekFrom::Start(4_096)).unwrap();
            file.write_all(&vec![0xA5; usize::try_from(bytes - 4_096).unwrap()]).unwrap();
        }
    }
}

/// The file of the only read model of a projection.
fn file_of(directory: &Path, projection: &str) -> PathBuf {
    let mut names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(&format!("{projection}-")) && name.ends_with(".db")
    };
    names.find(is_it).unwrap()
}

fn kept_aside(directory: &Path) -> usize {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".corrupt-1")).count()
}

#[tokio::test]
async fn a_damaged_read_model_is_named_unready_and_rebuilt_in_place() {
    for damage in [Damage::Header, Damage::FlippedPages, Damage::CutShort, Damage::Empty] {
        let directory = tempfile::tempdir().unwrap();
        let store = new_store();
        let models = Sqlite::open(directory.path()).await.unwrap();
        let gesta = open(&store, Balances(Controls::free()), &models).await;
        for number in 0..40 {
            deposit(&gesta, &format!("a{number}"), number).await;
        }
        settled(&gesta).await;
        gesta.close().await;
        models.close().await;
        let path = file_of(directory.path(), "balances");
        strike(&path, damage);

        let models = Sqlite::open(directory.path()).await.unwrap();
        let gesta = open(&store, Balances(Controls::free()), &models).await;
        let corrupt = until(&gesta, |state| matches!(state, ProjectionState::Corrupt { .. })).await;
        let ProjectionState::Corrupt { error } = corrupt.state else { panic!("{damage:?}") };
        assert!(error.contains(path.to_str().unwrap()), "{damage:?}: {error}");
        assert!(error.contains("balances"), "{damage:?}: {error}");
        let health = gesta.health().await;
        let cause = health.causes.first().unwrap();
        assert_eq!((cause.component, cause.state), (Component::Projection, "corrupt"));
        assert_eq!(cause.severity, Severity::Unready);

        gesta.rebuild("balances", &operator()).await.unwrap();
        until(&gesta, is_running).await;
        settled(&gesta).await;
        assert_eq!(balances(&gesta).await, replayed(&store, 1).await, "{damage:?}");
        assert_eq!(kept_aside(directory.path()), 1, "{damage:?}: the damaged file is evidence");
        assert_eq!(gesta.health().await.worst(), None, "{damage:?}");
        let none = gesta.roll_back("balances", &operator()).await;
        assert!(matches!(none, Err(OperationError::NoOldRows { .. })), "{damage:?}");
        gesta.close().await;
    }
}

#[tokio::test]
async fn damage_that_a_query_meets_is_told_by_the_projection() {
    let directory = tempfile::tempdir().unwrap();
    let store = new_store();
    let models = Sqlite::open(directory.path()).await.unwrap();
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    deposit(&gesta, "ann", 1).await;
    settled(&gesta).await;
    // A row that is no longer JSON, which no check of pages sees.
    let path = file_of(directory.path(), "balances");
    let by_hand = gesta_sqlite::rusqlite::Connection::open(&path).unwrap();
    by_hand.execute("update gesta_rows set value = '{'", []).unwrap();
    let asked = gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await;
    let Err(AskError::Query(QueryError::Database(DatabaseError::Corrupt { reason, .. }))) = asked
    else {
        panic!("{asked:?}")
    };
    assert!(reason.contains("balances build 1"), "{reason}");
    until(&gesta, |state| matches!(state, ProjectionState::Corrupt { .. })).await;
    gesta.rebuild("balances", &operator()).await.unwrap();
    until(&gesta, is_running).await;
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[tokio::test]
async fn a_damaged_rebuild_is_begun_anew_beside_the_one_that_answers() {
    let directory = tempfile::tempdir().unwrap();
    let store = new_store();
    let models = Sqlite::open(directory.path()).await.unwrap();
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    for number in 0..40 {
        deposit(&gesta, &format!("a{number}"), number).await;
    }
    settled(&gesta).await;
    gesta.close().await;
    let gated = Controls::gated(0);
    let gesta = open(&store, DoubledBalances(Arc::clone(&gated)), &models).await;
    gated.until_at_gate().await;
    gesta.close().await;
    models.close().await;
    strike(&directory.path().join("balances-2.db"), Damage::Header);

    let models = Sqlite::open(directory.path()).await.unwrap();
    let gesta = open(&store, DoubledBalances(Controls::free()), &models).await;
    until(&gesta, is_running).await;
    let ask = gesta.ask::<_, Reader>(AllBalances::<DoubledBalances>::of()).await.unwrap();
    assert_eq!(ask, replayed(&store, 2).await);
    assert_eq!(kept_aside(directory.path()), 1);
}

#[tokio::test]
async fn a_read_model_that_cannot_be_opened_keeps_no_rebuild_from_taking_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let store = new_store();
    let models = Sqlite::open(directory.path()).await.unwrap();
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    deposit(&gesta, "ann", 1).await;
    settled(&gesta).await;
    gesta.close().await;
    models.close().await;
    // A directory where the file was.
    let path = file_of(directory.path(), "balances");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();

    let models = Sqlite::open(directory.path()).await.unwrap();
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    while status(&gesta).await.trouble.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gesta.rebuild("balances", &operator()).await.unwrap();
    until(&gesta, is_running).await;
    assert_eq!(balances(&gesta).await, replayed(&store, 1).await);
}

#[derive(Serialize, Deserialize, Default)]
struct Counted(u64);

impl Aggregate for Counted {
    const CATEGORY: &'static str = "account";
    type Id = String;
    type Event = crate::bank::AccountEvent;

    fn evolve(&mut self, _: &Self::Event) {
        self.0 += 1;
    }
}

#[tokio::test]
async fn damaged_snapshots_rows_on_read_and_unused_read_models_keep_nothing_from_starting() {
    use crate::on_read::Card;

    for damage in [Damage::Header, Damage::CutShort, Damage::Empty, Damage::FlippedPages] {
        let directory = tempfile::tempdir().unwrap();
        let store = new_store();
        let models = Sqlite::open(directory.path()).await.unwrap();
        let gesta = open(&store, Balances(Controls::free()), &models).await;
        for number in 1..=40 {
            deposit(&gesta, "ann", number).await;
        }
        settled(&gesta).await;
        gesta.close().await;
        let policy = SnapshotPolicy::every(2).fold_version(1);
        let ann = "ann".to_owned();
        let builder = || Gesta::on(Arc::clone(&store));
        let cards = builder().snapshots::<Counted>(&models, policy);
        let cards = cards.project_on_read(Card, &models).open().await.unwrap();
        cards.read_on_demand::<Card>(&ann, gesta::AsOf::Now).await.unwrap();
        cards.load::<Counted>(&ann).await.unwrap();
        cards.close().await;
        models.close().await;
        for name in ["balances", "account-card"] {
            strike(&file_of(directory.path(), name), damage);
        }
        strike(&directory.path().join("snapshots.db"), damage);

        let models = Sqlite::open(directory.path()).await.unwrap();
        let cards = builder().snapshots::<Counted>(&models, policy);
        let cards = cards.project_on_read(Card, &models).open().await.unwrap();
        let loaded = cards.load::<Counted>(&ann).await.unwrap().unwrap();
        assert_eq!(loaded.state.0, 40, "{damage:?}");
        let fresh = cards.read_on_demand::<Card>(&ann, gesta::AsOf::Now).await.unwrap().unwrap();
        assert_eq!(fresh.row.len(), 40, "{damage:?}");
        let again = cards.read_on_demand::<Card>(&ann, gesta::AsOf::Now).await.unwrap().unwrap();
        assert_eq!(again.row.len(), 40, "{damage:?}");
        let kept = models.list_read_models(Card::NAME).await.unwrap().remove(0).id;
        let mut rows = models.reader(&kept).await.unwrap();
        let row: Option<serde_json::Value> = rows.get("on_read", "account-ann").await.unwrap();
        assert!(row.is_some(), "{damage:?}: the row is kept again");
    }
}

// ---- a hold and a pause

#[tokio::test]
async fn a_rebuild_that_is_held_awaits_confirmation_without_dead_letters_and_over_restarts() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    deposit(&gesta, "ann", 3).await;
    settled(&gesta).await;
    gesta.rebuild_and_hold("balances", &operator()).await.unwrap();
    let ProjectionState::AwaitingConfirmation(pending) = until(&gesta, is_awaiting).await.state
    else {
        panic!("it awaits confirmation")
    };
    assert!(pending.held && pending.dead_letters == 0, "{pending:?}");
    gesta.close().await;
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    until(&gesta, is_awaiting).await;
    let more = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&more).await.unwrap();
    assert_eq!(balances(&gesta).await, names(&[("ann", 4)]), "the present rows go on");
    assert_eq!(status(&gesta).await.old_rows, None);
    gesta.confirm_switch("balances", &operator()).await.unwrap();
    let switched = until(&gesta, is_running).await;
    assert!(matches!(switched.old_rows, Some(OldRows { build: 1, .. })), "{switched:?}");
    assert_eq!(balances(&gesta).await, names(&[("ann", 4)]));
    // The next rebuild is not held.
    gesta.rebuild("balances", &operator()).await.unwrap();
    let again = loop {
        let now = until(&gesta, is_running).await;
        if matches!(now.old_rows, Some(OldRows { build: 2, .. })) {
            break now;
        }
    };
    assert_eq!(again.dead_letters, 0);
}

#[tokio::test]
async fn a_paused_projection_applies_nothing_until_it_is_resumed() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    deposit(&gesta, "ann", 3).await;
    settled(&gesta).await;
    gesta.pause_projection("balances", &operator()).await.unwrap();
    assert_eq!(status(&gesta).await.state, ProjectionState::Paused);
    let later = deposit(&gesta, "ann", 1).await;
    let wait = gesta.wait_for::<Balances>(&later).await;
    assert!(matches!(wait, Err(WaitError::Halted { .. })), "it fails at once: {wait:?}");
    gesta.rebuild("balances", &operator()).await.unwrap();
    gesta::testing::drain(&gesta).await;
    assert_eq!(status(&gesta).await.state, ProjectionState::Paused, "the rebuild stands still");
    assert_eq!(balances(&gesta).await, names(&[("ann", 3)]), "the rows answer as they are");
    let health = gesta.health().await;
    let states: Vec<_> = health.causes.iter().map(|cause| cause.state).collect();
    assert_eq!((states, health.worst()), (vec!["paused"], Some(Severity::Degraded)));
    gesta.resume_projection("balances", &operator()).await.unwrap();
    gesta.wait_for::<Balances>(&later).await.unwrap();
    assert_eq!(balances(&gesta).await, names(&[("ann", 4)]));
    let switched = until(&gesta, is_running).await;
    assert_eq!(switched.dead_letters, 0);
    // A pause ends with the application.
    gesta.pause_projection("balances", &operator()).await.unwrap();
    gesta.close().await;
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    until(&gesta, is_running).await;
}

#[tokio::test]
async fn a_pause_does_not_hide_a_rebuild_that_awaits_confirmation() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    deposit(&gesta, "ann", 3).await;
    settled(&gesta).await;
    gesta.rebuild_and_hold("balances", &operator()).await.unwrap();
    let awaiting = until(&gesta, is_awaiting).await;
    assert_eq!(awaiting.resumes_as, None);
    gesta.pause_projection("balances", &operator()).await.unwrap();
    let paused = status(&gesta).await;
    assert_eq!(paused.state, ProjectionState::Paused);
    // Its position moves on while events come in, those of the operations themselves among them.
    let Some(ProjectionState::AwaitingConfirmation(pending)) = paused.resumes_as else {
        panic!("the rebuild is named: {:?}", paused.resumes_as)
    };
    assert!(pending.held && pending.dead_letters == 0, "{pending:?}");
    let health = gesta.health().await;
    let states: Vec<_> = health.causes.iter().map(|cause| cause.state).collect();
    assert_eq!(states, ["paused", "awaiting-confirmation"]);
    assert_eq!(health.worst(), Some(Severity::Degraded), "the rows answer as they are");
    let refused = gesta.compare_rebuild("balances").await.unwrap_err().to_string();
    assert!(refused.contains("resume it"), "{refused}");
    gesta.confirm_switch("balances", &operator()).await.unwrap();
    let confirmed = status(&gesta).await;
    assert_eq!(confirmed.resumes_as, Some(ProjectionState::Running));
    assert!(matches!(confirmed.old_rows, Some(OldRows { build: 1, .. })), "{confirmed:?}");
    assert_eq!(confirmed.state, ProjectionState::Paused, "the switch-over ends no pause");
    let later = deposit(&gesta, "ann", 1).await;
    gesta::testing::drain(&gesta).await;
    assert_eq!(balances(&gesta).await, names(&[("ann", 3)]));
    gesta.resume_projection("balances", &operator()).await.unwrap();
    gesta.wait_for::<Balances>(&later).await.unwrap();
    assert_eq!(balances(&gesta).await, names(&[("ann", 4)]));
    assert_eq!(status(&gesta).await.resumes_as, None);
}

// ---- a rebuild beside the live rows

#[tokio::test]
async fn a_held_rebuild_is_compared_with_the_live_rows_while_events_come_in() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, Balances(Controls::free()), &models).await;
    deposit(&gesta, "ann", 2).await;
    let none = gesta.compare_rebuild("balances").await;
    assert!(matches!(none, Err(OperationError::NothingToCompare { .. })));
    gesta.rebuild_and_hold("balances", &operator()).await.unwrap();
    until(&gesta, is_awaiting).await;
    for more in 1..20 {
        // One of the two builds may have the event already.
        let last = deposit(&gesta, "ben", more).await;
        let compared = gesta.compare_rebuild("balances").await.unwrap();
        assert!(compared.is_equal(), "{compared:?}");
        assert!(compared.live < compared.rebuilt, "{compared:?}");
        if compared.position >= last.position {
            let [table] = compared.tables.as_slice() else { panic!("one table: {compared:?}") };
            assert_eq!((table.live_rows, table.rebuilt_rows), (2, 2));
        }
    }
    until(&gesta, is_awaiting).await;
    gesta.confirm_switch("balances", &operator()).await.unwrap();
    let after = gesta.compare_rebuild("balances").await;
    assert!(matches!(after, Err(OperationError::NothingToCompare { .. })));
}

#[tokio::test]
async fn a_comparison_shows_the_rows_that_only_one_build_has() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = broken_since(&store, &models).await;
    gesta.rebuild("balances", &operator()).await.unwrap();
    until(&gesta, is_awaiting).await;
    let compared = gesta.compare_rebuild("balances").await.unwrap();
    assert!(!compared.is_equal());
    let [table] = compared.tables.as_slice() else { panic!("one table: {compared:?}") };
    assert_eq!((table.live_rows, table.rebuilt_rows), (2, 1));
    let [only] = table.only_live.as_slice() else { panic!("one row: {table:?}") };
    assert!(only.contains("account-ann"), "{only}");
    assert!(table.only_rebuilt.is_empty() && !table.has_more, "{table:?}");
}

#[tokio::test]
async fn an_inline_projection_is_not_compared() {
    let (store, models) = (new_store(), MemoryReadModels::new());
    let builder = Gesta::on(store).project_inline(Balances(Controls::free()), &models);
    let gesta = builder.open().await.unwrap();
    let refused = gesta.compare_rebuild("balances").await;
    let Err(OperationError::CannotCompare { reason, .. }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("inline"), "{reason}");
}
