//! Health: whatever fails is told, with its cause, as unready or as degraded.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta::{Component, Gesta, HealthCause, Projection, Severity, prelude::*};
use gesta_sqlite::{Reader, Sqlite};
use gesta_store::{Damage, DatabaseError, EventStore, Overload, StoreError, memory::MemoryStore};

use crate::{
    bank::{Balances, Controls, Fault, StrictBalances, UNLUCKY, deposit, new_store, operator},
    library::{MONTH, Reminder},
    scripted::{Scene, Scripted},
};

async fn causes(gesta: &Gesta) -> Vec<HealthCause> {
    gesta.health().await.causes
}

/// The one cause, with its code and severity.
#[track_caller]
fn only(causes: &[HealthCause], code: &str, severity: Severity) -> String {
    let [cause] = causes else { panic!("not one cause: {causes:?}") };
    assert_eq!((cause.code().as_str(), cause.severity), (code, severity), "{cause:?}");
    cause.detail.clone()
}

#[tokio::test]
async fn an_application_without_troubles_has_no_causes() {
    let models = Sqlite::temporary().unwrap();
    let gesta = Gesta::on(new_store()).project(Balances(Controls::free()), &models);
    let gesta = gesta.process_with(Reminder::after(MONTH)).open().await.unwrap();
    let receipt = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&receipt).await.unwrap();
    assert_eq!(causes(&gesta).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_appends_makes_unready_and_says_why() {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    let damage =
        Damage { file: "7.seg".to_owned(), offset: 512, positions: None, what: "bits".to_owned() };
    for (error, code, says) in [
        (StoreError::Stopped { reason: "the disk is gone".to_owned() }, "store-stopped", "gone"),
        (StoreError::Corrupt(damage), "store-damaged", "7.seg"),
        (StoreError::Overloaded(Overload::DiskFull), "store-overloaded", "no space"),
        (StoreError::unavailable("no answer"), "store-unavailable", "no answer"),
    ] {
        store.next(Scene::Fail(error));
        let detail = only(&causes(&gesta).await, code, Severity::Unready);
        assert!(detail.contains(says), "{detail}");
    }
    store.next(Scene::Hang);
    only(&causes(&gesta).await, "store-unresponsive", Severity::Unready);
    assert_eq!(causes(&gesta).await, [], "each was a moment's");
}

#[tokio::test(start_paused = true)]
async fn a_halted_projection_makes_unready_until_it_goes_on() {
    let (models, controls) = (Sqlite::temporary().unwrap(), Controls::failing(Fault::Error));
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

#[tokio::test(start_paused = true)]
async fn dead_letters_only_degrade_and_are_counted() {
    let (models, controls) = (Sqlite::temporary().unwrap(), Controls::failing(Fault::Error));
    let gesta = Gesta::on(new_store()).project(Balances(controls), &models).open().await.unwrap();
    deposit(&gesta, "ann", UNLUCKY).await;
    let behind = deposit(&gesta, "ann", 1).await;
    gesta.wait_for::<Balances>(&behind).within(Duration::from_secs(60)).await.unwrap();
    let detail = only(&causes(&gesta).await, "projection-dead-letters", Severity::Degraded);
    assert!(detail.starts_with("2 events"), "{detail}");
}

/// Meets damage, as SQLite tells it of a flipped page.
struct ReadFlippedPage;

impl Query for ReadFlippedPage {
    type Reads = Balances;
    type Answer = ();
}

impl Answer<Reader> for ReadFlippedPage {
    async fn answer(&self, _: &mut Reader) -> Result<(), QueryError> {
        let reason = "database disk image is malformed".to_owned();
        Err(DatabaseError::Corrupt { reason, source: None }.into())
    }
}

#[tokio::test]
async fn damage_that_only_a_query_met_is_remembered_until_the_read_model_is_rebuilt() {
    let models = Sqlite::temporary().unwrap();
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
    assert!(detail.contains("later than the clock says"), "{detail}");
    assert_eq!(causes(&gesta).await[0].component, Component::Clock);
}

#[tokio::test]
async fn a_paused_process_manager_is_told() {
    let gesta = Gesta::on(new_store()).process_with(Reminder::after(MONTH)).open().await.unwrap();
    let name = gesta.process_managers()[0].name;
    gesta.pause_process(name).await.unwrap();
    only(&causes(&gesta).await, "process-manager-paused", Severity::Degraded);
    gesta.resume_process(name).await.unwrap();
    assert_eq!(causes(&gesta).await, []);
}
