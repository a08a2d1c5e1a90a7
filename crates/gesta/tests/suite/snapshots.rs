//! Snapshots: a load from one equals a full replay, and any of them may be lost or wrong.

use std::sync::Arc;

use gesta::{
    Gesta, SnapshotPolicy, prelude::*, stream_of, testing::assert_snapshots_equal_replays,
};
use gesta_store::{
    DeleteStream, EventStore, ExpectedRevision, MemoryReadModels, Snapshot, SnapshotStore,
};

use crate::bank::new_store;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "poured")]
struct Poured {
    litres: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum BarrelEvent {
    Poured(Poured),
}

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Barrel {
    litres: u64,
}

impl Barrel {
    const HOLDS: u64 = 100;
}

impl Aggregate for Barrel {
    const CATEGORY: &'static str = "barrel";
    type Id = u32;
    type Event = BarrelEvent;

    fn evolve(&mut self, event: &BarrelEvent) {
        let BarrelEvent::Poured(Poured { litres }) = event;
        self.litres += litres;
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("only {left} litres fit")]
#[rejection(code = "full")]
struct Full {
    left: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "pour", on = Barrel, either)]
struct Pour {
    #[command(id)]
    barrel: u32,
    litres: u64,
}

impl Decide for Pour {
    type Rejection = Full;

    fn decide(&self, barrel: &Barrel) -> Decision<Self> {
        if barrel.litres + self.litres > Barrel::HOLDS {
            return Err(Full { left: Barrel::HOLDS - barrel.litres });
        }
        Ok(Poured { litres: self.litres }.into())
    }
}

const EVERY_THIRD: SnapshotPolicy = SnapshotPolicy { every: 3, fold_version: 1 };

struct Cellar {
    store: Arc<dyn EventStore>,
    snapshots: MemoryReadModels,
}

impl Cellar {
    fn new() -> Self {
        Self { store: new_store(), snapshots: MemoryReadModels::new() }
    }

    async fn open(&self, policy: SnapshotPolicy) -> Gesta {
        let builder = Gesta::on(Arc::clone(&self.store));
        builder.snapshots::<Barrel>(&self.snapshots, policy).open().await.unwrap()
    }

    async fn snapshot(&self) -> Option<Snapshot> {
        let stream = stream_of::<Barrel>(&1).unwrap();
        self.snapshots.load_snapshot(&stream).await.unwrap()
    }

    /// Changes what the snapshot says, so that a load that uses it shows.
    async fn doctor(&self, state: &'static str) {
        let snapshot = self.snapshot().await.unwrap();
        let doctored = Snapshot { state: state.into(), ..snapshot };
        self.snapshots.save_snapshot(doctored).await.unwrap();
    }
}

async fn pour(gesta: &Gesta, litres: u64) {
    gesta.execute(Pour { barrel: 1, litres }).await.unwrap();
}

async fn litres(gesta: &Gesta) -> u64 {
    gesta.load::<Barrel>(&1).await.unwrap().map_or(0, |barrel| barrel.state.litres)
}

#[tokio::test]
async fn a_snapshot_is_taken_every_so_often_and_loads_begin_there() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    let mut expected = 0;
    for amount in 1..=10 {
        pour(&gesta, amount).await;
        expected += amount;
        let loaded = gesta.load::<Barrel>(&1).await.unwrap().unwrap();
        assert_eq!((loaded.state.litres, loaded.revision), (expected, Revision::new(amount - 1)));
    }
    assert_eq!(cellar.snapshot().await.unwrap().revision, Revision::new(8), "after 3, 6 and 9");

    cellar.doctor(r#"{"litres":70}"#).await;
    assert_eq!(litres(&gesta).await, 80, "the snapshot, and the tenth event");
    let full = gesta.execute(Pour { barrel: 1, litres: 21 }).await;
    assert!(matches!(full, Err(gesta::ExecuteError::Rejected(Full { left: 20 }))), "commands too");
    let before = gesta.load::<Barrel>(&1).as_of(Revision::new(8)).await.unwrap().unwrap();
    assert_eq!(before.state.litres, 45, "the past is always replayed");
}

#[tokio::test]
async fn a_snapshot_of_another_fold_is_ignored_and_replaced() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3);
    cellar.doctor(r#"{"litres":70}"#).await;
    assert_eq!(litres(&gesta).await, 70);
    let changed = cellar.open(SnapshotPolicy { fold_version: 2, ..EVERY_THIRD }).await;
    assert_eq!(litres(&changed).await, 3);
    assert_eq!(cellar.snapshot().await.unwrap().state, r#"{"litres":3}"#);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_ignored() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3);
    cellar.doctor(r#"{"litres":"many"}"#).await;
    assert_eq!(litres(&gesta).await, 3);
}

#[tokio::test]
async fn a_snapshot_of_events_that_are_gone_is_ignored() {
    let cellar = Cellar::new();
    let gesta = cellar.open(EVERY_THIRD).await;
    for _ in 0..3 {
        pour(&gesta, 1).await;
    }
    assert_eq!(litres(&gesta).await, 3);
    let stream = stream_of::<Barrel>(&1).unwrap();
    let delete = DeleteStream { stream, expected: ExpectedRevision::Any };
    cellar.store.delete_stream(delete).await.unwrap();
    assert_eq!(litres(&gesta).await, 0, "the stream was deleted");

    let restored = Cellar { store: new_store(), snapshots: cellar.snapshots.clone() };
    let gesta = restored.open(EVERY_THIRD).await;
    for _ in 0..4 {
        pour(&gesta, 2).await;
    }
    assert_eq!(litres(&gesta).await, 8, "the snapshot is of another life of the store");
}

#[test]
fn the_test_kit_compares_snapshots_with_replays() {
    let poured = |litres| BarrelEvent::Poured(Poured { litres });
    assert_snapshots_equal_replays::<Barrel>([poured(1), poured(2), poured(3)]);
}

#[test]
fn the_test_kit_finds_state_that_a_snapshot_loses() {
    #[derive(Default, Serialize, Deserialize)]
    struct Forgetful {
        total: u64,
        #[serde(skip)]
        last: u64,
    }
    impl Aggregate for Forgetful {
        const CATEGORY: &'static str = "forgetful";
        type Id = u32;
        type Event = BarrelEvent;

        fn evolve(&mut self, event: &BarrelEvent) {
            let BarrelEvent::Poured(Poured { litres }) = event;
            self.total += self.last * litres;
            self.last = *litres;
        }
    }
    let poured = |litres| BarrelEvent::Poured(Poured { litres });
    let found = std::panic::catch_unwind(|| {
        assert_snapshots_equal_replays::<Forgetful>([poured(1), poured(2), poured(3)]);
    });
    assert!(found.is_err());
}
