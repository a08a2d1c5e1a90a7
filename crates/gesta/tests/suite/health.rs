//! Health: each failure is a cause, unready or degraded.

use std::{
    fs,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta::{
    Component, Gesta, HealthCause, Projection, Severity,
    prelude::*,
    testing::{VirtualClock, drain},
};
use gesta_sqlite::{Reader, Sqlite};
use gesta_store::{Damage, DatabaseError, EventStore, Overload, StoreError, memory::MemoryStore};

use crate::{
    bank::{
        AllBalances, Balances, Controls, Fault, PAUSE_MAX, StrictBalances, UNLUCKY, deposit, hasty,
        new_store, operator,
    },
    library::{MONTH, Reminder},
    scripted::{Scene, Scripted},
};

async fn causes(gesta: &Gesta) -> Vec<HealthCause> {
    gesta.health().await.causes
}

/// The only cause, with its code and severity.
#[track_caller]
fn only(causes: &[HealthCause], code: &str, severity: Severity) -> String {
    let [cause] = causes else { panic!("not one cause: {causes:?}") };
    assert_eq!((cause.code().as_str(), cause.severity), (code, severity), "{cause:?}");
    cause.detail.clone()
}

#[tokio::test]
async fn an_application_without_troubles_has_no_causes() {
    let models = Sqlite::temporary().await.unwrap();
    let gesta = Gesta::on(new_store()).project(Balances(Controls::free()), &models);
    let gesta = gesta.process_with(Reminder::after(MONTH)).open().await.unwrap();
    deposit(&gesta, "ann", 1).await;
    drain(&gesta).await;
    assert_eq!(causes(&gesta).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_appends_makes_unready_and_says_why() {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    let damage = Damage::new("7.seg".to_owned(), 512, "bits".to_owned());
    for (error, code, says) in [
        (StoreError::Stopped { reason: "the disk is gone".to_owned() }, "store-stopped", "gone"),
        (StoreError::Corrupt(damage), "store-damaged", "7.seg"),
        (
            StoreError::Overloaded(Overload::DiskFull { reason: "/data".to_owned() }),
            "store-overloaded",
            "no space",
        ),
        (StoreError::unavailable("no answer"), "store-unavailable", "no answer"),
    ] {
        store.next(Scene::Fail(error));
        let detail = only(&causes(&gesta).await, code, Severity::Unready);
        assert!(detail.contains(says), "{detail}");
    }
    store.next(Scene::Hang);
    let detail = only(&causes(&gesta).await, "store-unresponsive", Severity::Unready);
    assert_eq!(detail, "the event store: no answer within 5 seconds");
    assert_eq!(causes(&gesta).await, [], "each was a moment's");
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_reads_never_end_holds_up_no_report() {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    store.reads_hang.store(true, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    assert_eq!(causes(&gesta).await, [], "appends are answered");
    store.next(Scene::Hang);
    only(&causes(&gesta).await, "store-unresponsive", Severity::Unready);
    assert_eq!(began.elapsed(), Duration::from_secs(10), "five seconds each");
}

#[tokio::test]
async fn a_halted_projection_makes_unready_until_it_goes_on() {
    let (models, controls) = (Sqlite::temporary().await.unwrap(), Controls::failing(Fault::Error));
    let strict = StrictBalances(Arc::clone(&controls));
    let gesta = Gesta::on(new_store()).project(strict, &models).open().await.unwrap();
    let failing = deposit(&gesta, "ann", UNLUCKY).await;
    gesta.wait_for::<StrictBalances>(&failing).within(Duration::from_secs(60)).await.unwrap_err();
    let health = gesta.health().await;
    let halted = &health.causes[0];
    assert_eq!((halted.code().as_str(), halted.name.as_str()), ("projection-halted", "balances"));
    assert_eq!(health.worst(), Some(Severity::Unready));
    assert!(halted.detail.contains("thirteen is unlucky"), "{halted:?}");
}

#[tokio::test]
async fn dead_letters_only_degrade_and_are_counted() {
    let (models, controls) = (Sqlite::temporary().await.unwrap(), Controls::failing(Fault::Error));
    let gesta = Gesta::on(new_store()).project(Balances(controls), &models).open().await.unwrap();
    deposit(&gesta, "ann", UNLUCKY).await;
    let behind = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&behind).within(Duration::from_secs(60)).await.unwrap();
    let detail = only(&causes(&gesta).await, "projection-dead-letters", Severity::Degraded);
    assert!(detail.starts_with("2 events"), "{detail}");
}

/// Fails like SQLite on a corrupted page.
#[derive(Query)]
#[query(reads = Balances, answer = ())]
struct ReadFlippedPage;

impl Answer<Reader> for ReadFlippedPage {
    async fn answer(&self, _: &mut Reader) -> Result<(), QueryError> {
        let reason = "database disk image is malformed".to_owned();
        Err(DatabaseError::Corrupt { reason, source: None }.into())
    }
}

#[tokio::test]
async fn damage_that_only_a_query_met_is_remembered_until_the_read_model_is_rebuilt() {
    let models = Sqlite::temporary().await.unwrap();
    let balances = Balances(Controls::free());
    let gesta = Gesta::on(new_store()).project(balances, &models).open().await.unwrap();
    let receipt = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
    gesta.ask::<_, Reader>(ReadFlippedPage).await.unwrap_err();
    for _ in 0..2 {
        let detail = only(&causes(&gesta).await, "projection-corrupt", Severity::Unready);
        assert!(detail.contains("malformed"), "{detail}");
    }
    gesta.rebuild(Balances::NAME, &operator()).await.unwrap();
    while causes(&gesta).await.iter().any(|cause| cause.state == "corrupt") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_is_told_as_long_as_recorded_times_are_ahead_of_it() {
    let in_a_day = || {
        let day = Duration::from_secs(86_400);
        #[expect(clippy::disallowed_methods, reason = "the test compares with the system's clock")]
        let since = (SystemTime::now() + day).duration_since(UNIX_EPOCH).unwrap_or_default();
        RecordedAt::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    };
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::with_clock(in_a_day));
    let gesta = Gesta::on(store).open().await.unwrap();
    assert_eq!(causes(&gesta).await, [], "nothing is recorded yet");
    deposit(&gesta, "ann", 1).await;
    let detail = only(&causes(&gesta).await, "clock-behind-store", Severity::Degraded);
    assert!(detail.contains("seconds ahead of the clock"), "{detail}");
    assert_eq!(causes(&gesta).await[0].component, Component::Clock);
}

#[tokio::test]
async fn a_paused_process_manager_is_told() {
    let gesta = Gesta::on(new_store()).process_with(Reminder::after(MONTH)).open().await.unwrap();
    let name = gesta.process_managers()[0].name;
    gesta.pause_process(name, &gesta::audit::Operator::new("ann")).await.unwrap();
    only(&causes(&gesta).await, "process-manager-paused", Severity::Degraded);
    gesta.resume_process(name, &gesta::audit::Operator::new("ann")).await.unwrap();
    assert_eq!(causes(&gesta).await, []);
}

#[tokio::test]
async fn a_projection_that_is_held_up_says_by_which_event_and_why_until_it_goes_on() {
    let (models, controls) =
        (Sqlite::temporary().await.unwrap(), Controls::failing(Fault::Busy(20)));
    let clock = VirtualClock::new();
    let store = MemoryStore::with_clock(|| RecordedAt::from_micros(0));
    let builder = Gesta::on(Arc::new(store)).clock(clock.clone());
    let gesta = builder.project(Balances(controls), &models).open().await.unwrap();
    let receipt = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
    let receipt = deposit(&gesta, "ben", UNLUCKY).await;
    for attempt in ["attempt 3", "attempt 9"] {
        let detail = loop {
            clock.until_asleep(PAUSE_MAX).await;
            let causes = causes(&gesta).await;
            if causes.iter().any(|cause| cause.detail.contains(attempt)) {
                break only(&causes, "projection-retrying", Severity::Degraded);
            }
            clock.advance(PAUSE_MAX);
        };
        assert!(detail.contains("position 2 of stream account-ben"), "{detail}");
        assert!(detail.contains("busy"), "{detail}");
    }
    let applied = gesta.wait_for::<Balances>(&receipt).within(Duration::from_secs(3_600));
    let mut applied = pin!(applied.into_future());
    loop {
        tokio::select! {
            biased;
            applied = &mut applied => break applied.unwrap(),
            () = clock.until_asleep(PAUSE_MAX) => clock.advance(PAUSE_MAX),
        }
    }
    assert_eq!(causes(&gesta).await, []);
}

#[tokio::test]
async fn a_read_model_that_is_filled_for_the_first_time_is_unready_until_it_has_what_there_was() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let writer = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    for number in 0..40 {
        deposit(&writer, &format!("a{number}"), 1).await;
    }
    for _ in 0..2 {
        // The second time it is gone on with, and still lacks rows.
        let gated = Controls::gated(0);
        let projection = Balances(Arc::clone(&gated));
        let gesta = Gesta::on(Arc::clone(&store)).project(projection, &models);
        let gesta = gesta.open().await.unwrap();
        let detail = only(&causes(&gesta).await, "projection-filling", Severity::Unready);
        assert!(detail.contains("up to 0 of 40"), "{detail}");
        gesta.close().await;
    }
    let projection = Balances(Controls::free());
    let gesta = Gesta::on(Arc::clone(&store)).project(projection, &models).open().await.unwrap();
    let head = store.head().await.unwrap().position;
    gesta.wait_for_position::<Balances>(head).await.unwrap();
    assert_eq!(causes(&gesta).await, []);
    deposit(&writer, "later", 1).await;
    assert_eq!(causes(&gesta).await, [], "what comes later is lag, and no rows are missing");
}

/// A bank in a directory with files that a test may corrupt.
struct Spoiled {
    directory: tempfile::TempDir,
    store: Arc<dyn EventStore>,
}

impl Spoiled {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), store: new_store() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn open(&self) -> Gesta {
        self.open_with(&Sqlite::open(self.directory.path()).await.unwrap()).await
    }

    /// Opens it once, so that there are files.
    async fn fill(&self) {
        let models = Sqlite::open(self.directory.path()).await.unwrap();
        self.open_with(&models).await.close().await;
        models.close().await;
    }

    async fn open_with(&self, models: &Sqlite) -> Gesta {
        let balances = Balances(Controls::free());
        let gesta = hasty(&self.store).project(balances, models);
        let gesta = gesta.open().await.unwrap();
        let receipt = deposit(&gesta, "ann", 1).await;
        let applied = gesta.wait_for::<Balances>(&receipt);
        tokio::select! {
            applied = applied.into_future() => applied.unwrap(),
            // One that cannot be opened is not waited for.
            () = in_trouble(&gesta) => {}
        }
        gesta
    }
}

async fn in_trouble(gesta: &Gesta) {
    while gesta.projections().await.unwrap()[0].trouble.is_none() {
        tokio::task::yield_now().await;
    }
}

async fn ask(gesta: &Gesta) -> Result<Vec<(String, u64)>, gesta::AskError> {
    gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await
}

#[tokio::test]
async fn a_read_model_that_cannot_be_opened_is_unready_and_answers_no_query_with_nothing() {
    let spoiled = Spoiled::new();
    spoiled.fill().await;
    let path = spoiled.path("balances-1.db");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let gesta = spoiled.open().await;
    let detail = only(&causes(&gesta).await, "projection-not-open", Severity::Unready);
    assert!(detail.contains("balances-1.db"), "{detail}");
    let unavailable = ask(&gesta).await.unwrap_err();
    assert!(unavailable.to_string().contains("balances-1.db"), "{unavailable}");
    // Once the directory is out of the way, it is filled.
    fs::remove_dir(&path).unwrap();
    let head = spoiled.store.head().await.unwrap().position;
    let wait = gesta.wait_for_position::<Balances>(head);
    wait.within(Duration::from_secs(600)).await.unwrap();
    assert_eq!(causes(&gesta).await, []);
    assert_eq!(ask(&gesta).await.unwrap(), [("account-ann".to_owned(), 2)]);
}

#[tokio::test]
async fn files_that_are_removed_replaced_or_emptied_while_the_program_runs_are_noticed() {
    type Spoil = fn(&std::path::Path);
    let spoils: [(&str, Spoil); 3] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("replaced", |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).unwrap();
            fs::rename(copy, path).unwrap();
        }),
        ("truncated", |path| {
            fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap()
        }),
    ];
    for (what, spoil) in spoils {
        let spoiled = Spoiled::new();
        let gesta = spoiled.open().await;
        spoil(&spoiled.path("balances-1.db"));
        let detail = only(&causes(&gesta).await, "projection-corrupt", Severity::Unready);
        assert!(detail.contains(what) && detail.contains("balances-1.db"), "{detail}");
        ask(&gesta).await.unwrap_err();
        gesta.rebuild(Balances::NAME, &operator()).await.unwrap();
        while !causes(&gesta).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(ask(&gesta).await.unwrap(), [("account-ann".to_owned(), 1)], "{what}");

        spoil(&spoiled.path("catalogue.db"));
        let detail = only(&causes(&gesta).await, "read-models-impaired", Severity::Degraded);
        assert!(detail.contains(what) && detail.contains("catalogue.db"), "{detail}");
        assert_eq!(ask(&gesta).await.unwrap().len(), 1, "what is open goes on");
    }
}

#[tokio::test]
async fn snapshots_that_cannot_be_opened_keep_nothing_from_starting_and_are_told() {
    for name in ["snapshots.db", "snapshots.db-wal", "snapshots.db-shm"] {
        let spoiled = Spoiled::new();
        spoiled.fill().await;
        let path = spoiled.path(name);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let gesta = spoiled.open().await;
        let detail = only(&causes(&gesta).await, "read-models-impaired", Severity::Degraded);
        assert!(
            detail.contains("snapshots.db") && detail.contains("snapshots are disabled"),
            "{detail}"
        );
        fs::remove_dir(&path).unwrap();
        assert_eq!(causes(&gesta).await, [], "{name}: as soon as there is room for them");
    }
}
