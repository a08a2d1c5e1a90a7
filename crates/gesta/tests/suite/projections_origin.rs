//! The origin of rows: of which history of the store, and of which event types.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gesta::{
    AsOf, Gesta, ProjectionState, ProjectionStatus, ReadTypedRows, SnapshotPolicy, TypedRows,
    prelude::*,
};
use gesta_sqlite::{Reader, Sqlite};
use gesta_store::{
    CreateReadModel, EventStore, ListRows, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows,
    Rows, Stage,
};

use crate::bank::{
    AllBalances, Audit, Audited, BalanceEvent, Balances, Controls, Deposited, Fault, UNLUCKY,
    deposit, new_store, operator, replayed,
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

async fn until_running(gesta: &Gesta) {
    while status(gesta).await.state != ProjectionState::Running {
        tokio::task::yield_now().await;
    }
}

async fn settled<P: gesta::Projection>(gesta: &Gesta) {
    let head = gesta.store().head().await.unwrap().position;
    let wait = gesta.wait_for_position::<P>(head).within(Duration::from_secs(600));
    wait.await.unwrap();
}

// ---- event types

#[derive(EventSet, Clone, Debug)]
enum Visits {
    Deposited(Deposited),
    Audited(Audited),
}

/// The projection before and after it learns of audits; both count what they see of each account.
macro_rules! seen {
    ($name:ident, $events:ty) => {
        struct $name;

        impl Projection for $name {
            const NAME: &'static str = "seen";
            type Event = $events;
        }

        impl<Tx: Rows> Apply<Tx> for $name {
            async fn apply(
                &self,
                tx: &mut Tx,
                events: &[Recorded<$events>],
            ) -> Result<(), ApplyError> {
                for event in events {
                    let account = event.stream.as_str();
                    let before: u64 = tx.get("seen", account).await?.unwrap_or_default();
                    tx.put("seen", account, &(before + 1)).await?;
                }
                Ok(())
            }
        }

        impl gesta::Query for $name {
            type Reads = Self;
            type Answer = Option<u64>;
        }

        impl<Conn: ReadRows> Answer<Conn> for $name {
            async fn answer(&self, rows: &mut Conn) -> Result<Option<u64>, QueryError> {
                Ok(rows.get("seen", "account-ann").await?)
            }
        }
    };
}

seen!(SeenDeposits, crate::bank::BalanceEvent);
seen!(SeenVisits, Visits);

async fn audit(gesta: &Gesta) {
    gesta.execute(Audit { account: "ann".to_owned() }).await.unwrap();
}

#[tokio::test]
async fn an_event_type_that_a_projection_learns_of_is_applied_from_the_first_event_on() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let old = open(&store, SeenDeposits, &models).await;
    deposit(&old, "ann", 1).await;
    for _ in 0..10 {
        audit(&old).await;
    }
    settled::<SeenDeposits>(&old).await;
    old.close().await;

    let gesta = open(&store, SeenVisits, &models).await;
    settled::<SeenVisits>(&gesta).await;
    until_running(&gesta).await;
    assert_eq!(gesta.ask::<_, Reader>(SeenVisits).await.unwrap(), Some(11));
    let listed = models.list_read_models("seen").await.unwrap();
    assert!(listed.iter().any(|one| one.id.build == 2 && one.stage == Stage::Live));
}

#[tokio::test]
async fn an_event_type_without_earlier_events_costs_no_rebuild() {
    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let old = open(&store, SeenDeposits, &models).await;
    deposit(&old, "ann", 1).await;
    settled::<SeenDeposits>(&old).await;
    old.close().await;

    let gesta = open(&store, SeenVisits, &models).await;
    audit(&gesta).await;
    settled::<SeenVisits>(&gesta).await;
    assert_eq!(gesta.ask::<_, Reader>(SeenVisits).await.unwrap(), Some(2));
    assert_eq!(models.list_read_models("seen").await.unwrap().len(), 1);
    gesta.close().await;

    // Forgotten again, and missed: what is added later was there from before.
    let without = open(&store, SeenDeposits, &models).await;
    audit(&without).await;
    settled::<SeenDeposits>(&without).await;
    without.close().await;
    let gesta = open(&store, SeenVisits, &models).await;
    settled::<SeenVisits>(&gesta).await;
    assert_eq!(gesta.ask::<_, Reader>(SeenVisits).await.unwrap(), Some(3));
}

// ---- history

/// A log and its read models in one directory.
struct Shop(tempfile::TempDir);

impl Shop {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn events(&self) -> std::path::PathBuf {
        self.0.path().join("events")
    }

    async fn models(&self) -> Sqlite {
        Sqlite::open(self.0.path().join("read-models")).await.unwrap()
    }

    async fn open(&self, controls: &Arc<Controls>) -> Gesta {
        let policy = SnapshotPolicy::every(2).fold_version(1);
        let models = self.models().await;
        Gesta::at(format!("gesta:{}", self.events().display()))
            .project(Balances(Arc::clone(controls)), &models)
            .project_on_read(crate::on_read::Card, &models)
            .snapshots::<Summed>(&models, policy)
            .open()
            .await
            .unwrap()
    }

    /// A plain copy of the store's files, taken while nothing runs.
    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_files(&self.events(), copy.path());
        copy
    }

    /// Replaces the store by an older copy, next to newer read models.
    fn put_back(&self, copy: &tempfile::TempDir) {
        std::fs::remove_dir_all(self.events()).unwrap();
        copy_files(copy.path(), &self.events());
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// An account's sum, which has snapshots.
#[derive(Serialize, Deserialize, Default)]
struct Summed(u64);

impl Aggregate for Summed {
    const CATEGORY: &'static str = "account";
    type Id = String;
    type Event = crate::bank::AccountEvent;

    fn evolve(&mut self, event: &Self::Event) {
        if let crate::bank::AccountEvent::Deposited(Deposited { amount }) = event {
            self.0 += amount;
        }
    }
}

async fn balances(gesta: &Gesta) -> Vec<(String, u64)> {
    gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await.unwrap()
}

/// Everything that is derived, as it is answered.
async fn answers(gesta: &Gesta) -> (Vec<(String, u64)>, Vec<u64>, u64) {
    let ann = "ann".to_owned();
    let card = gesta.read_on_demand::<crate::on_read::Card>(&ann, AsOf::Now).await.unwrap();
    let summed = gesta.load::<Summed>(&ann).await.unwrap().unwrap();
    (balances(gesta).await, card.unwrap().row, summed.state.0)
}

#[tokio::test]
async fn an_older_copy_of_the_store_that_grew_past_newer_read_models_is_noticed() {
    let shop = Shop::new();
    let gesta = shop.open(&Controls::free()).await;
    for amount in 1..=4 {
        deposit(&gesta, "ann", amount).await;
    }
    gesta.close().await;
    let copy = shop.copy();
    let gesta = shop.open(&Controls::free()).await;
    for amount in 100..=110 {
        deposit(&gesta, "ann", amount).await;
    }
    settled::<Balances>(&gesta).await;
    answers(&gesta).await;
    gesta.close().await;

    // The same incarnation, but a different history, starting at the fifth event.
    shop.put_back(&copy);
    let alone = Gesta::at(format!("gesta:{}", shop.events().display())).open().await.unwrap();
    for amount in 1_000..=1_030 {
        deposit(&alone, "ann", amount).await;
    }
    alone.close().await;
    let gesta = shop.open(&Controls::free()).await;
    settled::<Balances>(&gesta).await;
    until_running(&gesta).await;
    let (rows, card, summed) = answers(&gesta).await;
    assert_eq!(rows, replayed(gesta.store(), 1).await);
    let amounts: Vec<u64> = (1..=4).chain(1_000..=1_030).collect();
    assert_eq!((&card, summed), (&amounts, amounts.iter().sum()), "rows on read, snapshots");
    gesta.close().await;
}

#[tokio::test]
async fn an_older_copy_of_the_store_that_is_behind_its_read_models_is_noticed_and_told() {
    let shop = Shop::new();
    let gesta = shop.open(&Controls::free()).await;
    deposit(&gesta, "ann", 1).await;
    gesta.close().await;
    let copy = shop.copy();
    let gesta = shop.open(&Controls::free()).await;
    for amount in 100..=110 {
        deposit(&gesta, "ann", amount).await;
    }
    settled::<Balances>(&gesta).await;
    answers(&gesta).await;
    gesta.close().await;
    shop.put_back(&copy);

    let gated = Controls::gated(0);
    let gesta = shop.open(&gated).await;
    gated.until_at_gate().await;
    let told = status(&gesta).await.trouble.unwrap_or_default();
    assert!(told.contains("ahead of the store"), "{told}");
    gated.open_gate();
    until_running(&gesta).await;
    assert_eq!(answers(&gesta).await, (vec![("account-ann".to_owned(), 1)], vec![1], 1));
    assert_eq!(status(&gesta).await.trouble, None);
}

#[tokio::test]
async fn a_copy_that_differs_only_in_events_that_the_projection_never_sees_is_noticed() {
    let shop = Shop::new();
    let gesta = shop.open(&Controls::free()).await;
    deposit(&gesta, "ann", 1).await;
    settled::<Balances>(&gesta).await;
    gesta.close().await;
    let copy = shop.copy();
    // Only audits, which leave no row but move the checkpoint.
    let gesta = shop.open(&Controls::free()).await;
    for _ in 0..20 {
        audit(&gesta).await;
    }
    settled::<Balances>(&gesta).await;
    gesta.close().await;
    let gesta = shop.open(&Controls::free()).await;
    settled::<Balances>(&gesta).await;
    gesta.close().await;

    shop.put_back(&copy);
    let alone = Gesta::at(format!("gesta:{}", shop.events().display())).open().await.unwrap();
    for amount in 0..30 {
        deposit(&alone, "ben", amount).await;
    }
    alone.close().await;
    let gesta = shop.open(&Controls::free()).await;
    settled::<Balances>(&gesta).await;
    until_running(&gesta).await;
    assert_eq!(balances(&gesta).await, replayed(gesta.store(), 1).await);
}

#[tokio::test]
async fn a_query_fails_at_once_if_another_store_has_replaced_its_rows_and_they_are_filled_again() {
    let models = Sqlite::temporary().await.unwrap();
    let open = async |store| open(store, Balances(Controls::free()), &models).await;
    let (store, other) = (new_store(), new_store());
    let gesta = open(&store).await;
    deposit(&gesta, "ann", 1).await;
    settled::<Balances>(&gesta).await;
    let intruder = open(&other).await;
    deposit(&intruder, "ben", 2).await;
    settled::<Balances>(&intruder).await;
    until_running(&intruder).await;
    assert_eq!(balances(&intruder).await, [("account-ben".to_owned(), 2)]);
    intruder.close().await;

    let refused = gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await.unwrap_err();
    assert!(refused.to_string().contains("another program has dropped"), "{refused}");
    let own = vec![("account-ann".to_owned(), 1)];
    while gesta.ask::<_, Reader>(AllBalances::<Balances>::of()).await.ok() != Some(own.clone()) {
        tokio::task::yield_now().await;
    }
}

// ---- deletion

#[tokio::test]
async fn a_rebuild_and_a_released_letter_leave_out_what_was_deleted_before() {
    use gesta_store::{DeleteStream, ExpectedRevision};

    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let controls = Controls::failing(Fault::Error);
    let gesta = open(&store, Balances(Arc::clone(&controls)), &models).await;
    deposit(&gesta, "ann", 1).await;
    deposit(&gesta, "ben", 2).await;
    deposit(&gesta, "cid", UNLUCKY).await;
    deposit(&gesta, "cid", 4).await;
    settled::<Balances>(&gesta).await;
    for name in ["account-ann", "account-cid"] {
        let stream = StreamName::new(name).unwrap();
        let delete = DeleteStream::new(stream, ExpectedRevision::Any);
        store.delete_stream(delete).await.unwrap();
    }
    // Dead letters of a deleted stream are removed with it and never applied.
    settled::<Balances>(&gesta).await;
    assert!(gesta.dead_letters().await.unwrap().is_empty());
    let before = vec![("account-ann".to_owned(), 1), ("account-ben".to_owned(), 2)];
    assert_eq!(balances(&gesta).await, before, "a row is the projection's to forget");
    gesta.rebuild("balances", &operator()).await.unwrap();
    until_running(&gesta).await;
    assert_eq!(balances(&gesta).await, [("account-ben".to_owned(), 2)]);
}

/// The first deposit of each account; a second one fails.
struct Firsts;

impl Projection for Firsts {
    const NAME: &'static str = "firsts";
    type Event = BalanceEvent;
}

impl<Tx: Rows> Apply<Tx> for Firsts {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<BalanceEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let BalanceEvent::Deposited(Deposited { amount }) = event.event;
            if tx.get::<u64>("firsts", event.stream.as_str()).await?.is_some() {
                return Err(ApplyError::because("it is there already"));
            }
            tx.put("firsts", event.stream.as_str(), &amount).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        Ok(tx.delete("firsts", stream.as_str()).await?)
    }
}

impl gesta::Query for Firsts {
    type Reads = Self;
    type Answer = Vec<(String, u64)>;
}

impl Answer<Reader> for Firsts {
    async fn answer(&self, rows: &mut Reader) -> Result<Vec<(String, u64)>, QueryError> {
        Ok(rows.list(ListRows::of("firsts")).await?)
    }
}

#[tokio::test]
async fn rows_and_letters_of_a_stream_that_ends_are_forgotten_and_it_may_begin_anew() {
    use gesta_store::{
        DeleteStream, ExpectedRevision, SetStreamMetadata, StreamMetadata, TombstoneStream,
    };

    let (store, models) = (new_store(), Sqlite::temporary().await.unwrap());
    let gesta = open(&store, Firsts, &models).await;
    for (name, amount) in [("ann", 1), ("ben", 2), ("ben", 3), ("cid", 4)] {
        deposit(&gesta, name, amount).await;
    }
    settled::<Firsts>(&gesta).await;
    assert_eq!(gesta.dead_letters().await.unwrap().len(), 1, "the second of ben");
    let stream = |name: &str| StreamName::new(format!("account-{name}")).unwrap();
    let expected = ExpectedRevision::Any;
    store.delete_stream(DeleteStream::new(stream("ann"), expected)).await.unwrap();
    store.tombstone_stream(TombstoneStream::new(stream("ben"), expected)).await.unwrap();
    let metadata = StreamMetadata::default().truncate_before(Revision::FIRST);
    let harmless = SetStreamMetadata::new(stream("cid"), expected, metadata);
    store.set_stream_metadata(harmless).await.unwrap();
    settled::<Firsts>(&gesta).await;
    let row = |name: &str, amount: u64| (format!("account-{name}"), amount);
    assert_eq!(gesta.ask::<_, Reader>(Firsts).await.unwrap(), [row("cid", 4)]);
    assert!(gesta.dead_letters().await.unwrap().is_empty(), "they went with their stream");

    deposit(&gesta, "ann", 5).await;
    settled::<Firsts>(&gesta).await;
    let rows = vec![row("ann", 5), row("cid", 4)];
    assert_eq!(gesta.ask::<_, Reader>(Firsts).await.unwrap(), rows);
    assert!(gesta.dead_letters().await.unwrap().is_empty(), "it began anew");
    gesta.rebuild("firsts", &operator()).await.unwrap();
    until_running(&gesta).await;
    assert_eq!(gesta.ask::<_, Reader>(Firsts).await.unwrap(), rows, "as a rebuild has it");
}

#[tokio::test]
async fn a_read_model_of_an_earlier_version_is_taken_as_it_is() {
    let store = new_store();
    let writer = Gesta::on(Arc::clone(&store)).open().await.unwrap();
    let first = deposit(&writer, "ann", 1).await;
    deposit(&writer, "ann", 2).await;
    // Rows and a checkpoint without properties.
    let models = MemoryReadModels::new();
    let create = CreateReadModel::new("balances", 1, Stage::Live);
    let id = models.create_read_model(create).await.unwrap();
    let mut tx = models.begin(&id).await.unwrap();
    tx.put("balances", "account-ann", &1).await.unwrap();
    let incarnation = store.head().await.unwrap().incarnation;
    let to = gesta_store::Checkpoint { position: first.position, incarnation };
    tx.advance(gesta_store::Advance { from: None, to }).await.unwrap();
    tx.commit().await.unwrap();

    let controls = Controls::free();
    let gesta = Gesta::on(Arc::clone(&store)).project(Balances(Arc::clone(&controls)), &models);
    let gesta = gesta.open().await.unwrap();
    settled::<Balances>(&gesta).await;
    assert_eq!(controls.applied.load(Ordering::SeqCst), 1, "it continued at its checkpoint");
    let mut tx = models.begin(&id).await.unwrap();
    assert_eq!(tx.property("event-types").await.unwrap().as_deref(), Some(r#"["deposited"]"#));
    assert!(tx.property("last-event").await.unwrap().is_some());
}

// ---- names

macro_rules! named {
    ($type:ident, $name:expr) => {
        struct $type;

        impl Projection for $type {
            const NAME: &'static str = $name;
            type Event = crate::bank::BalanceEvent;
        }

        impl<Tx: Rows> Apply<Tx> for $type {
            async fn apply(
                &self,
                _: &mut Tx,
                _: &[Recorded<crate::bank::BalanceEvent>],
            ) -> Result<(), ApplyError> {
                Err(ApplyError::because("it fails"))
            }
        }
    };
}

named!(Nameless, "");
named!(TwoLines, "orders\nof today");
named!(Umlauts, "größen/je @ Tag");

#[tokio::test]
async fn a_name_that_could_not_be_operated_is_refused_when_the_application_opens() {
    let models = Sqlite::temporary().await.unwrap();
    let nameless = Gesta::on(new_store()).project(Nameless, &models).open().await.unwrap_err();
    assert!(nameless.to_string().contains("at least 1 character"), "{nameless}");
    let lines = Gesta::on(new_store()).project(TwoLines, &models).open().await.unwrap_err();
    assert!(lines.to_string().contains("control characters"), "{lines}");
}

#[tokio::test]
async fn a_projection_of_any_other_name_can_be_operated_by_it() {
    let gesta = open(&new_store(), Umlauts, &Sqlite::temporary().await.unwrap()).await;
    let receipt = deposit(&gesta, "ann", 1).await;
    let wait = gesta.wait_for::<Umlauts>(&receipt).within(Duration::from_secs(600));
    wait.await.unwrap();
    let id = gesta.dead_letters().await.unwrap().remove(0).0;
    let id = id.to_string().parse().unwrap();
    gesta.discard_dead_letter(&id, &operator()).await.unwrap();
    gesta.rebuild("größen/je @ Tag", &operator()).await.unwrap();
}
